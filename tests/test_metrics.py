from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from bridge import metrics


def samples(page: bytes) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(page.decode())
        for sample in family.samples
    }


def value(page: bytes, name: str, **labels: str) -> float | None:
    return samples(page).get((name, tuple(sorted(labels.items()))))


SNAPSHOT = metrics.Snapshot(
    sources=(
        metrics.SourceCounts(
            "default", "crm", {"done": 7, "failed": 1}, {"added": 40, "unchanged": 900}, 1.7e9, contacts=940, held=12
        ),
        metrics.SourceCounts("acme", "crm", denied=1, every=21600.0),
    ),
    sinks=(
        metrics.SinkCounts("default", "pbx", {"settled": 99}, waiting=3, oldest=61.5, refused=2),
        metrics.SinkCounts("acme", "pbx", stopped=True),
    ),
)


def test_what_the_database_says_is_on_the_page_by_tenant():
    page = metrics.render(SNAPSHOT)
    crm = {"tenant": "default", "source": "crm"}
    pbx = {"tenant": "default", "sink": "pbx"}
    assert value(page, "bridge_database_up") == 1
    assert value(page, "bridge_runs_total", result="done", **crm) == 7
    assert value(page, "bridge_runs_total", result="held", **crm) == 0
    assert value(page, "bridge_records_total", change="added", **crm) == 40
    assert value(page, "bridge_source_last_good_run_timestamp_seconds", **crm) == 1.7e9
    assert value(page, "bridge_contacts", **crm) == 940
    assert value(page, "bridge_held", **crm) == 12
    assert value(page, "bridge_held", tenant="acme", source="crm") == 0
    assert value(page, "bridge_source_denied", **crm) == 0
    assert value(page, "bridge_source_denied", tenant="acme", source="crm") == 1
    assert value(page, "bridge_source_every_seconds", tenant="acme", source="crm") == 21600
    assert value(page, "bridge_pushes_total", result="settled", **pbx) == 99
    assert value(page, "bridge_queue", **pbx) == 3
    assert value(page, "bridge_queue_oldest_seconds", **pbx) == 61.5
    assert value(page, "bridge_refused", **pbx) == 2
    assert value(page, "bridge_sink_stopped", **pbx) == 0
    assert value(page, "bridge_sink_stopped", tenant="acme", sink="pbx") == 1


def test_page_is_as_the_library_would_write_it():
    registry = CollectorRegistry()
    ProcessCollector(namespace="bridge", registry=registry)
    odd = metrics.SinkCounts('a"b\\', "x\ny", waiting=1)
    for families in (
        metrics._of_sources(SNAPSHOT.sources),
        metrics._of_sinks((*SNAPSHOT.sinks, odd)),
        metrics._own.collect(),
        registry.collect(),
    ):
        families = list(families)
        want = CollectorRegistry()
        want.register(Listed(families))
        assert samples("".join(metrics._lines(families)).encode()) == samples(generate_latest(want))
        got = [line for line in "".join(metrics._lines(families)).splitlines() if line.startswith("#")]
        assert got == [line for line in generate_latest(want).decode().splitlines() if line.startswith("#")]


class Listed(Collector):
    def __init__(self, families):
        self.families = families

    def collect(self):
        return self.families


def test_without_a_database_the_page_says_so_and_counts_what_it_can():
    page = metrics.render(None)
    assert value(page, "bridge_database_up") == 0
    assert b"bridge_runs" not in page
    assert value(page, "bridge_lookups_total", result="found") is not None


def test_lookups_are_counted_by_result_and_timed():
    before = samples(metrics.render(None))
    metrics.lookup("found", 0.0015)
    metrics.lookup("empty", 0.3)
    after = samples(metrics.render(None))
    changed = {
        key: after[key] - before.get(key, 0) for key in after if "lookup" in key[0] and after[key] != before.get(key)
    }
    assert changed[("bridge_lookups_total", (("result", "found"),))] == 1
    assert changed[("bridge_lookups_total", (("result", "empty"),))] == 1
    assert ("bridge_lookups_total", (("result", "bad"),)) not in changed
    assert changed[("bridge_lookup_seconds_bucket", (("le", "0.002"),))] == 1
    assert changed[("bridge_lookup_seconds_bucket", (("le", "0.5"),))] == 2
    assert changed[("bridge_lookup_seconds_count", ())] == 2


def test_a_worker_started_again_is_counted():
    before = value(metrics.render(None), "bridge_worker_restarts_total")
    metrics.worker_restarted()
    assert value(metrics.render(None), "bridge_worker_restarts_total") == before + 1


def test_results_that_are_not_listed_make_no_new_series():
    odd = metrics.SourceCounts("default", "crm", {"exploded": 1}, {"eaten": 1})
    page = metrics.render(metrics.Snapshot((odd,)))
    assert b"exploded" not in page
    assert b"eaten" not in page


def test_names_that_admins_chose_are_escaped():
    odd = metrics.SinkCounts('a"b\\', "x\ny", waiting=1)
    assert value(metrics.render(metrics.Snapshot((), (odd,))), "bridge_queue", tenant='a"b\\', sink="x\ny") == 1


def test_every_metric_is_bridges_own_and_explained():
    families = list(text_string_to_metric_families(metrics.render(SNAPSHOT).decode()))
    assert [family.name for family in families if not family.name.startswith("bridge_")] == []
    assert [family.name for family in families if not family.documentation] == []
    assert len({family.name for family in families}) == len(families)
