"""Every `bridge_` metric, in one list, and the page that Prometheus reads.

Two processes make them. What the working one does (runs, records, pushes, queues, holds) is in the database, and is
counted there when the page is asked for: the answering process hands a `Snapshot` of it to `render`. What the
answering process does itself (lookups, starting the worker again) is counted as it happens.

Labels are tenants, sources and sinks, as many as the configuration has, and results, which are listed here.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal, get_args

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

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


class _Own:
    """What this process counts, by its event loop alone: locks would cost a lookup more than all else here."""

    def __init__(self) -> None:
        self.results: dict[LookupResult, int] = dict.fromkeys(get_args(LookupResult), 0)
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.restarts = 0

    def collect(self) -> Iterable[Metric]:
        results = CounterMetricFamily("bridge_lookups", "Lookups answered, by result", labels=["result"])
        for result, count in self.results.items():
            results.add_metric([result], count)
        seconds = HistogramMetricFamily("bridge_lookup_seconds", "Time to answer a lookup")
        bounds = [*map(str, BUCKETS), "+Inf"]
        seconds.add_metric([], list(zip(bounds, itertools.accumulate(self.buckets), strict=True)), self.seconds)
        restarts = "Times that the working process had to be started again"
        return results, seconds, CounterMetricFamily("bridge_worker_restarts", restarts, value=self.restarts)


_own = _Own()
_process = ProcessCollector(namespace="bridge", registry=None)


def lookup(result: LookupResult, seconds: float) -> None:
    """Count one lookup."""
    _own.results[result] += 1
    _own.buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
    _own.seconds += seconds


def worker_restarted() -> None:
    """Count one start of the working process after the first."""
    _own.restarts += 1


def render(rows: Snapshot | None) -> bytes:
    """The page; None: the database cannot be asked, and the page says so and leaves out what it holds."""
    up = GaugeMetricFamily("bridge_database_up", "1 where the database answers", value=0.0 if rows is None else 1.0)
    told = (*_of_sources(rows.sources), *_of_sinks(rows.sinks)) if rows else ()
    return "".join(_lines((up, *told, *_own.collect(), *_process.collect()))).encode()


def _lines(families: Iterable[Metric]) -> Iterator[str]:
    """The text format; `generate_latest` takes twice as long, and lookups wait for it."""
    for family in families:
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield f"# HELP {name} {family.documentation}\n# TYPE {name} {family.type}\n"
        for sample in family.samples:
            labels = ",".join(f'{label}="{text.translate(_ESCAPED)}"' for label, text in sorted(sample.labels.items()))
            named = f"{sample.name}{{{labels}}}" if labels else sample.name
            yield f"{named} {float(sample.value)}\n"


_ESCAPED = str.maketrans({"\\": r"\\", "\n": r"\n", '"': r"\""})


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
