"""Accounts in a real database: how their passwords are kept, what a CSV may look like, and the extensions they name."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import stat
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bridge import accounts, assembly, config, deliveries, errors, extension_outbox, extensions, forgotten, keys
from bridge.accounts import details, giving, saving, seals, sheet
from bridge.accounts.details import Change, Details
from bridge.accounts.logins import Logins
from bridge.accounts.passwords import NOBODY, Checked, Passwords
from bridge.accounts.seals import Seal
from bridge.accounts.sheet import Bad
from bridge.contact import User
from bridge.demo.manager import Manager
from bridge.keys import Secret
from bridge.server.desk import Desk, Turned
from bridge.store import Store

ANN = Change("ann", "ann's password", "29de?8", {"sipusername": "user1", "transport": "TLS"})
BOB = Change("bob", "bob's password", "8?ed92", {"sipusername": "user2"})
SEAL = Seal(bytes(32))


@pytest.fixture
async def passwords() -> AsyncIterator[Passwords]:
    made = Passwords()
    yield made
    made.close()


@pytest.fixture
async def logins(db: Store) -> AsyncIterator[Logins]:
    made = Logins(db)
    yield made
    await made.close()


async def save(db: Store, *changes: Change, takers: saving.Takers | None = None, tenant: str = "default") -> Any:
    """What became of each change; a refused one by its words."""
    made = Passwords()
    try:
        fates = await saving.save(db, tenant, changes, SEAL, made, takers or {})
    finally:
        made.close()
    return [str(fate) for fate in fates]


# Login passwords


async def test_a_login_password_is_kept_as_argon2id_and_fits_alone(passwords: Passwords) -> None:
    kept = await passwords.hash("pässword")
    assert kept.startswith("$argon2id$v=19$m=19456,t=2,p=1$")
    assert [await passwords.check(kept, text) for text in ("pässword", "passwörd", "", "pässword ")] == [
        True,
        False,
        False,
        False,
    ]
    assert await passwords.check(kept, "pa\u0308ssword")


async def test_nobodys_hash_costs_what_others_cost_and_nothing_fits_it(passwords: Passwords) -> None:
    assert NOBODY.split("$")[:4] == (await passwords.hash("x")).split("$")[:4]
    assert not await passwords.check(NOBODY, "")


async def test_the_event_loop_turns_while_passwords_are_checked(passwords: Passwords) -> None:
    checks = asyncio.gather(*(passwords.check(NOBODY, "x") for _ in range(8)))
    turns = 0
    while not checks.done():
        await asyncio.sleep(0.001)
        turns += 1
    assert turns > 20


async def test_more_checks_than_can_wait_are_turned_away(passwords: Passwords) -> None:
    done = await asyncio.gather(
        *(passwords.check(NOBODY, "x") for _ in range(8)),
        *(passwords.check(NOBODY, "x", unless=lambda: True) for _ in range(600)),
        return_exceptions=True,
    )
    assert sum(one is False for one in done) == 500
    assert sum(isinstance(one, errors.Unavailable) for one in done) == 108


async def test_a_check_whose_turn_comes_too_late_is_not_made(passwords: Passwords) -> None:
    kept = await passwords.hash("right")
    assert not await passwords.check(kept, "right", unless=lambda: True)


def test_what_was_checked_is_remembered_for_one_hash_and_password_alone() -> None:
    now = 0.0
    checked = Checked(size=2, age=10.0, clock=lambda: now)
    checked.keep("hash1", "right")
    asked = [("hash1", "right"), ("hash1", "wrong"), ("hash2", "right"), ("hash1right", "")]
    assert [checked.holds(*pair) for pair in asked] == [True, False, False, False]
    now = 10.0
    assert not checked.holds("hash1", "right")
    for n in range(3):
        checked.keep(f"hash{n}", "right")
    assert [checked.holds(f"hash{n}", "right") for n in range(3)] == [False, True, True]
    assert len(checked) == 2
    assert not Checked().holds("hash1", "right")


# SIP passwords


def test_a_sealed_password_opens_for_its_own_user_alone() -> None:
    sealed = SEAL.close("default", "ann", "29de?8")
    assert SEAL.open("default", "ann", sealed) == "29de?8"
    assert b"29de" not in sealed
    assert SEAL.close("default", "ann", "29de?8") != sealed
    for tenant, user in (("default", "bob"), ("acme", "ann"), ("defaul", "tann")):
        with pytest.raises(errors.Unavailable, match="its row was changed"):
            SEAL.open(tenant, user, sealed)
    with pytest.raises(errors.Unavailable, match="its row was changed"):
        SEAL.open("default", "ann", sealed[:-1] + bytes([sealed[-1] ^ 1]))


def test_another_key_is_told_from_a_damaged_row() -> None:
    sealed = SEAL.close("default", "ann", "29de?8")
    for other in (Seal(b"\1" * 32), seals.given(Secret("a key of the admin's"))):
        with pytest.raises(errors.Unavailable, match="sealed with another key"):
            other.open("default", "ann", sealed)
    assert seals.given(Secret("k")).open("t", "u", seals.given(Secret("k")).close("t", "u", "p")) == "p"


def test_a_mark_says_nothing_without_the_key() -> None:
    assert SEAL.mark(b"x") == Seal(bytes(32)).mark(b"x")
    assert len({SEAL.mark(b"x"), SEAL.mark(b"y"), Seal(b"\1" * 32).mark(b"x")}) == 3


def test_the_key_is_made_at_first_use_for_nobody_else_to_read(tmp_path: Path) -> None:
    state = tmp_path / "new" / "state"
    with pytest.raises(errors.Unavailable, match=r"the key of the accounts is not there: .*accounts\.key"):
        seals.kept(state)
    sealed = seals.kept(state, make=True).close("t", "u", "p")
    assert stat.S_IMODE((state / seals.FILE).stat().st_mode) == 0o600
    assert os.listdir(state) == [seals.FILE]
    (state / seals.FILE).chmod(0o644)
    assert seals.kept(state).open("t", "u", sealed) == "p"
    assert stat.S_IMODE((state / seals.FILE).stat().st_mode) == 0o600
    (state / seals.FILE).write_bytes(b"short")
    with pytest.raises(errors.Unavailable, match="damaged"):
        seals.kept(state)


def _mark(state: Path) -> bytes:
    return seals.kept(state, make=True).mark(b"")


def test_processes_that_make_the_key_at_once_have_the_same(tmp_path: Path) -> None:
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        assert len(set(threads.map(_mark, [tmp_path] * 64))) == 1
    assert os.listdir(tmp_path) == [seals.FILE]


# What an account consists of


def test_fields_are_spelled_as_the_page_spells_them() -> None:
    told = {"username": " ann ", "transport": "tls", "srtp": "yes", "video": "DISABLED", "proxy": " p.example.com "}
    assert details.change(told) == Change(
        "ann", None, None, {"transport": "TLS", "srtp": "Enabled", "video": "Disabled", "proxy": "p.example.com"}
    )


@pytest.mark.parametrize(
    ("told", "says"),
    [
        ({"username": " "}, "the user name is missing"),
        ({"username": "a", "transport": "hunter2"}, "transport is none of UDP, TCP, TLS"),
        ({"username": "a", "srtp": "hunter2"}, "srtp is neither Enabled nor Disabled"),
        ({"username": "a\0b"}, "username holds a control character, or more than 250 characters"),
        ({"username": "a", "sippassword": "p" * 251}, "sippassword holds a control character, or more than"),
    ],
)
def test_wrong_fields_are_refused_without_what_was_written(told: dict[str, str], says: str) -> None:
    with pytest.raises(errors.Refused, match=says) as refused:
        details.change(told)
    assert "hunter2" not in str(refused.value)


def test_passwords_show_themselves_to_nobody() -> None:
    assert "ann's" not in repr(ANN)
    assert "29de" not in repr(ANN)


def test_a_softphone_is_given_the_defaults_that_its_account_does_not_name() -> None:
    defaults = keys.Defaults(transport="UDP", srtp="Enabled", proxy="p.example.com")
    given = details.public(Details("u1", transport="TCP", video="Disabled", email="a@example.com"), defaults)
    assert given == {
        "sipusername": "u1",
        "transport": "TCP",
        "srtp": "Enabled",
        "proxy": "p.example.com",
        "video": "Disabled",
    }


# The CSV


def rows(text: str | bytes) -> list[Any]:
    return list(sheet.read([text if isinstance(text, bytes) else text.encode()]))


PLAIN = 'username,password,sipusername,sippassword,transport\nann,"a,""b",user1,c d ,udp\n'
WANT = [(2, Change("ann", 'a,"b', "c d ", {"sipusername": "user1", "transport": "UDP"}))]


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        "\ufeff" + PLAIN.replace("\n", "\r\n") + "\r\n,,,,\r\n\r\n",
        PLAIN.encode("utf-16"),
        'Username;PASSWORD; SipUsername ;sippassword;transport\nann;"a,""b";user1;c d ;udp',
        'username\tpassword\tsipusername\tsippassword\ttransport\nann\t"a,""b"\tuser1\tc d \tudp',
    ],
)
def test_a_csv_as_any_program_writes_it(text: str | bytes) -> None:
    assert rows(text) == WANT


def test_a_csv_that_names_its_delimiter_counts_that_line() -> None:
    assert rows("sep=|\nusername|password\nann|p|\n") == [(3, Change("ann", "p"))]


def test_what_a_csv_does_not_name_stays_and_an_empty_cell_clears() -> None:
    assert rows("username,password,email\nann,,\n") == [(2, Change("ann", None, None, {"email": ""}))]


def test_one_bad_row_is_named_by_its_number_and_the_others_are_read() -> None:
    bad = ['ann,"open,TLS', "bob,p,TLS", ",p,TLS", "carl,p,hunter2", "bob,q,TLS", "dora,p,TLS,more", "eve,p,"]
    assert rows("\n".join(["username,password,transport", *bad])) == [
        Bad(2, 'a quote is not closed, or something stands behind it; right is "like ""this"""'),
        (3, Change("bob", "p", None, {"transport": "TLS"})),
        Bad(4, "the user name is missing"),
        Bad(5, "transport is none of UDP, TCP, TLS"),
        Bad(6, "the user name stands in row 3 already"),
        Bad(7, "it has 4 cells, where the header has 3"),
        (8, Change("eve", "p", None, {"transport": ""})),
    ]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("username,pasword\n", "column 2 of the header is none that is known, did you mean password?"),
        ("ann,hunter2xyz\n", "column 1 of the header is none that is known, right is one of username, password"),
        ("username,email,email\n", "column 3 of the header, email, is there twice"),
        ("password,email\n", "the header has no username"),
        ("", "the header has no username"),
    ],
)
def test_a_header_that_is_none_is_refused_without_what_stands_there(text: str, says: str) -> None:
    with pytest.raises(errors.Refused, match=says) as refused:
        rows(text)
    assert "hunter2" not in str(refused.value)


# Rows


async def test_accounts_are_added_changed_and_left_alone(db: Store) -> None:
    assert await save(db, ANN, BOB) == ["added", "added"]
    before = await db.fetch("select * from account order by username")
    assert await save(db, ANN, Change("bob")) == ["unchanged", "unchanged"]
    assert await db.fetch("select * from account order by username") == before
    assert await save(db, Change("ann", details={"video": "Enabled"}), BOB) == ["changed", "unchanged"]
    assert await save(db, Change("ann", "another"), Change("bob", None, "another")) == ["changed", "changed"]
    found = await accounts.listed(db, "default")
    assert [(one.username, one.details) for one in found] == [
        ("ann", Details("user1", transport="TLS", video="Enabled")),
        ("bob", Details("user2")),
    ]


async def test_a_new_account_needs_both_passwords_and_a_sip_user(db: Store) -> None:
    assert await save(db, Change("ann", "p"), Change("bob", "p", "q", {"sipusername": "u"}), Change("carl")) == [
        "sipusername and sippassword missing: a new account needs both passwords",
        "added",
        "password and sipusername and sippassword missing: a new account needs both passwords",
    ]


async def test_who_was_forgotten_has_no_account_again_until_that_is_undone(db: Store) -> None:
    async with db.pooled() as connection:
        await forgotten.keep_out(connection, "default", ["ann@example.com", "@accounts:bob"])
    hers = Change("hers", "p", "s", {"sipusername": "user9", "email": " Ann@Example.com"})
    made = await save(db, hers, BOB, ANN)
    assert ["was forgotten" in one for one in made] == [True, True, False]
    assert await save(db, hers, BOB, tenant="other") == ["added", "added"]
    async with db.pooled() as connection:
        await forgotten.let_in(connection, "default", ["ann@example.com"])
    assert await save(db, hers, BOB) == ["added", "added"]


async def test_no_password_stands_in_the_database(db: Store) -> None:
    await save(db, ANN)
    [row] = await db.fetch("select account::text as told, sealed from account")
    for secret in (ANN.password, ANN.sippassword):
        assert secret
        assert secret not in row["told"]
        assert secret.encode() not in row["sealed"]


async def test_a_password_sealed_with_a_lost_key_is_brought_back_by_telling_it_again(db: Store) -> None:
    await save(db, ANN)
    made = Passwords()
    assert await saving.save(db, "default", [ANN], Seal(b"\1" * 32), made, {}) == ["changed"]
    made.close()
    given = await giving.gift(db, Seal(b"\1" * 32), "default", "ann", keys.Defaults())
    assert b'"sippassword":"29de?8"' in given.document


async def test_many_rows_at_once(db: Store) -> None:
    many = [Change(f"u{n}", f"p{n}", f"s{n}", {"sipusername": f"user{n}"}) for n in range(30)]
    first, second = await asyncio.gather(save(db, *many), save(db, *many))
    assert sorted([first[0], second[0]]) == ["added", "unchanged"]
    assert await db.value("select count(*) from account") == 30


async def test_a_users_devices_are_remembered_up_to_a_number(db: Store) -> None:
    await save(db, ANN)
    gift = await giving.gift(db, SEAL, "default", "ann", keys.Defaults())
    for n in range(accounts.DEVICES + 3):
        await giving.give(db, "default", "ann", f"d{n}", gift)
    await giving.give(db, "default", "ann", "d4", giving.NOTHING)
    [account] = await accounts.listed(db, "default")
    names = [one.device for one in account.devices]
    assert (len(names), names[0], "d2" in names) == (accounts.DEVICES, "d4", False)
    assert account.devices[0].given == []
    assert account.devices[1].given == [{"sipusername": "user1", "transport": "TLS"}]
    await saving.delete(db, "default", "ann", {})
    assert await db.value("select count(*) from device") == 0


# Logins


async def test_a_login_is_right_for_its_user_and_tenant_alone(db: Store, logins: Logins) -> None:
    await save(db, ANN, BOB)
    await save(db, Change("ann", "of acme", "x", {"sipusername": "x"}), tenant="acme")
    asked = [
        ("default", "ann", "ann's password"),
        ("default", "ann", "of acme"),
        ("acme", "ann", "of acme"),
        ("acme", "bob", "bob's password"),
        ("default", "nobody", "x"),
    ]

    async def right(tenant: str, username: str, password: str) -> bool:
        return await logins.right(await logins.look(tenant, username), password)

    assert [await right(*one) for one in asked] == [True, False, True, False, False]
    assert await asyncio.gather(*(right(*one) for one in asked)) == [True, False, True, False, False]


async def test_a_changed_password_ends_the_old_one_at_once(db: Store, logins: Logins) -> None:
    await save(db, ANN)

    async def right(password: str) -> bool:
        return await logins.right(await logins.look("default", "ann"), password)

    assert [await right("ann's password") for _ in range(2)] == [True, True]
    await save(db, Change("ann", "another"))
    assert [await right("ann's password"), await right("another")] == [False, True]
    await saving.delete(db, "default", "ann", {})
    assert not await right("another")
    await save(db, ANN)
    assert [await right("another"), await right("ann's password")] == [False, True]


async def test_a_lost_connection_costs_nobody_an_answer(db: Store, logins: Logins) -> None:
    await save(db, ANN)
    assert await logins.look("default", "ann")
    await db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity where pid <> pg_backend_pid()"
        " and datname = current_database()"
    )
    assert await logins.look("default", "ann")


async def test_the_desk_admits_by_tenant_and_counts_guesses(db: Store) -> None:
    await save(db, ANN, BOB)
    desk = Desk(db)
    try:
        assert (await desk.admit("default", [("ann", "ann's password")]))[0] == "ann"
        with pytest.raises(Turned):
            await desk.admit("acme", [("ann", "ann's password")])
        guesses = (desk.admit("default", [("bob", f"guess{n}")]) for n in range(10))
        got = await asyncio.gather(*guesses, return_exceptions=True)
        assert [type(one) for one in got] == [Turned] * 10
        with pytest.raises(Turned) as turned:
            await desk.admit("default", [("bob", "bob's password")])
        assert turned.value.wait > 0
    finally:
        await desk.close()


async def test_no_name_fails_the_look_up_of_others(db: Store) -> None:
    await save(db, ANN)
    desk = Desk(db)
    try:
        odd = [desk.admit("default", [(f"a{odd}b", "x")], device=odd) for odd in ("\0", "\ud800", "\x1f")]
        good = [desk.admit("default", [("ann", "ann's password")]) for _ in range(20)]
        *odd, good = await asyncio.gather(*odd, asyncio.gather(*good), return_exceptions=True)
        assert [type(one) for one in odd] == [Turned] * 3
        assert [name for name, _ in good] == ["ann"] * 20
    finally:
        await desk.close()


# Extensions


class Bench:
    """A Manager whose sink takes extensions."""

    def __init__(self, db: Store, manager: Manager, url: str) -> None:
        self.db = db
        self.manager = manager
        self.table = keys.Ccm(
            url=url,
            security_key=Secret("k"),
            sources=("crm",),
            rate=10_000.0,
            timeout=1.0,
            contacts=False,
            extensions=True,
        )

    @property
    def tenant(self) -> config.Tenant:
        source = keys.Zimbra(url="http://127.0.0.1:1", username="a@example.com", password=Secret("p"), users=True)
        return config.Tenant("default", "LU", 5, {"crm": source}, {"pbx": self.table}, None, {}, None, None)

    async def deliver(self) -> None:
        await deliveries.recover(self.db, {("default", "pbx"): self.tenant.sinks["pbx"].timeout})
        made = assembly.delivery(self.db, self.tenant, "pbx")
        task = asyncio.create_task(made.drain())
        try:
            async with asyncio.timeout(20):
                while await self.db.value(extension_outbox.SQL["waiting"], "default", "pbx"):
                    await asyncio.sleep(0.02)
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            await made.sink.close()

    async def save(self, *changes: Change) -> None:
        await save(self.db, *changes, takers=assembly.extension_takers(self.tenant))
        await self.deliver()

    async def users(self, *users: User) -> None:
        """What a run of the CRM found."""
        async with self.db.pooled() as session, session.transaction():
            await extensions.keep_users(session, "default", "crm", users, None)
            for sink, taker in assembly.extension_takers(self.tenant).items():
                await extensions.settle(session, "default", sink, taker)
        await self.deliver()

    def names(self) -> dict[str, str]:
        return {number: row["FirstName"] for number, row in self.manager.extensions.items()}


@pytest.fixture
async def bench(db: Store) -> AsyncIterator[Bench]:
    manager = Manager(key="k")
    async with manager.serve() as url:
        yield Bench(db, manager, url)


def staffed(change: Change, extension: str, first: str, **more: str) -> Change:
    told = {"extension": extension, "firstname": first, "lastname": "Lee", **more}
    return Change(change.username, change.password, change.sippassword, {**change.details, **told})


async def test_an_account_with_an_extension_becomes_one_and_nothing_else(bench: Bench) -> None:
    await bench.save(staffed(ANN, "101", "Ann", email="ann@example.com", callerid="+352621000001"), BOB)
    assert list(bench.manager.extensions.values()) == [
        {
            "ExtentionNumber": "101",
            "EmailAddress": "ann@example.com",
            "FirstName": "Ann",
            "LastName": "Lee",
            "OutboundCallerID": "+352621000001",
        }
    ]
    assert bench.manager.book() == {}
    await bench.save(staffed(ANN, "101", "Ann", email="ann@example.com", callerid="+352621000001"))
    assert bench.manager.counts["requests"] == 1
    await bench.save(Change("ann", details={"firstname": "Anna"}))
    assert bench.names() == {"101": "Anna"}


async def test_an_extension_goes_with_its_account_only_where_that_is_allowed(bench: Bench) -> None:
    takers = assembly.extension_takers(bench.tenant)
    await bench.save(staffed(ANN, "101", "Ann"), staffed(BOB, "102", "Bob"))
    await accounts.switch(bench.db, "default", "bob", disabled=True)
    await saving.delete(bench.db, "default", "ann", takers)
    await bench.deliver()
    assert bench.names() == {"101": "Ann", "102": "Bob"}
    bench.table = bench.table.model_copy(update={"delete_extensions": True})
    await bench.save(Change("bob", details={"extension": ""}))
    assert bench.names() == {}


async def test_a_crms_user_has_an_extension_before_an_account_has(bench: Bench) -> None:
    await bench.save(staffed(ANN, "101", "Account"))
    await bench.users(User("u1", "101", "Crm", "User"), User("u2", "102", "Other", "User"))
    assert bench.names() == {"101": "Crm", "102": "Other"}
    await bench.users(User("u2", "102", "Other", "User"))
    assert bench.names() == {"101": "Account", "102": "Other"}


async def test_a_source_that_left_the_file_still_comes_before_accounts(bench: Bench) -> None:
    await bench.users(User("u1", "101", "Crm", "User"))
    await bench.db.execute("insert into source (tenant, name, rank) values ('default', 'crm', 32767)")
    order: Sequence[str] = ("*", extensions.ACCOUNTS)
    await save(bench.db, staffed(ANN, "101", "Account"))
    rows = await bench.db.fetch(extensions.SQL["all_users"], "default", list(order))
    assert ["Crm" in row["body"] for row in rows] == [True, False]
