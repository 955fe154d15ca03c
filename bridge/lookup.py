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

import orjson

from bridge import errors, log, numbers, questions, shown, store
from bridge.answers import Answers, Asked
from bridge.config import Tenant
from bridge.nearby import Nearby
from bridge.numbers import plans
from bridge.questions import DEADLINE, Found, Question
from bridge.replica import Either
from bridge.sheets import Held, Sheet
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
        shown={name: (source.label, shown.http(source.logo)) for name, source in tenant.sources.items()},
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
    """Answers lookups from memory or the database; Unavailable at once while the database is away.

    `nearby` holds tenants in memory, as far as there is room and word of changes arrives.
    `replica` reads from standbys of the database.
    """

    def __init__(
        self, db: Store, answers: Answers | None = None, replica: Store | None = None, nearby: Nearby | None = None
    ) -> None:
        self.db = db
        self._questions = Either(db, replica)
        self._answers = answers or Answers()
        self._nearby = nearby or Nearby(db)
        self._by_tail = False
        self._chores: list[asyncio.Task[None]] = []

    @property
    def reason(self) -> str:
        """Why there are no answers; "" while there are."""
        return self._questions.reason

    @property
    def state(self) -> str:
        """Whether there are answers, and who gives them, in words."""
        return self._questions.state

    @property
    def alone(self) -> str:
        """That a replica answers alone, and why; "" where it does not."""
        return self._questions.alone

    async def start(self) -> None:
        """Connect, and return when that has succeeded or failed for the first time."""
        self._chores = [asyncio.create_task(self._listen()), asyncio.create_task(self._nearby.run())]
        await self._questions.start()

    async def run(self) -> None:
        """Wait for ever; what ends it is a mistake, and raised."""
        ended, _ = await asyncio.wait((*self._chores, *self._questions.lines), return_when=asyncio.FIRST_COMPLETED)
        for task in ended:
            task.result()

    async def close(self) -> None:
        for chore in self._chores:
            chore.cancel()
        await asyncio.gather(*self._chores, return_exceptions=True)
        await self._questions.close()

    def remembered(self, place: Directory, asked: str) -> bytes | None:
        """The answer if it was found before and is still right."""
        return self._answers.get((place, asked))

    async def answer(self, place: Directory, asked: str) -> bytes:
        """The JSON array of who has this number."""
        near = self._near(place, asked)
        if near is not None:
            return near
        keys = readings(place, asked)
        if not keys:
            return NOBODY
        tail = tail_of(place, keys)
        self._by_tail |= bool(tail)
        depends = self._answers.asking(place.tenant, (*keys, _tail_key(tail)) if tail else keys)
        found = await self._questions.ask(Question(place.tenant, keys, place.limit))
        if not found and tail:
            found = await _by_suffix(self._questions.store, place.tenant, asked, keys, tail)
        body = render(place, found)
        self._answers.keep((place, asked), depends, body)
        return body

    def begin(self, place: Directory, asked: str) -> Begun | bytes | None:
        """The same without waiting: the answer, or what will have it; None where that takes more than one question."""
        near = self._near(place, asked)
        if near is not None:
            return near
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

    def forget(self, tenant: str = "") -> None:
        """Let go of all that is in memory of a tenant ("": of all), as somebody was erased from the database."""
        self._nearby.forget(tenant)
        self._answers.forget(tenant)

    def _near(self, place: Directory, asked: str) -> bytes | None:
        """The answer, where the whole tenant is here; None: the database has to be asked, which may be away."""
        if self._questions.reason:
            return None
        sheet = self._nearby.sheet(place.tenant)
        if sheet is None:
            return None
        plain = _plain(place, asked)
        found = sheet.find(plain, place.limit) if plain else None
        keys = (plain,) if found else readings(place, asked)
        if not keys:
            return NOBODY  # and not kept: there is no end to what is no number
        if not found:
            found = _first(sheet, keys, place.limit)
        if found is None or (place.suffix and not found):
            return None
        body = _results(place, found)
        self._answers.keep((place, asked), self._answers.asking(place.tenant, keys), body)
        return body

    async def _listen(self) -> None:
        """Keep answers only while word of changes arrives."""
        while True:
            try:
                async with asyncio.timeout(DEADLINE):
                    connection = await self.db.connect(DEADLINE)
                try:
                    ended = asyncio.Event()
                    connection.at_end(ended.set)
                    async with asyncio.timeout(DEADLINE):
                        await connection.listen(store.CHANNEL, self._heard)
                    self._questions.hears(True)
                    self._answers.clear()
                    self._answers.live = True
                    self._nearby.hearing()
                    while not ended.is_set():
                        async with asyncio.timeout(DEADLINE):
                            await connection.value("select 1")
                        if connection.misplaced:
                            raise errors.Unavailable("the server takes no writes any more")
                        await _either(ended, _BEAT)
                finally:
                    self._questions.hears(False)
                    self._answers.live = False
                    self._answers.clear()
                    self._nearby.deaf()
                    await self.db.release(connection)
            except (errors.Unavailable, TimeoutError) as fault:
                _LOG.debug("lookup.deaf", reason=str(fault))
            await asyncio.sleep(0.5)

    def _heard(self, payload: str) -> None:
        tenant, *changed = orjson.loads(payload)
        self._questions.changed()
        self._nearby.changed(tenant, changed)
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
    tail = tail_of(place, keys)
    if not found and tail:
        await prepare(db, place.suffix)
        found = await _by_suffix(db, place.tenant, asked, keys, tail)
    return render(place, found)


def render(place: Directory, found: Sequence[Found]) -> bytes:
    """The page's list: every field in every result, unknown texts "" and objects {}."""
    return _results(place, [(source, shown.compact(body)) for source, body in found])


def _results(place: Directory, held: Sequence[Held]) -> bytes:
    results = []
    for source, contact in held[: place.limit]:
        label, logo = place.shown.get(source) or (source, "")
        results.append(shown.fill(shown.frame(source, label, logo, place.workflows), contact))
    return b"[%b]" % b",".join(results)


def _first(sheet: Sheet, keys: Sequence[str], most: int) -> list[Held] | None:
    """The first who have the first of these numbers that anybody has, [] for nobody; None where that is not known."""
    for key in keys:
        found = sheet.find(key, most)
        if found != []:
            return found
    return []


def _plain(place: Directory, asked: str) -> str:
    """The first reading of what the CONNECTOR sends mostly, the digits of a whole number, if it is a number at all."""
    whole = asked.isascii() and asked.isdigit() and asked[0] != "0" and len(asked) > max(place.internal_digits, 7)
    return "+" + asked if whole else ""


def tail_of(place: Directory, keys: Sequence[str]) -> str:
    """The last digits to match by where that is asked for and the number has as many; else ""."""
    digits = keys[0].removeprefix("+")
    return digits[-place.suffix :] if place.suffix and len(digits) >= place.suffix and digits.isdigit() else ""


def _tail_key(tail: str) -> str:
    """What answers by last digits depend on, beside whole numbers, none of which looks like this."""
    return "…" + tail


async def _by_suffix(db: Store, tenant: str, asked: str, keys: Sequence[str], tail: str) -> list[Found]:
    """The only contact with these last digits, unless it was asked for a whole number of another country."""
    try:
        async with asyncio.timeout(DEADLINE):
            async with db.of(tenant).pooled() as connection:
                find = await connection.prepare(SQL["by_suffix"].format(digits=len(tail)))
                rows = await find.fetch(tenant, tail, within=DEADLINE)
    except TimeoutError:
        raise errors.Unavailable(f"the database does not answer within {DEADLINE:.0f} s", after=1.0) from None
    if len(rows) != 1 or not _may_match(asked, keys, rows[0]["number"]):
        return []
    return [(rows[0]["source"], rows[0]["body"])]


def _may_match(asked: str, keys: Sequence[str], stored: str) -> bool:
    dialled = "".join(filter(str.isdigit, asked)).removeprefix("00")
    codes = {plans.split(key[1:])[0] for key in keys if key == "+" + dialled}
    return not codes or not stored.startswith("+") or plans.split(stored[1:])[0] in codes


async def _either(event: asyncio.Event, seconds: float) -> None:
    """Wait until it happens, or so long."""
    try:
        async with asyncio.timeout(seconds):
            await event.wait()
    except TimeoutError:
        return
