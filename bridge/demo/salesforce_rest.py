"""The REST API of the stand-in Salesforce: queries, records, describe, the log of deletions, limits."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from bridge.demo import salesforce_query as queries
from bridge.demo import salesforce_writes as writes
from bridge.demo.salesforce_bulk import Jobs
from bridge.demo.salesforce_org import Org, Row, Table, full_id, stamp
from bridge.demo.salesforce_soql import Failure
from bridge.demo.salesforce_wire import Ask, Limits, Refused, Reply, not_found, told

VERSIONS = range(31, 67)
_RETIRED = range(7, 31)
_DAYS = timedelta(days=15)


@dataclass(slots=True)
class _Cursor:
    """An open query: what it found, how a row is written, and when it was read last."""

    rows: list[Row]
    write: Callable[[Row], dict[str, Any]]
    used: float


class Rest:
    """REST for the one user of an org."""

    def __init__(self, org: Org, limits: Limits) -> None:
        self._org = org
        self._limits = limits
        self._jobs = Jobs(org, limits)
        self._cursors: dict[str, _Cursor] = {}

    def answer(self, ask: Ask) -> Reply:
        """The answer to a request of a version that is served; Refused where there is an error body."""
        try:
            return self._routed(ask)
        except Failure as failure:
            raise Refused(400, failure.code, failure.message) from None

    def fail_job(self, id: str) -> None:
        """Let a bulk job fail when it is next asked for."""
        self._jobs.fail(id)

    def _routed(self, ask: Ask) -> Reply:
        match ask.method, ask.parts:
            case "GET", ():
                return told(
                    {name: f"{ask.base}/{name}" for name in ("sobjects", "query", "queryAll", "limits", "jobs")}
                )
            case "GET", ("query" | "queryAll" as kind,):
                return self._query(ask, deleted=kind == "queryAll")
            case "GET", ("query" | "queryAll", locator):
                return self._more(ask, locator)
            case "GET", ("limits",):
                return told(self._told_limits())
            case _, ("jobs", "query", *_):
                return self._jobs.answer(ask)
            case "GET", ("sobjects",):
                seen = [table.schema.summary() for name in self._org.tables if (table := self._org.table(name))]
                return told({"encoding": "UTF-8", "maxBatchSize": 200, "sobjects": seen})
            case _, ("sobjects", name, *rest):
                return self._object(ask, self._table(name), rest)
            case _, ("query" | "queryAll" | "limits" | "sobjects", *_):
                raise Refused(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{ask.method}' not allowed. Allowed are GET")
        raise not_found()

    def _object(self, ask: Ask, table: Table, rest: list[str]) -> Reply:
        match ask.method, rest:
            case "GET", []:
                return told({"objectDescribe": table.schema.summary(), "recentItems": []})
            case "GET", ["describe"]:
                return told(table.schema.described())
            case "GET", ["deleted"]:
                return self._deleted(ask, table)
            case "GET", ["updated"]:
                return self._updated(ask, table)
            case "GET", [id]:
                return self._record(ask, table, self._row(table, id))
            case "GET", [field, value]:
                return self._found_by(ask, table, field, value)
        return writes.answer(self._org, ask, table, rest)

    def _table(self, name: str) -> Table:
        table = self._org.table(name)
        if table is None:
            raise not_found()
        return table

    def _row(self, table: Table, id: str) -> Row:
        row = table.rows.get(full_id(id) or "")
        if row is None:
            raise not_found(f"Provided external ID field does not exist or is not accessible: {id}")
        if row.get("IsDeleted"):
            raise not_found()
        return row

    def _record(self, ask: Ask, table: Table, row: Row) -> Reply:
        names = ask.query.get("fields", ",".join(field.name for field in table.schema.visible())).split(",")
        chosen = [table.schema.find(name.strip()) for name in names]
        for name, field in zip(names, chosen, strict=True):
            if field is None:
                raise Refused(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {table.schema.name}")
        text = f"SELECT {','.join(field.name for field in chosen if field)} FROM {table.schema.name}"
        write = queries.shape(self._org, queries.prepare(self._org, text).columns, table.schema, ask.base)
        return told(write(row))

    def _found_by(self, ask: Ask, table: Table, field: str, value: str) -> Reply:
        found = writes.by_external_id(table, field, value)
        if not found:
            raise not_found()
        if len(found) > 1:
            return writes.ambiguous(ask, table, found)
        return self._record(ask, table, found[0])

    def _query(self, ask: Ask, *, deleted: bool) -> Reply:
        if not ask.query.get("q", "").strip():
            raise Failure("MALFORMED_QUERY", "unexpected token: '<EOF>'")
        query = queries.prepare(self._org, ask.query["q"])
        rows = query.run(deleted=deleted)
        if not query.columns:
            return told({"totalSize": len(rows), "done": True, "records": []})
        write = queries.shape(self._org, query.columns, query.table.schema, ask.base)
        cursor = _Cursor(rows, write, time.monotonic())
        name = f"01g5g{secrets.token_hex(5)}AAA"
        if len(rows) > self._page_of(ask):
            self._cursors[name] = cursor
            while len(self._cursors) > self._limits.cursors:
                del self._cursors[min(self._cursors, key=lambda each: self._cursors[each].used)]
        return self._page(ask, name, cursor, 0)

    def _more(self, ask: Ask, locator: str) -> Reply:
        name, _, offset = locator.rpartition("-")
        cursor = self._cursors.get(name)
        late = cursor is not None and time.monotonic() - cursor.used > self._limits.cursor_life
        if cursor is None or late or not offset.isdigit() or not 0 < int(offset) < len(cursor.rows):
            raise Refused(400, "INVALID_QUERY_LOCATOR", "invalid query locator")
        cursor.used = time.monotonic()
        return self._page(ask, name, cursor, int(offset))

    def _page(self, ask: Ask, name: str, cursor: _Cursor, start: int) -> Reply:
        end = start + self._page_of(ask)
        answer: dict[str, Any] = {"totalSize": len(cursor.rows), "done": end >= len(cursor.rows)}
        if end < len(cursor.rows):
            answer["nextRecordsUrl"] = f"{ask.base}/query/{name}-{end}"
        return told(answer | {"records": [cursor.write(row) for row in cursor.rows[start:end]]})

    def _page_of(self, ask: Ask) -> int:
        """Rows of a page: what was asked for is a hint between 200 and 2000."""
        option = ask.headers.get("Sforce-Query-Options", "").partition("=")[2].strip()
        asked = min(max(int(option), 200), 2000) if option.isdigit() else 2000
        return min(self._limits.page_size, asked)

    def _deleted(self, ask: Ask, table: Table) -> Reply:
        start, end = self._window(ask, table)
        earliest = max(self._org.now - _DAYS, self._org.log_began)
        first = stamp(max(start, earliest))
        log = [entry for entry in table.log.values() if first <= entry.when < stamp(end)]
        return told(
            {
                "deletedRecords": [{"id": entry.id, "deletedDate": entry.when} for entry in log],
                "earliestDateAvailable": stamp(earliest),
                "latestDateCovered": stamp(end),
            }
        )

    def _updated(self, ask: Ask, table: Table) -> Reply:
        start, end = self._window(ask, table)
        rows = table.between("SystemModstamp", stamp(start), stamp(end))
        ids = [row["Id"] for row in rows if not row.get("IsDeleted") and row["SystemModstamp"] < stamp(end)]
        return told({"ids": ids, "latestDateCovered": stamp(end)})

    def _window(self, ask: Ask, table: Table) -> tuple[datetime, datetime]:
        """From where to where the log is told: whole minutes, and not beyond what it covers."""
        if "SystemModstamp" not in table.schema.fields:
            raise not_found()
        start, end = (_date(ask.query.get(name, "")) for name in ("start", "end"))
        now = self._org.now
        if end - start < timedelta(minutes=1):
            raise Refused(400, "INVALID_REPLICATION_DATE", "endDate must be at least one minute after startDate")
        if start < now - 2 * _DAYS:
            raise Refused(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date")
        covered = (now - timedelta(seconds=self._org.lag)).replace(second=0)
        return start, min(end, covered)

    def _told_limits(self) -> dict[str, dict[str, int]]:
        limits = self._limits
        return {
            "DailyApiRequests": {"Max": limits.quota, "Remaining": max(limits.quota - limits.usage, 0)},
            "DailyBulkV2QueryJobs": {"Max": 10_000, "Remaining": 10_000 - self._jobs.made},
            "DailyBulkV2QueryFileStorageMB": {"Max": 976_562, "Remaining": 976_562},
        }


def version_of(segment: str) -> str:
    """The version of a path's segment such as v61.0; Refused for those that are retired or unknown."""
    number = segment.removeprefix("v").removesuffix(".0")
    if segment != f"v{number}.0" or not number.isdigit() or int(number) not in {*VERSIONS, *_RETIRED}:
        raise not_found()
    if int(number) in _RETIRED:
        raise Refused(410, "UNSUPPORTED_API_VERSION", f"The requested API version {number}.0 is retired")
    return f"{number}.0"


def versions() -> Reply:
    """The versions that are served."""
    return told([{"label": f"v{n}.0", "url": f"/services/data/v{n}.0", "version": f"{n}.0"} for n in VERSIONS])


def _date(text: str) -> datetime:
    """A date of a window in whole minutes."""
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        found = datetime.min
    if found.tzinfo is None:
        raise Refused(400, "INVALID_REPLICATION_DATE", "start and end are date-times with an offset")
    return found.astimezone(UTC).replace(second=0, microsecond=0)
