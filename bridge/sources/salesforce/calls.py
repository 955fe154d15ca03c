"""Calls to the instance: each with a session that lives, judged, and counted against the org's quota."""

from __future__ import annotations

import datetime
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, TypeVar

import orjson
import tenacity

from bridge import client, errors, logins
from bridge.sources.salesforce import answers, soql
from bridge.sources.salesforce.sessions import Session

TRIES = 3
"""Times that a question is asked whose answer is one of the noes that pass by themselves."""
READ = frozenset({300, 400, 401, 403, 404, 405, 406, 409, 410, 412, 414, 415, 420, 428, 431, 500})
"""Statuses whose bodies say why."""

R = TypeVar("R")


class Calls:
    """The calls of one run, check or action.

    `quota`: the percentage of the org's calls at which no further one is made; 0: none. `usage` is what the last
    answer said of it, `at` the server's time when the first call of all began (None before it).
    """

    def __init__(self, login: logins.Login[Session], version: str, quota: int = 0) -> None:
        self._login = login
        self._base = f"/services/data/v{version}/"
        self._quota = quota
        self.usage: answers.Usage | None = None
        self.at: datetime.datetime | None = None

    async def session(self) -> Session:
        """The session that calls are made with."""
        return await self._login.session()

    async def get(self, path: str) -> Mapping[str, Any]:
        """The JSON object at a path of this version of the API, or at one that begins with a slash."""
        return await self.send("GET", path)

    async def send(
        self, method: str, path: str, data: Mapping[str, Any] | None = None, *, repeat: bool | None = None
    ) -> Mapping[str, Any]:
        """One call with a JSON body; an answer without a body is an empty object. Raises as `answers.judge`."""
        answer = await self._asked(method, path, b"" if data is None else orjson.dumps(data), repeat)
        session = await self.session()
        return answers.mapping(session.host, answer.body) if answer.body or method == "GET" else {}

    async def query(self, statement: str, *, deleted: bool = False) -> Mapping[str, Any]:
        """The first page of what a statement finds; `deleted`: what lies in the recycle bin too."""
        return await self.get(f"{'queryAll' if deleted else 'query'}/?q={soql.quoted(statement)}")

    async def find(self, statement: str, *, deleted: bool = False) -> list[Mapping[str, Any]]:
        """All that a statement finds, for one that finds little."""
        found = await self.query(statement, deleted=deleted)
        rows = await self.records(found)
        while not found.get("done"):
            found = await self.get(await self.following(found))
            rows += await self.records(found)
        return rows

    async def count(self, table: str, where: str = "") -> int:
        """How many records there are."""
        found = await self.query(soql.select(("COUNT()",), table, where))
        return await self.total(found)

    async def records(self, page: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """The records of a page of a query."""
        rows = page.get("records")
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise await self.odd("a query")
        return rows

    async def total(self, page: Mapping[str, Any]) -> int:
        """How many records the whole query found."""
        size = page.get("totalSize")
        if not isinstance(size, int):
            raise await self.odd("a query")
        return size

    async def following(self, page: Mapping[str, Any]) -> str:
        """The path of the next page of a query that is not done."""
        path = page.get("nextRecordsUrl")
        if page.get("done") is not False or not isinstance(path, str) or not re.match("/(?!/)", path):
            raise await self.odd("a query")
        return path

    async def odd(self, what: str) -> errors.Unavailable:
        """The error for an answer that is JSON and not what was asked for."""
        session = await self.session()
        return errors.Unavailable(f"{session.host} answers {what} with something else")

    @asynccontextmanager
    async def spool(self, path: str, *, accept: str) -> AsyncIterator[client.Spool]:
        """A large answer, kept on disk until the block ends."""
        async with AsyncExitStack() as stack:

            async def ask(session: Session) -> client.Spool:
                begun = time.time(), time.monotonic()
                spool = await stack.enter_async_context(
                    session.http.spool(
                        "GET", self._base + path, headers={"Accept": accept}, accept=READ, redirects=False
                    )
                )
                failed = spool.status >= 300
                self._heard(session, spool.status, spool.headers, b"".join(spool.chunks()) if failed else b"", begun)
                return spool

            self._gate()
            yield await self._patiently(ask)

    def now(self) -> datetime.datetime:
        """The server's time as far as it is known: of the first call, else our own."""
        return self.at or datetime.datetime.now(datetime.UTC)

    async def _asked(self, method: str, path: str, body: bytes, repeat: bool | None) -> client.Answer:
        headers = {"Accept": "application/json"}
        if body:
            headers["Content-Type"] = "application/json; charset=UTF-8"
        url = path if path.startswith("/") else self._base + path

        async def ask(session: Session) -> client.Answer:
            begun = time.time(), time.monotonic()
            answer = await session.http.request(
                method, url, body=body, headers=headers, accept=READ, repeat=repeat, redirects=False
            )
            self._heard(session, answer.status, answer.headers, answer.body, begun)
            return answer

        self._gate()
        safe = method in client.SAFE if repeat is None else repeat
        return await (self._patiently(ask) if safe else self._login.use(ask))

    async def _patiently(self, ask: Callable[[Session], Awaitable[R]]) -> R:
        retrying = tenacity.AsyncRetrying(
            stop=tenacity.stop_after_attempt(TRIES),
            wait=tenacity.wait_random_exponential(multiplier=0.3, max=2),
            retry=tenacity.retry_if_exception_type(answers.Passing),
            reraise=True,
        )
        return await retrying(self._login.use, ask)

    def _gate(self) -> None:
        """No call beyond the share of the quota that is ours: other programs of the org live on the rest."""
        if self._quota and self.usage is not None and self.usage.percent >= self._quota:
            raise errors.Unavailable(
                f"{self.usage.used:,} of the org's {self.usage.most:,} API calls of the last 24 hours are made, "
                f"and quota = {self._quota} ends the run there",
                after=answers.HOURS,
            )

    def _heard(
        self, session: Session, status: int, headers: Mapping[str, str], body: bytes, begun: tuple[float, float]
    ) -> None:
        """Take what every answer says beside what was asked, then raise if it is a no."""
        self.usage = answers.usage(headers) or self.usage
        if self.at is None and status < 300:
            there = answers.date(headers)
            ours = datetime.datetime.fromtimestamp(begun[0], datetime.UTC)
            took = datetime.timedelta(seconds=time.monotonic() - begun[1])
            self.at = (there - took if there else ours).replace(microsecond=0)
        answers.judge(session.host, status, headers, body)
