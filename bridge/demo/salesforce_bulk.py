"""Bulk API 2.0 query jobs of the stand-in Salesforce: UploadComplete, InProgress, JobComplete, pages of CSV."""

from __future__ import annotations

import base64
import binascii
import csv
import io
from dataclasses import dataclass
from typing import Any

from bridge.demo import salesforce_query as queries
from bridge.demo.salesforce_org import Org, Row, checksum, stamp
from bridge.demo.salesforce_query import Column, Get, Query
from bridge.demo.salesforce_wire import Ask, Limits, Refused, Reply, not_found, told

_DELIMITERS = {"COMMA": ",", "TAB": "\t", "SEMICOLON": ";", "PIPE": "|", "CARET": "^", "BACKQUOTE": "`"}
_ENDINGS = {"LF": "\n", "CRLF": "\r\n"}
_DEFAULTS = {"contentType": "CSV", "columnDelimiter": "COMMA", "lineEnding": "LF"}
_ENDED = ("JobComplete", "Failed", "Aborted")
_FIRST_VERSION = 47
_KEPT = 100


@dataclass(slots=True)
class _Job:
    """One job: how it was asked for, what it found, and how far it is."""

    id: str
    asked: dict[str, str]
    query: Query
    version: str
    made: str
    rows: list[Row]
    state: str = "UploadComplete"
    polls: int = 0


class Jobs:
    """The query jobs of an org; `made` counts them."""

    def __init__(self, org: Org, limits: Limits) -> None:
        self.made = 0
        self._org = org
        self._limits = limits
        self._jobs: dict[str, _Job] = {}

    def answer(self, ask: Ask) -> Reply:
        """The answer to a request below jobs/query."""
        if float(ask.version) < _FIRST_VERSION:
            raise not_found()
        rest = ask.parts[2:]
        match ask.method, rest:
            case "POST", ():
                return told(self._created(ask))
            case "GET", ():
                records = [self._described(job) for job in self._jobs.values()]
                return told({"done": True, "records": records, "nextRecordsUrl": None})
            case "GET", (id,):
                return told(self._polled(self._job(id)))
            case "GET", (id, "results"):
                return self._results(ask, self._job(id))
            case "PATCH", (id,):
                return told(self._aborted(ask, self._job(id)))
            case "DELETE", (id,):
                return self._removed(self._job(id))
        raise Refused(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{ask.method}' not allowed")

    def fail(self, id: str) -> None:
        """Let a job fail when it is next asked for."""
        if id in self._jobs:
            self._jobs[id].state = "Failed"

    def _job(self, id: str) -> _Job:
        if id not in self._jobs:
            raise not_found()
        return self._jobs[id]

    def _created(self, ask: Ask) -> dict[str, Any]:
        asked = _DEFAULTS | ask.json()
        _checked(asked)
        query = queries.prepare(self._org, asked["query"])
        _fit_for_bulk(query)
        self.made += 1
        short = f"7505g{self.made:010}"
        rows = query.run(deleted=asked["operation"] == "queryAll")
        job = _Job(short + checksum(short), asked, query, ask.version, stamp(self._org.now), rows)
        self._jobs[job.id] = job
        if len(self._jobs) > _KEPT:
            del self._jobs[next(iter(self._jobs))]
        return self._described(job)

    def _polled(self, job: _Job) -> dict[str, Any]:
        """The job, one step further with every look."""
        if job.state not in _ENDED:
            job.polls += 1
            job.state = "JobComplete" if job.polls >= self._limits.polls else "InProgress"
        done = {"jobType": "V2Query", "numberRecordsProcessed": 0, "retries": 0, "totalProcessingTime": 0}
        if job.state == "JobComplete":
            done |= {"numberRecordsProcessed": len(job.rows), "totalProcessingTime": 153}
        if job.state == "Failed":
            done |= {"errorMessage": "InternalServerError: retried more than 15 times"}
        return self._described(job) | done | {"isPkChunkingSupported": True}

    def _described(self, job: _Job) -> dict[str, Any]:
        return {
            "id": job.id,
            "operation": job.asked["operation"],
            "object": job.query.table.schema.name,
            "createdById": self._org.user,
            "createdDate": job.made,
            "systemModstamp": job.made,
            "state": job.state,
            "concurrencyMode": "Parallel",
            "contentType": "CSV",
            "apiVersion": float(job.version),
            "lineEnding": job.asked["lineEnding"],
            "columnDelimiter": job.asked["columnDelimiter"],
        }

    def _aborted(self, ask: Ask, job: _Job) -> dict[str, Any]:
        if ask.json() != {"state": "Aborted"}:
            raise Refused(400, "INVALIDJOB", "a query job's state can only be set to Aborted")
        if job.state in _ENDED:
            raise Refused(400, "INVALIDJOBSTATE", f"Aborting already {job.state} Job not allowed")
        job.state, job.rows = "Aborted", []
        return self._described(job)

    def _removed(self, job: _Job) -> Reply:
        if job.state not in _ENDED:
            raise Refused(400, "INVALIDJOBSTATE", f"a job that is {job.state} cannot be deleted")
        del self._jobs[job.id]
        return Reply(204)

    def _results(self, ask: Ask, job: _Job) -> Reply:
        if ask.version != job.version:
            raise Refused(409, "API_ERROR", f"the job was created with API version {job.version}")
        if job.state != "JobComplete":
            raise Refused(400, "INVALIDJOBSTATE", f"results of a job that is {job.state} cannot be read")
        start = _offset(ask.query.get("locator"), len(job.rows))
        asked = ask.query.get("maxRecords", str(self._limits.bulk_page))
        if not asked.isdigit() or int(asked) == 0:
            raise Refused(400, "INVALIDVALUE", "maxRecords is a number above 0")
        end = min(start + min(int(asked), self._limits.bulk_page), len(job.rows))
        headers = {
            "Sforce-NumberOfRecords": str(end - start),
            "Sforce-Locator": _locator(end) if end < len(job.rows) else "null",
        }
        return Reply(200, _csv(job.query.columns, job.rows[start:end], job.asked), "text/csv;charset=UTF-8", headers)


def _checked(asked: dict[str, Any]) -> None:
    known = {"operation", "query", "contentType", "columnDelimiter", "lineEnding"}
    if unknown := asked.keys() - known:
        raise Refused(400, "JSON_PARSER_ERROR", f'Unrecognized field "{min(unknown)}"')
    right = {"operation": ("query", "queryAll"), "contentType": ("CSV",)}
    for key, values in (right | {"columnDelimiter": tuple(_DELIMITERS), "lineEnding": tuple(_ENDINGS)}).items():
        if asked.get(key) not in values:
            raise Refused(400, "INVALIDJOB", f"{key} is one of {', '.join(values)}")
    if not isinstance(asked.get("query"), str):
        raise Refused(400, "INVALIDJOB", "query is missing")


def _fit_for_bulk(query: Query) -> None:
    if not query.table.schema.bulk:
        name = query.table.schema.name
        raise Refused(400, "INVALIDENTITY", f"Entity '{name}' is not supported by the Bulk API.")
    if not query.columns:
        raise Refused(400, "API_ERROR", "Aggregate Relationships not supported in Bulk Query")
    if any(column.field.type == "address" for column in query.columns):
        raise Refused(400, "API_ERROR", "Selecting compound data not supported in Bulk Query")


def _locator(offset: int) -> str:
    return base64.urlsafe_b64encode(str(offset).encode()).decode().rstrip("=")


def _offset(locator: str | None, rows: int) -> int:
    """Where a page begins; a locator that was never given, such as the word null, is refused."""
    if locator is None:
        return 0
    try:
        offset = int(base64.urlsafe_b64decode(locator + "=" * (-len(locator) % 4)))
    except (ValueError, binascii.Error):
        offset = -1
    if not 0 < offset < rows:
        raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
    return offset


def _csv(columns: tuple[Column, ...], rows: list[Row], asked: dict[str, str]) -> bytes:
    """A page: its header, and each value in quotes, null as the empty text."""
    text = io.StringIO()
    ending = _ENDINGS[asked["lineEnding"]]
    writer = csv.writer(
        text, delimiter=_DELIMITERS[asked["columnDelimiter"]], lineterminator=ending, quoting=csv.QUOTE_ALL
    )
    writer.writerow([column.path for column in columns])
    names = [column.path for column in columns]
    odd = [(n, write) for n, column in enumerate(columns) if (write := _writer(column)) is not None]
    writer.writerows(_line(row, names, odd) for row in rows)
    return text.getvalue().encode()


def _line(row: Row, names: list[str], odd: list[tuple[int, Get]]) -> list[Any]:
    """The values of a row: csv itself writes None as the empty text."""
    values = [row.get(name) for name in names]
    for n, write in odd:
        values[n] = write(row)
    return values


def _writer(column: Column) -> Get | None:
    """How the value of a column is written that is not simply what its row holds."""
    get = column.get
    if column.field.type == "boolean":
        return lambda row: {True: "true", False: "false"}.get(get(row), "")
    if column.field.type == "datetime":
        return lambda row: (get(row) or "").replace("+0000", "Z")
    return None if column.plain else get
