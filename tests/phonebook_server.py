"""A strict stand-in for a phone book at a URL: what SessionCloud, Mixvoip and others serve, and what goes wrong."""

from __future__ import annotations

import asyncio
import base64
import gzip
import hashlib
import json
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from xml.sax.saxutils import escape

from aiohttp import web

LOGIN_PAGE = b"<!DOCTYPE html><html><body><form>Log in</form></body></html>"


def entry(id: str, name: str, *numbers: str, **more: Any) -> dict[str, Any]:
    """A contact as SessionCloud's page spells it, with a Checksum over all of it."""
    first, _, last = name.partition(" ")
    told = {"Id": id, "FirstName": first, "LastName": last, "WorkNumber": list(numbers), **more}
    return {"Checksum": hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16], **told}


def as_json(entries: list[Mapping[str, Any]]) -> bytes:
    return json.dumps(entries).encode()


def as_xml(entries: list[Mapping[str, Any]]) -> bytes:
    """The page's own layout: names on lines of their own, arrays of <string>."""

    def value(held: Any) -> str:
        if isinstance(held, list):
            return "".join(f"<string>{escape(text)}</string>" for text in held)
        return f"\n\t\t\t{escape(held)}\n\t\t"

    contacts = ("".join(f"<{name}>{value(held)}</{name}>" for name, held in one.items()) for one in entries)
    return f"<Contacts>\n{''.join(f'<Contact>{one}</Contact>' for one in contacts)}\n</Contacts>\n".encode()


def as_text(entries: list[Mapping[str, Any]]) -> bytes:
    lines = (
        f"{number}:{one['FirstName']} {one['LastName']}\n" for one in entries for number in one.get("WorkNumber", ())
    )
    return "".join(lines).encode()


class PhoneBookServer:
    """Serves `body` under any path; `seen` are the methods and headers of what was asked.

    A login is wanted by Basic where `basic` names it, and as `login`, (content type, parsed body), of a POST; other
    methods than the one that is wanted are 405. `fault` is a name in `_fault`, `_raw`, or `status_` and a status.
    """

    def __init__(self, body: bytes = b"[]", kind: str = "application/json") -> None:
        self.body = body
        self.kind = kind
        self.basic = ""
        self.login: tuple[str, Any] | None = None
        self.etag = ""
        self.modified = ""
        self.date = ""
        self.fault = ""
        self.seen: list[tuple[str, Mapping[str, str]]] = []
        self._port = 0

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[str]:
        """Listen on loopback; the address of the book."""
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            self._port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{self._port}/book"
        finally:
            await runner.cleanup()

    @property
    def methods(self) -> list[str]:
        """The methods asked, in order."""
        return [method for method, _ in self.seen]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        self.seen.append((request.method, request.headers.copy()))
        if request.method != ("POST" if self.login else "GET"):
            return web.Response(status=405)
        if not self._let_in(request, await request.read()):
            return web.Response(status=401, headers={"WWW-Authenticate": 'Basic realm="book"'})
        if self.fault:
            return await self._fault(request)
        marks = {"ETag": self.etag, "Last-Modified": self.modified, "Date": self.date}
        headers = {"Content-Type": self.kind, **{name: value for name, value in marks.items() if value}}
        asked = request.headers
        same = self.etag and asked.get("If-None-Match") == self.etag
        old = self.modified and "If-None-Match" not in asked and asked.get("If-Modified-Since") == self.modified
        return (
            web.Response(status=304, headers=headers) if same or old else web.Response(body=self.body, headers=headers)
        )

    def _let_in(self, request: web.Request, body: bytes) -> bool:
        if self.basic:
            wanted = "Basic " + base64.b64encode(self.basic.encode()).decode()
            return request.headers.get("Authorization") == wanted
        if "Authorization" in request.headers:
            return False
        if self.login is None:
            return not body
        kind, wanted = self.login
        if request.content_type != kind:
            return False
        if kind == "application/json":
            return bool(json.loads(body) == wanted)
        if kind == "application/x-www-form-urlencoded":
            return urllib.parse.parse_qsl(body.decode(), strict_parsing=True) == wanted
        return body.decode() == wanted

    async def _fault(self, request: web.Request) -> web.StreamResponse:
        body, kind = self.body, self.kind
        if self.fault.startswith("status_"):
            return web.Response(status=int(self.fault.removeprefix("status_")), body=body)
        simple = {
            "empty": web.Response(content_type=kind),
            "gzip": web.Response(body=gzip.compress(body), headers={"Content-Encoding": "gzip"}),
            "gzip_cut": web.Response(body=gzip.compress(body)[:-9]),
            "gzip_file": web.Response(body=gzip.compress(body)),
            "html": web.Response(body=LOGIN_PAGE, content_type="text/html"),
            "redirect": web.Response(status=302, headers={"Location": f"http://127.0.0.1:{self._port}/other"}),
            "truncated": web.Response(body=body[: len(body) // 2], content_type=kind),
        }
        return simple[self.fault] if self.fault in simple else await self._raw(request, body)

    async def _raw(self, request: web.Request, body: bytes) -> web.StreamResponse:
        """An answer that the end of the connection ends: too early, as HTTP/1.0 does, or both."""
        assert self.fault in ("cut", "unframed", "unframed_cut"), self.fault
        transport = request.transport
        assert transport is not None
        length = f"Content-Length: {len(body)}\r\n" if self.fault == "cut" else ""
        whole = self.fault == "unframed" or (self.fault == "unframed_cut" and len(self.seen) % 2 == 0)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: {self.kind}\r\n{length}Connection: close\r\n\r\n"
        transport.write(head.encode() + (body if whole else body[: len(body) // 2]))
        await asyncio.sleep(0)
        transport.close()
        return web.Response()
