"""The phone books that softphones, PBXs and people fetch: `/phonebook/<name>`, in the form that they ask for."""

from __future__ import annotations

import asyncio
import functools
import os
import re
from collections.abc import Mapping, Sequence
from typing import Protocol

from aiohttp import web

from bridge import config, errors, metrics, phonebooks
from bridge.accounts.logins import Poll
from bridge.bookshelf import Bookshelf
from bridge.config import Tenant
from bridge.editions import Copy
from bridge.formats import Format
from bridge.keys import Network
from bridge.phonebooks import Recipe
from bridge.server import Handler, bodies, credentials, peers, replies
from bridge.server.access import Access
from bridge.server.credentials import Known, Login
from bridge.server.desk import Turned
from bridge.server.peers import Throttle
from bridge.server.replies import Refusal
from bridge.server.unchanged import Unchanged

_TYPES: Mapping[Format, str] = {
    "json": "application/json; charset=utf-8",
    "xml": "application/xml; charset=utf-8",
    "text": "text/plain; charset=utf-8",
    "csv": "text/csv; charset=utf-8",
    "vcard": "text/vcard; charset=utf-8",
}
_ENDINGS: Mapping[str, Format] = {"json": "json", "xml": "xml", "txt": "text", "csv": "csv", "vcf": "vcard"}
_FORMATS: Mapping[str, Format] = {**_ENDINGS, "text": "text", "vcard": "vcard"}
_MEDIA: Mapping[str, Format] = {
    "application/json": "json",
    "text/json": "json",
    "application/xml": "xml",
    "text/xml": "xml",
    "text/plain": "text",
    "text/csv": "csv",
    "text/vcard": "vcard",
    "text/x-vcard": "vcard",
}
_CHALLENGE = 'Basic realm="bridge", charset="UTF-8"'
_PIECE = 1 << 18
_STALLED = 60.0
"""Seconds that a client may take for one piece, before it is taken for gone."""
_PAUSE = 0.5
"""Seconds that a throttled guess waits for its answer."""
_PAUSED_MOST = 64
_LONGEST_NAME = 200
"""Characters by which names are told apart that are guessed with."""
_AFTER = 5.0
"""Seconds after which a book that could not be made is worth asking for again."""
_TAG = re.compile(r'(?:W/)?("[^"]*")')


class Door(Protocol):
    """Lets softphone accounts in, as `Desk` does."""

    async def admit(self, tenant: str, ways: Sequence[tuple[str, str]], *, address: str) -> tuple[str, Poll]:
        """The user, and whether they are disabled; Turned where no such account has that password."""


class Library:
    """What all tenants' phone books share, under one configuration after the other.

    `desk` judges the accounts for books with `accounts = true`; without one, their `users` alone are let in.
    """

    def __init__(
        self,
        shelf: Bookshelf,
        desk: Door | None = None,
        throttle: Throttle | None = None,
        patience: float = bodies.SECONDS,
    ) -> None:
        self.shelf, self._desk, self.patience = shelf, desk, patience
        self.addresses = throttle or Throttle()
        self.names = Throttle()
        self.access = Access("phonebook.busy")
        self._paused = 0

    async def admit(self, book: Book, logins: Sequence[Login], address: str) -> str:
        """The account that one of the logins is of; else 401, or 429 for who guessed too often."""
        if self._desk and book.accounts:
            try:
                name, poll = await self._desk.admit(book.tenant, logins, address=address)
            except Turned as turned:
                wait = turned.wait
            else:
                if not poll.disabled:
                    return name
                wait = 0.0
        else:
            wait = max(self.addresses.wrong(address), self.names.wrong(_whose(book.tenant, logins[0].name)))
        raise await self._refusal(book.tenant, address, wait)

    async def _refusal(self, tenant: str, address: str, wait: float) -> Refusal:
        metrics.book("denied")
        if self.access.due():
            self.access.write("phonebook.denied", tenant=tenant, address=address, throttled=bool(wait))
        if not wait:
            return Refusal(401, "the name or the password is wrong", challenge=_CHALLENGE)
        if self._paused < _PAUSED_MOST:
            self._paused += 1
            try:
                await asyncio.sleep(_PAUSE)
            finally:
                self._paused -= 1
        return Refusal(429, "too many wrong passwords", after=wait)


def _whose(tenant: str, name: str) -> str:
    return f"{tenant}\0{name[:_LONGEST_NAME]}"


class Book:
    """One phone book as it is served."""

    def __init__(self, tenant: Tenant, name: str) -> None:
        table = tenant.phonebooks[name]
        self.tenant, self.name = tenant.name, name
        self.recipe = phonebooks.recipe(tenant, name)
        self.users = Known(table.users)
        self.accounts = table.accounts


class PhoneBooks:
    """One tenant's surface, under one configuration."""

    def __init__(self, tenant: Tenant, library: Library, proxies: Sequence[Network]) -> None:
        self._library, self._proxies = library, proxies
        self._books = [Book(tenant, name) for name in tenant.phonebooks]
        above = "" if tenant.name == config.DEFAULT else f"/{tenant.name}"
        self._above = f"{above}/phonebook/"

    @property
    def recipes(self) -> list[Recipe]:
        """What the books are made of."""
        return [book.recipe for book in self._books]

    def paths(self) -> Mapping[str, Handler]:
        """The books by their names, with and without an ending.

        They are not kept here: what refers to itself would outlive its configuration.
        """
        endings = [("", None), *((f".{ending}", format) for ending, format in _ENDINGS.items())]
        return {
            f"{self._above}{book.name}{ending}": functools.partial(self.read, book, format)
            for book in self._books
            for ending, format in endings
        }

    def find(self, path: str) -> Handler | None:
        """The same paths with a slash behind them, or percent-encoded."""
        return self.paths().get(path.removesuffix("/")) if path.startswith(self._above) else None

    async def read(self, book: Book, format: Format | None, request: web.BaseRequest) -> web.StreamResponse:
        """200 with all of the book, 304 where the client has it; 503 and nothing where there is not all of it."""
        if request.method not in ("GET", "HEAD", "POST"):
            refused = replies.error(405, "right is GET or POST")
            refused.headers["Allow"] = "GET, HEAD, POST"
            return refused
        try:
            reader = await self._admit(book, request)
        except errors.Unavailable as fault:
            self._note(book, format, "", 503, reason=str(fault))
            raise
        chosen = format or _format(request)
        packed = _packs(request.headers.get("Accept-Encoding", ""))
        try:
            copy, file = await self._open(book.recipe, chosen, request.headers.get("If-None-Match", ""), packed)
        except errors.Unavailable as fault:
            self._note(book, chosen, reader, 503, reason=str(fault))
            return web.Response(
                status=503, headers={"Retry-After": f"{_AFTER:.0f}", "Server": "bridge", "Cache-Control": "no-store"}
            )
        headers = {"ETag": f'"{copy.tag}"', "Cache-Control": "private, no-cache", "Server": "bridge"}
        headers["Vary"] = "Accept-Encoding" if format else "Accept, Accept-Encoding"
        self._note(book, chosen, reader, 304 if file is None else 200)
        if file is None:
            return Unchanged(headers)
        headers |= {"Content-Type": _TYPES[chosen], "X-Content-Type-Options": "nosniff", "Accept-Ranges": "none"}
        if packed:
            headers["Content-Encoding"] = "gzip"
        try:
            return await _sent(request, file, copy.size, headers)
        finally:
            os.close(file)

    async def _open(self, recipe: Recipe, format: Format, known: str, packed: bool) -> tuple[Copy, int | None]:
        """The copy of now, open; None in place of the file where the client knows it."""
        shelf = self._library.shelf
        for last in (False, True):
            edition = shelf.current(recipe, format) or await shelf.edition(recipe, format)
            copy = edition.packed if packed else edition.plain
            if known and _matches(known, copy.tag):
                return copy, None
            try:
                return copy, shelf.open(copy)
            except errors.Unavailable:
                # Its files were taken away: it is made anew, once.
                if last:
                    raise
        raise AssertionError

    async def _admit(self, book: Book, request: web.BaseRequest) -> str:
        """Who asks; refused where the name or the password is missing or wrong."""
        body = await bodies.read(request, seconds=self._library.patience) if request.body_exists else b""
        given = request.headers.get("Authorization", "")
        if reader := book.users.remembered(given):
            return reader
        query = "" if request.method == "POST" else request.rel_url.raw_query_string
        logins = credentials.shown(given, query, body)
        if not logins:
            raise Refusal(401, "a name and a password are needed", challenge=_CHALLENGE)
        if reader := book.users.take(logins):
            return reader
        return await self._library.admit(book, logins, peers.address(request, self._proxies))

    def _note(self, book: Book, format: Format | None, reader: str, status: int, **more: str) -> None:
        metrics.book("sent" if status == 200 else "unchanged" if status == 304 else "failed")
        access = self._library.access
        if access.due():
            fields = {"book": book.name, "format": format, "reader": reader, "status": status, **more}
            access.write("phonebook.read", tenant=book.tenant, **fields)


async def _sent(request: web.BaseRequest, file: int, size: int, headers: Mapping[str, str]) -> web.StreamResponse:
    """The file as the answer, a piece in memory at a time; a client that stops reading is let go."""
    reply = web.StreamResponse(headers=headers)
    reply.content_length = size
    await reply.prepare(request)
    at = 0
    try:
        while at < size and request.method != "HEAD":
            piece = await _piece(file, at)
            if not piece:
                raise ConnectionResetError("a finished phone book has become shorter")
            async with asyncio.timeout(_STALLED):
                await reply.write(piece)
            at += len(piece)
        await reply.write_eof()
    except (TimeoutError, OSError) as fault:
        # The answer has a length: a client that gets less knows that it has not all.
        if request.transport:
            request.transport.abort()
        raise ConnectionResetError("the phone book was not sent to its end") from fault
    return reply


async def _piece(file: int, at: int) -> bytes | memoryview:
    """The next bytes of a file: what is in memory at once; the disk is waited for in a thread."""
    room = bytearray(_PIECE)
    try:
        return memoryview(room)[: os.preadv(file, [room], at, os.RWF_NOWAIT)]
    except OSError:
        return await asyncio.to_thread(os.pread, file, _PIECE, at)


def _matches(known: str, tag: str) -> bool:
    return known.strip() == "*" or f'"{tag}"' in _TAG.findall(known)


def _format(request: web.BaseRequest) -> Format:
    """What the query asks for, else what the Accept header does, else JSON."""
    query = request.query.items() if request.rel_url.raw_query_string else ()
    asked = next((value for name, value in query if name.lower() == "format"), None)
    if asked is None:
        return _accepted(request.headers.get("Accept", ""))
    if asked.lower() not in _FORMATS:
        raise Refusal(400, f"there is no such format; right is one of {', '.join(_FORMATS)}")
    return _FORMATS[asked.lower()]


@functools.lru_cache(256)
def _accepted(header: str) -> Format:
    """The format that is preferred by name; JSON before others, and where none is named.

    Who takes anything gets JSON or XML: a text is for whom nothing else will do.
    """
    weighed = dict(reversed(_weighed(header)))
    named = {_MEDIA[kind]: quality for kind, quality in weighed.items() if kind in _MEDIA and quality > 0}
    if weighed.get("*/*", 0) > 0:
        named = {format: quality for format, quality in named.items() if format in ("json", "xml")}
    order: list[Format] = sorted(named, key=lambda format: (-named[format], format != "json"))
    return order[0] if order else "json"


@functools.lru_cache(256)
def _packs(header: str) -> bool:
    """Whether gzip is welcome."""
    weighed = dict(reversed(_weighed(header)))
    return max((weighed[name] for name in ("gzip", "x-gzip") if name in weighed), default=weighed.get("*", 0.0)) > 0


def _weighed(header: str) -> list[tuple[str, float]]:
    """What a header lists, in lower case, each with its quality."""
    found = []
    for item in header.lower().split(",")[:50]:
        name, *parameters = (part.strip() for part in item.split(";"))
        quality = next((text[2:] for text in parameters if text.startswith("q=")), "1")
        found.append((name, float(quality) if re.fullmatch(r"[01](\.\d{0,3})?", quality) else 1.0))
    return found
