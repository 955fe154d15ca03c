"""Outgoing HTTP, the only user of aiohttp's client: an answer becomes a value or an error here.

A 2xx answer, or a status in `accept`, is a value; 401 and 403 are Denied, 429 and 5xx Unavailable (with
Retry-After), other statuses Unavailable; no connection is Unavailable. An answer cut or timed out after the request
went out is Unavailable if the method is safe to repeat, else Unsettled. Messages name the host and the reason, never
a path, a query, credentials or a body.
"""

from __future__ import annotations

import asyncio
import base64
import io
import socket
import ssl
import struct
import tempfile
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Literal, Protocol

import aiohttp
import aiolimiter
import multidict
import tenacity
import yarl
from aiohttp import AddrInfoType
from aiohttp.abc import AbstractResolver, ResolveResult

from bridge import __version__, digest, errors, mishaps, urls
from bridge.mishaps import Late as Late
from bridge.mishaps import TooMuch as TooMuch

Auth = Literal["none", "basic", "digest", "bearer"]

SAFE = frozenset({"GET", "HEAD", "OPTIONS", "PROPFIND", "REPORT"})
REDIRECTS = frozenset({301, 302, 303, 307, 308})
MOST_REDIRECTS = 5
TRIES = 3
PATIENCE = 2.0
"""The longest Retry-After, in seconds, that is waited for on the spot."""


class Gate(Protocol):
    """Decides where clients may connect."""

    async def addresses(self, host: str, port: int) -> Sequence[str]:
        """Where this host is to be reached, the same at each call; raises where it may not be."""


GATE: ContextVar[Gate | None] = ContextVar("GATE", default=None)
"""The gate of every client that is made in this context; None: they connect wherever they are told to."""

FENCE: ContextVar[Callable[[], None]] = ContextVar("FENCE", default=lambda: None)
"""Called in this context before each request that is not safe to repeat; raises where it may be another's by now."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a server said, whole; `url` is where it was said, after redirects."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    url: str


class Spool:
    """A whole answer whose body lies in a temporary file where it is large."""

    def __init__(self, status: int, headers: Mapping[str, str], url: str, file: IO[bytes]) -> None:
        self.status = status
        self.headers = headers
        self.url = url
        self._file = file

    def chunks(self, size: int = 65536) -> Iterator[bytes]:
        """The body from its beginning, in pieces."""
        self._file.seek(0)
        while chunk := self._file.read(size):
            yield chunk


@dataclass(frozen=True, slots=True)
class _Ask:
    method: str
    url: yarl.URL
    body: bytes
    headers: Mapping[str, str]
    accept: Collection[int]
    safe: bool
    redirects: bool
    limit: int
    store: Callable[[], IO[bytes]]
    timeout: aiohttp.ClientTimeout


class Client:
    """Asks one server, and those it names, within the limits given; TLS is verified unless `verify` is False.

    `url` of a request may be absolute, or a reference resolved against `base`. `fingerprint` (SHA-256, hexadecimal)
    pins one certificate and takes the place of authorities; `ca` is a bundle in place of the system's. `rate` is
    requests a second, 0 for no limit. `abrupt`: a connection that is given up is reset, so that a network which comes
    back to life does not deliver then what nobody waits for any more. Credentials go to the host of `base`, on any
    port, and to hosts given to `trust`.
    """

    def __init__(
        self,
        base: str,
        *,
        username: str = "",
        password: str = "",
        token: str = "",
        auth: Auth = "none",
        timeout: float = 30.0,
        ca: Path | None = None,
        verify: bool = True,
        fingerprint: str = "",
        connections: int = 4,
        rate: float = 0.0,
        abrupt: bool = False,
    ) -> None:
        self._base = urls.read(base)
        self._login = (username, password)
        self._token = token
        self._auth: Auth = auth
        self._challenges: dict[str, digest.Challenge] = {}
        self._timeout = timeout
        self._ca = ca
        self._verify = verify
        self._fingerprint = bytes.fromhex(fingerprint.replace(":", ""))
        self._slots = asyncio.Semaphore(connections)
        self._limiter = aiolimiter.AsyncLimiter(1, 1 / rate) if rate else None
        self._sockets = _abrupt if abrupt else None
        self._shown: Mapping[str, str] = {}
        self._trusted: set[str] = set()
        self._session: aiohttp.ClientSession | None = None
        self._gate = GATE.get()

    async def request(
        self,
        method: str,
        url: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
        repeat: bool | None = None,
        redirects: bool = True,
        limit: int = 64 << 20,
    ) -> Answer:
        """The answer, read whole; `repeat`: asking twice does no harm (default: by the method).

        `redirects` False: a redirect is an answer like any other; a body that holds credentials goes nowhere else.
        """
        safe = method in SAFE if repeat is None else repeat
        quiet = aiohttp.ClientTimeout(total=self._timeout, connect=min(10.0, self._timeout))
        target = urls.read(url, self._base)
        spool = await self._run(
            _Ask(method, target, body, headers or {}, accept, safe, redirects, limit, io.BytesIO, quiet)
        )
        return Answer(spool.status, spool.headers, b"".join(spool.chunks()), spool.url)

    @asynccontextmanager
    async def spool(
        self,
        method: str,
        url: str = "",
        *,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
        accept: Collection[int] = (),
        repeat: bool | None = None,
        redirects: bool = True,
        limit: int = 2 << 30,
    ) -> AsyncIterator[Spool]:
        """The answer to a large question, read whole and kept on disk until the block ends; otherwise as `request`.

        It may take ten times the time-out as long as it never stalls for one.
        """
        quiet = aiohttp.ClientTimeout(
            total=10 * self._timeout, connect=min(10.0, self._timeout), sock_read=self._timeout
        )
        safe = method in SAFE if repeat is None else repeat
        target = urls.read(url, self._base)
        spool = await self._run(_Ask(method, target, body, headers or {}, accept, safe, redirects, limit, _disk, quiet))
        try:
            yield spool
        finally:
            spool._file.close()

    def present(self, credentials: Mapping[str, str]) -> None:
        """Headers to show from now on, of a session that was logged in to; they go where credentials may go."""
        self._shown = dict(credentials)

    def trust(self, host: str) -> None:
        """Credentials may go to this host too, over TLS, if it shares the registrable domain of the base's host."""
        mine, domain = self._base.host or "", urls.registrable(self._base.host or "")
        if host != mine and domain and urls.registrable(host) == domain:
            self._trusted.add(host)

    async def close(self) -> None:
        """Give back the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _run(self, ask: _Ask) -> Spool:
        """One question, asked again a little later where that is safe and may help."""
        if not ask.safe:
            return await self._follow(ask)
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(TRIES),
            wait=mishaps.pause,
            retry=tenacity.retry_if_exception_type(mishaps.Passing),
            reraise=True,
        )
        return await retrying(self._follow, ask)

    async def _follow(self, ask: _Ask) -> Spool:
        """The answer at the end of the redirects, each asked with the same method and body."""
        url, spare = ask.url, None
        for _ in range(MOST_REDIRECTS + 1):
            try:
                spool = await self._send(ask, url)
            except mishaps.Unreached:
                if spare is None:
                    raise
                # A server behind a proxy may name its inner scheme and port, which are dead from here.
                url, spare = spare, None
                continue
            location = spool.headers.get("Location", "")
            if spool.status not in REDIRECTS or not location or not ask.redirects:
                return self._judge(ask, url, spool)
            spool._file.close()
            url, spare = urls.redirect(url, location)
        raise errors.Unavailable(f"{ask.url.host} redirects more than {MOST_REDIRECTS} times")

    def _judge(self, ask: _Ask, url: yarl.URL, spool: Spool) -> Spool:
        status = spool.status
        if 200 <= status < 300 or status in ask.accept:
            return spool
        spool._file.close()
        if status == 401 and self._auth != "none" and not self._knows(url):
            raise errors.Denied(f"{url.host} asks for credentials, which go to {self._base.host} only")
        if status == 401:
            raise errors.Denied(f"{url.host} refuses the credentials (401)", "401")
        if status == 403:
            raise errors.Denied(f"{url.host} forbids this (403): the login lacks the right", "403")
        after = mishaps.after(spool.headers.get("Retry-After", ""))
        if status in (502, 503, 504) and (after or 0) <= PATIENCE:
            raise mishaps.Passing(f"{url.host} answers {status}", after=after)
        raise errors.Unavailable(f"{url.host} answers {status}", after=after)

    async def _send(self, ask: _Ask, url: yarl.URL) -> Spool:
        """One exchange, and a second one where the server challenges the first."""
        known = self._knows(url)
        spool = await self._exchange(ask, url, self._credentials(ask.method, url) if known else {})
        if spool.status == 401 and known and self._auth in ("basic", "digest"):
            challenge = digest.challenge(spool.headers.get("WWW-Authenticate", ""), alone=self._auth == "basic")
            if challenge is not None:
                spool._file.close()
                self._challenges[str(url.origin())] = challenge
                answer = challenge.answer(*self._login, ask.method, url.raw_path_qs)
                spool = await self._exchange(ask, url, {"Authorization": answer})
        return spool

    def _credentials(self, method: str, url: yarl.URL) -> Mapping[str, str]:
        """Headers to show unasked; Basic gives way to Digest on a server that wanted that."""
        challenge = self._challenges.get(str(url.origin()))
        if challenge is not None:
            return {"Authorization": challenge.answer(*self._login, method, url.raw_path_qs)}
        if self._auth == "basic":
            return {"Authorization": "Basic " + base64.b64encode(":".join(self._login).encode()).decode()}
        return {"Authorization": "Bearer " + self._token} if self._auth == "bearer" else self._shown

    def _knows(self, url: yarl.URL) -> bool:
        """Whether credentials may go there."""
        if url.host == self._base.host:
            return url.scheme == "https" or self._base.scheme == "http"
        return url.scheme == "https" and url.host in self._trusted

    async def _exchange(self, ask: _Ask, url: yarl.URL, credentials: Mapping[str, str]) -> Spool:
        headers = {**ask.headers, **credentials}
        if self._gate is not None:
            # Here and not in the resolver alone, which is not asked about addresses, nor about ports.
            await self._gate.addresses(url.host or "", url.port or 0)
        async with self._slots:
            if self._limiter is not None:
                await self._limiter.acquire()
            if not ask.safe:
                FENCE.get()()
            try:
                return await self._read(ask, url, headers)
            except (aiohttp.ClientError, TimeoutError, OSError, mishaps.Oversize) as fault:
                raise mishaps.explain(url, fault, safe=ask.safe) from None

    async def _read(self, ask: _Ask, url: yarl.URL, headers: Mapping[str, str]) -> Spool:
        session = self._opened()
        async with session.request(
            ask.method, url, data=ask.body or None, headers=headers, allow_redirects=False, timeout=ask.timeout
        ) as response:
            file, size = ask.store(), 0
            try:
                async for chunk in response.content.iter_any():
                    size += len(chunk)
                    if size > ask.limit:
                        raise mishaps.Oversize(ask.limit)
                    file.write(chunk)
            except BaseException:
                file.close()
                raise
            return Spool(response.status, _joined(response.headers), str(url), file)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    ssl=self._tls(),
                    limit=0,
                    resolver=_Gated(self._gate) if self._gate is not None else None,
                    socket_factory=self._sockets,
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"User-Agent": f"bridge/{__version__}"},
                middlewares=(_no_silent_repeat,),
            )
        return self._session

    def _tls(self) -> ssl.SSLContext | aiohttp.Fingerprint | bool:
        if self._fingerprint:
            return aiohttp.Fingerprint(self._fingerprint)
        if not self._verify:
            return False
        if self._ca is None:
            return True
        try:
            return ssl.create_default_context(cafile=self._ca)
        except (OSError, ssl.SSLError) as fault:
            raise errors.Unavailable(f"{self._ca} is no bundle of certificates ({fault}); PEM is expected") from None


def _abrupt(address: AddrInfoType) -> socket.socket:
    """A socket whose closing throws away what is not delivered yet, where the kernel would go on trying for minutes."""
    made = socket.socket(*address[:3])
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    return made


class _Gated(AbstractResolver):
    """Knows the addresses that the gate gives and no others; certificates are still those of the name."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
            for address in await self._gate.addresses(host, port)
        ]

    async def close(self) -> None:
        """There is nothing to give back."""


async def _no_silent_repeat(
    request: aiohttp.ClientRequest, handler: aiohttp.ClientHandlerType
) -> aiohttp.ClientResponse:
    """aiohttp sends a GET again by itself when the connection ends; here a GET may be an order, so that is said."""
    try:
        return await handler(request)
    except aiohttp.ClientConnectorError:
        raise
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError):
        raise mishaps.Lost from None


def _disk() -> IO[bytes]:
    return tempfile.SpooledTemporaryFile(max_size=1 << 20)


def _joined(headers: multidict.CIMultiDictProxy[str]) -> Mapping[str, str]:
    """Headers with lines of the same name as one, as HTTP allows."""
    joined: multidict.CIMultiDict[str] = multidict.CIMultiDict()
    for name in headers.keys():  # noqa: SIM118
        joined[name] = ", ".join(headers.getall(name))
    return multidict.CIMultiDictProxy(joined)
