"""The stand-in SugarCRM is one: a published client works against it unchanged, and each fact of the wire holds."""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC
from typing import Any

import aiohttp
import pytest
from sugarcrm_cloud import exception
from sugarcrm_cloud.client import Client

from bridge.demo.sugarcrm import SugarServer

NOON = datetime.datetime(2026, 11, 21, 12, tzinfo=UTC)
LOGIN = {
    "grant_type": "password",
    "client_id": "sugar",
    "client_secret": "",
    "username": "bridge",
    "password": "bridge-password",
    "platform": "bridge",
}
CALL = {
    "name": "Call",
    "status": "Held",
    "direction": "Inbound",
    "date_start": "2026-11-21T12:00:00+00:00",
    "duration_hours": 0,
    "duration_minutes": 2,
}


class Wire:
    """Asks a served stand-in in its own words."""

    def __init__(self, server: SugarServer, http: aiohttp.ClientSession, url: str) -> None:
        self.server = server
        self.url = url
        self._http = http
        self.token = ""

    async def ask(self, method: str, path: str, data: Any = None, version: str = "v11_10") -> tuple[int, Any]:
        """Status and answer; with the token, if there is one."""
        headers = {"OAuth-Token": self.token} if self.token else {}
        url = f"{self.url}/rest/{version}/{path}"
        async with self._http.request(method, url, json=data, headers=headers, allow_redirects=False) as answer:
            return answer.status, await answer.json()

    async def login(self, **more: str) -> Mapping[str, Any]:
        """Log in, and use that session."""
        status, told = await self.ask("POST", "oauth2/token", {**LOGIN, **more})
        assert status == 200
        self.token = told["access_token"]
        return told

    async def rows(self, module: str, **asked: Any) -> list[Mapping[str, Any]]:
        """The records that a filter answers."""
        status, told = await self.ask("POST", f"{module}/filter", asked)
        assert (status, list(told)) == (200, ["next_offset", "records"])
        return told["records"]


@asynccontextmanager
async def wire(*, login: bool = True) -> AsyncIterator[Wire]:
    """A stand-in whose clock stands at noon, logged in to."""
    server = SugarServer()
    server.now = NOON
    async with server.serve() as url, aiohttp.ClientSession() as http:
        spoken = Wire(server, http, url)
        if login:
            await spoken.login()
        yield spoken


def label(answer: tuple[int, Any]) -> tuple[int, str]:
    """Status and label of an error."""
    return answer[0], answer[1]["error"]


async def test_a_published_client_logs_in_reads_filters_creates_and_renews() -> None:
    server = SugarServer()
    for n in range(30):
        server.put("Contacts", {"id": f"c{n}", "first_name": "Dave", "last_name": f"Smith {n:02}"})

    def speak(url: str) -> None:
        crm = Client(url, "8.0")
        with pytest.raises(exception.SugarApiExceptionNeedLogin):
            crm.get_token("bridge", "wrong", platform="bridge")
        told = crm.get_token("bridge", "bridge-password", platform="bridge")
        crm.set_access_token(told["access_token"])
        assert crm.me()["current_user"]["user_name"] == "bridge"
        page = crm.get_contacts()
        assert (len(page["records"]), page["next_offset"]) == (20, 20)
        asked = {"filter_expr": [{"last_name": {"$starts": "smith 1"}}], "order_by": "last_name:DESC", "max_num": 3}
        page = crm.filter_contacts(**asked, fields="last_name")
        assert [row["last_name"] for row in page["records"]] == ["Smith 19", "Smith 18", "Smith 17"]
        made = crm.create_contact({"first_name": "Dave", "last_name": "New"})
        assert crm.get_contact(made["id"])["last_name"] == "New"
        assert crm.create_lead({"last_name": "Lead"})["_module"] == "Leads"
        assert "phone_mobile" in crm.get_metadata("Leads")["modules"]["Leads"]["fields"]
        with pytest.raises(exception.SugarApiExceptionNotFound):
            crm.get_lead("nobody")
        with pytest.raises(exception.SugarApiExceptionInvalidParameter):
            crm.filter_leads(filter_expr=[{"colour": "red"}])
        crm.get_token("bridge", "bridge-password", platform="bridge")
        with pytest.raises(exception.SugarApiExceptionInvalidGrant):
            crm.get_contacts()

    async with server.serve() as url:
        await asyncio.to_thread(speak, url)


async def test_an_unregistered_platform_is_refused() -> None:
    async with wire(login=False) as sugar:
        assert label(await sugar.ask("POST", "oauth2/token", {**LOGIN, "platform": "phones"})) == (
            422,
            "invalid_parameter",
        )


async def test_a_login_ends_the_one_before_on_its_platform_and_no_other() -> None:
    async with wire() as sugar:
        first = sugar.token
        await sugar.login(platform="mobile")
        await sugar.login()
        status, _ = await sugar.ask("GET", "me")
        assert status == 200
        sugar.token = first
        assert label(await sugar.ask("GET", "me")) == (401, "invalid_grant")
        sugar.token = ""
        assert label(await sugar.ask("GET", "me")) == (401, "need_login")


async def test_a_renewal_ends_every_token_of_before() -> None:
    async with wire() as sugar:
        first = await sugar.login()
        renew = {"grant_type": "refresh_token", "client_id": "sugar", "client_secret": "", "platform": "bridge"}
        asked = {**renew, "refresh_token": first["refresh_token"]}
        assert (await sugar.ask("POST", "oauth2/token", asked))[0] == 200
        assert label(await sugar.ask("GET", "me")) == (401, "invalid_grant")
        assert label(await sugar.ask("POST", "oauth2/token", asked)) == (401, "invalid_grant")


async def test_a_logout_ends_the_session() -> None:
    async with wire() as sugar:
        assert await sugar.ask("POST", "oauth2/logout") == (200, {"success": True})
        assert label(await sugar.ask("GET", "me")) == (401, "invalid_grant")


async def test_a_wrong_version_is_a_301_without_a_place_to_go() -> None:
    async with wire() as sugar:
        assert label(await sugar.ask("GET", "me", version="v11_99")) == (301, "incorrect_version")


async def test_pages_have_20_rows_unless_asked_and_never_more_than_the_cap() -> None:
    async with wire() as sugar:
        for n in range(50):
            sugar.server.put("Contacts", {"last_name": str(n)})
        sugar.server.cap = 30
        assert [len(await sugar.rows("Contacts")), len(await sugar.rows("Contacts", max_num=1000))] == [20, 30]
        _, told = await sugar.ask("POST", "Contacts/filter", {"max_num": 1000, "offset": 30})
        assert (len(told["records"]), told["next_offset"]) == (20, -1)
        sugar.server.padded = True
        _, told = await sugar.ask("POST", "Contacts/filter", {"max_num": 1000, "offset": 30})
        assert (len(told["records"]), told["next_offset"]) == (20, 60)
        assert await sugar.ask("GET", "Contacts/filter/count") == (200, {"record_count": 50})


async def test_times_are_in_the_users_zone_and_compared_with_their_offsets() -> None:
    async with wire() as sugar:
        sugar.server.put("Contacts", {"last_name": "Weber"})
        [row] = await sugar.rows("Contacts", fields="last_name")
        assert row["date_modified"] == "2026-11-21T08:00:00-04:00"
        for asked, found in (("2026-11-21T13:00:00+01:00", 1), ("2026-11-21T13:00:00+00:00", 0)):
            assert len(await sugar.rows("Contacts", filter=[{"date_modified": {"$gte": asked}}])) == found
        naive = {"filter": [{"date_modified": {"$gte": "2026-11-21 12:00:00"}}]}
        assert label(await sugar.ask("POST", "Contacts/filter", naive)) == (422, "invalid_parameter")


@pytest.mark.parametrize(
    "asked",
    [
        {"filter": [{"colour": "red"}]},
        {"filter": [{"last_name": {"$like": "a"}}]},
        {"filter": {"last_name": "a"}},
        {"fields": "last_name,colour"},
        {"order_by": "colour"},
        {"order_by": "last_name:UP"},
        {"limit": 5},
    ],
)
async def test_what_no_filter_knows_is_refused(asked: dict[str, Any]) -> None:
    async with wire() as sugar:
        assert label(await sugar.ask("POST", "Contacts/filter", asked)) == (422, "invalid_parameter")


async def test_groups_and_operators_choose_rows() -> None:
    async with wire() as sugar:
        for n in range(6):
            sugar.server.put("Contacts", {"id": f"c{n}", "last_name": f"N{n}", "account_id": f"a{n % 2}"})
        chosen = {
            "c0 c2 c4": [{"account_id": {"$in": ["a0"]}}],
            "c4 c5": [{"id": {"$gt": "c3"}}],
            "c0 c5": [{"$or": [{"id": "c0"}, {"last_name": {"$ends": "5"}}]}],
            "c2": [{"$and": [{"id": {"$gte": "c1", "$lt": "c4"}}, {"account_id": "a0"}]}],
            "": [{"phone_work": {"$not_null": ""}}],
        }
        for want, asked in chosen.items():
            rows = await sugar.rows("Contacts", filter=asked, order_by="id:ASC")
            assert " ".join(row["id"] for row in rows) == want


async def test_deleted_rows_show_only_where_they_are_asked_for_and_that_is_on() -> None:
    async with wire() as sugar:
        sugar.server.delete("Contacts", sugar.server.put("Contacts", {"last_name": "Gone"}))
        assert await sugar.rows("Contacts") == []
        assert [row["deleted"] for row in await sugar.rows("Contacts", deleted=True)] == [True]
        sugar.server.shows_deleted = False
        assert await sugar.rows("Contacts", deleted=True) == []


async def test_hidden_fields_are_blank_and_said_to_be() -> None:
    async with wire() as sugar:
        sugar.server.put("Contacts", {"last_name": "Weber", "phone_home": "1"})
        sugar.server.store.hidden.add(("Contacts", "phone_home"))
        [row] = await sugar.rows("Contacts")
        assert (row["phone_home"], row["_acl"]["fields"]["phone_home"]["read"]) == ("", "no")


@pytest.mark.parametrize(("strings", "want"), [(True, ("1", "0")), (False, (True, False))])
async def test_email_flags_are_strings_or_booleans(strings: bool, want: tuple[object, object]) -> None:
    async with wire() as sugar:
        sugar.server.store.string_flags = strings
        sugar.server.put("Contacts", {"last_name": "Weber", "email": ["a@example.com"]})
        [row] = await sugar.rows("Contacts", fields="email")
        assert (row["email"][0]["primary_address"], row["email"][0]["opt_out"]) == want


async def test_a_renamed_account_shows_in_contacts_that_did_not_change() -> None:
    async with wire() as sugar:
        account = sugar.server.put("Accounts", {"name": "Before"})
        sugar.server.put("Contacts", {"last_name": "Weber", "account_id": account})
        sugar.server.tick(60)
        sugar.server.update("Accounts", account, {"name": "After"})
        [row] = await sugar.rows("Contacts", fields="account_name")
        assert (row["account_name"], row["date_modified"]) == ("After", "2026-11-21T08:00:00-04:00")


@pytest.mark.parametrize(
    ("change", "want", "fields"),
    [
        ({"name": ""}, "missing_parameter", ["name"]),
        ({"date_start": ""}, "missing_parameter", ["date_start"]),
        ({"status": "Done"}, "invalid_parameter", ["status"]),
        ({"colour": "red"}, "invalid_parameter", ["colour"]),
    ],
)
async def test_a_call_is_checked_before_it_is_made(change: dict[str, str], want: str, fields: list[str]) -> None:
    async with wire() as sugar:
        status, told = await sugar.ask("POST", "Calls", CALL | change)
        assert (status, told["error"], list(told["error_message"])) == (422, want, fields)
        assert sugar.server.records["Calls"] == {}


async def test_links_are_made_with_the_call_and_afterwards() -> None:
    async with wire() as sugar:
        contact, user = (sugar.server.put(module, {"last_name": "Weber"}) for module in ("Contacts", "Users"))
        _, made = await sugar.ask("POST", "Calls", {**CALL, "contacts": {"add": [contact]}})
        assert (await sugar.ask("POST", f"Calls/{made['id']}/link/users/{user}"))[0] == 200
        links = sugar.server.store.links
        assert (links["Calls", made["id"], "contacts"], links["Calls", made["id"], "users"]) == ([contact], [user])
        missing = {**CALL, "contacts": {"add": ["nobody"]}}
        assert label(await sugar.ask("POST", "Calls", missing)) == (404, "not_found")


async def test_an_id_of_ones_own_is_taken_once() -> None:
    async with wire() as sugar:
        assert (await sugar.ask("POST", "Notes", {"id": "mine", "name": "Note"}))[1]["id"] == "mine"
        again = await sugar.ask("POST", "Notes", {"id": "mine", "name": "Note"})
        assert label(again) == (422, "invalid_parameter")


async def test_a_sync_key_makes_one_record_from_v11_10_on() -> None:
    async with wire() as sugar:
        path = "Notes/sync_key/k1"
        assert label(await sugar.ask("PATCH", path, {"name": "Note"}, version="v11_9")) == (404, "no_method")
        status, made = await sugar.ask("PATCH", path, {"name": "Note"})
        again, same = await sugar.ask("PATCH", path, {"name": "Changed"})
        assert (status, again, same) == (201, 200, made)
        assert sugar.server.records["Notes"][made["record"]]["name"] == "Changed"
        sugar.server.sync_keys = False
        assert label(await sugar.ask("PATCH", path, {"name": "Note"})) == (403, "not_authorized")


async def test_records_are_read_changed_and_deleted_by_their_ids() -> None:
    async with wire() as sugar:
        _, made = await sugar.ask("POST", "Accounts", {"name": "Weber"})
        path = f"Accounts/{made['id']}"
        assert (await sugar.ask("PUT", path, {"phone_office": "26 00 10 00"}))[1]["phone_office"] == "26 00 10 00"
        assert await sugar.ask("DELETE", path) == (200, {"id": made["id"]})
        assert label(await sugar.ask("GET", path)) == (404, "not_found")
        assert label(await sugar.ask("GET", "Nothing")) == (404, "no_method")
