"""Every command, run as a process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import os
import pty
import re
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import typer
from aiohttp import web
from commands import Ran, bridge, card, crowd, environment, free_port

from bridge import store
from bridge.cli import losses, output
from bridge.demo.manager import Manager
from bridge.store import Store

ANN = card("1", "Ann Lee", "+352 621 111 111")
BOB = card("2", "Bob Ray", "+352 621 222 222")
CONFIG = """
region = "LU"
{database}
[source.crm]
type = "file"
path = "crm.vcf"
label = "Our CRM"
[sink.pbx]
type = "ccm"
url = "{url}"
security_key = "{key}"
rate = 1000
[phonebook.staff]
users = {{ phones = "phones-password" }}
[connector]
token = "connector-token"
"""


@dataclass(frozen=True)
class Place:
    """A directory with a configuration, and the Manager that it names."""

    home: Path
    manager: Manager

    async def __call__(self, *words: str, **more: str) -> Ran:
        return await bridge(self.home, *words, **more)

    def write(self, *cards: str, name: str = "crm.vcf") -> None:
        (self.home / name).write_text("".join(cards))

    def configure(self, dsn: str, url: str, key: str = "right-key", more: str = "") -> None:
        file = self.home / "bridge.toml"
        file.touch(0o600)
        database = f'[database]\nurl = "{dsn}"' if dsn else ""
        file.write_text(CONFIG.format(database=database, url=url, key=key) + more)


@pytest.fixture
async def place(tmp_path: Path, dsn: str) -> AsyncIterator[Place]:
    """Ann and Bob in a file, nothing read yet."""
    manager = Manager("right-key")
    async with manager.serve() as url:
        made = Place(tmp_path, manager)
        made.configure(dsn, url)
        made.write(ANN, BOB)
        yield made


# sync


async def test_sync_brings_contacts_to_the_manager_and_says_what_it_did(place: Place) -> None:
    ran = await place("sync", "--json")
    [told] = ran.json["sources"]
    seconds = told.pop("seconds")
    counts = {"read": 2, "added": 2, "changed": 0, "removed": 0, "unchanged": 0, "refused": 0, "held": 0}
    assert (ran.code, told, ran.err) == (0, {"source": "crm", **counts, "error": ""}, "")
    assert 0 < seconds < 10
    assert place.manager.book() == {"352621111111": ("Ann", "Lee", ""), "352621222222": ("Bob", "Ray", "")}
    calls = len(place.manager.calls)
    again = await place("sync", "crm")
    plain, _, seconds = again.out.strip().rpartition(" seconds=")
    assert plain == "crm: read=2 added=0 changed=0 removed=0 unchanged=2 refused=0 held=0"
    assert (again.code, float(seconds) > 0, again.err, len(place.manager.calls)) == (0, True, "", calls)


async def test_a_dry_run_writes_and_pushes_nothing_and_lists_what_would_change(place: Place) -> None:
    ran = await place("sync", "--dry-run", "--json")
    [told] = ran.json["sources"]
    assert (ran.code, told["added"]) == (0, 2)
    assert told["would"] == [
        {"change": "added", "id": "1", "name": "Ann Lee"},
        {"change": "added", "id": "2", "name": "Bob Ray"},
    ]
    assert (await place("status", "--json")).json["sources"][0]["contacts"] == 0
    assert list(place.manager.calls) == []


async def test_one_failed_source_fails_the_command_and_the_others_are_done(place: Place) -> None:
    with (place.home / "bridge.toml").open("a") as file:
        file.write('[source.lost]\ntype = "file"\npath = "nowhere.vcf"\n')
    ran = await place("sync")
    assert ran.code == 1
    assert [line.split(" ")[:2] for line in ran.out.splitlines()] == [["crm:", "read=2"], ["lost:", "read=0"]]
    assert ran.err == f"lost: {place.home}/nowhere.vcf cannot be read: no such file or directory\n"
    assert len(place.manager.book()) == 2


async def test_a_document_is_one_though_the_database_is_away(place: Place) -> None:
    place.configure(f"postgresql://bridge@127.0.0.1:{free_port()}/bridge", "http://127.0.0.1:9/api.aspx")
    ran = await place("sync", "--json")
    assert (ran.code, ran.json) == (1, {"sources": []})
    assert "the database is not there" in ran.err


async def test_a_demo_reads_no_configuration_that_it_is_given(place: Place) -> None:
    ran = await place("demo", "--once", "--config", str(place.home / "none.toml"), within=90)
    assert ran.code == 0, ran.err


async def test_a_sink_that_refuses_the_key_fails_the_command(place: Place) -> None:
    place.manager.key = "another-key"
    ran = await place("sync")
    assert ran.code == 1
    assert "pbx: has not taken its pushes: " in ran.err
    assert "right-key" not in ran.err
    [sink] = (await place("status", "--json")).json["sinks"]
    assert (sink["waiting"], sink["denied"]) == (2, "INVALID_AUTH_ID")


async def test_an_unknown_source_is_a_bad_command_line_that_names_the_nearest(place: Place) -> None:
    ran = await place("sync", "crn")
    assert (ran.code, ran.out) == (2, "")
    assert 'there is no source "crn", did you mean "crm"?' in ran.err


async def test_two_at_once_do_it_once(place: Place) -> None:
    first, second = await asyncio.gather(place("sync", "--json"), place("sync", "--json"))
    assert (first.code, second.code) == (0, 0)
    added = [ran.json["sources"][0]["added"] for ran in (first, second)]
    assert sorted(added) == [0, 2]
    assert place.manager.counts["Contact Created"] == 2


# Losses


async def test_losses_are_held_shown_approved_and_restored(place: Place) -> None:
    place.write(crowd(40))
    assert (await place("sync")).code == 0
    place.write(crowd(20))
    ran = await place("sync")
    assert ran.code == 3
    assert ran.err == (
        "crm: 20 of 40 contacts would be lost: more than 10 % and more than 10; "
        "20 losses are held: bridge approve crm lets them through\n"
    )
    shown, status = await asyncio.gather(place("approve", "crm", "--list", "--json"), place("status", "--json"))
    assert {(one["loss"], one["name"]) for one in shown.json["held"]} >= {("removed", "Person N39")}
    [source] = status.json["sources"]
    assert (source["held"], source["contacts"], source["held_since"] is None) == (20, 40, False)

    # What comes after the list was shown waits for another approval.
    place.write(crowd(15))
    assert (await place("sync")).code == 3
    assert len(place.manager.book()) == 40
    first = await place("approve", "crm")
    assert (first.code, first.out, len(place.manager.book())) == (3, "crm: removed=20 changed=0 held=5\n", 20)
    second = await place("approve", "crm", "--json")
    assert (second.code, second.json) == (0, {"source": "crm", "removed": 5, "changed": 0, "held": 0})
    assert len(place.manager.book()) == 15

    restored = await place("restore", "crm", "--since", "2h", "--json")
    assert (restored.code, restored.json, len(place.manager.book())) == (0, {"source": "crm", "restored": 25}, 40)


async def test_what_a_source_brought_that_left_the_file_goes_by_approval(place: Place) -> None:
    config = place.home / "bridge.toml"
    whole = config.read_text()
    config.write_text(whole + '[source.old]\ntype = "file"\npath = "old.vcf"\n')
    place.write(card("9", "Olga Old", "+352 621 999 999"), name="old.vcf")
    assert (await place("sync")).code == 0
    config.write_text(whole)
    listed = await place("approve", "old", "--list")
    assert (listed.code, listed.out.startswith('9: name="Olga Old" loss="the contact would go" ')) == (0, True)
    told = (await place("status")).out
    assert "old: left the configuration: its 1 contacts stay until bridge approve old\n" in told
    approved = await place("approve", "old")
    assert (approved.code, approved.out) == (0, "old: removed=1 changed=0 held=0\n")
    assert sorted(place.manager.book()) == ["352621111111", "352621222222"]
    assert (await place("approve", "old")).code == 2


def test_times_to_restore_from() -> None:
    now = datetime.datetime(2025, 3, 10, 12, 0, tzinfo=datetime.UTC).astimezone()
    for text, ago in (("2h", 2), ("1d", 24), ("90 min", 1.5), ("999999d", 7 * 24), ("2025-03-10T11:00Z", 1)):
        assert (now - losses.moment(text, now)).total_seconds() / 3600 == ago
    midnight = losses.moment("0:00", now)
    assert (midnight.hour, midnight.minute, midnight.day) == (0, 0, now.day)


@pytest.mark.parametrize("text", ["soon", "25:00", "2h ago", "2999-01-01"])
def test_what_is_no_time_to_restore_from(text: str) -> None:
    with pytest.raises(typer.BadParameter, match=re.escape(f'"{text}" is')):
        losses.moment(text)


# What is known


async def test_lookup_answers_as_the_connector_is(place: Place) -> None:
    await place("sync", "--no-push")
    ran, plain, nobody = await asyncio.gather(
        place("lookup", "--json", "352621111111"), place("lookup", "621 111 111"), place("lookup", "0123")
    )
    [found] = ran.json
    assert (ran.code, found["name"], found["id"], found["crmName"]) == (0, "Ann Lee", "crm:1", "Our CRM")
    assert (plain.code, plain.out) == (0, 'Ann Lee: company="" id=crm:1 crmName="Our CRM" contactUri=""\n')
    assert (nobody.code, nobody.out, nobody.err) == (0, "", "nobody has 0123\n")


async def test_explain_tells_readings_candidates_the_rule_and_the_sinks(place: Place) -> None:
    place.write(ANN, card("9", "Ann Other", "621111111"))
    await place("sync")
    ran = await place("explain", "--json", "00352 621 111 111")
    assert ran.json["meant"] == "+352621111111"
    assert {one["name"] for one in ran.json["readings"][0]["candidates"]} == {"Ann Lee", "Ann Other"}
    [entry] = ran.json["sinks"]
    assert (entry["sink"], entry["state"], entry["acked"]["number"]) == ("pbx", "clean", "352621111111")
    plain = (await place("explain", "621111111")).out
    assert f"rule: {ran.json['rule']}\n" in plain
    assert "\npbx: number=+352621111111 state=clean " in plain


async def test_explain_names_whom_the_last_digits_found(place: Place) -> None:
    config = place.home / "bridge.toml"
    config.write_text(config.read_text() + "suffix = 7\n")
    await place("sync")
    ran = await place("explain", "--json", "099 1111111")
    assert ran.json["rule"] == "no contact has the whole number, and one alone has its last 7 digits"
    [candidate] = ran.json["readings"][-1]["candidates"]
    assert (candidate["name"], candidate["number"], candidate["answered"]) == ("Ann Lee", "+352621111111", True)
    assert candidate["read_at"]


async def test_status_of_what_never_ran_and_of_what_fails(place: Place) -> None:
    ran = await place("status")
    told = [line.split(" ")[0] + " " + line.rpartition(" ")[2] for line in ran.out.splitlines()[1:]]
    assert (ran.code, ran.out.splitlines()[0]) == (0, "daemon: does not run")
    assert told == ['crm: read"', "pbx: state=ok"]
    (place.home / "crm.vcf").write_text("<!doctype html><html><body>Sign in</body></html>")
    assert (await place("sync")).code == 1
    [source] = (await place("status", "--json")).json["sources"]
    assert (source["failures"], source["failing_since"] is None) == (1, False)
    assert source["error"] == "this is an HTML page (a login or an error?), not a phone book"


async def test_refused_numbers_are_shown_and_tried_again(place: Place) -> None:
    config = place.home / "bridge.toml"
    config.write_text(config.read_text().replace("rate = 1000", 'numbers = "e164"'))
    place.write(ANN)
    ran = await place("sync")
    assert ran.code == 0
    assert ran.err.endswith("\npbx: 1 numbers are refused until they change: see bridge refused\n")
    [refused] = (await place("refused", "--json")).json["refused"]
    told = {name: refused[name] for name in ("sink", "number", "name", "code")}
    assert told == {"sink": "pbx", "number": "+352621111111", "name": "Ann Lee", "code": "PHONE_NUMBER_INVALID"}
    plain = await place("refused")
    assert (plain.code, plain.out.startswith('pbx: number=+352621111111 name="Ann Lee" code=')) == (0, True)
    place.manager.plus = True
    retried = await place("refused", "--retry", "--json")
    assert (retried.code, retried.json) == (0, {"refused": [], "unreadable": []})
    assert place.manager.book() == {"+352621111111": ("Ann", "Lee", "")}


async def test_unreadable_records_are_named(place: Place) -> None:
    place.write('[{"Id": "1", "FirstName": "Ann", "LastName": "Lee", "WorkNumber": ["621111111"]}, 5]')
    ran = await place("sync", "--json")
    assert ran.json["sources"][0]["refused"] == 1
    [bad] = (await place("refused", "--json")).json["unreadable"]
    assert (bad["source"], bool(bad["reason"])) == ("crm", True)
    assert f"crm: unreadable: {bad['id']}: {bad['reason']}\n" in (await place("status")).out


# Phone books


async def test_export_writes_a_phone_book(place: Place) -> None:
    await place("sync", "--no-push")
    file = place.home / "book.txt"
    file.write_text("old")
    file.chmod(0o640)
    printed, written, unknown, unwritable = await asyncio.gather(
        place("export", "staff", "--format", "json"),
        place("export", "staff", "--format", "text", "-o", "book.txt"),
        place("export", "stuff", "--format", "text"),
        place("export", "staff", "--format", "csv", "-o", "no/such/book.csv"),
    )
    assert [one["MobileNumber"] for one in printed.json] == [["+352621111111"], ["+352621222222"]]
    assert (written.code, written.out) == (0, "")
    assert file.read_text() == "+352621111111:Ann Lee\n+352621222222:Bob Ray\n"
    assert file.stat().st_mode & 0o777 == 0o640
    assert [each.name for each in place.home.glob(".book*")] == []
    assert (unknown.code, 'there is no phone book "stuff", did you mean "staff"?' in unknown.err) == (2, True)
    assert (unwritable.code, "cannot be written: No such file or directory" in unwritable.err) == (1, True)


# Configuration and database


async def test_every_mistake_in_the_configuration_is_a_line(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text('regoin = "LU"\n[source.crm]\ntype = "carddav"\n')
    check, run, sync = await asyncio.gather(*(bridge(tmp_path, *w) for w in (["check", "--json"], ["run"], ["sync"])))
    keys = [line.split(": ")[0] for line in run.err.splitlines()]
    assert keys == ["bridge.toml:regoin", "bridge.toml:source.crm.url"]
    assert (check.code, run.code, sync.code) == (2, 2, 2)
    assert check.err == run.err == sync.err
    assert (check.json["ok"], check.json["problems"]) == (False, run.err.splitlines())


async def test_a_configuration_that_is_not_there(tmp_path: Path) -> None:
    ran = await bridge(tmp_path, "status", "--config", "gone.toml")
    assert (ran.code, ran.err) == (2, "gone.toml: there is no such file, right is the path of one\n")


async def test_check_logs_in_to_everything_and_takes_the_time(place: Place) -> None:
    assert (await place("check", "--offline")).out == "ok\n"
    ran = await place("check", "--json")
    assert (ran.code, ran.json["ok"], ran.json["problems"]) == (0, True, [])
    assert [one["source"] for one in ran.json["sources"]] == ["crm"]
    assert [(one["sink"], one["ok"], one["seconds"] > 0) for one in ran.json["sinks"]] == [("pbx", True, True)]
    place.manager.key = "another-key"
    (place.home / "crm.vcf").unlink()
    ran = await place("check")
    assert ran.code == 1
    assert [line.split(" seconds=")[0] for line in ran.out.splitlines()] == [
        "database: kind=database result=ok",
        "crm: kind=source result=failed",
        "pbx: kind=sink result=failed",
    ]
    assert [line.split(": ")[0] for line in ran.err.splitlines()] == ["crm", "pbx"]


class Crowded:
    """Servers of empty phone books that take a while, and how many were asked at the same time."""

    def __init__(self) -> None:
        self.asked: Counter[str] = Counter()
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()

    async def answer(self, request: web.BaseRequest) -> web.Response:
        self.asked[request.path] += 1
        for one in (request.host, "all"):
            self.now[one] += 1
            self.most[one] = max(self.most[one], self.now[one])
        await asyncio.sleep(0.2)
        self.now.subtract((request.host, "all"))
        return web.json_response([])


@contextlib.asynccontextmanager
async def servers(answer: Callable[[web.BaseRequest], Awaitable[web.Response]], count: int) -> AsyncIterator[list[str]]:
    """So many servers on loopback; their URLs."""
    runner = web.ServerRunner(web.Server(answer))
    await runner.setup()
    try:
        for _ in range(count):
            await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield [f"http://127.0.0.1:{port}" for _, port in runner.addresses]
    finally:
        await runner.cleanup()


@pytest.fixture
async def crowded(tmp_path: Path) -> AsyncIterator[Crowded]:
    """Six tenants, each with eight phone books at a server of its own."""
    made = Crowded()
    async with servers(made.answer, 6) as urls:
        (tmp_path / "bridge.toml").write_text('region = "LU"\ntenants = "tenants/*.toml"\n')
        (tmp_path / "tenants").mkdir()
        for number, url in enumerate(urls):
            books = (f'[source.b{n}]\ntype = "phonebook"\nurl = "{url}/t{number}"\n' for n in range(8))
            (tmp_path / "tenants" / f"t{number}.toml").write_text("".join(books))
        yield made


async def test_check_of_many_tenants_logs_in_to_a_bounded_number_at_a_time(tmp_path: Path, crowded: Crowded) -> None:
    ran = await bridge(tmp_path, "check", "--json")
    assert (ran.code, len(ran.json["sources"])) == (0, 48)
    assert [(one["tenant"], one["source"]) for one in ran.json["sources"][:9]] == [
        *(("t0", f"b{n}") for n in range(8)),
        ("t1", "b0"),
    ]
    assert 1 < crowded.most.pop("all") <= 16
    assert len(crowded.most) == 6
    assert max(crowded.most.values()) <= 4


async def test_check_of_one_tenant_leaves_the_others_alone(tmp_path: Path, crowded: Crowded) -> None:
    (tmp_path / "tenants" / "t3.toml").write_text('[source.book]\ntype = "file"\npath = "gone.vcf"\n')
    ran, other = await asyncio.gather(
        bridge(tmp_path, "check", "--tenant", "t1"), bridge(tmp_path, "check", "--tenant", "nobody")
    )
    assert ran.code == 0
    assert [line.split(":")[0] for line in ran.out.splitlines()] == [f"b{n}" for n in range(8)]
    assert set(crowded.asked) == {"/t1"}
    assert (other.code, 'there is no tenant "nobody"' in other.err) == (2, True)


async def test_migrate_says_from_where_to_where(tmp_path: Path) -> None:
    (tmp_path / "bridge.toml").write_text("")
    ran = await bridge(tmp_path, "migrate")
    assert (ran.code, ran.out, ran.err) == (0, f"schema 0 -> {store.VERSION}\n", "")
    assert (await bridge(tmp_path, "migrate")).out == f"schema {store.VERSION}: nothing to do\n"


async def test_a_newer_schema_is_refused(place: Place, db: Store) -> None:
    await db.execute("update schema_version set version = 999")
    ran = await place("sync")
    assert (ran.code, ran.out) == (1, "")
    assert (
        ran.err
        == f"the database has schema 999, this bridge knows {store.VERSION}: run the newer bridge that made it\n"
    )


async def test_a_database_that_is_away_shows_no_password(place: Place) -> None:
    place.configure("postgresql://bridge:hunter22@127.0.0.1:9/bridge", "http://127.0.0.1:9/api.aspx")
    ran = await place("status")
    assert (ran.code, ran.out, "the database is not there" in ran.err) == (1, "", True)
    assert "hunter22" not in ran.err
    assert "Traceback" not in ran.err


# What a terminal gets


async def _on_terminal(home: Path, *words: str, **more: str) -> str:
    """What a command prints on a terminal of 120 columns."""
    master, slave = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", *words),
        cwd=home,
        env=environment(TERM="xterm-256color", COLUMNS="120", **more),
        stdin=slave,
        stdout=slave,
        stderr=slave,
    )
    os.close(slave)
    said = b""
    # A terminal whose last user has gone says so with EIO.
    with contextlib.suppress(OSError):
        while part := await asyncio.to_thread(os.read, master, 1 << 16):
            said += part
    os.close(master)
    await asyncio.wait_for(process.wait(), 15)
    return said.decode()


async def test_a_terminal_gets_tables_and_no_control_characters_of_others(place: Place) -> None:
    place.write(card("1", "Evil \x1b[31mRed", "+352 621 111 111"))
    said = await _on_terminal(place.home, "sync", NO_COLOR="1")
    assert "source  read  added" in said
    said = await _on_terminal(place.home, "lookup", "621111111")
    assert "\x1b[31m" not in said
    assert "\x1b[1m" in said
    plain = await _on_terminal(place.home, "status", NO_COLOR="1")
    assert ("s ago" in plain, "\x1b[" in plain) == (True, False)


def test_ages_are_short() -> None:
    now = datetime.datetime(2025, 1, 1, tzinfo=datetime.UTC)
    told = [output.age(now - datetime.timedelta(seconds=s), now) for s in (0, 59, 3599, 7200, 200_000, -90)]
    assert told == ["0 s ago", "59 s ago", "59 min ago", "2 h ago", "2 d ago", "in 1 min"]
    assert output.age(None) == "never"


def test_lines_quote_what_grep_would_trip_over() -> None:
    pairs = [("name", 'Bob "B" Ray'), ("bad", "a\nb"), ("none", None), ("n", 5), ("empty", "")]
    assert output.line("crm", pairs) == r'crm: name="Bob \"B\" Ray" bad="a\nb" n=5 empty=""'
    assert output.printable("a\x1b[0m\nb") == r"a\x1b[0m\nb"


# Beside a daemon


async def test_commands_beside_a_daemon(place: Place) -> None:
    with (place.home / "bridge.toml").open("a") as file:
        file.write(f'[http]\nlisten = "127.0.0.1:{free_port()}"\n[admin]\nlisten = "127.0.0.1:{free_port()}"\n')
    daemon = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "run"),
        cwd=place.home,
        env=environment(),
        stderr=asyncio.subprocess.PIPE,
    )
    assert daemon.stderr is not None
    try:
        async with asyncio.timeout(15):
            while b"run.done" not in await daemon.stderr.readline():
                pass
        place.write(crowd(12))
        ran = await place("sync", "--json")
        [told] = ran.json["sources"]
        assert (ran.code, told["added"], told["removed"], told["error"]) == (0, 12, 2, "")
        assert len(place.manager.book()) == 12
        place.write(crowd(11, start=1) + ANN)
        dry = (await place("sync", "--dry-run", "--json")).json["sources"][0]
        assert [(one["change"], one["id"]) for one in dry["would"]] == [("added", "1"), ("removed", "p0")]
        assert (await place("status", "--json")).json["daemon"] is True
        place.write("")
        assert (await place("sync")).code == 3
        assert (await place("approve", "crm")).out == "crm: removed=12 changed=0 held=0\n"
        assert place.manager.book() == {}
    finally:
        daemon.send_signal(signal.SIGTERM)
        await asyncio.wait_for(daemon.communicate(), 12)
    assert daemon.returncode == 0
