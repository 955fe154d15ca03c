"""Zimbra against the stand-in: what is read, what changes, what stays; the stand-in itself is in its own file."""

from __future__ import annotations

import datetime
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import mirrored
import pytest

from bridge import errors, keys
from bridge.actions import Action, Call, Kind
from bridge.contact import Address, RawNumber, Record, User
from bridge.demo.zimbra import ZimbraServer
from bridge.demo.zimbra_faults import Name
from bridge.demo.zimbra_store import CONTACTS, JUNK, TRASH, Mailbox
from bridge.sources import Cursor, Page, Versions, zimbra
from bridge.sources.zimbra import contacts, mailbox, shares, soap, writes


class Mirror(mirrored.Mirror):
    """What a caller of the source keeps; what it let go of it knows no more."""

    async def known(self, listed: Versions) -> set[str]:
        return {id for id in await super().known(listed) if id in self.records}


KEY = "0123456789abcdef0123456789abcdef"


@pytest.fixture(autouse=True)
def _unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """The stand-in takes as many requests a second as come."""
    monkeypatch.setattr(soap, "_RATE", 0.0)


@asynccontextmanager
async def opened(server: ZimbraServer, url: str, **more: object) -> AsyncIterator[zimbra.Zimbra]:
    """A source of these keys, closed again."""
    given = {**server.table(url), "timeout": "5s", **more}
    source = zimbra.open("office", keys.Zimbra.model_validate(given))
    try:
        yield source
    finally:
        await source.close()


async def ran(server: ZimbraServer, url: str, mirror: Mirror | None = None, **more: object) -> Mirror:
    """The next run, by a source opened anew; `calls` are of that run alone."""
    server.calls.clear()
    async with opened(server, url, **more) as source:
        mirror = mirror or Mirror()
        await mirror.run(source)
        return mirror


def filled(count: int = 5) -> ZimbraServer:
    """A server with so many people in Contacts."""
    server = ZimbraServer()
    for n in range(count):
        server.mailbox.put(person(n))
    return server


def person(n: int | str) -> dict[str, str]:
    """A contact's attributes."""
    return {"firstName": "Person", "lastName": str(n), "workPhone": f"+352 26 00 10 {n:>02}"}


def shared(server: ZimbraServer, count: int = 3, name: str = "Kunden") -> Mailbox:
    """A colleague's folder with people, seen through a mountpoint."""
    owner = server.accounts.add(f"{name}@example.com").mailbox
    folder = owner.make_folder(name)
    for n in range(count):
        owner.put(person(f"{name} {n}"), folder)
    owner.share(folder, server.mailbox)
    server.mailbox.link(name, owner, folder)
    return owner


async def pages(source: zimbra.Zimbra, since: Cursor | None = None) -> list[Page]:
    """The pages of a run that knows nothing."""
    return [page async for page in source.read(since, Mirror().known)]


# Everything


async def test_a_first_run_reads_every_contact_of_the_folder() -> None:
    server = filled(1203)
    async with server.serve() as url:
        mirror = await ran(server, url)
    assert (mirror.complete, len(mirror.records), len(set(mirror.records))) == (True, 1203, 1203)
    assert server.calls == ["Auth", "Sync", "GetFolder", *["GetContacts"] * 4, "Sync"]


async def test_a_contact_becomes_a_record() -> None:
    server = ZimbraServer()
    id = server.mailbox.put(
        {
            "namePrefix": "Dr.",
            "firstName": "Jörg",
            "lastName": "Müller",
            "company": "Müller, Söhne & Co",
            "email": "jm@example.com",
            "email3": "j3@example.com",
            "workEmail1": "work@example.com",
            "workPhone": "26 00 10 01",
            "workPhone4": ["26 00 10 02", "26 00 10 03"],
            "workFax": "26 00 10 04",
            "carPhone": "621 000 001",
            "workMobile": "621 000 002",
            "companyPhone": "26 00 10 00",
            "workAltPhone": "26 00 10 05",
            "homePhone2": "26 00 10 06",
            "pager": "26 00 10 07",
            "callbackPhone": " ",
            "workStreet": "1, rue du Port",
            "workCity": "Luxembourg",
            "workPostalCode": "L-1234",
            "workCountry": "LU",
            "homeCity2": "Trier",
            "custom1": "Gold",
            "image": {"part": "1", "ct": "image/png", "s": 34102, "filename": "x.png"},
            "notes": "line\u0001one",
        }
    )
    async with server.serve() as url:
        mirror = await ran(server, url, fields={"Level": "custom1", "Never": "custom2"})
    contact = server.mailbox.contacts[id]
    assert mirror.records[str(id)] == Record(
        id=str(id),
        first_name="Jörg",
        last_name="Müller",
        display_name="Dr. Jörg Müller",
        company="Müller, Söhne & Co",
        emails=("jm@example.com", "j3@example.com", "work@example.com"),
        addresses=(
            Address(street="1, rue du Port", zip="L-1234", city="Luxembourg", country="LU"),
            Address(city="Trier"),
        ),
        numbers=(
            RawNumber("26 00 10 01", "work"),
            RawNumber("26 00 10 02", "work"),
            RawNumber("26 00 10 03", "work"),
            RawNumber("621 000 002", "mobile"),
            RawNumber("26 00 10 05", "work"),
            RawNumber("26 00 10 04", "fax"),
            RawNumber("26 00 10 00", "work"),
            RawNumber("26 00 10 06", "home"),
            RawNumber("26 00 10 07", "other"),
            RawNumber("621 000 001", "mobile"),
        ),
        country="LU",
        contact_url=f"{url}/home/phones@example.com/?id={id}&fmt=vcf",
        custom=(("Level", "Gold"),),
        modified=datetime.datetime.fromtimestamp(contact.md, datetime.UTC),
        version=f"{contact.rev}.{contact.ms}",
    )


@pytest.mark.parametrize(
    ("attributes", "name"),
    [
        ({"fullName": "Jane X", "firstName": "J"}, "Jane X"),
        ({"firstName": "Jane", "middleName": "M", "lastName": "Doe", "nameSuffix": "II"}, "Jane M Doe II"),
        ({"nickname": "JD", "company": "Doe AG"}, "JD"),
        ({"company": "Doe AG", "email": "x@example.com"}, "Doe AG"),
        ({"email": "x@example.com"}, "x@example.com"),
        ({"otherPhone": "312"}, "312"),
        ({}, ""),
    ],
)
def test_a_contact_is_called_by_the_first_name_it_has(attributes: dict[str, str], name: str) -> None:
    card = mailbox.Card(id=257, attributes=attributes)
    assert contacts.record(card, "257", {}).display_name == name


def test_a_company_s_name_is_no_number() -> None:
    card = mailbox.Card(
        id=257, attributes={"company": "4 you", "home": "1", "work": "2", "other": "3", "officePhone": "4"}
    )
    assert contacts.record(card, "257", {}).numbers == ()


async def test_groups_are_no_contacts() -> None:
    server = filled(2)
    group = server.mailbox.put({"type": "group", "fullName": "All of them", "dlist": "a@example.com,b@example.com"})
    async with server.serve() as url:
        mirror = await ran(server, url)
        assert len(mirror.records) == 2
        server.mailbox.update(group, fullName="Others")
        assert len((await ran(server, url, mirror)).records) == 2


async def test_an_empty_folder_is_empty() -> None:
    server = ZimbraServer()
    async with server.serve() as url:
        mirror = await ran(server, url)
    assert (mirror.complete, mirror.records) == (True, {})


async def test_folders_are_read_by_their_paths_each_alone() -> None:
    server = filled(1)
    below = server.mailbox.make_folder("Contacts/Kunden & Gäste/Zürich Süd")
    server.mailbox.put(person("south"), below)
    server.mailbox.put(person("guest"), server.mailbox.make_folder("Contacts/Kunden & Gäste"))
    async with server.serve() as url:
        assert (await ran(server, url)).names == ["Person 0"]
        assert (await ran(server, url, folders=["/contacts/kunden & GÄSTE/Zürich Süd/"])).names == ["Person south"]
        assert (await ran(server, url, folders=["Contacts", "Contacts/Kunden & Gäste"])).names == [
            "Person 0",
            "Person guest",
        ]


async def test_a_missing_folder_fails_the_run_and_names_those_there_are() -> None:
    server = filled(1)
    server.mailbox.make_folder("Kunden")
    server.mailbox.make_folder("Papers", view="document")
    async with server.serve() as url:
        with pytest.raises(errors.Unavailable, match="has no contact folder 'Customers'; there are: ") as raised:
            await ran(server, url, folders=["Contacts", "Customers"])
    assert str(raised.value).endswith("there are: 'Contacts', 'Emailed Contacts', 'Kunden'")


async def test_all_folders_are_all_but_trash_junk_and_collected_addresses() -> None:
    server = filled(1)
    box = server.mailbox
    box.put(person("deep"), box.make_folder("A/B b/C ü"))
    box.put(person("collected"), 13)
    box.put(person("junk"), JUNK)
    box.trash(box.put(person("bin")))
    box.put(person("in the bin"), box.make_folder("Trash/Old"))
    shared(server, 1)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        assert mirror.names == ["Person 0", "Person Kunden 0", "Person deep"]
        assert (await ran(server, url, folders=["Emailed Contacts"])).names == ["Person collected"]


# What changed


async def test_no_change_costs_one_request_beside_the_login() -> None:
    server = filled(3)
    async with server.serve() as url:
        mirror = await ran(server, url)
        await ran(server, url, mirror)
    assert (server.calls, mirror.read, mirror.complete, len(mirror.records)) == (["Auth", "Sync"], 0, False, 3)


async def test_a_hundred_changes_cost_two_requests() -> None:
    server = filled(700)
    async with server.serve() as url:
        mirror = await ran(server, url)
        for id in list(server.mailbox.contacts)[:100]:
            server.mailbox.update(id, lastName="Changed")
        await ran(server, url, mirror)
    assert (server.calls, mirror.read) == (["Auth", "Sync", "GetContacts"], 100)
    assert mirror.names.count("Person Changed") == 100


async def test_what_is_new_changed_moved_binned_or_deleted_is_found() -> None:
    server = filled(6)
    box = server.mailbox
    other = box.make_folder("Other")
    async with server.serve() as url:
        mirror = await ran(server, url)
        ids = list(box.contacts)
        box.update(ids[0], lastName="Changed")
        box.trash(ids[1])
        box.move(ids[2], other)
        box.delete(ids[3])
        box.tag(ids[4])
        box.move(box.put(person("came"), other), CONTACTS)
        box.delete(box.put(person("flash")))
        await ran(server, url, mirror)
        assert (mirror.complete, mirror.names) == (False, ["Person 4", "Person 5", "Person Changed", "Person came"])
        box.move(ids[1], CONTACTS)
        assert "Person 1" in (await ran(server, url, mirror)).names


async def test_changes_come_in_pages_whose_tokens_stop_within_a_change(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mailbox, "_CHANGES", 40)
    monkeypatch.setattr(mailbox, "_DELETES", 30)
    server = filled(300)
    async with server.serve() as url:
        mirror = await ran(server, url)
        ids = list(server.mailbox.contacts)
        server.mailbox.update(*ids[:100], lastName="Changed")
        server.mailbox.delete(*ids[200:])
        server.mailbox.update(ids[150], lastName="Last")
        await ran(server, url, mirror)
    assert (mirror.read, len(mirror.records), mirror.names.count("Person Changed")) == (101, 200, 100)
    assert server.calls.count("Sync") == 4


def test_a_server_that_tells_no_types_of_what_it_deleted_is_understood() -> None:
    changes = mailbox.Changes("1")
    mailbox._add(changes, mailbox._Sync(token="2", deleted={"ids": "257,300"}))
    assert list(changes.gone) == ["257", "300"]


async def test_a_folder_that_comes_goes_or_is_renamed_changes_what_is_read() -> None:
    server = filled(1)
    box = server.mailbox
    inner = box.make_folder("Contacts/Inner")
    box.put(person("inner"), inner)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        box.put(person("new"), box.make_folder("New"))
        assert (await ran(server, url, mirror, folders=["*"])).names == ["Person 0", "Person inner", "Person new"]
        assert mirror.read == 1, "what was held is not read again"
        box.rename_folder(inner, "Renamed")
        assert (await ran(server, url, mirror, folders=["*"])).complete is False
        box.move_folder(inner, 3)
        assert (await ran(server, url, mirror, folders=["*"])).names == ["Person 0", "Person new"]
        box.move_folder(inner, 1)
        assert len((await ran(server, url, mirror, folders=["*"])).records) == 3
        box.delete_folder(inner)
        assert (await ran(server, url, mirror, folders=["*"])).names == ["Person 0", "Person new"]


async def test_a_configured_folder_that_is_renamed_fails_the_run_and_loses_nobody() -> None:
    server = ZimbraServer()
    folder = server.mailbox.make_folder("Kunden")
    server.mailbox.put(person(1), folder)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["Kunden"])
        server.mailbox.rename_folder(folder, "Gäste")
        with pytest.raises(errors.Unavailable, match=r"no contact folder 'Kunden'; .*'Gäste'"):
            await ran(server, url, mirror, folders=["Kunden"])
    assert mirror.names == ["Person 1"]


@pytest.mark.parametrize("what", ["buried", "restored", "malformed", "other keys"])
async def test_a_token_that_is_of_no_use_makes_the_run_a_full_one(what: str) -> None:
    server = filled(4)
    box = server.mailbox
    async with server.serve() as url:
        mirror = await ran(server, url)
        ids = list(box.contacts)
        box.put(person("new"))
        if what == "restored":
            del box.contacts[ids[0]]
            box.rewind(6)
        else:
            box.delete(ids[0])
        if what == "buried":
            box.bury()
        if what == "malformed":
            mirror.cursor = {**(mirror.cursor or {}), "token": "no token"}
        folders = ["/Contacts"] if what == "other keys" else ["Contacts"]
        await ran(server, url, mirror, folders=folders)
    assert (mirror.complete, mirror.names) == (True, ["Person 1", "Person 2", "Person 3", "Person new"])


def happening(server: ZimbraServer, name: str, times: int, happens: Callable[[], object]) -> None:
    """Let something happen right before the so many-th request of this name."""
    server.before[name] = happens if times == 1 else lambda: happening(server, name, times - 1, happens)


async def test_a_contact_that_moves_between_two_folders_being_read_stays() -> None:
    server = filled(3)
    box = server.mailbox
    other = box.make_folder("Other")
    wanderer = box.put(person("wanderer"), other)
    async with server.serve() as url:
        happening(server, "GetContacts", 3, lambda: box.move(wanderer, CONTACTS))
        mirror = await ran(server, url, folders=["Contacts", "Other"])
        assert "Person wanderer" in mirror.names
        assert "Person wanderer" in (await ran(server, url, mirror, folders=["Contacts", "Other"])).names


async def test_contacts_deleted_while_they_are_read_are_passed_over() -> None:
    server = filled(6)
    box = server.mailbox
    async with server.serve() as url:
        happening(server, "GetContacts", 2, lambda: box.delete(*list(box.contacts)[:2]))
        mirror = await ran(server, url)
        assert mirror.names == ["Person 2", "Person 3", "Person 4", "Person 5"]
        box.update(next(iter(box.contacts)), lastName="Changed")
        happening(server, "GetContacts", 1, lambda: box.delete(next(iter(box.contacts))))
        assert (await ran(server, url, mirror)).names == ["Person 3", "Person 4", "Person 5"]


# Shares


async def test_shared_folders_are_read_by_their_owner_s_id() -> None:
    server = filled(1)
    owner = shared(server, 2)
    deep = owner.make_folder("Kunden/Süd/Ost")
    owner.put(person("deep"), deep)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        assert mirror.names == ["Person 0", "Person Kunden 0", "Person Kunden 1", "Person deep"]
        some = next(id for id in mirror.records if ":" in id)
        assert some.partition(":")[0] == owner.zid
        assert mirror.records[some].contact_url == f"{url}/home/~/?id={some}&fmt=vcf"
        assert (await ran(server, url, folders=["Kunden/Süd/Ost"])).names == ["Person deep"]


async def test_changes_in_shares_are_found() -> None:
    server = filled(1)
    owner = shared(server, 700)
    second = owner.make_folder("Kunden/Zwei")
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        server.calls.clear()
        ids = list(owner.contacts)
        owner.update(ids[0], lastName="Changed")
        owner.delete(ids[1])
        owner.trash(ids[2])
        owner.move(ids[3], second)
        owner.put(person("new"), second)
        await ran(server, url, mirror, folders=["*"])
    assert (mirror.complete, mirror.read, len(mirror.records)) == (False, 3, 700)
    assert {"Person Changed", "Person Kunden 3", "Person new"} <= set(mirror.names)
    assert not {"Person Kunden 1", "Person Kunden 2"} & set(mirror.names)


async def test_a_contact_that_moves_between_two_shared_folders_being_listed_stays() -> None:
    server = ZimbraServer()
    owner = shared(server, 2)
    first = next(iter(owner.contacts.values()))
    second = owner.make_folder("Kunden/Zwei")
    wanderer = owner.put(person("wanderer"), second)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        happening(server, "GetContacts", 2, lambda: owner.move(wanderer, first.folder))
        await ran(server, url, mirror, folders=["*"])
        assert (mirror.complete, len(mirror.records)) == (False, 3)


@pytest.mark.parametrize("full", [False, True])
async def test_a_broken_share_is_reported_and_keeps_what_it_brought(full: bool) -> None:
    server = filled(2)
    owner, other = shared(server, 3), shared(server, 2, "Andere")
    async with server.serve() as url, opened(server, url, folders=["*"]) as source:
        mirror = Mirror()
        await mirror.run(source)
        owner.down = True
        server.mailbox.delete(next(iter(server.mailbox.contacts)))
        other.delete(next(iter(other.contacts)))
        told = await pages(source, None if full else mirror.cursor)
        await mirror.run(source, full=full)
        assert told[-1].notes == [
            "the share 'Kunden' is broken (service.PROXY_ERROR): its contacts stay as they were, "
            "until it is mended or its mountpoint deleted"
        ]
        assert (mirror.complete, len(mirror.records)) == (full, 1 + 3 + 1)
        owner.down = False
        owner.delete(next(iter(owner.contacts)))
        assert len((await mirror.run(source)).records) == 4


async def test_a_full_run_that_cannot_know_what_a_broken_share_brought_spares_all_of_its_owner() -> None:
    server = filled(2)
    owner = shared(server, 3)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        owner.down = True
        server.mailbox.delete(next(iter(server.mailbox.contacts)))
        async with opened(server, url, folders=["*"]) as source:
            for _ in range(2):
                await mirror.run(source, full=True)
                assert (mirror.complete, len(mirror.records)) == (True, 4)
            owner.down = False
            owner.delete(next(iter(owner.contacts)))
            await mirror.run(source)
            assert (mirror.complete, len(mirror.records)) == (False, 4)
            await mirror.run(source, full=True)
            assert (mirror.complete, len(mirror.records)) == (True, 3)


@pytest.mark.parametrize("what", ["denied", "unmounted", "binned"])
@pytest.mark.parametrize("full", [False, True])
async def test_a_share_that_is_denied_or_unmounted_takes_its_contacts_with_it(what: str, full: bool) -> None:
    server = filled(2)
    owner = shared(server, 3)
    folder = next(id for id, each in owner.folders.items() if each.name == "Kunden")
    link = next(each.id for each in server.mailbox.folders.values() if each.zid)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        if what == "denied":
            owner.share(folder, server.mailbox, "")
        elif what == "binned":
            server.mailbox.move_folder(link, 3)
        else:
            server.mailbox.delete_folder(link)
        async with opened(server, url, folders=["*"]) as source:
            await mirror.run(source, full=full)
        assert (mirror.complete, mirror.names) == (full, ["Person 0", "Person 1"])
        if what == "denied":
            owner.share(folder, server.mailbox, "r")
            assert len((await ran(server, url, mirror, folders=["*"])).records) == 5


async def test_a_remote_folder_that_is_gone_leaves_a_broken_share() -> None:
    server = filled(1)
    owner = shared(server, 2)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        owner.delete_folder(next(id for id, each in owner.folders.items() if each.name == "Kunden"))
        await ran(server, url, mirror, folders=["*"])
    assert len(mirror.records) == 3


async def test_a_share_that_is_not_answered_for_in_time_is_broken() -> None:
    server = filled(1)
    shared(server, 2)
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["*"])
        server.mailbox.update(next(iter(server.mailbox.contacts)), lastName="Changed")
        server.faults.set("silent", "GetContacts")
        await ran(server, url, mirror, folders=["*"], timeout="1s")
    assert mirror.names == ["Person Changed", "Person Kunden 0", "Person Kunden 1"]


async def test_a_folder_named_below_a_broken_mountpoint_is_not_missing() -> None:
    server = filled(1)
    owner = shared(server, 2)
    owner.put(person("deep"), owner.make_folder("Kunden/Süd"))
    async with server.serve() as url:
        mirror = await ran(server, url, folders=["Kunden/Süd"])
        owner.down = True
        await ran(server, url, mirror, folders=["Kunden/Süd"])
    assert mirror.names == ["Person deep"]


def test_ids_are_kept_as_ranges() -> None:
    ids = frozenset({"7", "8", "9", "12", "100"})
    assert (shares.pack(ids), shares.unpack("7-9,12,100"), shares.unpack("")) == ("7-9,12,100", ids, frozenset())


# Faults


EVERYWHERE: tuple[tuple[Name, str], ...] = tuple(
    (fault, name) for fault in ("fault_500", "truncated") for name in ("Auth", "Sync", "GetFolder", "SyncGal")
)
AT_CONTACTS: tuple[Name, ...] = (
    "cut",
    "fault_500",
    "error_500",
    "busy_503",
    "html_200",
    "truncated",
    "null",
    "empty",
)


@pytest.mark.parametrize(("fault", "request_name"), [*EVERYWHERE, *((fault, "GetContacts") for fault in AT_CONTACTS)])
async def test_a_fault_in_any_answer_fails_the_run_and_changes_nothing(fault: Name, request_name: str) -> None:
    server = filled(3)
    server.gal.put("uid=a", fullName="Anna", workPhone="312")
    async with server.serve() as url:
        mirror = await ran(server, url, gal=True)
        before = dict(mirror.__dict__)
        server.mailbox.update(257, lastName="Changed")
        server.faults.set(fault, request_name, times=3)
        with pytest.raises(errors.Unavailable) as raised:
            async with opened(server, url, gal=True) as source:
                await mirror.run(source, full=True)
        assert (mirror.__dict__, "secret" in str(raised.value)) == (before, False)
        server.faults.clear()
        assert "Person Changed" in (await ran(server, url, mirror, gal=True)).names


async def test_a_session_that_ends_within_a_run_is_renewed_once() -> None:
    server = filled(1200)
    async with server.serve() as url:
        server.faults.set("expire", "GetContacts", after=2)
        mirror = await ran(server, url)
    assert (len(mirror.records), server.calls.count("Auth")) == (1200, 2)


async def test_no_dead_token_is_shown_when_logging_in() -> None:
    server = filled(2)
    async with server.serve() as url, opened(server, url) as source:
        mirror = Mirror()
        await mirror.run(source)
        server.accounts.expire()
        assert len((await mirror.run(source)).records) == 2
    assert server.accounts.logins == 2


async def test_a_session_near_its_end_is_made_anew_before_it_is_used() -> None:
    server = filled(2)
    server.accounts.lifetime = 0.001
    async with server.serve() as url, opened(server, url) as source:
        server.accounts.lifetime = 3600
        await pages(source)
        await pages(source)
    assert server.accounts.logins == 1


async def test_a_wrong_password_is_tried_once_a_run() -> None:
    server = filled(1)
    async with server.serve() as url, opened(server, url, password="wrong") as source:
        for _ in range(3):
            with pytest.raises(errors.Denied, match=r"rejects the login of phones@example.com \(account.AUTH_FAILED\)"):
                await pages(source)
        with pytest.raises(errors.Denied):
            await source.users()
    assert server.calls == ["Auth"] * 3


@pytest.mark.parametrize(
    ("status", "words"),
    [
        ("account.CHANGE_PASSWORD", "must be changed"),
        ("account.PASSWORD_LOCKED", "unlock the account"),
        ("account.TWO_FACTOR_SETUP_REQUIRED", "second factor"),
    ],
)
async def test_what_only_the_admin_mends_stops_the_source(status: str, words: str) -> None:
    server = filled(1)
    server.account.status = status
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Denied, match=words) as raised:
            await source.check()
    assert raised.value.code == status


async def test_maintenance_passes() -> None:
    server = filled(1)
    server.account.status = "account.MAINTENANCE_MODE"
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Unavailable, match=r"account\.MAINTENANCE_MODE"):
            await pages(source)


async def test_a_second_factor_is_said_and_not_ignored() -> None:
    server = filled(1)
    server.account.two_factor = True
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Denied, match="second factor: right is a preauth_key"):
            await pages(source)
    assert server.calls == ["Auth"]


async def test_a_preauth_key_logs_in_without_password_and_second_factor() -> None:
    server = filled(2)
    server.accounts.key = "6b7ead4bd425836e8cf0079cd6c1a05acc127acd07c8ee4b61023e19250e929c"
    server.account.two_factor = True
    async with server.serve() as url:
        mirror = await ran(server, url, password="", preauth_key=server.accounts.key)
        assert len(mirror.records) == 2
        with pytest.raises(errors.Denied, match="not that of the user's domain"):
            await ran(server, url, password="", preauth_key="other")
        server.accounts.key = ""
        with pytest.raises(errors.Denied, match="made for the domain"):
            await ran(server, url, password="", preauth_key="other")


def test_odd_characters_in_a_contact_spoil_no_answer() -> None:
    told = b'{"Body":{"X":{"a":"\\ud83d\\ude00 \\ud83d x \\\\ud83d \xff\x01"}}}'
    assert bytes(soap._envelope(told).body["X"]) == '{"a":"\\ud83d\\ude00 \\ufffd x \\\\ud83d \ufffd "}'.encode()


# The directory


def peopled(server: ZimbraServer) -> None:
    """A directory with people and what is none."""
    server.gal.put(
        "gal:1", firstName="Anna", lastName="Arm", fullName="Anna Arm", email="a@example.com", workPhone="312"
    )
    server.gal.put("gal:2", fullName="Bert Bein", email="b@example.com", workPhone="+352 26 00 10 99", pager="77")
    server.gal.put("gal:3", fullName="Everybody", type="group", email="all@example.com")
    server.gal.put("gal:4", fullName="Room 1", zimbraCalResType="Location", workPhone="500")


async def test_the_directory_s_people_are_contacts_where_asked_for() -> None:
    server = filled(1)
    peopled(server)
    async with server.serve() as url:
        assert (await ran(server, url)).names == ["Person 0"]
        mirror = await ran(server, url, gal=True)
        assert mirror.names == ["Anna Arm", "Bert Bein", "Person 0"]
        server.gal.delete("gal:1")
        server.gal.put("gal:5", fullName="Cora", workPhone="314")
        server.gal.put("gal:2", fullName="Bert", type="group")
        await ran(server, url, mirror, gal=True)
    assert (mirror.names, mirror.complete) == (["Cora", "Person 0"], False)


async def test_a_large_directory_comes_in_pages() -> None:
    server = ZimbraServer()
    for n in range(2500):
        server.gal.put(f"gal:{n}", fullName=f"Person {n}")
    async with server.serve() as url:
        mirror = await ran(server, url, gal=True)
    assert (len(mirror.records), server.calls.count("SyncGal")) == (2500, 3)


async def test_a_throttled_directory_is_never_an_empty_one() -> None:
    server = filled(1)
    peopled(server)
    async with server.serve() as url, opened(server, url, gal=True, users=True) as source:
        mirror = Mirror()
        await mirror.run(source)
        server.gal.delete("gal:1")
        server.gal.throttled = 4
        told = await pages(source, mirror.cursor)
        assert "too many asking for its directory at once: its people are as they were" in told[-1].notes[0]
        assert len((await mirror.run(source)).records) == 3
        with pytest.raises(errors.Unavailable, match="too many asking"):
            await mirror.run(source, full=True)
        with pytest.raises(errors.Unavailable, match="too many asking"):
            await source.users()
        assert len((await mirror.run(source)).records) == 2


async def test_a_directory_that_wants_to_be_read_anew_is_read_anew() -> None:
    server = filled(1)
    peopled(server)
    async with server.serve() as url:
        mirror = await ran(server, url, gal=True)
        server.gal.forgetful = server.gal.fresh = True
        server.gal.delete("gal:1")
        await ran(server, url, mirror, gal=True)
    assert (mirror.complete, mirror.names) == (True, ["Bert Bein", "Person 0"])


async def test_a_directory_that_is_not_synchronised_is_searched() -> None:
    server = filled(1)
    server.gal.synced = False
    for n in range(150):
        server.gal.put(f"uid={n},ou=people", fullName=f"P {n}")
    async with server.serve() as url:
        mirror = await ran(server, url, gal=True)
        assert (len(mirror.records), server.calls.count("SearchGal")) == (151, 2)
        assert len((await ran(server, url, mirror, gal=True)).records) == 151
        server.gal.paged = False
        with pytest.raises(errors.Unavailable, match="zimbraFeatureGalSyncEnabled"):
            async with opened(server, url, gal=True) as source:
                await mirror.run(source, full=True)


async def test_users_are_the_directory_s_people_with_an_extension() -> None:
    server = filled(1)
    peopled(server)
    async with server.serve() as url, opened(server, url) as source:
        anna = User("gal:1", "312", "Anna", "Arm", "a@example.com")
        assert await source.users() == [anna]
        server.gal.put("gal:6", fullName="Dora", telephoneNumber="318")
        assert await source.users() == [anna, User("gal:6", "318", "Dora")]
        server.gal.delete("gal:1")
        assert await source.users() == [User("gal:6", "318", "Dora")]


@pytest.mark.parametrize(("field", "numbers"), [("pager", ["77"]), ("telephoneNumber", ["312", "+352 26 00 10 99"])])
async def test_a_field_that_is_named_holds_extensions_as_they_are_written(field: str, numbers: list[str]) -> None:
    server = ZimbraServer()
    peopled(server)
    async with server.serve() as url, opened(server, url, extension_field=field) as source:
        assert [user.extension for user in await source.users()] == numbers


# Check


async def test_check_says_who_what_and_how_many() -> None:
    server = filled(3)
    peopled(server)
    owner = shared(server, 2)
    broken = shared(server, 1, "Kaputt")
    broken.down = True
    server.mailbox.put({"type": "group"})
    more = {"folders": ["*"], "gal": True, "users": True, "fields": {"Level": "custom1"}}
    async with server.serve() as url, opened(server, url, **more) as source:
        assert await source.check() == (
            "phones@example.com at 127.0.0.1: 5 contacts in 2 folders (Contacts 3, Kunden 2); "
            "2 people in the directory, 1 with an extension; the share 'Kaputt', which its owner mends or whose "
            "mountpoint is to be deleted, cannot be read (service.PROXY_ERROR); no contact has the field 'custom1'"
        )
    assert owner.contacts


# Actions


def asked(kind: Kind, contact: str = "257", key: str = KEY) -> Action:
    """An action after a call."""
    started = datetime.datetime(2026, 11, 21, 10, 15, tzinfo=datetime.UTC)
    call = Call(
        direction="inbound",
        number="+35226001001",
        name="Müller, Jörg",
        started=started,
        answered=started,
        ended=started + datetime.timedelta(seconds=65),
    )
    return Action(kind, key, "Asked for\na price", "Twice & \u0001again", call, contact, "https://crm.example/257")


LINE = (
    "2026-11-21 10:15 UTC inbound +35226001001 Müller, Jörg 1:05 min · Asked for a price · Twice & again "
    f"[bridge:{KEY}]"
)


@pytest.mark.parametrize("kind", ["note", "log-call"])
async def test_a_note_or_a_call_is_a_line_in_the_contact_s_notes_once(kind: Kind) -> None:
    server = filled(1)
    server.mailbox.update(257, notes="First line\nsecond")
    async with server.serve() as url, opened(server, url) as source:
        made = [await source.act(asked(kind)) for _ in range(2)]
        assert [(each.id, each.url) for each in made] == [("257", f"{url}/home/phones@example.com/?id=257&fmt=vcf")] * 2
    assert server.mailbox.contacts[257].attributes == {**person(0), "notes": f"First line\nsecond\n{LINE}"}


async def test_a_note_on_a_share_needs_the_right_to_write() -> None:
    server = ZimbraServer()
    owner = shared(server, 1)
    contact = next(iter(owner.contacts.values()))
    id = f"{owner.zid}:{contact.id}"
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Refused) as raised:
            await source.act(asked("note", id))
        assert (raised.value.code, raised.value.absent) == ("service.PERM_DENIED", False)
        owner.share(contact.folder, server.mailbox, "rw")
        assert (await source.act(asked("note", id))).id == id
    assert contact.attributes["notes"] == LINE


async def test_a_note_that_meets_another_s_change_is_written_behind_it() -> None:
    server = filled(1)
    async with server.serve() as url, opened(server, url) as source:
        server.before["ModifyContact"] = lambda: server.mailbox.update(257, notes="Theirs")
        await source.act(asked("note"))
        assert server.mailbox.contacts[257].attributes["notes"] == f"Theirs\n{LINE}"
        assert server.calls.count("ModifyContact") == 2


async def test_a_note_that_always_meets_another_s_change_is_left_for_later() -> None:
    server = filled(1)

    def again() -> None:
        server.mailbox.tag(257)
        server.before["ModifyContact"] = again

    server.before["ModifyContact"] = again
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Unavailable, match="again and again"):
            await source.act(asked("note"))
    assert server.calls.count("ModifyContact") == 3


async def test_a_note_of_nobody_and_one_on_a_contact_that_is_gone_are_refused() -> None:
    server = filled(1)
    async with server.serve() as url, opened(server, url) as source:
        with pytest.raises(errors.Refused, match="no contact"):
            await source.act(asked("note", ""))
        with pytest.raises(errors.Refused) as raised:
            await source.act(asked("note", "999"))
    assert (raised.value.code, raised.value.absent) == ("mail.NO_SUCH_CONTACT", True)


@pytest.mark.parametrize("kind", ["task", "ticket"])
async def test_a_task_is_made_once(kind: Kind) -> None:
    server = filled(1)
    async with server.serve() as url, opened(server, url) as source:
        made = [await source.act(asked(kind)) for _ in range(2)]
        await source.act(asked(kind, key="f" * 32))
    task = server.mailbox.tasks[f"{KEY}@bridge"]
    assert ([each.id for each in made], len(server.mailbox.tasks)) == ([str(task.id)] * 2, 2)
    assert (task.component["name"], task.component["status"], task.folder) == ("Asked for a price", "NEED", 15)
    assert "inbound +35226001001 Müller, Jörg" in task.text
    assert "https://crm.example/257" in task.text


@pytest.mark.parametrize("kind", ["note", "task"])
@pytest.mark.parametrize("fault", ["lost", "cut"])
async def test_an_answer_that_was_lost_is_settled_by_asking_again(kind: Kind, fault: Name) -> None:
    server = filled(1)
    async with server.serve() as url, opened(server, url) as source:
        server.faults.set(fault, "ModifyContact" if kind == "note" else "CreateTask")
        with pytest.raises(errors.Unsettled):
            await source.act(asked(kind))
        await source.act(asked(kind))
    notes = str(server.mailbox.contacts[257].attributes.get("notes", ""))
    assert (notes.count(KEY), len(server.mailbox.tasks)) == ((1, 0) if kind == "note" else (0, 1))


async def test_our_own_note_changes_no_contact() -> None:
    server = filled(2)
    async with server.serve() as url, opened(server, url) as source:
        mirror = Mirror()
        await mirror.run(source)
        await source.act(asked("note"))
        before = mirror.records["257"]
        after = (await mirror.run(source)).records["257"]
    assert (after.numbers, after.display_name, mirror.complete) == (before.numbers, before.display_name, False)


def test_notes_that_grow_too_long_lose_our_own_oldest_lines_alone() -> None:
    ours = [f"call {n} {'x' * 5000} [bridge:{n:032x}]" for n in range(4)]
    notes = "\n".join([ours[0], "The customer's own words", *ours[1:]])
    assert writes.appended(notes, "new").split("\n") == ["The customer's own words", *ours[1:], "new"]


# Any history


def wanted(server: ZimbraServer, owner: Mailbox) -> dict[str, str]:
    """The last names by id that a reader of every folder is to hold, as the mailboxes are now."""
    own = server.mailbox
    held = {
        str(each.id): each.attributes["lastName"]
        for each in own.contacts.values()
        if each.folder != 13 and not any(own.inside(each.folder, top) for top in (TRASH, JUNK))
    }
    for link in own.folders.values():
        if link.zid and not own.inside(link.id, TRASH) and link.rid in owner.folders:
            for each in owner.contacts.values():
                readable = "r" in owner.rights(each.folder, own.zid) and not owner.inside(each.folder, TRASH)
                if readable and owner.inside(each.folder, link.rid):
                    held[f"{owner.zid}:{each.id}"] = each.attributes["lastName"]
    return held


def happen(box: Mailbox, dice: random.Random, n: int) -> None:
    """Something happens in a mailbox."""
    folders = [id for id, each in box.folders.items() if each.view == "contact" and not each.zid]
    made = [id for id in folders if id > 256 and id not in box.grants]
    ids = list(box.contacts)
    match dice.choice(["put", "put", "update", "update", "move", "trash", "delete", "make", "rename", "shift", "drop"]):
        case "put":
            box.put(person(n), dice.choice(folders))
        case "update" if ids:
            box.update(*dice.sample(ids, min(len(ids), 3)), lastName=f"Changed {n}")
        case "move" if ids:
            box.move(dice.choice(ids), dice.choice(folders))
        case "trash" if ids:
            box.trash(dice.choice(ids))
        case "delete" if ids:
            box.delete(dice.choice(ids))
        case "make":
            box.folders[box.make_folder(f"Folder {n}")].parent = dice.choice([1, TRASH, *folders])
        case "rename" if made:
            box.rename_folder(dice.choice(made), f"Renamed {n}")
        case "shift" if made:
            moved = dice.choice(made)
            box.move_folder(moved, dice.choice([1, TRASH, *(id for id in folders if not box.inside(id, moved))]))
        case "drop" if made:
            box.delete_folder(dice.choice(made))


@pytest.mark.parametrize("seed", range(12))
async def test_after_any_history_what_is_held_is_what_the_server_shows(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mailbox, "_CHANGES", 3)
    monkeypatch.setattr(mailbox, "_DELETES", 2)
    dice, server = random.Random(seed), filled(5)
    owner = shared(server, 4)
    top = next(id for id, each in owner.folders.items() if each.name == "Kunden")
    async with server.serve() as url, opened(server, url, folders=["*"]) as source:
        mirror = Mirror()
        for n in range(25):
            for step in range(dice.randrange(4)):
                happen(dice.choice([server.mailbox, owner]), dice, 100 * n + step)
            if dice.random() < 0.2:
                owner.share(top, server.mailbox, dice.choice(["", "r"]))
            await mirror.run(source, full=dice.random() < 0.1)
            held = {id: record.last_name for id, record in mirror.records.items()}
            assert held == wanted(server, owner), f"after step {n}"
