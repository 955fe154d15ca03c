"""Real CardDAV servers on loopback ports, each with alice's address book; cards are put in by file, for speed."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import socket
import subprocess
import sys
import time
import urllib.parse
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
from dulwich import porcelain

USER, PASSWORD = "alice", "wonderland"


@dataclass(frozen=True)
class Running:
    """A server that answers at `url`; `book` is the path of alice's book, `folder` where its cards lie."""

    url: str
    book: str
    name: str
    folder: Path

    def fill(self, cards: Mapping[str, str]) -> None:
        """Put many cards at once, before or between runs."""
        for name, text in cards.items():
            (self.folder / name).write_bytes(text.encode())
        if (self.folder / ".git").exists():
            porcelain.add(str(self.folder), [str(self.folder / name) for name in cards])
            porcelain.commit(
                str(self.folder), message=b"fill", author=b"t <t@example.com>", committer=b"t <t@example.com>"
            )

    async def ask(self, method: str, path: str, body: bytes = b"", kind: str = "text/vcard") -> int:
        """One request as alice; the status."""
        login = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        headers = {"Authorization": f"Basic {login}", "Content-Type": kind}
        url = self.url + urllib.parse.quote(path)
        async with aiohttp.ClientSession() as http, http.request(method, url, data=body, headers=headers) as answer:
            await answer.read()
            return answer.status

    async def put(self, name: str, vcard: str) -> None:
        """Create or replace a card as any client does."""
        status = await self.ask("PUT", f"{self.book}{name}", vcard.encode())
        assert status in (200, 201, 204), status

    async def delete(self, name: str) -> None:
        """Take a card away, or the book where the name is empty."""
        status = await self.ask("DELETE", f"{self.book}{name}")
        assert status in (200, 204), status

    async def make_book(self) -> None:
        """Make alice's book."""
        kind = "<d:resourcetype><d:collection/><c:addressbook/></d:resourcetype><d:displayname>Staff</d:displayname>"
        spaces = 'xmlns:d="DAV:" xmlns:c="urn:ietf:params:xml:ns:carddav"'
        body = f"<d:mkcol {spaces}><d:set><d:prop>{kind}</d:prop></d:set></d:mkcol>"
        status = await self.ask("MKCOL", self.book, body.encode(), "application/xml")
        assert status in (200, 201), status


@contextmanager
def radicale(root: Path) -> Iterator[Running]:
    """Radicale with a login and an empty book named Staff."""
    folder = root / "collection-root" / USER / "staff"
    folder.mkdir(parents=True)
    (folder / ".Radicale.props").write_text(json.dumps({"tag": "VADDRESSBOOK", "D:displayname": "Staff"}))
    users = root / "users"
    users.write_text(f"{USER}:{PASSWORD}\n")
    port = _free_port()
    command = [
        *("-m", "radicale", "--config", "", "--server-hosts", f"127.0.0.1:{port}"),
        *("--auth-type", "htpasswd", "--auth-htpasswd-filename", str(users), "--auth-htpasswd-encryption", "plain"),
        *("--storage-filesystem-folder", str(root), "--logging-level", "warning"),
    ]
    with _process(root, port, command):
        yield Running(f"http://127.0.0.1:{port}", f"/{USER}/staff/", "Staff", folder)


@contextmanager
def xandikos(root: Path) -> Iterator[Running]:
    """Xandikos, which asks nobody who they are, with the empty book that it makes by itself."""
    port = _free_port()
    command = [
        *("-m", "xandikos", "serve", "-d", str(root / "dav"), "--state-dir", str(root / "state"), "--defaults"),
        *("-l", "127.0.0.1", "-p", str(port), "--current-user-principal", f"/{USER}/"),
    ]
    book = f"/{USER}/contacts/addressbook/"
    with _process(root, port, command):
        yield Running(f"http://127.0.0.1:{port}", book, "addressbook", root / "dav" / book.strip("/"))


SERVERS = {"radicale": radicale, "xandikos": xandikos}


@asynccontextmanager
async def counted(url: str) -> AsyncIterator[tuple[str, list[str]]]:
    """A plain relay before a server: its address, and the request lines that pass."""
    seen: list[str] = []
    target = urllib.parse.urlsplit(url)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection(target.hostname, target.port)
        await asyncio.gather(_pump(reader, far_writer, seen), _pump(far_reader, writer, None), return_exceptions=True)

    server = await asyncio.start_server(relay, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", seen


_METHODS = ("GET ", "PROPFIND ", "REPORT ", "OPTIONS ", "HEAD ")


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, seen: list[str] | None) -> None:
    """Bytes from one side to the other; a request begins a piece, for nothing is sent before its answer came."""
    try:
        while piece := await reader.read(65536):
            line = piece.split(b"\r\n", 1)[0].decode("latin-1")
            if seen is not None and line.startswith(_METHODS):
                seen.append(line.rpartition(" ")[0])
            writer.write(piece)
            await writer.drain()
    finally:
        writer.close()


@contextmanager
def _process(root: Path, port: int, command: list[str]) -> Iterator[None]:
    environment = os.environ | {"HOME": str(root), "XDG_DATA_HOME": str(root / "data")}
    with (root / "log").open("wb") as log:
        process = subprocess.Popen([sys.executable, *command], stdout=log, stderr=log, env=environment)
        try:
            _wait(port, process, root / "log")
            yield
        finally:
            process.terminate()
            process.wait(10)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        assert process.poll() is None, log.read_text()
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise AssertionError(f"no server within 30 s: {log.read_text()}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
