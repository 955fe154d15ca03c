"""The stand-in SuiteCRM is true to the real one: a published client works with it, and what was seen on the wire."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from sugarcrm.client import Client
from sugarcrm.exception import InvalidLogin, UnknownError

from bridge.demo import suitecrm_sql as sql
from bridge.demo.suitecrm import PLACE, SuiteCrm

NOW = datetime.datetime(2026, 11, 21, 22, 0, 0, tzinfo=datetime.UTC)
LIST = ("session", "module_name", "query", "order_by", "offset", "select_fields", "link_name_to_fields_array")


class Wire:
    """Sends calls as they are given, and shows the answers as they come."""

    def __init__(self, http: aiohttp.ClientSession, crm: SuiteCrm, url: str) -> None:
        self.http, self.crm, self.url = http, crm, url + PLACE
        self.session = ""

    async def send(self, method: str, arguments: Any, **more: str) -> tuple[int, str, str]:
        """Status, content type and text of the answer."""
        data = arguments if isinstance(arguments, str) else json.dumps(arguments)
        form = {"method": method, "input_type": "JSON", "response_type": "JSON", "rest_data": data, **more}
        async with self.http.post(self.url, data=form) as answer:
            return answer.status, answer.content_type, await answer.text()

    async def ask(self, method: str, **arguments: Any) -> Any:
        """The JSON of the answer, in the session logged in to."""
        status, _, text = await self.send(method, {"session": self.session, **arguments})
        assert status == 200
        return json.loads(text)

    async def list(self, module: str, query: str = "", **more: Any) -> Any:
        """A list with what `more` says, in the declared order."""
        asked = {"module_name": module, "query": query, "order_by": "", "offset": 0, "select_fields": ["id"]}
        asked |= {"link_name_to_fields_array": [], "max_results": 100, "deleted": 0, "favorites": False}
        return await self.ask("get_entry_list", **{**asked, **more})

    async def log_in(self) -> None:
        """Begin a session."""
        digest = hashlib.md5(self.crm.password.encode()).hexdigest()
        auth = {"user_name": self.crm.username, "password": digest}
        given = {"user_auth": auth, "application": "test", "name_value_list": []}
        self.session = json.loads((await self.send("login", given))[2])["id"]


@asynccontextmanager
async def wired(crm: SuiteCrm | None = None) -> AsyncIterator[Wire]:
    """A stand-in that serves, and a session in it."""
    crm = crm or SuiteCrm()
    async with crm.serve() as url, aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar()) as http:
        wire = Wire(http, crm, url)
        await wire.log_in()
        yield wire


def values(answer: Any) -> list[dict[str, str]]:
    """The values of each entry."""
    return [{name: each["value"] for name, each in row["name_value_list"].items()} for row in answer["entry_list"]]


def fault(answer: Any) -> tuple[Any, str]:
    return answer["number"], answer["name"]


async def test_a_published_client_logs_in_lists_counts_creates_changes_and_relates() -> None:
    crm = SuiteCrm("anna", "geheim")
    account = crm.put("Accounts", {"name": "Weber & Söhne"})
    anna = crm.put("Contacts", {"first_name": "Anna", "last_name": "O'Brien", "email1": "a@b.c", "account_id": account})
    crm.put("Contacts", {"last_name": "Weber"})

    def work(url: str) -> None:
        client = Client(url, "anna", "geheim")
        assert "Contacts" in [each["module_key"] for each in client.get_available_modules()["modules"]]
        assert client.get_entries_count("Contacts")["result_count"] == "2"
        fields = ["id", "last_name", "account_name"]
        emails = {"email_addresses": ["email_address", "primary_address"]}
        found = client.get_entry_list(
            "Contacts",
            query=f"contacts.id = '{anna}'",
            select_fields=fields,
            link_name_to_fields_array=emails,
            max_results=10,
        )
        assert values(found) == [{"id": anna, "last_name": "O&#039;Brien", "account_name": "Weber & Söhne"}]
        [linked] = found["relationship_list"][0]["link_list"]
        assert linked["records"][0]["link_value"]["email_address"]["value"] == "a@b.c"
        assert client.get_entry("Contacts", anna, select_fields=["last_name"])["entry_list"][0]["id"] == anna
        call = client.set_entry("Calls", {"name": "Rang", "status": "Held", "date_start": "2026-11-21 22:00:00"})["id"]
        client.set_entry("Calls", {"id": call, "direction": "Inbound"})
        assert client.set_relationship("Calls", call, "contacts", [anna])["created"] == 1
        related = client.get_relationships("Calls", call, "contacts", "", ["id", "last_name"], [])
        assert values(related) == [{"id": anna, "last_name": "O&#039;Brien"}]
        assert client.get_module_fields("Calls", fields=["direction"])["module_fields"].keys() == {"direction"}
        assert crm.store.modules["Calls"].rows[call]["direction"] == "Inbound"

    async with crm.serve() as url:
        await asyncio.to_thread(work, url)


async def test_a_published_client_is_refused_with_the_wrong_password_and_told_of_faults() -> None:
    crm = SuiteCrm("anna", "geheim")

    def work(url: str) -> None:
        with pytest.raises(InvalidLogin):
            Client(url, "anna", "falsch")
        client = Client(url, "anna", "geheim")
        with pytest.raises(UnknownError, match="not available on this server"):
            client.get_entry_list("Nothing")
        crm.expire()
        with pytest.raises(UnknownError, match="session ID is invalid"):
            client.get_entries_count("Contacts")

    async with crm.serve() as url:
        await asyncio.to_thread(work, url)


@pytest.mark.parametrize(
    "given",
    [
        {"module_name": "Contacts", "nonsense": 1},
        {"module": "Contacts"},
        {"module_name": "Contacts", "query": ""},
    ],
    ids=["unknown", "misnamed", "missing"],
)
async def test_php_8_ends_a_call_whose_arguments_it_does_not_know_or_lacks(given: Mapping[str, Any]) -> None:
    async with wired() as wire:
        answer = await wire.send("get_entries_count", {"session": wire.session, **given})
        assert answer == (500, "text/html", "")


async def test_old_php_goes_by_the_order_of_arguments_whatever_their_names() -> None:
    crm = SuiteCrm()
    crm.put("Contacts", {"last_name": "Weber"})
    async with wired(crm) as wire:
        crm.php = 7
        status, _, text = await wire.send("get_entries_count", {"a": wire.session, "b": "Contacts", "c": "", "d": 0})
        assert (status, json.loads(text)) == (200, {"result_count": "1"})


async def test_a_list_of_arguments_goes_by_its_order() -> None:
    async with wired() as wire:
        status, _, text = await wire.send("get_entries_count", [wire.session, "Contacts", "", 0])
        assert (status, json.loads(text)) == (200, {"result_count": "0"})


async def test_a_list_of_no_arguments_is_enough_for_a_call_that_wants_none() -> None:
    async with wired() as wire:
        assert (await wire.send("get_server_info", []))[0] == 200


async def test_builds_before_the_mend_end_at_application_name() -> None:
    async with wired() as wire:
        auth = {"user_name": "bridge", "password": "x"}
        assert (await wire.send("login", {"user_auth": auth, "application_name": "x"}))[0] == 500


async def test_faults_come_with_200() -> None:
    async with wired() as wire:
        auth = {"user_name": "bridge", "password": hashlib.md5(b"wrong").hexdigest()}
        status, kind, text = await wire.send("login", {"user_auth": auth})
        assert (status, kind, list(json.loads(text))) == (200, "application/json", ["name", "number", "description"])
        assert fault(json.loads(text)) == (10, "Invalid Login")
        assert fault(await wire.list("Nothing")) == (20, "Module Does Not Exist")
        wire.crm.methods.hidden.add("Leads")
        assert fault(await wire.list("Leads")) == (40, "Access Denied")
        wire.session = "made-up"
        assert fault(await wire.list("Contacts")) == (11, "Invalid Session ID")


async def test_an_unknown_method_is_number_minus_one_as_a_text() -> None:
    async with wired() as wire:
        answer = json.loads((await wire.send("get_everything", {}))[2])
        assert fault(answer) == ("-1", "An Undefined Error - invalid_call occurred")


async def test_broken_arguments_are_an_invalid_login_or_nothing() -> None:
    async with wired() as wire:
        assert json.loads((await wire.send("login", "{broken"))[2])["number"] == 10
        assert (await wire.send("get_entry_list", "{broken"))[2] == "null"


async def test_an_empty_session_is_answered_null() -> None:
    async with wired() as wire:
        wire.session = ""
        assert await wire.list("Contacts") is None


async def test_a_call_without_a_response_type_is_answered_as_text() -> None:
    async with wired() as wire:
        assert (await wire.send("get_server_info", {}, response_type=""))[:2] == (200, "text/html")


async def test_get_works_as_post_does() -> None:
    async with wired() as wire:
        form = {"method": "get_server_info", "input_type": "JSON", "response_type": "JSON", "rest_data": "{}"}
        async with wire.http.get(wire.url, params=form) as answer:
            assert (await answer.json())["flavor"] == "CE"


async def test_the_server_tells_its_time() -> None:
    crm = SuiteCrm()
    crm.store.now = NOW
    async with wired(crm) as wire:
        answer = json.loads((await wire.send("get_server_info", {}))[2])
        assert answer == {"flavor": "CE", "version": "6.5.25", "gmt_time": "2026-11-21 22:00:00"}


async def test_logout_answers_null_and_ends_the_session() -> None:
    async with wired() as wire:
        assert await wire.ask("logout") is None
        assert fault(await wire.list("Contacts")) == (11, "Invalid Session ID")


async def test_a_login_sets_a_cookie_and_so_does_a_made_up_session() -> None:
    async with wired() as wire:
        given = {"session": "made-up", "module_name": "Contacts", "query": "", "deleted": 0}
        form = {"method": "get_entries_count", "input_type": "JSON", "response_type": "JSON"}
        async with wire.http.post(wire.url, data={**form, "rest_data": json.dumps(given)}) as answer:
            assert answer.cookies["PHPSESSID"].value == "made-up"


async def test_whoever_sends_a_cookie_gets_the_session_of_that_cookie() -> None:
    async with wired() as wire:
        auth = {"user_name": "bridge", "password": hashlib.md5(b"demo").hexdigest()}
        form = {"method": "login", "input_type": "JSON", "response_type": "JSON"}
        data = {**form, "rest_data": json.dumps({"user_auth": auth})}
        async with wire.http.post(wire.url, data=data, headers={"Cookie": f"PHPSESSID={wire.session}"}) as answer:
            assert (await answer.json())["id"] == wire.session


async def test_wrong_logins_lock_the_user_out() -> None:
    async with wired() as wire:
        auth = {"user_name": "bridge", "password": "wrong"}
        answers = [json.loads((await wire.send("login", {"user_auth": auth}))[2])["number"] for _ in range(6)]
        assert answers == [10, 10, 10, 10, 10, 1009]


async def test_a_session_ends_after_the_calls_that_it_lives_for() -> None:
    crm = SuiteCrm()
    crm.lives = 2
    async with wired(crm) as wire:
        answers = [await wire.list("Contacts") for _ in range(3)]
        assert [answer.get("number") for answer in answers] == [None, None, 11]


async def test_values_are_escaped_in_four_characters_and_the_ampersand_is_not() -> None:
    crm = SuiteCrm()
    crm.put("Contacts", {"last_name": 'O\'Brien & <b>Söhne</b> "q"'})
    async with wired(crm) as wire:
        answer = await wire.list("Contacts", select_fields=["last_name"])
        assert values(answer) == [{"last_name": "O&#039;Brien & &lt;b&gt;Söhne&lt;/b&gt; &quot;q&quot;"}]


async def test_the_echo_of_set_entry_is_escaped_in_another_way_and_tags_are_not_kept() -> None:
    async with wired() as wire:
        pairs = [{"name": "last_name", "value": "Müller & <b>Co</b>"}]
        made = await wire.ask("set_entry", module_name="Contacts", name_value_list=pairs)
        assert made["entry_list"]["last_name"]["value"] == "M&#252;ller &amp;amp; <b>Co</b>"
        assert wire.crm.store.modules["Contacts"].rows[made["id"]]["last_name"] == "Müller & Co"


async def test_the_total_is_a_text_and_the_number_0_where_nothing_matches() -> None:
    crm = SuiteCrm()
    crm.put("Contacts", {"last_name": "Weber"})
    async with wired(crm) as wire:
        assert (await wire.list("Contacts"))["total_count"] == "1"
        assert (await wire.list("Contacts", "contacts.last_name = 'Nobody'"))["total_count"] == 0


async def test_next_offset_never_signals_the_end() -> None:
    crm = SuiteCrm()
    for _ in range(3):
        crm.put("Contacts", {"last_name": "Weber"})
    async with wired(crm) as wire:
        ends = [(await wire.list("Contacts", offset=at))["next_offset"] for at in (0, 2, 3, 1_000_000)]
        assert ends == [3, 3, 3, 1_000_000]


@pytest.mark.parametrize(("asked", "came"), [(0, 20), (10, 10), (1000, 25)])
async def test_no_number_of_results_means_20(asked: int, came: int) -> None:
    crm = SuiteCrm()
    for _ in range(25):
        crm.put("Contacts", {"last_name": "Weber"})
    async with wired(crm) as wire:
        assert (await wire.list("Contacts", max_results=asked))["result_count"] == came


async def test_a_server_that_does_not_count_says_minus_1_and_gives_one_more() -> None:
    crm = SuiteCrm()
    crm.methods.counts = False
    for _ in range(5):
        crm.put("Contacts", {"last_name": "Weber"})
    async with wired(crm) as wire:
        answer = await wire.list("Contacts", max_results=3)
        assert (answer["total_count"], answer["result_count"]) == (-1, 4)


async def test_rows_come_by_id_and_an_order_by_table_is_ignored() -> None:
    crm = SuiteCrm()
    for identity in ("c", "a", "b"):
        crm.put("Contacts", {"id": identity, "last_name": f"{'cab'.index(identity)}"})
    async with wired(crm) as wire:
        for order in ("", "contacts.last_name ASC", "nonsense"):
            answer = await wire.list("Contacts", order_by=order)
            assert [row["id"] for row in answer["entry_list"]] == ["a", "b", "c"]


async def test_an_order_by_a_bare_column_is_a_database_failure() -> None:
    async with wired() as wire:
        given = {"session": wire.session, "module_name": "Contacts", "query": "", "order_by": "last_name"}
        status, kind, text = await wire.send("get_entry_list", given)
        assert (status, kind) == (500, "text/html")
        assert text == "Database failure. Please refer to suitecrm.log for details."


async def test_deleted_1_brings_what_is_deleted_and_what_is_not() -> None:
    crm = SuiteCrm()
    crm.store.now = NOW
    kept, gone = crm.put("Contacts", {"last_name": "Kept"}), crm.put("Contacts", {"last_name": "Gone"})
    crm.store.now = NOW + datetime.timedelta(minutes=1)
    crm.delete("Contacts", gone)
    async with wired(crm) as wire:
        fields = ["id", "deleted", "date_modified"]
        assert values(await wire.list("Contacts", select_fields=["id"])) == [{"id": kept}]
        both = values(await wire.list("Contacts", deleted=1, select_fields=fields))
        assert {row["id"]: row["deleted"] for row in both} == {kept: "0", gone: "1"}
        query = "contacts.date_modified > '2026-11-21 22:00:00'"
        since = values(await wire.list("Contacts", query, deleted=1, select_fields=fields))
        assert since == [{"id": gone, "deleted": "1", "date_modified": "2026-11-21 22:01:00"}]


@pytest.mark.parametrize("gone", ["deleted", "unknown"])
async def test_an_entry_that_is_not_there_is_a_list_of_warnings(gone: str) -> None:
    crm = SuiteCrm()
    crm.put("Contacts", {"id": "deleted"})
    crm.delete("Contacts", "deleted")
    async with wired(crm) as wire:
        given = {"ids": [gone], "select_fields": [], "link_name_to_fields_array": []}
        [entry] = (await wire.ask("get_entries", module_name="Contacts", **given))["entry_list"]
        assert [pair["name"] for pair in entry["name_value_list"]] == ["warning", "deleted"]


async def test_one_entry_that_may_not_be_opened_spoils_the_answer_for_all() -> None:
    crm = SuiteCrm()
    ids = [crm.put("Accounts", {"name": name}) for name in "ab"]
    crm.methods.closed.add(ids[1])
    async with wired(crm) as wire:
        given = {"ids": ids, "select_fields": ["name"], "link_name_to_fields_array": []}
        assert fault(await wire.ask("get_entries", module_name="Accounts", **given)) == (40, "Access Denied")
        assert len((await wire.list("Accounts"))["entry_list"]) == 2


async def test_unknown_fields_are_dropped_and_empty_ones_are_empty_texts() -> None:
    crm = SuiteCrm()
    crm.put("Contacts", {"last_name": "Weber"})
    async with wired(crm) as wire:
        answer = await wire.list("Contacts", select_fields=["last_name", "nonsense", "phone_work"])
        assert values(answer) == [{"last_name": "Weber", "phone_work": ""}]


async def test_a_contact_without_an_account_has_no_account_name_at_all() -> None:
    crm = SuiteCrm()
    account = crm.put("Accounts", {"name": "Weber AG"})
    crm.put("Contacts", {"id": "1", "account_id": account})
    crm.put("Contacts", {"id": "2"})
    async with wired(crm) as wire:
        answer = await wire.list("Contacts", select_fields=["account_name"])
        assert [entry["name_value_list"] for entry in answer["entry_list"]] == [
            {"account_name": {"name": "account_name", "value": "Weber AG"}},
            [],
        ]


async def test_related_records_are_nested_as_v4_1_does_and_none_is_an_empty_list() -> None:
    crm = SuiteCrm()
    crm.put("Contacts", {"id": "1", "email1": "a@b.c"})
    crm.put("Contacts", {"id": "2"})
    async with wired(crm) as wire:
        links = [{"name": "email_addresses", "value": ["email_address"]}]
        answer = await wire.list("Contacts", link_name_to_fields_array=links)
        record = {"link_value": {"email_address": {"name": "email_address", "value": "a@b.c"}}}
        first = {"link_list": [{"name": "email_addresses", "records": [record]}]}
        assert answer["relationship_list"] == [first, {"link_list": []}]
        assert (await wire.list("Contacts"))["relationship_list"] == []


@pytest.mark.parametrize(
    "query",
    [
        "sleep(5)",
        "contacts.id = (SELECT id FROM users)",
        "contacts.user_hash = 'x'",
        "contacts.id = 'a' UNION SELECT 1",
        "a.b.c = '1'",
        "contacts.id = 'a",
        "contacts.id = 'a'; DROP TABLE contacts",
        "contacts.id",
        "(contacts.id = 'a'",
    ],
)
async def test_a_query_outside_of_the_grammar_is_access_denied(query: str) -> None:
    async with wired() as wire:
        assert fault(await wire.list("Contacts", query)) == (40, "Access Denied")


@pytest.mark.parametrize("query", ["contacts.nonsense = '1'", "leads.id = '1'", "id = '1'", "contacts.email1 = 'a'"])
async def test_a_query_about_what_is_no_column_is_a_database_failure(query: str) -> None:
    async with wired() as wire:
        given = dict(zip(LIST, (wire.session, "Contacts", query, "", 0, [], []), strict=True))
        assert (await wire.send("get_entry_list", given))[0] == 500


async def test_a_count_joins_its_query_without_brackets() -> None:
    crm = SuiteCrm()
    for identity in "ab":
        crm.put("Contacts", {"id": identity, "last_name": identity})
        crm.delete("Contacts", identity)
    async with wired(crm) as wire:
        either = "contacts.last_name = 'a' OR contacts.last_name = 'b'"
        counted = [
            (await wire.ask("get_entries_count", module_name="Contacts", query=query, deleted=0))["result_count"]
            for query in (either, f"({either})")
        ]
        assert counted == ["1", "0"]


async def test_an_unknown_id_looks_like_success_and_makes_nothing() -> None:
    async with wired() as wire:
        pairs = {"id": "11111111-2222-3333-4444-555555555555", "name": "Rang"}
        made = await wire.ask("set_entry", module_name="Calls", name_value_list=pairs)
        assert (made["id"], wire.crm.store.modules["Calls"].rows) == (pairs["id"], {})


async def test_a_record_with_an_id_of_ones_own_is_made_once() -> None:
    async with wired() as wire:
        pairs = {"id": "11111111-2222-3333-4444-555555555555", "new_with_id": 1, "name": "Rang"}
        given = {"session": wire.session, "module_name": "Calls", "name_value_list": pairs}
        assert [(await wire.send("set_entry", given))[0] for _ in range(2)] == [200, 500]
        assert list(wire.crm.store.modules["Calls"].rows) == [pairs["id"]]


async def test_an_id_in_a_bad_form_is_answered_null() -> None:
    async with wired() as wire:
        pairs = {"id": "no id'", "new_with_id": 1}
        assert await wire.ask("set_entry", module_name="Calls", name_value_list=pairs) is None


@pytest.mark.parametrize("pairs", [{"name": "x" * 51}, {"date_start": "2026-11-21T22:00:00Z"}])
async def test_a_call_with_a_name_too_long_or_another_time_is_not_saved(pairs: Mapping[str, str]) -> None:
    async with wired() as wire:
        given = {"session": wire.session, "module_name": "Calls", "name_value_list": pairs}
        assert (await wire.send("set_entry", given))[0] == 500


async def test_set_relationship_checks_neither_id() -> None:
    async with wired() as wire:
        given = {"module_id": "nobody", "link_field_name": "contacts", "related_ids": ["nobody"]}
        answer = await wire.ask("set_relationship", module_name="Calls", **given)
        assert answer == {"created": 1, "failed": 0, "deleted": 0}


@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/service/v4_2/rest.php", 404), ("/index.php", 200)])
async def test_other_pages_are_pages(path: str, status: int) -> None:
    async with wired() as wire, wire.http.get(wire.url.removesuffix(PLACE) + path) as answer:
        assert (answer.status, answer.content_type) == (status, "text/html")


async def test_suitecrm_8_serves_below_legacy_and_its_front_page_elsewhere() -> None:
    crm = SuiteCrm()
    crm.legacy = True
    async with crm.serve() as url, aiohttp.ClientSession() as http:
        form = {"method": "get_server_info", "input_type": "JSON", "response_type": "JSON", "rest_data": "{}"}
        kinds = []
        for place in (url, f"{url}/legacy"):
            async with http.post(place + PLACE, data=form) as answer:
                kinds.append(answer.content_type)
        assert kinds == ["text/html", "application/json"]


@pytest.mark.parametrize("name", ["cut", "lost", "dropped"])
async def test_a_connection_that_ends_gives_no_whole_answer(name: Any) -> None:
    async with wired() as wire:
        wire.crm.faults.set(name, "set_entry")
        with pytest.raises(aiohttp.ClientError):
            await wire.ask("set_entry", module_name="Calls", name_value_list={"name": "Rang"})
        assert len(wire.crm.store.modules["Calls"].rows) == (0 if name == "dropped" else 1)


@pytest.mark.parametrize(
    ("name", "status", "text"),
    [("null", 200, "null"), ("html", 200, "<!DOCTYPE"), ("status_500", 500, "Database"), ("status_503", 503, "Serv")],
)
async def test_faults_take_the_place_of_answers(name: Any, status: int, text: str) -> None:
    async with wired() as wire:
        wire.crm.faults.set(name, skip=1)
        assert (await wire.list("Contacts"))["result_count"] == 0
        answer = await wire.send("get_server_info", {})
        assert (answer[0], answer[2][: len(text)]) == (status, text)
        assert (await wire.send("get_server_info", {}))[0] == 200


def test_conditions_know_brackets_lists_patterns_and_negation() -> None:
    rows = [{"id": each, "name": f"N{each}"} for each in "abcd"]
    queries = {
        "t.id IN ('a', 'c')": "ac",
        "NOT (t.id = 'a' OR t.id = 'b') AND t.name LIKE 'n%'": "cd",
        "t.id >= 'b' AND t.id < 'd'": "bc",
        "t.name IS NULL OR t.id <> 'a' AND t.id NOT IN ('b')": "cd",
    }
    for query, ids in queries.items():
        condition = sql.read(query, "t", {"id", "name"})
        assert "".join(row["id"] for row in rows if condition.test(row)) == ids
