"""Every `bridge_` metric, in one list, and the page that Prometheus reads.

Two processes make them. What the working one does (runs, records, pushes, queues, holds) is in the database, and is
counted there when the page is asked for: the answering process hands a `Snapshot` of it to `render`. What the
answering process does itself (lookups, starting the worker again) is counted as it happens.

Labels are results, which are listed here, and tenants, sources and sinks: all of them where a configuration has few
tenants. Where it has many, what is wrong has series of its own, the worst first and no more than a bounded number;
all else is summed up under the labels `_others`, which no tenant can be called: counters are there alone, and a gauge
has there what those with series of their own leave, so that sums over all labels are right in both cases. Of moments
the earliest stands there, of ages and intervals the longest.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from prometheus_client import ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4

RunResult = Literal["done", "held", "failed", "denied"]
Change = Literal["added", "changed", "removed", "unchanged", "refused"]
PushResult = Literal["settled", "later", "unsettled", "refused", "stopped"]
BookResult = Literal["sent", "unchanged", "denied", "failed"]
"""unchanged: 304; denied: wrong name or password, or too many of them; failed: 503, as there is no whole book."""
ProvisioningResult = Literal["given", "unchanged", "denied", "failed"]
"""given: accounts that the device has not; denied: as above; failed: the account cannot be read."""
WorkflowState = Literal["waiting", "done", "failed"]
LookupResult = Literal["found", "empty", "bad", "denied", "failed"]
"""found: a name; empty: `[]`; bad: 400; denied: wrong token, or too many of them; failed: no database."""

OTHERS = "_others"
"""The labels of what is summed up."""
BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)


@dataclass(frozen=True, slots=True)
class SourceCounts:
    """One source since the first run that the database remembers; `last_good` is a Unix time, 0: never; `every` is in
    seconds.
    """

    tenant: str
    source: str
    runs: Mapping[RunResult, int] = field(default_factory=dict)
    records: Mapping[Change, int] = field(default_factory=dict)
    last_good: float = 0.0
    contacts: int = 0
    held: int = 0
    failing: int = 0
    denied: int = 0
    every: float = 0.0


@dataclass(frozen=True, slots=True)
class SinkCounts:
    """One sink; `oldest` is the age in seconds of the push that waits longest, 0: none waits."""

    tenant: str
    sink: str
    pushes: Mapping[PushResult, int] = field(default_factory=dict)
    waiting: int = 0
    oldest: float = 0.0
    refused: int = 0
    stopped: int = 0
    failing: int = 0


@dataclass(frozen=True, slots=True)
class WorkflowCounts:
    """The calls that a tenant's workflows were asked for; done ones for a day."""

    tenant: str
    calls: Mapping[WorkflowState, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the database says now.

    A row for every source and sink of the configuration; where it has many tenants, one for all of them, and one for
    each in `wrong_sources` and `wrong_sinks`, of which only gauges are told.
    """

    sources: tuple[SourceCounts, ...] = ()
    sinks: tuple[SinkCounts, ...] = ()
    workflows: tuple[WorkflowCounts, ...] = ()
    wrong_sources: tuple[SourceCounts, ...] = ()
    wrong_sinks: tuple[SinkCounts, ...] = ()
    tenants: int = 0


class _Own:
    """What this process counts, by its event loop alone: locks would cost a lookup more than all else here."""

    def __init__(self) -> None:
        self.results: dict[LookupResult, int] = dict.fromkeys(get_args(LookupResult), 0)
        self.books: dict[BookResult, int] = dict.fromkeys(get_args(BookResult), 0)
        self.polls: dict[ProvisioningResult, int] = dict.fromkeys(get_args(ProvisioningResult), 0)
        self.buckets = [0] * (len(BUCKETS) + 1)
        self.seconds = 0.0
        self.restarts = 0

    def collect(self) -> Iterable[Metric]:
        results = _by_result("bridge_lookups", "Lookups answered, by result", self.results)
        books = _by_result("bridge_phonebook_requests", "Phone books asked for, by result", self.books)
        polls = _by_result("bridge_provisioning_requests", "Softphones that asked for their accounts", self.polls)
        seconds = HistogramMetricFamily("bridge_lookup_seconds", "Time to answer a lookup")
        bounds = [*map(str, BUCKETS), "+Inf"]
        seconds.add_metric([], list(zip(bounds, itertools.accumulate(self.buckets), strict=True)), self.seconds)
        restarts = "Times that the working process had to be started again"
        again = CounterMetricFamily("bridge_worker_restarts", restarts, value=self.restarts)
        return results, seconds, books, polls, again


def _by_result(name: str, what: str, counts: Mapping[Any, int]) -> Metric:
    made = CounterMetricFamily(name, what, labels=["result"])
    for result, count in counts.items():
        made.add_metric([result], count)
    return made


_own = _Own()
_process = ProcessCollector(namespace="bridge", registry=None)


def lookup(result: LookupResult, seconds: float) -> None:
    """Count one lookup."""
    _own.results[result] += 1
    _own.buckets[bisect.bisect_left(BUCKETS, seconds)] += 1
    _own.seconds += seconds


def book(result: BookResult) -> None:
    """Count one request for a phone book."""
    _own.books[result] += 1


def provisioning(result: ProvisioningResult) -> None:
    """Count one request of a softphone for its accounts."""
    _own.polls[result] += 1


def worker_restarted() -> None:
    """Count one start of the working process after the first."""
    _own.restarts += 1


def render(rows: Snapshot | None) -> bytes:
    """The page; None: the database cannot be asked, and the page says so and leaves out what it holds."""
    up = GaugeMetricFamily("bridge_database_up", "1 where the database answers", value=0.0 if rows is None else 1.0)
    told = _told(rows) if rows else ()
    return "".join(_lines((up, *told, *_own.collect(), *_process.collect()))).encode()


def _told(rows: Snapshot) -> Iterable[Metric]:
    yield GaugeMetricFamily("bridge_tenants", "Tenants of the configuration", value=rows.tenants)
    yield from _of_sources(rows.sources, rows.wrong_sources)
    yield from _of_sinks(rows.sinks, rows.wrong_sinks)
    calls = GaugeMetricFamily("bridge_workflow_calls", "Calls of workflows, by state", labels=["tenant", "state"])
    for row in rows.workflows:
        for state in get_args(WorkflowState):
            calls.add_metric([row.tenant, state], row.calls.get(state, 0))
    yield calls


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


def _of_sources(rows: Sequence[SourceCounts], wrong: Sequence[SourceCounts] = ()) -> Iterable[Metric]:
    names = ["tenant", "source"]
    runs = CounterMetricFamily("bridge_runs", "Runs of a source, by result", labels=[*names, "result"])
    records = CounterMetricFamily("bridge_records", "Records that runs read, by change", labels=[*names, "change"])
    good = GaugeMetricFamily("bridge_source_last_good_run_timestamp_seconds", "End of the last good run", labels=names)
    contacts = GaugeMetricFamily("bridge_contacts", "Contacts held of a source", labels=names)
    held = GaugeMetricFamily("bridge_held", "Losses of a source that wait for approval", labels=names)
    failing = GaugeMetricFamily("bridge_source_failing", "1 where the last run of a source failed", labels=names)
    denied = GaugeMetricFamily("bridge_source_denied", "1 where a source refuses our credentials", labels=names)
    every = GaugeMetricFamily("bridge_source_every_seconds", "How often a source is to be read", labels=names)
    for row in rows:
        for result in get_args(RunResult):
            runs.add_metric([row.tenant, row.source, result], row.runs.get(result, 0))
        for change in get_args(Change):
            records.add_metric([row.tenant, row.source, change], row.records.get(change, 0))
    for row in (*rows, *wrong):
        labels = [row.tenant, row.source]
        good.add_metric(labels, row.last_good)
        contacts.add_metric(labels, row.contacts)
        held.add_metric(labels, row.held)
        failing.add_metric(labels, row.failing)
        denied.add_metric(labels, row.denied)
        every.add_metric(labels, row.every)
    return runs, records, good, contacts, held, failing, denied, every


def _of_sinks(rows: Sequence[SinkCounts], wrong: Sequence[SinkCounts] = ()) -> Iterable[Metric]:
    names = ["tenant", "sink"]
    pushes = CounterMetricFamily("bridge_pushes", "Pushes to a sink, by result", labels=[*names, "result"])
    waiting = GaugeMetricFamily("bridge_queue", "Pushes that wait for a sink", labels=names)
    oldest = GaugeMetricFamily("bridge_queue_oldest_seconds", "Age of the push that waits longest", labels=names)
    refused = GaugeMetricFamily("bridge_refused", "Entries that a sink refuses until they change", labels=names)
    stopped = GaugeMetricFamily("bridge_sink_stopped", "1 where a sink takes our key no more", labels=names)
    failing = GaugeMetricFamily("bridge_sink_failing", "1 where the last push to a sink failed", labels=names)
    for row in rows:
        for result in get_args(PushResult):
            pushes.add_metric([row.tenant, row.sink, result], row.pushes.get(result, 0))
    for row in (*rows, *wrong):
        labels = [row.tenant, row.sink]
        waiting.add_metric(labels, row.waiting)
        oldest.add_metric(labels, row.oldest)
        refused.add_metric(labels, row.refused)
        stopped.add_metric(labels, row.stopped)
        failing.add_metric(labels, row.failing)
    return pushes, waiting, oldest, refused, stopped, failing
