"""A stand-in CardDAV server: address books in memory, and what real servers do wrong, by name.

    server = DavServer(Book("/dav/alice/staff/", "Staff"))
    async with server.serve() as url: ...

What it does right it does as RFC 6352 and RFC 6578 say; `faults` (`dav_faults.FAULTS`) may change while it serves.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
import secrets
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from aiohttp import web

from bridge.demo import dav_auth, dav_faults

_SPACES = 'xmlns:d="DAV:" xmlns:card="urn:ietf:params:xml:ns:carddav" xmlns:cs="http://calendarserver.org/ns/"'
_SYNC = "<d:supported-report><d:report><d:sync-collection/></d:report></d:supported-report>"
_BOOK_TYPE = "<d:resourcetype><d:collection/><card:addressbook/></d:resourcetype>"
_FOLDER_TYPE = "<d:resourcetype><d:collection/></d:resourcetype>"
_INVALID_TOKEN = '<d:error xmlns:d="DAV:"><d:valid-sync-token/></d:error>'


class Book:
    """One address book at a path; its cards go by the last segment of theirs, decoded."""

    def __init__(self, path: str = "/dav/alice/book/", name: str = "Book") -> None:
        self.path = path
        self.name = name
        self.cards: dict[str, bytes] = {}
        self._life = secrets.token_hex(4)
        self._log: list[str] = []

    def put(self, name: str, vcard: str | bytes) -> None:
        """Create or replace a card."""
        self.cards[name] = vcard.encode() if isinstance(vcard, str) else vcard
        self._log.append(name)

    def delete(self, name: str) -> None:
        """Take a card away."""
        del self.cards[name]
        self._log.append(name)

    def make_anew(self) -> None:
        """The book is deleted and made again at the same path, empty; no token of before means anything."""
        self.cards.clear()
        self._log.clear()
        self._life = secrets.token_hex(4)

    @property
    def token(self) -> str:
        """The sync token of now."""
        return f"urn:life:{self._life}:{len(self._log)}"

    def since(self, token: str) -> list[str] | None:
        """The names that changed since, in the order of their last change; None for a token of another life."""
        found = re.fullmatch(rf"urn:life:{self._life}:(\d+)", token)
        if found is None or int(found.group(1)) > len(self._log):
            return None
        return list(dict.fromkeys(reversed(self._log[int(found.group(1)) :])))[::-1]

    def etag(self, name: str) -> str:
        """The bare ETag of a card."""
        return hashlib.sha256(self.cards[name]).hexdigest()[:16]


class DavServer:
    """One server and one login; `seen` are the requests that came, as `METHOD path`.

    Without a username nobody is asked who they are. `homes` are further home sets that the principal names.
    """

    def __init__(self, *books: Book, username: str = "alice", password: str = "", token: str = "") -> None:
        self.books = list(books)
        self.faults: set[dav_faults.Fault] = set()
        self.seen: list[str] = []
        self.homes: list[str] = []
        self.most = 10
        self.delay = 0.2
        self._username = username
        self._auth = dav_auth.Auth(username, password, token)
        self._turn = 0

    @asynccontextmanager
    async def serve(self, port: int = 0, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Listen on loopback; the address of the server's root."""
        runner = web.AppRunner(make_app(self), shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
            yield f"{'https' if tls else 'http'}://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Any request."""
        self.seen.append(f"{request.method} {request.raw_path}")
        body = await request.read()
        if "slow" in self.faults:
            await asyncio.sleep(self.delay)
        for fault, status in dav_faults.STATUSES.items():
            if fault in self.faults:
                return web.Response(status=status, headers={"Retry-After": "30"} if status in (429, 503) else None)
        if "html_200" in self.faults:
            return web.Response(text=dav_faults.LOGIN_PAGE, content_type="text/html")
        if request.path == "/.well-known/carddav":
            port = 1 if "redirect_wellknown" in self.faults else request.url.port
            return web.Response(status=301, headers={"Location": f"{request.scheme}://{request.url.host}:{port}/dav/"})
        if (challenge := self._auth.refusal(request, self.faults)) is not None:
            return web.Response(status=401, headers={"WWW-Authenticate": challenge})
        response = self._answer(request, body)
        if "cut_midway" in self.faults and response.status == 207:
            return await _cut(request, response)
        return response

    def _answer(self, request: web.Request, body: bytes) -> web.Response:
        path = urllib.parse.unquote(request.raw_path)
        book = next((each for each in self.books if path.rstrip("/") == each.path.rstrip("/")), None)
        if request.method == "REPORT" and book is not None:
            report = ElementTree.fromstring(body)
            if report.tag == "{DAV:}sync-collection":
                return self._sync(book, report, request.headers.get("Depth", "0"))
            return self._multiget(book, [each.text or "" for each in report.iter("{DAV:}href")])
        if request.method == "GET":
            return self._get(path)
        if request.method == "PUT":
            return self._put(path, request.headers.get("If-Match", ""), body)
        if request.method == "PROPFIND":
            return self._propfind(path, book, request.headers.get("Depth", "0"))
        return web.Response(status=404 if request.method == "REPORT" else 405)

    def _propfind(self, path: str, book: Book | None, depth: str) -> web.Response:
        below = depth == "1"
        if book is not None:
            rows = [] if "unechoed" in self.faults and below else [self._book_row(book)]
            rows += [self._card_row(book, name) for name in book.cards if below]
        elif path == "/" and "redirect_wellknown" in self.faults:
            return web.Response(text=dav_faults.LOGIN_PAGE, content_type="text/html")
        elif path in self._folders():
            rows = [self._folder_row(path)]
        else:
            return web.Response(status=404)
        rows += [self._book_row(each) for each in self.books if below and _parent(each.path) == path]
        return self._multistatus(rows)

    def _folders(self) -> set[str]:
        return {"/", "/dav/", f"/principals/{self._username}/"} | {_parent(book.path) for book in self.books}

    def _sync(self, book: Book, report: ElementTree.Element, depth: str) -> web.Response:
        token = (report.findtext("{DAV:}sync-token") or "").strip()
        if "no_sync_collection" in self.faults:
            return web.Response(status=415)
        with_data = report.find(".//{urn:ietf:params:xml:ns:carddav}address-data") is not None
        if with_data and "sync_data_500" in self.faults:
            return web.Response(status=500)
        if not token and self.faults & {"google_depth1", "empty_token_400"}:
            return web.Response(status=400)
        if token and self.faults & {"invalid_token_412", "invalid_token_403"}:
            return self._no_token()
        names, start, token = self._changed(book, token)
        if names is None:
            return self._no_token()
        if token and "empty_delta_new_token" in self.faults:
            return self._multistatus([], f"urn:other:{secrets.token_hex(4)}")
        if token and depth == "0" and "google_depth1" in self.faults:
            return self._multistatus([], token)
        more = "page_507" in self.faults and len(names) > self.most
        data = with_data and bool(self.faults & {"sync_with_data", "sync_data_spoilt"})
        rows = [self._changed_row(book, name, data=data) for name in names[: self.most if more else None]]
        if data and "sync_data_spoilt" in self.faults:
            rows[-1] = rows[-1].replace("BEGIN:VCARD", "BEGIN:VCARD &")
        if not more:
            return self._multistatus(rows, book.token)
        rows.append(f"<d:response><d:href>{book.path}</d:href><d:status>HTTP/1.1 507 Full</d:status></d:response>")
        return self._multistatus(rows, f"page:{start + self.most}:{token or '-'}")

    def _changed(self, book: Book, token: str) -> tuple[list[str] | None, int, str]:
        """The names to tell, from where a page ended, and the token that began; no names: it is of no use."""
        start = 0
        if page := re.fullmatch(r"page:(\d+):(.+)", token):
            start, token = int(page.group(1)), page.group(2).removeprefix("-")
        whole = not token or "full_list_as_delta" in self.faults
        names = sorted(book.cards) if whole else book.since(token)
        if names is None:
            return [] if "made_anew" in self.faults else None, start, token
        return names[start:], start, token

    def _no_token(self) -> web.Response:
        status = 412 if "invalid_token_412" in self.faults else 403
        return web.Response(status=status, text=_INVALID_TOKEN, content_type="application/xml")

    def _multiget(self, book: Book, asked: list[str]) -> web.Response:
        if "multiget_501" in self.faults:
            return web.Response(status=501)
        names = [urllib.parse.unquote(href.rpartition("/")[2]) for href in asked]
        if "multiget_413_over_n" in self.faults and len(names) > self.most:
            return web.Response(status=413)
        if "bad_card" in self.faults and "bad.vcf" in names:
            return web.Response(status=500)
        rows = [self._card_row(book, name, data=True) for name in names if name in book.cards]
        if "multiget_omits_missing" not in self.faults:
            rows += [self._gone_row(book, name) for name in names if name not in book.cards]
        return self._multistatus(rows)

    def _get(self, path: str) -> web.Response:
        name = path.rpartition("/")[2]
        book = next((each for each in self.books if _parent(path) == each.path and name in each.cards), None)
        if book is None:
            return web.Response(status=404)
        if "bad_card" in self.faults and name == "bad.vcf":
            return web.Response(status=500)
        return web.Response(
            body=book.cards[name], content_type="text/vcard", headers={"ETag": self._etag(book.etag(name))}
        )

    def _put(self, path: str, match: str, body: bytes) -> web.Response:
        """A card that is there is replaced, if it is as the client thinks; new ones are made in the book alone."""
        name = path.rpartition("/")[2]
        book = next((each for each in self.books if _parent(path) == each.path and name in each.cards), None)
        if book is None:
            return web.Response(status=403)
        if match != self._etag(book.etag(name)):
            return web.Response(status=412)
        book.put(name, body)
        return web.Response(status=204, headers={"ETag": self._etag(book.etag(name))})

    def _multistatus(self, rows: Iterable[str], token: str = "") -> web.Response:
        told = [] if "empty" in self.faults else list(rows)
        tail = f"<d:sync-token>{escape(token)}</d:sync-token>" if token else ""
        root = "feed" if "wrong_root" in self.faults else "d:multistatus"
        text = f'<?xml version="1.0"?><{root} {_SPACES}>{"".join(told)}{tail}</{root}>'
        text = text[: text.rindex("</")] if "truncated_xml" in self.faults else text
        return web.Response(status=207, body=text.encode(), content_type="application/xml", charset="utf-8")

    def _folder_row(self, path: str) -> str:
        user = f"/principals/{self._username}/"
        props = _FOLDER_TYPE
        if "no_principal" not in self.faults:
            props += f"<d:current-user-principal><d:href>{user}</d:href></d:current-user-principal>"
        if path == user:
            own = dict.fromkeys(_home(book.path) for book in self.books)
            homes = "".join(f"<d:href>{escape(home)}</d:href>" for home in [*own, *self.homes])
            props += f"<card:addressbook-home-set>{homes}</card:addressbook-home-set>"
        return self._row(path, props)

    def _book_row(self, book: Book) -> str:
        props = f"{_BOOK_TYPE}<d:displayname>{escape(book.name)}</d:displayname>"
        if "no_ctag" not in self.faults:
            props += f"<cs:getctag>&quot;{book.token}&quot;</cs:getctag>"
        if not self.faults & {"no_sync_collection", "no_ctag"}:
            props += f"<d:sync-token>{book.token}</d:sync-token>"
        if "no_sync_collection" not in self.faults:
            props += f"<d:supported-report-set>{_SYNC}</d:supported-report-set>"
        return self._row(book.path, props)

    def _card_row(self, book: Book, name: str, *, data: bool = False) -> str:
        props = f"<d:getetag>{escape(self._etag(book.etag(name)))}</d:getetag><d:resourcetype/>"
        if data:
            props += f"<card:address-data>{escape(book.cards[name].decode())}</card:address-data>"
        return self._row(book.path + urllib.parse.quote(name, safe=""), props)

    def _changed_row(self, book: Book, name: str, *, data: bool) -> str:
        return self._card_row(book, name, data=data) if name in book.cards else self._gone_row(book, name)

    def _gone_row(self, book: Book, name: str) -> str:
        href = self._href(book.path + urllib.parse.quote(name, safe=""))
        return f"<d:response><d:href>{href}</d:href><d:status>HTTP/1.1 404 Not Found</d:status></d:response>"

    def _row(self, path: str, props: str) -> str:
        return (
            f"<d:response><d:href>{self._href(path)}</d:href><d:propstat><d:prop>{props}</d:prop>"
            "<d:status>HTTP/1.1 200 OK</d:status></d:propstat></d:response>"
        )

    def _href(self, path: str) -> str:
        path = urllib.parse.quote(path, safe="/%")
        if "lowercase_escapes" in self.faults:
            path = re.sub("%..", lambda found: found.group().lower(), path).replace("%28", "(").replace("%40", "@")
        return f"http://inner.invalid:8008{path}" if "absolute_href" in self.faults else path

    def _etag(self, bare: str) -> str:
        if "weak_etags" not in self.faults:
            return f'"{bare}"'
        self._turn += 1
        return (f'W/"{bare}"', bare, f'"{bare}-gzip"')[self._turn % 3]


def make_app(server: DavServer) -> web.Application:
    """The server as an application."""
    app = web.Application(client_max_size=64 << 20)
    app.router.add_route("*", "/{path:.*}", server.answer)
    return app


async def _cut(request: web.Request, whole: web.Response) -> web.StreamResponse:
    """Half of an answer, then the end of the connection."""
    body = whole.body if isinstance(whole.body, bytes) else b""
    response = web.StreamResponse(status=whole.status, headers={"Content-Length": str(len(body))})
    await response.prepare(request)
    await response.write(body[: len(body) // 2])
    if request.transport is not None:
        request.transport.close()
    return response


def _parent(path: str) -> str:
    return path.rstrip("/").rpartition("/")[0] + "/"


def _home(path: str) -> str:
    """The home of a book, however deep it lies in others: /dav/USER/."""
    return "/".join(path.split("/")[:3]) + "/"
