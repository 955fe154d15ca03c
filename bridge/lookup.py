"""A number as asked → its readings → who has it, as the CONNECTOR wants to be answered.

The rule: the first reading that any contact has is the one meant; among those contacts the order of the sources
decides, then whether the number is the person's own or the company's, then which is the newest. Sources that are no
longer configured come last.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import orjson

from bridge import errors, log, numbers, questions, store
from bridge.answers import Answers, Asked
from bridge.config import Tenant
from bridge.numbers import plans
from bridge.questions import DEADLINE, Found, Question, Questions
from bridge.store import Store

SQL = store.queries("lookup")
NOBODY = b"[]"
_LIMIT = 5
_BEAT = 5.0
"""Seconds after which a listening connection that says nothing is asked whether it lives."""
_LOG = log.get()


@dataclass(frozen=True, slots=True, eq=False)
class Directory:
    """What one tenant's configuration says of lookups; `shown` maps sources to their crmName and crmLogo.

    Compared by identity, so that no answer outlives the configuration that it was made under.
    """

    tenant: str
    region: str
    internal_digits: int
    limit: int
    suffix: int
    shown: Mapping[str, tuple[str, str]]
    workflows: tuple[str, ...]


def directory(tenant: Tenant) -> Directory:
    """The tenant's directory, with the connector's defaults where it has none."""
    connector = tenant.connector
    return Directory(
        tenant=tenant.name,
        region=tenant.region,
        internal_digits=tenant.internal_digits,
        limit=connector.limit if connector else _LIMIT,
        suffix=connector.suffix if connector else 0,
        shown={name: (source.label, _http(source.logo)) for name, source in tenant.sources.items()},
        workflows=tuple(connector.workflow) if connector else (),
    )


def readings(place: Directory, asked: str) -> tuple[str, ...]:
    """The keys that a number as asked may mean, best first."""
    return numbers.readings(asked, place.region, place.internal_digits)


async def prepare(db: Store, suffix: int) -> None:
    """Make the index that matching by the last digits needs; nothing to do for 0."""
    if suffix:
        async with store.locked(db, "suffix") as session:
            assert session is not None
            await session.execute(SQL["suffix_index"].format(digits=int(suffix)))


class Begun(NamedTuple):
    """A lookup under way; `finish` has its answer when `done` is."""

    place: Directory
    asked: str
    depends: Asked
    done: asyncio.Future[list[Found]]


class Lookups:
    """Answers lookups from memory or the database; Unavailable at once while the database is away."""

    def __init__(self, db: Store, answers: Answers | None = None) -> None:
        self.db = db
        self._questions = Questions(db)
        self._answers = answers or Answers()
        self._by_tail = False
        self._listening: asyncio.Task[None] | None = None

    @property
    def reason(self) -> str:
        """Why there are no answers; "" while there are."""
        return self._questions.reason

    async def start(self) -> None:
        """Connect, and return when that has succeeded or failed for the first time."""
        self._listening = asyncio.create_task(self._listen())
        await self._questions.start()

    async def run(self) -> None:
        """Wait for ever; what ends it is a mistake, and raised."""
        assert self._listening
        ended, _ = await asyncio.wait((self._listening, *self._questions.lines), return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()

    async def close(self) -> None:
        if self._listening:
            self._listening.cancel()
            await asyncio.gather(self._listening, return_exceptions=True)
        await self._questions.close()

    def remembered(self, place: Directory, asked: str) -> bytes | None:
        """The answer if it was found before and is still right."""
        return self._answers.get((place, asked))

    async def answer(self, place: Directory, asked: str) -> bytes:
        """The JSON array of who has this number."""
        keys = readings(place, asked)
        if not keys:
            return NOBODY
        tail = _tail(place, keys)
        self._by_tail |= bool(tail)
        depends = self._answers.asking(place.tenant, (*keys, _tail_key(tail)) if tail else keys)
        found = await self._questions.ask(Question(place.tenant, keys, place.limit))
        if not found and tail:
            found = await _by_suffix(self.db, place.tenant, keys, tail)
        body = render(place, found)
        self._answers.keep((place, asked), depends, body)
        return body

    def begin(self, place: Directory, asked: str) -> Begun | bytes | None:
        """The same without waiting: the answer, or what will have it; None where that takes more than one question."""
        keys = readings(place, asked)
        if not keys:
            return NOBODY
        if place.suffix:
            return None
        depends = self._answers.asking(place.tenant, keys)
        return Begun(place, asked, depends, self._questions.put(Question(place.tenant, keys, place.limit)))

    def finish(self, begun: Begun) -> bytes:
        """The answer to a lookup whose question is done."""
        body = render(begun.place, begun.done.result())
        self._answers.keep((begun.place, begun.asked), begun.depends, body)
        return body

    def forget(self) -> None:
        """Let go of all answers, where the configuration they were made under is gone."""
        self._answers.clear()

    async def _listen(self) -> None:
        """Keep answers only while word of changes arrives."""
        while True:
            try:
                async with asyncio.timeout(DEADLINE):
                    connection = await self.db.connect()
                try:
                    ended = asyncio.Event()
                    connection.at_end(ended.set)
                    async with asyncio.timeout(DEADLINE):
                        await connection.listen(store.CHANNEL, self._heard)
                    self._answers.clear()
                    self._answers.live = True
                    while not ended.is_set():
                        async with asyncio.timeout(DEADLINE):
                            await connection.value("select 1")
                        await _either(ended, _BEAT)
                finally:
                    self._answers.live = False
                    self._answers.clear()
                    await self.db.release(connection)
            except (errors.Unavailable, TimeoutError) as fault:
                _LOG.debug("lookup.deaf", reason=str(fault))
            await asyncio.sleep(0.5)

    def _heard(self, payload: str) -> None:
        tenant, *changed = orjson.loads(payload)
        self._questions.tables_changed()
        if not changed:
            self._answers.changed_all(tenant)
            return
        tails = {_tail_key(key[-digits:]) for key in changed for digits in range(7, 11)} if self._by_tail else ()
        self._answers.changed(tenant, (*changed, *tails))


async def answer_once(db: Store, place: Directory, asked: str) -> bytes:
    """What the CONNECTOR would be answered, asked of the database directly."""
    keys = readings(place, asked)
    if not keys:
        return NOBODY
    question = Question(place.tenant, keys, place.limit)
    [found] = questions.sort_out(await db.fetch(questions.SQL["find"], *questions.arguments([question])), [question])
    tail = _tail(place, keys)
    if not found and tail:
        found = await _by_suffix(db, place.tenant, keys, tail)
    return render(place, found)


def render(place: Directory, found: Sequence[Found]) -> bytes:
    """The page's list: every field in every result, unknown texts "" and objects {}."""
    return orjson.dumps([_result(place, source, _SHOWN.decode(body)) for source, body in found]) if found else NOBODY


class _Shown(msgspec.Struct):
    """What a lookup shows of a contact as `contact.dump` made it: reading all of it would take four times as long."""

    id: str
    first_name: str = ""
    last_name: str = ""
    display_name: str = ""
    company: str = ""
    contact_url: str = ""
    company_url: str = ""
    custom: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """As `Contact.name`."""
        return self.display_name or f"{self.first_name} {self.last_name}".strip() or self.company


_SHOWN = msgspec.json.Decoder(_Shown)


def _result(place: Directory, source: str, held: _Shown) -> Mapping[str, object]:
    label, logo = place.shown.get(source) or (source, "")
    custom: dict[str, str] = {}
    for title, text in held.custom:
        custom[title] = f"{custom[title]}, {text}" if title in custom else text
    return {
        "name": held.name,
        "company": held.company,
        "contactUri": _http(held.contact_url),
        "companyUri": _http(held.company_url),
        "id": f"{source}:{held.id}",
        "crmName": label,
        "crmLogo": logo,
        "customData": custom,
        "customFields": custom,
        "crmActions": place.workflows,
        "CrmActions": place.workflows,
    }


def _http(url: str) -> str:
    return url if url.lower().startswith(("http://", "https://")) else ""


def _tail(place: Directory, keys: Sequence[str]) -> str:
    """The last digits to match by where that is asked for and the number has as many; else ""."""
    digits = keys[0].removeprefix("+")
    return digits[-place.suffix :] if place.suffix and len(digits) >= place.suffix and digits.isdigit() else ""


def _tail_key(tail: str) -> str:
    """What answers by last digits depend on, beside whole numbers, none of which looks like this."""
    return "…" + tail


async def _by_suffix(db: Store, tenant: str, keys: Sequence[str], tail: str) -> list[Found]:
    """The only contact with these last digits, unless both numbers are whole and of different countries."""
    try:
        async with asyncio.timeout(DEADLINE):
            rows = await db.fetch(SQL["by_suffix"].format(digits=len(tail)), tenant, tail)
    except TimeoutError:
        raise errors.Unavailable(f"the database does not answer within {DEADLINE:.0f} s", after=1.0) from None
    if len(rows) != 1 or not _may_match(keys, rows[0]["number"]):
        return []
    return [(rows[0]["source"], rows[0]["body"])]


def _may_match(keys: Sequence[str], stored: str) -> bool:
    codes = {plans.split(key[1:])[0] for key in keys if key.startswith("+")}
    return not codes or not stored.startswith("+") or plans.split(stored[1:])[0] in codes


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait until it happens, or so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
