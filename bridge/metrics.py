"""Every `bridge_` metric, in one list, and the page that Prometheus reads.

Two processes make them. What the working one does (runs, records, pushes, queues, holds) is in the database, and is
counted there when the page is asked for: the answering process hands a `Snapshot` of it to `render`. What the
answering process does itself (lookups, starting the worker again) is counted as it happens.

Labels are tenants, sources and sinks, as many as the configuration has, and results, which are listed here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

RunResult = Literal["done", "held", "failed", "denied"]
Change = Literal["added", "changed", "removed", "unchanged", "refused"]
PushResult = Literal["settled", "later", "unsettled", "refused", "stopped"]
LookupResult = Literal["found", "empty", "bad", "denied", "failed"]
"""found: a name; empty: `[]`; bad: 400; denied: wrong token, or too many of them; failed: no database."""

BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """One source since the first run that the database remembers; `last_good` is a Unix time, 0: never."""

    tenant: str
    source: str
    runs: Mapping[RunResult, int] = field(default_factory=dict)
    records: Mapping[Change, int] = field(default_factory=dict)
    last_good: float = 0.0
    contacts: int = 0
    held: int = 0


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """One sink; `oldest` is the age in seconds of the push that waits longest, 0: none waits."""

    tenant: str
    sink: str
    pushes: Mapping[PushResult, int] = field(default_factory=dict)
    waiting: int = 0
    oldest: float = 0.0
    refused: int = 0
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the database says now, a row for every source and sink of the configuration."""

    sources: tuple[SourceCounts, ...] = ()
    sinks: tuple[SinkCounts, ...] = ()


PROCESS = CollectorRegistry()

_lookups = Counter("bridge_lookups", "Lookups answered, by result", ["result"], registry=PROCESS)
_seconds = Histogram("bridge_lookup_seconds", "Time to answer a lookup", buckets=BUCKETS, registry=PROCESS)
_restarts = Counter(
    "bridge_worker_restarts", "Times that the working process had to be started again", registry=PROCESS
)
ProcessCollector(namespace="bridge", registry=PROCESS)

# Looked up once: a lookup is counted while a telephone rings.
_by_result: Mapping[str, Counter] = {result: _lookups.labels(result) for result in get_args(LookupResult)}


def lookup(result: LookupResult, seconds: float) -> None:
    """Count one lookup."""
    _by_result[result].inc()
    _seconds.observe(seconds)


def worker_restarted() -> None:
    """Count one start of the working process after the first."""
    _restarts.inc()


def render(rows: Snapshot | None) -> bytes:
    """The page; None: the database cannot be asked, and the page says so and leaves out what it holds."""
    registry = CollectorRegistry()
    registry.register(_Rows(rows))
    return generate_latest(registry) + generate_latest(PROCESS)


class _Rows(Collector):
    def __init__(self, rows: Snapshot | None) -> None:
        self._rows = rows

    def collect(self) -> Iterable[Metric]:
        up = GaugeMetricFamily("bridge_database_up", "1 where the database answers")
        up.add_metric([], 0.0 if self._rows is None else 1.0)
        yield up
        if self._rows is not None:
            yield from _of_sources(self._rows.sources)
            yield from _of_sinks(self._rows.sinks)


def _of_sources(rows: Iterable[SourceCounts]) -> Iterable[Metric]:
    names = ["tenant", "source"]
    runs = CounterMetricFamily("bridge_runs", "Runs of a source, by result", labels=[*names, "result"])
    records = CounterMetricFamily("bridge_records", "Records that runs read, by change", labels=[*names, "change"])
    good = GaugeMetricFamily("bridge_source_last_good_run_timestamp_seconds", "End of the last good run", labels=names)
    contacts = GaugeMetricFamily("bridge_contacts", "Contacts held of a source", labels=names)
    held = GaugeMetricFamily("bridge_held", "Losses of a source that wait for approval", labels=names)
    for row in rows:
        labels = [row.tenant, row.source]
        for result in get_args(RunResult):
            runs.add_metric([*labels, result], row.runs.get(result, 0))
        for change in get_args(Change):
            records.add_metric([*labels, change], row.records.get(change, 0))
        good.add_metric(labels, row.last_good)
        contacts.add_metric(labels, row.contacts)
        held.add_metric(labels, row.held)
    return runs, records, good, contacts, held


def _of_sinks(rows: Iterable[SinkCounts]) -> Iterable[Metric]:
    names = ["tenant", "sink"]
    pushes = CounterMetricFamily("bridge_pushes", "Pushes to a sink, by result", labels=[*names, "result"])
    waiting = GaugeMetricFamily("bridge_queue", "Pushes that wait for a sink", labels=names)
    oldest = GaugeMetricFamily("bridge_queue_oldest_seconds", "Age of the push that waits longest", labels=names)
    refused = GaugeMetricFamily("bridge_refused", "Entries that a sink refuses until they change", labels=names)
    stopped = GaugeMetricFamily("bridge_sink_stopped", "1 where a sink takes our key no more", labels=names)
    for row in rows:
        labels = [row.tenant, row.sink]
        for result in get_args(PushResult):
            pushes.add_metric([*labels, result], row.pushes.get(result, 0))
        waiting.add_metric(labels, row.waiting)
        oldest.add_metric(labels, row.oldest)
        refused.add_metric(labels, row.refused)
        stopped.add_metric(labels, float(row.stopped))
    return pushes, waiting, oldest, refused, stopped
