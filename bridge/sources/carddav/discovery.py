"""Which address books there are: from whatever address the admin gave down to the books' own."""

from __future__ import annotations

import unicodedata
import urllib.parse
from collections.abc import Sequence
from dataclasses import dataclass

from bridge import client, errors, urls
from bridge.sources.carddav import answers, hrefs, questions, srv

DEEPEST = 5
"""How many books within books are followed."""

# A place that gives one of these is no place of ours, but the next one may be. A 500 says so of a signpost only:
# anywhere else books would be missing for no other reason than a bad moment, and their contacts with them.
_NO_DAV = frozenset((400, 403, 404, 405, 406, 409, 410, 415, 501))
# Nextcloud's: all users of the system, and everybody ever written to.
_MADE_BY_SERVER = ("z-server-generated--", "z-app-generated--")


@dataclass(frozen=True, slots=True)
class Book:
    """One address book as its server describes it; `depth` counts the books around it."""

    url: str
    name: str
    token: str = ""
    ctag: str = ""
    sync: bool = False
    depth: int = 0

    @property
    def place(self) -> str:
        """The key of its path."""
        return hrefs.place(self.url)


def book(row: answers.Row, within: str, depth: int = 0) -> Book:
    """The book that a row of an answer of `within` describes."""
    raw = hrefs.path(row.href, within)
    url = hrefs.at(within, raw if raw.endswith("/") else f"{raw}/")
    name = row.name or hrefs.place(url).rpartition("/")[2]
    return Book(url, name, row.token, row.ctag, "sync-collection" in row.reports, depth)


async def find(http: client.Client, url: str, names: Sequence[str]) -> list[Book]:
    """The books of these display names, all where there are none; raises where one, or every one, is missing."""
    search = _Search(http, url)
    found = await search.books()
    if not names:
        return found
    wanted = {unicodedata.normalize("NFC", name): name for name in names}
    level = found
    while level and not wanted.keys() <= {_name(each) for each in found}:
        level = [inner for each in level for inner in await within(http, each)]
        found += level
    if missing := [name for key, name in wanted.items() if key not in {_name(each) for each in found}]:
        there = ", ".join(each.name for each in found)
        raise errors.Unavailable(f"no address book named {', '.join(missing)}; there are: {there}")
    return [each for each in found if _name(each) in wanted]


async def within(http: client.Client, outer: Book, inner: Sequence[str] | None = None) -> list[Book]:
    """The books directly within a book, `inner` their addresses where they are known already."""
    if outer.depth >= DEEPEST:
        return []
    search = _Search(http, outer.url)
    addresses = await search.inside(outer) if inner is None else inner
    return [found for each in addresses for found in await search.at(each, outer.depth + 1)]


def _name(each: Book) -> str:
    return unicodedata.normalize("NFC", each.name)


class _Search:
    """One walk down the ladder of RFC 6764 and RFC 6352; `_tried` is what an admin is told when it ends nowhere."""

    def __init__(self, http: client.Client, url: str) -> None:
        self._http = http
        self._url = url
        self._tried: list[str] = []

    async def books(self) -> list[Book]:
        """The books at, below or behind the address given, or behind the server's own signposts."""
        for start in dict.fromkeys((self._url, hrefs.at(self._url, "/.well-known/carddav"))):
            if found := await self._from(start):
                return found
        for start in dict.fromkeys((*await self._by_dns(), hrefs.at(self._url, "/"))):
            if start != self._url and (found := await self._from(start)):
                return found
        where = ", ".join(dict.fromkeys(self._tried))
        raise errors.Unavailable(f"no address book found; asked {where}: give the address of a book or of its home")

    async def _by_dns(self) -> list[str]:
        """The places that the domain's DNS names, where the admin gave no more than the domain.

        DNS proves nothing, so nothing is asked outside of what the domain's owner registered (RFC 6764, section 8).
        """
        given = urllib.parse.urlsplit(self._url)
        domain, owner = given.hostname or "", urls.registrable(given.hostname or "")
        if not owner or given.path not in ("", "/"):
            return []
        try:
            named = await srv.places(domain, plain=given.scheme == "http")
        except errors.Unavailable as fault:
            self._tried.append(str(fault))
            return []
        own = []
        for place in named:
            target = urllib.parse.urlsplit(place)
            host = target.hostname or ""
            if host == domain or (target.scheme == "https" and urls.registrable(host) == owner):
                self._http.trust(host)
                own.append(place)
            else:
                self._tried.append(f"DNS (it names {host}, which is another's: if that is right, give its address)")
        return own

    async def inside(self, outer: Book) -> list[str]:
        """The addresses of the books directly within a book."""
        url, rows = await self._look(outer.url, "1", questions.INSIDE, sure=True)
        return [inner.url for inner in (book(row, url) for row in rows if row.book) if inner.place != outer.place]

    async def at(self, address: str, depth: int) -> list[Book]:
        """The book at an address, if it is one."""
        url, rows = await self._look(address, "0", questions.PLACE, sure=True)
        return [book(row, url, depth) for row in rows[:1] if row.book]

    async def _from(self, start: str) -> list[Book]:
        url, rows = await self._look(start, "0", questions.PLACE)
        if not rows and start.endswith("/.well-known/carddav"):
            # Some servers redirect a GET only.
            url = (await self._http.request("GET", start, accept=range(300, 600))).url
            url, rows = await self._look(url, "0", questions.PLACE) if url != start else (url, [])
        if not rows:
            return []
        here = next((row for row in rows if hrefs.place(hrefs.path(row.href, url)) == hrefs.place(url)), rows[0])
        if here.book:
            return [book(here, url)]
        if here.homes:
            return await self._homes(here.homes, url)
        at_root = not hrefs.place(url)
        found = [] if at_root else await self._below(url)
        found = found or await self._principals(here, url)
        return found or (await self._below(url) if at_root else [])

    async def _principals(self, here: answers.Row, within: str) -> list[Book]:
        found: list[Book] = []
        for href in here.principals:
            url, rows = await self._look(hrefs.resolve(href, within), "0", questions.PLACE)
            homes = [home for row in rows for home in row.homes]
            found += await self._homes(homes, url) if homes else await self._below(url)
        return found

    async def _homes(self, homes: Sequence[str], within: str) -> list[Book]:
        found: dict[str, Book] = {}
        for href in homes:
            url = hrefs.resolve(href, within)
            self._http.trust(urllib.parse.urlsplit(url).hostname or "")
            found |= {each.url: each for each in await self._below(url, sure=True)}
        return list(found.values())

    async def _below(self, home: str, *, sure: bool = False) -> list[Book]:
        """The books that a home lists, the home too if it is one; or the home alone, if it holds bare cards."""
        url, rows = await self._look(home, "1", questions.BOOKS, sure=sure)
        found = [book(row, url) for row in rows if row.book]
        if not found and any(_bare_card(row) for row in rows):
            return [book(row, url) for row in rows if hrefs.place(hrefs.path(row.href, url)) == hrefs.place(url)]
        return [each for each in found if not each.place.rpartition("/")[2].startswith(_MADE_BY_SERVER)]

    async def _look(self, url: str, depth: str, body: bytes, *, sure: bool = False) -> tuple[str, list[answers.Row]]:
        """What a place says of itself, and its final address; no rows where it does not speak WebDAV.

        `sure`: it is known to speak it, so that anything else is a fault of the moment, and is raised.
        """
        headers = {"Depth": depth, "Content-Type": "application/xml; charset=utf-8"}
        accept = _NO_DAV | {500} if url.endswith("/.well-known/carddav") else _NO_DAV
        async with self._http.spool("PROPFIND", url, body=body, headers=headers, accept=accept) as spool:
            there = urllib.parse.urlsplit(spool.url)
            elsewhere = there.hostname if there.hostname != urllib.parse.urlsplit(self._url).hostname else ""
            place = f"{elsewhere}{there.path or '/'}"
            if spool.status in accept:
                self._tried.append(f"{place} ({spool.status})")
                return spool.url, []
            document = answers.Multistatus(urllib.parse.urlsplit(url).hostname or "")
            try:
                rows = [row async for row in answers.rows(spool, document)]
            except answers.Foreign:
                if sure:
                    raise
                self._tried.append(f"{place} (no WebDAV)")
                return spool.url, []
        self._tried.append(place)
        return spool.url, [row for row in rows if row.status < 400]


def _bare_card(row: answers.Row) -> bool:
    """A card in a collection that does not call itself an address book, as Z-Push's do not."""
    return not row.folder and ("vcard" in row.type.lower() or row.href.lower().endswith(".vcf"))
