"""Large objects by Bulk API 2.0: a query job, then its result, a CSV in pieces that is never in memory whole."""

from __future__ import annotations

import asyncio
import codecs
import contextlib
import csv
import time
import urllib.parse
from collections.abc import AsyncGenerator, Iterable, Iterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Any

from bridge import client, errors
from bridge.sources.salesforce import answers, soql
from bridge.sources.salesforce.calls import Calls
from bridge.sources.salesforce.reading import Ask, Rows

PAGE = 1000
"""Rows that are handed on at a time."""
PIECE = 50_000
"""Rows of one piece of the result."""
PATIENCE = 4 * 3600.0
"""Seconds that a job may take; Salesforce itself tries a job for hours."""
PAUSES = (0.5, 20.0)
"""Seconds between looks at a job: the first, and the longest."""
CHUNK = 1 << 18

csv.field_size_limit(1 << 24)


class Unfit(errors.Unavailable):
    """Bulk does not take this object or this query: REST may."""


async def rows(calls: Calls, ask: Ask) -> Rows:
    """All rows, in no order, or an error; Unfit before the first, where they have to be read in another way."""
    async with _job(calls, ask) as path:
        expected = await _finished(calls, ask, path)
        got, locator = 0, ""
        while True:
            more = f"&locator={urllib.parse.quote(locator)}" if locator else ""
            async with calls.spool(f"{path}/results?maxRecords={PIECE}{more}", accept="text/csv") as spool:
                counted = _number(spool.headers.get("Sforce-NumberOfRecords"))
                begun = got
                async with aclosing(_piece(spool, ask, first=not locator)) as pages:
                    async for page in pages:
                        got += len(page)
                        yield page
                if counted is not None and got - begun != counted:
                    raise _short(ask)
                locator = spool.headers.get("Sforce-Locator", "null")
            if locator in ("", "null"):
                break
        if expected is not None and got < expected:
            raise _short(ask)


@asynccontextmanager
async def _job(calls: Calls, ask: Ask) -> AsyncGenerator[str]:
    """The path of a job for this query, which is taken away at the end, whatever the end."""
    order = {
        "operation": "queryAll" if ask.deleted else "query",
        "query": soql.select(ask.columns, ask.table, ask.where),
        "contentType": "CSV",
        "columnDelimiter": "COMMA",
        "lineEnding": "LF",
    }
    try:
        # A second job of the same query, after a lost answer, costs nothing but itself.
        job = await calls.send("POST", "jobs/query", order, repeat=True)
    except answers.Rejected as no:
        if no.code in ("INVALID_FIELD", "MALFORMED_QUERY"):
            raise
        raise Unfit(str(no), code=no.code) from None
    if not isinstance(job.get("id"), str):
        raise await calls.odd("a new job")
    path = f"jobs/query/{urllib.parse.quote(job['id'], safe='')}"
    try:
        yield path
    finally:
        with contextlib.suppress(errors.BridgeError):
            await _away(calls, path)


async def _away(calls: Calls, path: str) -> None:
    """Delete the job; one that still works has to be stopped first."""
    try:
        await calls.send("DELETE", path, repeat=True)
    except answers.Rejected:
        await calls.send("PATCH", path, {"state": "Aborted"}, repeat=True)
        await calls.send("DELETE", path, repeat=True)


async def _finished(calls: Calls, ask: Ask, path: str) -> int | None:
    """Wait until the job is done; how many rows it says that it found."""
    pause, begun = PAUSES[0], time.monotonic()
    while True:
        job = await calls.get(path)
        match job.get("state"):
            case "JobComplete":
                found = job.get("numberRecordsProcessed")
                return found if isinstance(found, int) else None
            case "Failed":
                raise _failed(ask, job)
            case "Aborted":
                raise errors.Unavailable(f"somebody stopped the Bulk job that reads {ask.table}")
            case "UploadComplete" | "InProgress":
                pass
            case _:
                raise await calls.odd("a question for a job")
        if time.monotonic() - begun > PATIENCE:
            raise errors.Unavailable(f"the Bulk job that reads {ask.table} is not done after {PATIENCE / 3600:.0f} h")
        await asyncio.sleep(pause)
        pause = min(PAUSES[1], pause * 1.6)


def _failed(ask: Ask, job: Mapping[str, Any]) -> errors.Unavailable:
    """A failed job says why in words; a field that is hidden is named in them."""
    said = job.get("errorMessage")
    said = said if isinstance(said, str) else ""
    code = next((each for each in ("INVALID_FIELD", "QUERY_TIMEOUT") if each in said.replace(" ", "_").upper()), "")
    if "no such column" in said.lower():
        code = "INVALID_FIELD"
    reason = f"the Bulk job that reads {ask.table} failed" + (f" ({code})" if code else "")
    return answers.Rejected(reason, code, 400, said)


async def _piece(spool: client.Spool, ask: Ask, *, first: bool) -> AsyncGenerator[list[list[str]]]:
    """The rows of one piece of the result. Each piece begins with the names of its columns; one without is taken."""
    reader = csv.reader(_lines(spool.chunks(CHUNK)))
    width, page = len(ask.columns), list[list[str]]()
    try:
        head = next(reader, None)
        if head is not None and [name.lower() for name in head] != [name.lower() for name in ask.columns]:
            if first:
                raise errors.Unavailable(f"the Bulk result of {ask.table} has other columns than were asked for")
            page.append(head)
        for row in reader:
            page.append(row)
            if len(page) >= PAGE:
                yield _checked(page, width, ask)
                page = []
                await asyncio.sleep(0)
    except (csv.Error, UnicodeDecodeError):
        raise errors.Unavailable(f"the Bulk result of {ask.table} is no CSV") from None
    if head is None and first:
        raise errors.Unavailable(f"the Bulk result of {ask.table} is empty: not even its columns are there")
    if page:
        yield _checked(page, width, ask)


def _checked(page: list[list[str]], width: int, ask: Ask) -> list[list[str]]:
    if any(len(row) != width or not row[0] for row in page):
        raise _short(ask)
    return page


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """The text of the pieces, cut at line feeds alone, without the NULs that some rows hold."""
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    rest = ""
    for chunk in chunks:
        lines = (rest + decoder.decode(chunk).replace("\0", "")).split("\n")
        rest = lines.pop()
        for line in lines:
            yield line + "\n"
    rest += decoder.decode(b"", final=True)
    if rest:
        yield rest


def _number(text: str | None) -> int | None:
    return int(text) if text is not None and text.isdecimal() and len(text) < 20 else None


def _short(ask: Ask) -> errors.Unavailable:
    return errors.Unavailable(f"the Bulk result of {ask.table} is not whole")
