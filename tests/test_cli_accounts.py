"""`bridge account`, run as a process of its own."""

from __future__ import annotations

import asyncio
import os
import pty
import stat
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from commands import Ran, environment

from bridge import accounts, config, keys
from bridge.accounts import giving, seals
from bridge.accounts.details import Details
from bridge.accounts.logins import Logins
from bridge.demo.manager import Manager
from bridge.store import Store

CONFIG = """
region = "LU"
[database]
url = "{dsn}"
[provisioning]
{more}
"""
SINK = """
[sink.pbx]
type = "ccm"
url = "{url}"
security_key = "right-key"
rate = 1000
contacts = false
extensions = true
"""
CSV = """username,password,sipusername,sippassword,extension,firstname,lastname
ann,ann-login,user1,ann-sip,101,Ann,Lee
bob,bob-login,user2,bob-sip,,,
"""
SECRETS = ("ann-login", "ann-sip", "bob-login", "bob-sip", "argon2id")


@dataclass(frozen=True)
class Place:
    """A directory with a configuration and files beside it."""

    home: Path
    db: Store

    async def __call__(self, *words: str, told: str | None = None) -> Ran:
        """Run `bridge account` with these lines on standard input."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "bridge", "account", *words),
            cwd=self.home,
            env=environment(),
            stdin=asyncio.subprocess.DEVNULL if told is None else asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        out, err = await asyncio.wait_for(process.communicate(None if told is None else told.encode()), 30)
        assert process.returncode is not None
        ran = Ran(process.returncode, out.decode(), err.decode())
        assert not [secret for secret in SECRETS if secret in ran.out + ran.err]
        return ran

    def write(self, text: str) -> str:
        (self.home / "accounts.csv").write_text(text)
        return "accounts.csv"

    async def right(self, username: str, password: str) -> bool:
        logins = Logins(self.db)
        try:
            return await logins.right(await logins.look("default", username), password)
        finally:
            await logins.close()

    async def given(self, username: str) -> bytes:
        gift = await giving.gift(self.db, seals.kept(self.home / ".bridge"), "default", username, keys.Defaults())
        return gift.document


@pytest.fixture
def place(tmp_path: Path, db: Store, dsn: str) -> Place:
    """No account yet."""
    made = Place(tmp_path, db)
    configure(made, dsn)
    return made


def configure(place: Place, dsn: str, more: str = "") -> None:
    file = place.home / "bridge.toml"
    file.touch(0o600)
    file.write_text(CONFIG.format(dsn=dsn, more=more))
    config.load(file)


async def test_an_import_adds_and_changes_and_removes_nobody(place: Place) -> None:
    ran = await place("import", place.write(CSV))
    assert (ran.code, ran.out, ran.err) == (0, "accounts.csv: added=2 changed=0 unchanged=0 refused=0\n", "")
    assert stat.S_IMODE((place.home / ".bridge" / seals.FILE).stat().st_mode) == 0o600
    assert [await place.right("ann", password) for password in ("ann-login", "ann-sip")] == [True, False]
    ran = await place("import", place.write("\ufeffusername;sippassword;video\r\nbob;bob-sip;no\r\n"), "--json")
    assert (ran.code, ran.json) == (0, {"added": 0, "changed": 1, "unchanged": 0, "refused": []})
    assert [(one.username, one.details.video) for one in await accounts.listed(place.db, "default")] == [
        ("ann", ""),
        ("bob", "Disabled"),
    ]
    assert b'"sippassword":"bob-sip"' in await place.given("bob")


async def test_one_bad_row_is_named_by_its_number_and_the_others_go_in(place: Place) -> None:
    text = CSV + "carl,,user3,x,,,\n" + 'dora,"open\n' + "eve,e,user5,f,,,\n"
    ran = await place("import", place.write(text), "--json")
    missing = "password missing: a new account needs both passwords"
    quote = 'a quote is not closed, or something stands behind it; right is "like ""this"""'
    assert ran.code == 1
    assert ran.json == {
        "added": 3,
        "changed": 0,
        "unchanged": 0,
        "refused": [{"row": 4, "reason": missing}, {"row": 5, "reason": quote}],
    }
    assert ran.err == f"accounts.csv: row 4: {missing}\naccounts.csv: row 5: {quote}\n"
    assert [one.username for one in await accounts.listed(place.db, "default")] == ["ann", "bob", "eve"]


async def test_a_csv_that_cannot_be_read_is_said(place: Place) -> None:
    ran = await place("import", "nowhere.csv")
    assert (ran.code, ran.err) == (1, "nowhere.csv cannot be read: No such file or directory\n")
    ran = await place("import", place.write("ann,ann-login\n"))
    assert (ran.code, ran.err.partition(",")[0]) == (1, "column 1 of the header is none that is known")


async def test_the_list_shows_what_each_device_was_last_given_and_when(place: Place) -> None:
    ran = await place("list")
    assert (ran.code, ran.out, ran.err) == (0, "", "there is no account\n")
    await place("import", place.write(CSV))
    seal = seals.kept(place.home / ".bridge")
    gift = await giving.gift(place.db, seal, "default", "ann", keys.Defaults())
    await giving.give(place.db, "default", "ann", "d1", gift)
    await giving.give(place.db, "default", "bob", "d2", giving.NOTHING)
    lines = (await place("list")).out.splitlines()
    assert [line.partition(" changed=")[0].partition(" when=")[0] for line in lines] == [
        'ann: state=enabled sipusername=user1 extension=101 name="Ann Lee"',
        "bob: state=enabled sipusername=user2",
        'ann: device=d1 last_given="user1, transport=TLS"',
        "bob: device=d2 last_given=nothing",
    ]
    ann, bob = (await place("list", "--json")).json["accounts"]
    [device] = ann["devices"]
    assert device.pop("given_at").startswith("20")
    assert device == {"device": "d1", "given": [{"sipusername": "user1", "transport": "TLS"}]}
    assert (ann["username"], ann["disabled"], ann["extension"], bob["devices"][0]["given"]) == ("ann", False, "101", [])


async def test_passwords_come_by_standard_input(place: Place) -> None:
    ran = await place("set", "ann", "--sipusername", "user1", told="ann-login\nann-sip\n")
    assert (ran.code, ran.out, ran.err) == (0, "ann: result=added\n", "")
    assert await place.right("ann", "ann-login")
    assert b'"sippassword":"ann-sip"' in await place.given("ann")
    assert (await place("set", "ann", "--transport", "udp")).out == "ann: result=changed\n"
    assert (await place("set", "ann", told="\n")).out == "ann: result=unchanged\n"
    assert (await place("set", "ann", "--json", told="another\n")).json == {"username": "ann", "result": "changed"}
    assert await place.right("ann", "another")
    [account] = await accounts.listed(place.db, "default")
    assert account.details == Details("user1", transport="UDP")


async def test_a_wrong_set_changes_nothing(place: Place) -> None:
    ran = await place("set", "ann", told="ann-login\n")
    missing = "sipusername and sippassword missing: a new account needs both passwords"
    assert (ran.code, ran.err) == (1, f"ann: {missing}\n")
    ran = await place("set", "ann", "--transport", "SCTP")
    assert (ran.code, "transport is none of UDP, TCP, TLS" in ran.err) == (2, True)
    ran = await place("set", "ann", "--password", "x")
    assert (ran.code, "No such option" in ran.err) == (2, True)
    assert await accounts.listed(place.db, "default") == []


async def test_passwords_are_asked_for_on_a_terminal_and_not_shown(place: Place) -> None:
    ours, theirs = pty.openpty()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "account", "set", "ann", "--sipusername", "user1"),
        cwd=place.home,
        env=environment(TERM="dumb"),
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    os.close(theirs)
    shown = b""
    for prompt, answer in (
        (b"Login password", b"ann-login"),
        (b"epeat for confirmation", b"ann-login"),
        (b"SIP password", b"ann-sip"),
        (b"epeat for confirmation", b"ann-sip"),
    ):
        while prompt not in shown.rpartition(b"\n")[2]:
            shown += await asyncio.to_thread(os.read, ours, 1024)
        await asyncio.sleep(0.1)  # the terminal is told to be silent just before it reads
        os.write(ours, answer + b"\n")
    assert await asyncio.wait_for(process.wait(), 30) == 0
    shown += await asyncio.to_thread(os.read, ours, 1024)
    os.close(ours)
    assert not [secret for secret in SECRETS if secret.encode() in shown]
    assert await place.right("ann", "ann-login")


async def test_disable_and_enable_and_delete(place: Place) -> None:
    await place("import", place.write(CSV))
    assert (await place("disable", "ann")).out == "ann: result=disabled\n"
    assert (await place("disable", "ann")).out == "ann: result=unchanged\n"
    assert (await place("import", "accounts.csv")).out.split(" ", 1)[1] == "added=0 changed=0 unchanged=2 refused=0\n"
    assert [one.disabled for one in await accounts.listed(place.db, "default")] == [True, False]
    assert (await place("set", "ann", "--enable")).out == "ann: result=changed\n"
    assert [one.disabled for one in await accounts.listed(place.db, "default")] == [False, False]
    assert (await place("delete", "ann")).out == "ann: result=deleted\n"
    for command in ("delete", "disable"):
        ran = await place(command, "bobb")
        assert (ran.code, 'there is no account "bobb", did you mean "bob"?' in ran.err) == (2, True)
    assert [one.username for one in await accounts.listed(place.db, "default")] == ["bob"]


async def test_commands_at_once_make_one_key(place: Place) -> None:
    words = [("set", f"u{n}", "--sipusername", f"user{n}") for n in range(4)]
    ran = await asyncio.gather(*(place(*one, told="login\nsip\n") for one in words))
    assert [one.code for one in ran] == [0] * 4
    assert [b'"sip"' in await place.given(f"u{n}") for n in range(4)] == [True] * 4


async def test_the_key_may_be_the_admins(place: Place, dsn: str) -> None:
    configure(place, dsn, 'key = "a key of the admin\'s"')
    assert (await place("import", place.write(CSV))).code == 0
    assert not (place.home / ".bridge" / seals.FILE).exists()
    seal = seals.given(keys.Secret("a key of the admin's"))
    assert b"ann-sip" in (await giving.gift(place.db, seal, "default", "ann", keys.Defaults())).document


async def test_an_imported_extension_arrives_at_the_manager(place: Place, dsn: str) -> None:
    manager = Manager("right-key")
    async with manager.serve() as url:
        configure(place, dsn, SINK.format(url=url))
        assert (await place("import", place.write(CSV))).code == 0
        assert {number: row["FirstName"] for number, row in manager.extensions.items()} == {"101": "Ann"}
        assert (await place("import", "accounts.csv")).code == 0
        assert manager.counts["requests"] == 1
        manager.key = "another"
        ran = await place("set", "ann", "--firstname", "Anna")
        assert (ran.code, "pbx: has not taken its pushes yet: " in ran.err) == (1, True)
