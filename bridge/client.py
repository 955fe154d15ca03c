"""Outgoing HTTP, the only user of aiohttp's client: an answer becomes a value or an error here.

Interface (fixed; the body is being written):

    @dataclass(frozen=True, slots=True)
    class Answer:          status: int; headers: Mapping[str, str] (case-insensitive); body: bytes; url: str (final)

    class Client:
        def __init__(self, base: str, *, username: str = "", password: str = "", token: str = "",
                     auth: Literal["none", "basic", "digest", "bearer"] = "none", timeout: float = 30.0,
                     ca: Path | None = None, verify: bool = True, fingerprint: str = "",
                     connections: int = 4, rate: float = 0.0) -> None
        async def request(self, method: str, url: str = "", *, body: bytes = b"", headers: Mapping[str, str] | None = None,
                          accept: Collection[int] = (), repeat: bool | None = None, limit: int = 64 << 20) -> Answer
        def spool(self, method: str, url: str = "", *, body=b"", headers=None, accept=()) -> AsyncContextManager[Spool]
        async def close(self) -> None

    class Spool:           status, headers, url; def chunks(self, size: int = 65536) -> Iterator[bytes]

`url` may be absolute, or a reference resolved against `base`. A 2xx answer, or a status in `accept`, is a value;
401 and 403 are Denied, 429 and 5xx Unavailable (with Retry-After), other statuses Unavailable; no connection is
Unavailable; an answer cut or timed out after the request went out is Unavailable if the method is safe to repeat
(`repeat`, by default GET HEAD OPTIONS PROPFIND REPORT), else Unsettled.
"""
