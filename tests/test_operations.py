"""What deploy/ gives who operates bridge: alert rules and a dashboard, held against what a daemon really exports."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import promql_parser
import pytest
import typer
import yaml
from daemons import KEY, number, running, until
from prometheus_client.parser import text_string_to_metric_families

from bridge.cli import app
from bridge.demo.manager import Manager

ROOT = Path(__file__).parent.parent
RULES = ROOT / "deploy" / "prometheus" / "bridge.rules.yml"
CASES = ROOT / "tests" / "data" / "rules.yml"
DASHBOARD = ROOT / "deploy" / "grafana" / "bridge.json"
TARGET = {"job": {"bridge"}, "instance": set[str]()}
"""What Prometheus itself puts to every series that it reads."""
PROMETHEUS = {"up": TARGET, "ALERTS": {"alertname": set[str](), "alertstate": {"firing"}, **TARGET}}
"""The series of its own that we use."""
MACROS = {"$__rate_interval": "5m", "$__range": "1h"}

Exported = Mapping[str, Mapping[str, set[str]]]
"""The labels of every metric, and the values that each was seen with."""


@dataclass(frozen=True)
class Asked:
    """An expression, what it is for, and the labels that its legend or its texts name."""

    what: str
    expr: str
    shown: frozenset[str]


def rules() -> list[dict[str, Any]]:
    """Every alert."""
    return [rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(DASHBOARD.read_text())
    return found


def asked() -> Iterator[Asked]:
    """Every expression of the alerts and of the dashboard."""
    for rule in rules():
        texts = " ".join(rule["annotations"].values())
        yield Asked(rule["alert"], rule["expr"], frozenset(re.findall(r"\$labels\.(\w+)", texts)))
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            shown = frozenset(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            yield Asked(panel["title"], plain(target["expr"]), shown)
    for one in dashboard()["annotations"]["list"]:
        yield Asked(one["name"], one["expr"], frozenset())
    for variable in variables("query"):
        metric, label = re.fullmatch(r"label_values\((\w+), (\w+)\)", variable["query"]["query"]).groups()
        yield Asked(f"${variable['name']}", metric, frozenset({label}))


def plain(expr: str) -> str:
    """An expression without Grafana's own words."""
    for macro, text in MACROS.items():
        expr = expr.replace(macro, text)
    return expr


def variables(kind: str) -> list[dict[str, Any]]:
    return [one for one in dashboard()["templating"]["list"] if one["type"] == kind]


def exported(page: str) -> Exported:
    """What a page of metrics holds."""
    found: dict[str, dict[str, set[str]]] = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            for label, value in {**sample.labels, "job": "bridge", "instance": "here"}.items():
                found[sample.name][label].add(value)
    return {**found, **PROMETHEUS}


def nodes(expr: str) -> list[Any]:
    """The parts of an expression."""
    found: list[Any] = []
    promql_parser.walk(promql_parser.parse(expr), found.append)
    return found


def wrong(one: Asked, there: Exported) -> Iterator[str]:
    """What it asks for that nobody exports."""
    parts = nodes(one.expr)
    metrics = [part for part in parts if isinstance(part, promql_parser.VectorSelector)]
    for metric in metrics:
        if metric.name not in there:
            yield f"{one.what}: no metric {metric.name}"
            continue
        for matcher in metric.matchers.matchers:
            values = there[metric.name].get(matcher.name)
            exact = matcher.op == promql_parser.MatchOp.Equal
            if values is None or (exact and values and matcher.value not in values):
                yield f"{one.what}: {metric.name} has no {matcher.name}={matcher.value}"
    labels = {label for metric in metrics for label in there.get(metric.name, ())}
    for part in parts:
        if isinstance(part, promql_parser.AggregateExpr) and part.modifier is not None:
            yield from (f"{one.what}: nothing has {label}" for label in set(part.modifier.labels) - labels)
    yield from (f"{one.what}: {label} is shown and is not there" for label in one.shown - labels)


WORKFLOW = '[connector.workflow.CallFlow]\naction = "webhook"\nurl = "http://127.0.0.1:9/"\n'


@pytest.fixture
async def page(tmp_path: Path, dsn: str) -> str:
    """/metrics of a daemon that has read a source, pushed, answered and refused a caller."""
    manager = Manager(key=KEY)
    async with manager.serve() as url, running(tmp_path, url, dsn, {0: "Ann Lee"}) as daemon:
        await until(lambda: manager.book(), why="the Manager is told")
        await daemon.names(number(0))
        assert (await daemon.lookup(number(0), "a wrong token"))[0] == 401
        daemon.configure(WORKFLOW)
        daemon.signal(signal.SIGHUP)

        async def told() -> str:
            async with aiohttp.ClientSession() as http, http.get(f"http://127.0.0.1:{daemon.admin}/metrics") as reply:
                text = await reply.text()
                return text if "bridge_workflow_calls{" in text else ""

        found: str = await until(told, why="the metrics of all that is configured are there")
        return found


async def test_all_that_alerts_and_dashboard_ask_for_is_exported(page: str) -> None:
    there = exported(page)
    assert [line for one in asked() for line in wrong(one, there)] == []


@pytest.mark.parametrize(
    ("expr", "shown", "want"),
    [
        ("rate(bridge_gone_total[5m])", "", "x: no metric bridge_gone_total"),
        ('bridge_held{tenant="default", sink="a"}', "", "x: bridge_held has no sink=a"),
        ('bridge_runs_total{result="gone"}', "", "x: bridge_runs_total has no result=gone"),
        ("sum by (sink) (bridge_held)", "", "x: nothing has sink"),
        ("bridge_held", "sink", "x: sink is shown and is not there"),
        ('up{job="other"}', "", "x: up has no job=other"),
    ],
)
def test_what_is_not_exported_is_found(expr: str, shown: str, want: str) -> None:
    page = 'bridge_held{tenant="default",source="crm"} 1.0\nbridge_runs_total{tenant="default",result="done"} 1.0\n'
    text = "# TYPE bridge_held gauge\n# TYPE bridge_runs_total counter\n" + page
    one = Asked("x", expr, frozenset(shown.split()))
    assert list(wrong(one, exported(text))) == [want]


# Alerts


def test_each_alert_says_what_is_wrong_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("critical", "warning")
        assert set(rule["annotations"]) == {"summary", "description"}
        assert "{{" in rule["annotations"]["summary"], "it names what is meant"
        assert "`" in rule["annotations"]["description"], "it names a command"


def test_the_commands_that_alerts_name_are_there() -> None:
    known = set(typer.main.get_command(app).commands)
    texts = " ".join(rule["annotations"]["description"] for rule in rules())
    named = set(re.findall(r"`bridge (\w+)", texts))
    assert named - known == set()
    assert named >= {"status", "check", "approve", "refused"}


def test_the_options_that_alerts_name_are_there() -> None:
    known = typer.main.get_command(app).commands
    for rule in rules():
        for name, rest in re.findall(r"`bridge (\w+)([^`]*)`", rule["annotations"]["description"]):
            options = {option for each in known[name].params for option in each.opts}
            named = set(re.findall(r"--[a-z]+", rest))
            assert named - options == set(), (rule["alert"], name)
            if "$labels.tenant" in rule["annotations"]["summary"]:
                assert "--tenant {{ $labels.tenant }}" in rest, (rule["alert"], name)


def test_the_events_that_alerts_name_are_logged() -> None:
    code = "".join(path.read_text() for path in (ROOT / "bridge").rglob("*.py"))
    texts = {rule["alert"]: rule["annotations"]["description"] for rule in rules()}
    named = {event for text in texts.values() for event in re.findall(r"`([a-z]+\.[a-z]+)`", text)}
    assert [event for event in named if f'"{event}"' not in code] == []
    assert "`provisioning.failed`" in texts["BridgeProvisioningFails"]


def test_a_new_secret_is_loaded_from_wherever_it_is() -> None:
    """A reload reads files; credentials of systemd and environment variables are a process's from its start."""
    texts = [rule["annotations"]["description"] for rule in rules()]
    for text in (*texts, *(ROOT / "README.md").read_text().partition("## When something")[2].split("\n")[:20]):
        assert "`systemctl reload bridge`" not in text or "`systemctl restart bridge` where it is" in text


def test_every_alert_fires_in_the_cases() -> None:
    fired = set(re.findall(r'alertname="(\w+)"', CASES.read_text()))
    assert fired == {rule["alert"] for rule in rules()}


def test_alerts_fire_when_something_is_wrong_and_then_alone() -> None:
    if (promtool := shutil.which("promtool")) is None:
        return  # Debian's package prometheus; without it, what the expressions name is tested all the same
    for command in (("check", "rules", RULES), ("test", "rules", CASES)):
        done = subprocess.run([promtool, *command], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


# The dashboard


def test_dashboard_can_be_imported_anywhere() -> None:
    board = dashboard()
    assert [one["name"] for one in variables("datasource")] == ["datasource"]
    assert {one["name"] for one in variables("query")} == {"tenant", "instance"}
    sources = [panel["datasource"] for panel in board["panels"] if panel["type"] != "row"]
    sources += [target["datasource"] for panel in board["panels"] for target in panel.get("targets", [])]
    sources += [one["datasource"] for one in (*variables("query"), *board["annotations"]["list"])]
    assert {one["uid"] for one in sources} == {"${datasource}"}
    assert {one["type"] for one in sources} == {"prometheus"}


def test_panels_are_told_apart_and_overlap_nowhere() -> None:
    panels = dashboard()["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        assert place["x"] + place["w"] <= 24, panel["title"]
        taken |= cells


def test_panels_say_what_they_show_and_follow_the_variables() -> None:
    for panel in dashboard()["panels"]:
        if panel["type"] == "row":
            continue
        assert panel["description"], panel["title"]
        for target in panel["targets"]:
            expr = plain(target["expr"])
            found = [part for part in nodes(expr) if isinstance(part, promql_parser.VectorSelector)]
            for metric in found:
                chosen = {matcher.name: matcher.value for matcher in metric.matchers.matchers}
                by_tenant = chosen.get("tenant") == "$tenant"
                assert by_tenant or chosen.get("instance") == "$instance" or metric.name == "up", panel["title"]
