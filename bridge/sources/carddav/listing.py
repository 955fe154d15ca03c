"""What is in a book: all of it, or what changed since a state that an earlier run kept."""

from __future__ import annotations

import urllib.parse
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, aclosing
from dataclasses import asdict, dataclass
from typing import Any, Literal

from bridge import client, errors
from bridge.sources.carddav import answers, discovery, hrefs, questions

Mode = Literal["sync", "sync1", "ctag", "etag"]
"""How changes are found: by sync-collection (with Depth 1 where a server wants that), by comparing the book's own
mark, or by listing every card."""

# What servers answer to a token that they no longer know, or to a report that they do not offer.
_REFUSALS = frozenset((400, 403, 404, 405, 409, 410, 412, 415, 418, 422, 501, 507))
_GONE = frozenset((404, 410))
_TOO_MUCH = frozenset((413, 500, 502, 504))
"""What servers answer to a list that is too much for them with the cards in it."""
_WORDS: Mapping[Mode, str] = {
    "sync": "changes by sync-collection",
    "sync1": "changes by sync-collection",
    "ctag": "changes by ctag, then a full list",
    "etag": "a full list each time",
}
# Radicale's and sabre's tokens: these have no books within books, so there is nothing to ask for.
_FLAT = ("http://radicale.org/", "http://sabre.io/")
MOST_AGAIN = 100
"""More cards than this left over from a run: the next one lists the book in full."""


class Stale(Exception):
    """The state is of no use, or its answer cannot be trusted: only a full listing tells.

    `refused` is the address of the book that took no token.
    """

    def __init__(self, refused: str = "") -> None:
        super().__init__()
        self.refused = refused


class _Refusal(Exception):
    def __init__(self, status: int) -> None:
        super().__init__()
        self.status = status


@dataclass(frozen=True, slots=True)
class State:
    """What a run leaves for the next one about a book; `again` are cards to read though nothing changed."""

    name: str
    token: str = ""
    ctag: str = ""
    mode: Mode = "etag"
    again: tuple[str, ...] = ()

    def dump(self) -> dict[str, Any]:
        """As JSON has it."""
        return asdict(self)


def load(data: Mapping[str, Any]) -> State:
    """The state that `dump` gave."""
    return State(data["name"], data["token"], data["ctag"], data["mode"], tuple(data["again"]))


@dataclass(frozen=True, slots=True)
class Member:
    """A card that a book lists: its path as the server writes it, its id, its ETag; or that it is gone.

    `data`: the card itself, where the list was asked to bring it along and did.
    """

    path: str
    id: str
    etag: str = ""
    gone: bool = False
    data: str = ""


class Listing:
    """One reading of one book's list; what it found out stands in its fields once `members` has ended."""

    def __init__(self, http: client.Client, book: discovery.Book) -> None:
        self.token = ""
        self.ctag = book.ctag
        self._http = http
        self._book = book
        self._host = urllib.parse.urlsplit(book.url).hostname or ""
        self._mode: Mode = "sync"
        self._inner: list[str] = []
        self._plain = False

    async def members(self, *, refused: bool = False, data: bool = False) -> AsyncGenerator[Member]:
        """Every card of the book; `refused`: it lately took none of its own tokens; `data`: with the cards, if it can.

        Radicale and sabre give cards and list in one answer, which spares them half of the work.
        """
        count, whole = 0, False
        if self._book.sync:
            try:
                async with aclosing(self._whole(data)) as found:
                    async for member in found:
                        count += 1
                        yield member
                whole = count > 0
            except _Refusal as refusal:
                # Google refuses the empty token only, and answers others with Depth 1 only.
                self._mode = "sync1" if refusal.status == 400 and not refused else "ctag"
        if whole:
            return
        # Also where nothing was listed: an empty book must say so twice, with its own name.
        async with aclosing(self._propfind()) as found:
            async for member in found:
                yield member

    def unread(self, since: State) -> list[Member]:
        """The cards that the last run could not have."""
        return [Member(raw, hrefs.key(raw)) for raw in since.again]

    def state(self, again: Sequence[str] = ()) -> State:
        """What the next run begins with; with too many cards left over, a full listing."""
        if len(again) > MOST_AGAIN:
            return State(self._book.name)
        return State(self._book.name, self.token, self.ctag, self._means(), tuple(again))

    @property
    def means(self) -> str:
        """How changes are found, in words."""
        return _WORDS[self._means()]

    def _means(self) -> Mode:
        if self._mode in ("sync", "sync1") and self._book.sync and self.token:
            return self._mode
        return "ctag" if self.token or self.ctag else "etag"

    async def inside(self) -> list[discovery.Book]:
        """The books within this one, once `members` has ended."""
        told = self._plain or self._inner or self.token.startswith(_FLAT)
        return await discovery.within(self._http, self._book, self._inner if told else None)

    async def changes(self, since: State) -> AsyncGenerator[Member]:
        """What changed since that state; Stale where that cannot be told."""
        self._mode, self.ctag = since.mode, since.ctag
        if since.mode in ("sync", "sync1"):
            count = 0
            try:
                async with aclosing(self._report(since.token, "1" if since.mode == "sync1" else "0")) as found:
                    async for member in found:
                        count += 1
                        yield member
            except _Refusal as refusal:
                await self._verify(refusal.status)
                raise Stale(self._book.url) from None
            if not count and self.token != since.token:
                # Three of four servers say so of a book that was deleted and made anew.
                raise Stale
        elif since.mode == "etag" or not await self._unchanged(since):
            raise Stale

    async def _whole(self, data: bool) -> AsyncGenerator[Member]:
        """The list from nothing on; where it is too much with the cards, or one of them spoils it, without them."""
        if data:
            try:
                async with aclosing(self._report("", "0", data=True)) as found:
                    async for member in found:
                        yield member
                return
            except (client.TooMuch, answers.Broken):
                self._inner.clear()
        async with aclosing(self._report("", "0")) as found:
            async for member in found:
                yield member

    async def _report(self, token: str, depth: str, *, data: bool = False) -> AsyncGenerator[Member]:
        """The rows of sync-collection, page after page where the server cuts its list."""
        more, asked = True, token
        accept = _REFUSALS | _TOO_MUCH if data else _REFUSALS
        while more:
            more = False
            async with self._ask("REPORT", depth, questions.sync(asked, data=data), accept) as spool:
                if data and spool.status in _TOO_MUCH:
                    raise client.TooMuch(f"{self._host} answers {spool.status} to a list with its cards")
                if spool.status in _REFUSALS:
                    raise _Refusal(spool.status)
                document = answers.Multistatus(self._host)
                async with aclosing(answers.rows(spool, document)) as found:
                    async for row in found:
                        if self._is_self(row):
                            self._check_self(row)
                            more = more or row.status == 507
                        elif (member := self._member(row)) is not None:
                            yield member
            self.token = document.token
            if not self.token:
                raise _Refusal(0)
            if more and self.token == asked:
                raise errors.Unavailable(f"{self._host} cuts its list of {self._book.name!r} and gives no way on")
            asked = self.token

    async def _propfind(self) -> AsyncGenerator[Member]:
        """The rows of a plain listing; it names the book itself, or it is none."""
        echoed, self._plain = False, True
        async with self._ask("PROPFIND", "1", questions.CARDS, _GONE) as spool:
            if spool.status in _GONE:
                raise self._gone(spool.status)
            document = answers.Multistatus(self._host)
            async with aclosing(answers.rows(spool, document)) as found:
                async for row in found:
                    if self._is_self(row):
                        self._check_self(row)
                        if row.status == 507:
                            raise errors.Unavailable(f"{self._host} cuts its list of {self._book.name!r}")
                        echoed = echoed or row.folder
                        self.token = self.token or self._book.token or row.token
                        self.ctag = self.ctag or row.ctag
                    elif (member := self._member(row)) is not None and not member.gone:
                        yield member
        if not echoed:
            raise errors.Unavailable(
                f"{self._host} lists {self._book.name!r} without the book itself: the list cannot be trusted"
            )

    async def _unchanged(self, since: State) -> bool:
        own = await self._own()
        self.token, self.ctag = own.token, own.ctag
        return (self.token, self.ctag) == (since.token, since.ctag)

    async def _verify(self, status: int) -> None:
        """A report may be refused because the book is gone: then that is the error."""
        if status in _GONE:
            await self._own()

    async def _own(self) -> answers.Row:
        """What the book says of itself."""
        async with self._ask("PROPFIND", "0", questions.STATE, _GONE) as spool:
            if spool.status in _GONE:
                raise self._gone(spool.status)
            document = answers.Multistatus(self._host)
            rows = [row async for row in answers.rows(spool, document)]
        for row in rows:
            if self._is_self(row):
                self._check_self(row)
                return row
        raise errors.Unavailable(f"{self._host} does not answer for {self._book.name!r}")

    def _ask(
        self, method: str, depth: str, body: bytes, accept: frozenset[int]
    ) -> AbstractAsyncContextManager[client.Spool]:
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        return self._http.spool(method, self._book.url, body=body, headers=headers, accept=accept)

    def _is_self(self, row: answers.Row) -> bool:
        return hrefs.place(hrefs.path(row.href, self._book.url)) == self._book.place

    def _check_self(self, row: answers.Row) -> None:
        if row.status in _GONE:
            raise self._gone(row.status)
        if row.status in (401, 403):
            raise errors.Denied(f"{self._host} forbids reading {self._book.name!r} ({row.status})", str(row.status))

    def _gone(self, status: int) -> errors.Unavailable:
        return errors.Unavailable(f"the address book {self._book.name!r} is not there ({status})")

    def _member(self, row: answers.Row) -> Member | None:
        """The card of a row; None for what is no card of this book, and for a book within it, which is kept."""
        raw = hrefs.path(row.href, self._book.url)
        identity = hrefs.key(raw)
        if not identity.startswith(f"{self._book.place}/"):
            return None
        if row.book:
            self._inner.append(hrefs.at(self._book.url, raw))
        if row.folder or identity.endswith("/"):
            return None
        if row.status in _GONE:
            return Member(raw, identity, gone=True)
        return Member(raw, identity, hrefs.etag(row.etag), data=row.data)
