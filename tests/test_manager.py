from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import Any

import aiohttp
import pytest

from bridge.demo.manager import Manager

KEY = "k+/=&ü #1"
ANNA = {"FirstName": "Anna", "LastName": "Müller", "PhoneNumber": "35212345", "CompanyName": "Luxflux, S.A."}
OPERATOR = {"ExtentionNumber": "201", "EmailAddress": "a@example.com", "FirstName": "Anna"}


class Caller:
    """Speaks to one stand-in Manager in raw requests."""

    def __init__(self, manager: Manager, url: str, session: aiohttp.ClientSession) -> None:
        self.manager = manager
        self.url = url
        self.session = session

    async def raw(self, query: str, method: str = "POST", body: bytes = b"") -> tuple[int, bytes, str]:
        """Status, body and content type for a query as it stands."""
        url = aiohttp.client.URL(f"{self.url}?{query}", encoded=True)
        async with self.session.request(method, url, data=body or None) as answer:
            return answer.status, await answer.read(), answer.content_type

    async def ask(self, action: str, value: Any, **others: str) -> Any:
        """The parsed answer to one action; `value` as JSON, or text as it stands."""
        text = value if isinstance(value, str) else json.dumps(value)
        values = {"action": action, "qstype": "1", "qsSecuritykey": KEY, "qsValue": text, **others}
        return json.loads((await self.raw(urllib.parse.urlencode(values)))[1])

    async def code(self, action: str, value: Any, **others: str) -> str:
        """The error code, "" for success."""
        answer: Mapping[str, str] = await self.ask(action, value, **others)
        return answer["errorCode"]

    async def add(self, **fields: str) -> str:
        """The code of adding Anna, with these fields instead of hers."""
        return await self.code("addPhonebook", {"sContact": [{**ANNA, **fields}]})


@pytest.fixture
async def caller() -> AsyncIterator[Caller]:
    manager = Manager(KEY)
    async with manager.serve() as url, aiohttp.ClientSession() as session:
        yield Caller(manager, url, session)


async def test_contact_is_added_updated_and_deleted_as_the_page_says(caller: Caller) -> None:
    got = await caller.ask("addPhonebook", {"sContact": [ANNA]})
    assert got == {"status": "Contact Created", "errorMessage": "", "errorCode": ""}
    assert caller.manager.entries() == [ANNA]
    assert caller.manager.book() == {"35212345": ("Anna", "Müller", "Luxflux, S.A.")}

    changed = {**ANNA, "PhoneNumber": "352999", "RegisteredPhoneNumber": "35212345"}
    got = await caller.ask("updatePhonebook", {"uContact": [changed]})
    assert got["status"] == "Contact Updated"
    assert list(caller.manager.book()) == ["352999"]

    got = await caller.ask("deletePhonebook", {"dContact": [{"PhoneNumber": "352999"}]})
    assert got["status"] == "Contact Deleted"
    assert caller.manager.entries() == []
    assert [action for action, _ in caller.manager.calls] == ["addPhonebook", "updatePhonebook", "deletePhonebook"]


async def test_second_add_of_a_number_is_a_second_entry(caller: Caller) -> None:
    assert [await caller.add(), await caller.add(FirstName="Bert")] == ["", ""]
    assert len(caller.manager.entries()) == 2
    assert caller.manager.duplicates() == ["35212345"]


@pytest.mark.parametrize(
    ("fields", "want"),
    [
        ({"FirstName": " "}, "FNAME_INVALID"),
        ({"FirstName": "", "LastName": "", "PhoneNumber": ""}, "FNAME_INVALID"),
        ({"LastName": ""}, "LNAME_INVALID"),
        ({"PhoneNumber": ""}, "PHONE_NUMBER_INVALID"),
        ({"PhoneNumber": "+35212345"}, "PHONE_NUMBER_INVALID"),
        ({"PhoneNumber": "352 123"}, "PHONE_NUMBER_INVALID"),
        ({"PhoneNumber": "٣٥٢"}, "PHONE_NUMBER_INVALID"),
        ({"CompanyName": ""}, ""),
        ({"Company": "X"}, "WEBSERVICE_ERROR"),
        ({"RegisteredPhoneNumber": "1"}, "WEBSERVICE_ERROR"),
    ],
)
async def test_fields_are_checked_in_the_order_of_the_page(caller: Caller, fields: dict[str, str], want: str) -> None:
    assert await caller.add(**fields) == want
    assert len(caller.manager.entries()) == (0 if want else 1)


async def test_leading_plus_is_taken_only_where_configured(caller: Caller) -> None:
    caller.manager.plus = True
    assert await caller.add(PhoneNumber="+352123") == ""
    assert list(caller.manager.book()) == ["+352123"]


@pytest.mark.parametrize(
    ("action", "value"),
    [
        ("addphonebook", {"sContact": [ANNA]}),
        ("addPhonebook", {"uContact": [ANNA]}),
        ("addPhonebook", {"sContact": ANNA}),
        ("addPhonebook", {"sContact": [ANNA, ANNA]}),
        ("addPhonebook", {"sContact": []}),
        ("addPhonebook", {"sContact": [ANNA], "mode": "x"}),
        ("addPhonebook", {"sContact": [{**ANNA, "PhoneNumber": 352}]}),
        ("addPhonebook", [ANNA]),
        ("addPhonebook", "{“sContact”:[]}"),
        ("addPhonebook", ""),
        ("delPhonebook", {"dContact": [{"PhoneNumber": "1"}]}),
        ("deletePhonebook", {"sContact": [{"PhoneNumber": "1"}]}),
        ("deletePhonebook", {"dContact": [ANNA]}),
    ],
)
async def test_what_the_page_does_not_document_is_refused(caller: Caller, action: str, value: Any) -> None:
    assert await caller.code(action, value) == "WEBSERVICE_ERROR"


async def test_parameters_are_exactly_the_four_in_the_url(caller: Caller) -> None:
    good = {"sContact": [ANNA]}
    assert await caller.code("addPhonebook", good, qstype="2") == "WEBSERVICE_ERROR"
    assert await caller.code("addPhonebook", good, extra="1") == "WEBSERVICE_ERROR"
    query = urllib.parse.urlencode({"action": "addPhonebook", "qstype": 1, "qsSecuritykey": KEY, "qsValue": "{}"})
    assert json.loads((await caller.raw(query, body=b"x"))[1])["errorCode"] == "WEBSERVICE_ERROR"
    assert json.loads((await caller.raw(f"{query}&qstype=1"))[1])["errorCode"] == "INVALID_AUTH_ID"
    assert json.loads((await caller.raw(f"{query}%FF"))[1])["errorCode"] == "INVALID_AUTH_ID"
    assert json.loads((await caller.raw(""))[1])["errorCode"] == "INVALID_AUTH_ID"
    assert (await caller.raw(query, method="GET"))[0] == 405
    assert caller.manager.entries() == []


async def test_key_is_looked_at_before_anything_else(caller: Caller) -> None:
    assert await caller.code("nonsense", "no json", qsSecuritykey="wrong") == "INVALID_AUTH_ID"
    caller.manager.expired.add("old")
    assert await caller.code("nonsense", "no json", qsSecuritykey="old") == "AUTH_ID_EXPIRED"


async def test_overlong_query_is_a_page_of_the_web_server(caller: Caller) -> None:
    status, body, kind = await caller.raw("x" * 2049)
    assert (status, kind) == (404, "text/html")
    assert body.startswith(b"<!DOCTYPE html>")


@pytest.mark.parametrize("code", ["PHONE_NUMBER_INVALID", "WEBSERVICE_ERROR"])
async def test_update_and_delete_of_what_is_not_there_fail_as_configured(caller: Caller, code: str) -> None:
    caller.manager.absent = code
    moved = {"uContact": [{**ANNA, "RegisteredPhoneNumber": "1"}]}
    assert await caller.code("updatePhonebook", moved) == code
    assert await caller.code("deletePhonebook", {"dContact": [{"PhoneNumber": "1"}]}) == code
    assert caller.manager.entries() == []


async def test_extensions_and_the_mails_they_send(caller: Caller) -> None:
    got = await caller.ask("addExt", {"sExtension": [OPERATOR]})
    assert got["status"] == "Extension Created"
    got = await caller.ask("addExt", {"mExtension": [{**OPERATOR, "ExtentionNumber": n} for n in ("202", "203")]})
    assert got["status"] == "All Extension Created"
    got = await caller.ask("updateExt", {"uExtension": [{**OPERATOR, "EmailAddress": ""}]})
    assert got["status"] == "Extension Updated"
    got = await caller.ask("deleteExt", {"dExtension": [{"ExtentionNumber": "202"}]})
    assert got["status"] == "Extension Deleted"
    assert sorted(caller.manager.extensions) == ["201", "203"]
    assert [text for _, text in caller.manager.mails] == [f"extension {n} added" for n in ("201", "202", "203")]


@pytest.mark.parametrize(
    ("action", "key", "fields", "want"),
    [
        ("addExt", "sExtension", {}, "EXTENSION_EXIST"),
        ("addExt", "sExtension", {"ExtentionNumber": "2o1"}, "INVALID_EXTENSION"),
        ("addExt", "sExtension", {"ExtentionNumber": "9", "EmailAddress": "nobody"}, "INVALID_EMAIL"),
        ("addExt", "sExtension", {"ExtentionNumber": "9", "FirstName": ""}, "FNAME_INVALID"),
        ("addExt", "sExtension", {"ExtensionNumber": "9"}, "WEBSERVICE_ERROR"),
        ("updateExt", "uExtension", {"ExtentionNumber": "9"}, "INVALID_EXTENSION"),
        ("updateExt", "uExtension", {"EmailAddress": "nobody"}, "INVALID_EMAIL"),
    ],
)
async def test_extension_errors(caller: Caller, action: str, key: str, fields: dict[str, str], want: str) -> None:
    await caller.ask("addExt", {"sExtension": [OPERATOR]})
    assert await caller.code(action, {key: [{**OPERATOR, **fields}]}) == want
    assert await caller.code("deleteExt", {"dExtension": [{"ExtentionNumber": "9"}]}) == "INVALID_EXTENSION"


async def test_many_extensions_are_added_all_or_none(caller: Caller) -> None:
    rows = [OPERATOR, {**OPERATOR, "ExtentionNumber": "202", "FirstName": ""}]
    assert await caller.code("addExt", {"mExtension": rows}) == "FNAME_INVALID"
    assert await caller.code("addExt", {"mExtension": [OPERATOR, OPERATOR]}) == "EXTENSION_EXIST"
    assert caller.manager.extensions == {}
    assert caller.manager.mails == []


@pytest.mark.parametrize(
    ("fault", "applied"), [("answer_lost_after_apply", True), ("cut_before_apply", False), ("hang", True)]
)
async def test_connection_is_cut_after_or_before_applying(caller: Caller, fault: str, applied: bool) -> None:
    caller.manager.faults.set(fault, times=1, applied=applied, seconds=0.01)
    with pytest.raises(aiohttp.ClientError):
        await caller.add()
    assert len(caller.manager.entries()) == int(applied)
    assert await caller.add() == ""


@pytest.mark.parametrize(
    ("fault", "want", "applied"),
    [
        ("code_500", "500", False),
        ("code_500_applied", "500", True),
        ("key_invalid", "INVALID_AUTH_ID", False),
        ("key_expired", "AUTH_ID_EXPIRED", False),
    ],
)
async def test_error_codes_in_place_of_the_answer(caller: Caller, fault: str, want: str, applied: bool) -> None:
    caller.manager.faults.set(fault)
    assert await caller.add() == want
    assert len(caller.manager.entries()) == int(applied)
    assert caller.manager.counts[f"fault.{fault}"] == 1


@pytest.mark.parametrize(
    ("fault", "status", "wrong"),
    [
        ("status_500_html", 500, json.JSONDecodeError),
        ("html_200", 200, json.JSONDecodeError),
        ("garbage", 200, UnicodeDecodeError),
    ],
)
async def test_answers_that_are_no_json(caller: Caller, fault: str, status: int, wrong: type[Exception]) -> None:
    caller.manager.faults.set(fault, applied=True)
    query = {"action": "addPhonebook", "qstype": 1, "qsSecuritykey": KEY, "qsValue": json.dumps({"sContact": [ANNA]})}
    got, body, _ = await caller.raw(urllib.parse.urlencode(query))
    assert got == status
    with pytest.raises(wrong):
        json.loads(body)
    assert len(caller.manager.entries()) == 1


async def test_dresses_of_an_answer(caller: Caller) -> None:
    caller.manager.faults.read("curly_quotes,padded_codes,bom,text_html,slow@0.01")
    _, body, kind = await caller.raw("action=x")
    want = "\ufeff{“message”: “ Authentication Token invalid ”, “errorCode”: “ INVALID_AUTH_ID ”}"
    assert (body.decode(), kind) == (want, "text/html")


async def test_faults_strike_as_often_as_asked_and_the_same_way_for_a_seed(caller: Caller) -> None:
    caller.manager.faults.set("code_500", times=2)
    assert [await caller.code("x", "") for _ in range(3)] == ["500", "500", "WEBSERVICE_ERROR"]
    caller.manager.faults.set("code_500", requests=1)
    assert [await caller.code("x", "") for _ in range(2)] == ["500", "WEBSERVICE_ERROR"]
    draws = []
    for seed in (7, 7, 8):
        faults = Manager(seed=seed).faults
        faults.read("code_500=0.5,hang=0.5")
        draws.append([sorted(faults.draw()) for _ in range(40)])
    assert draws[0] == draws[1] != draws[2]
    assert all(len(names) < 2 for names in draws[0])


def test_unknown_fault_is_named_with_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no fault 'answer_lost'; there are answer_lost_after_apply"):
        Manager().faults.read("answer_lost=3")


async def test_state_shows_all_it_holds(caller: Caller) -> None:
    await caller.add()
    await caller.add()
    async with caller.session.get(caller.url.replace("/api.aspx", "/_state")) as answer:
        got = await answer.json()
    assert got == {
        "entries": [ANNA, ANNA],
        "duplicates": ["35212345"],
        "extensions": [],
        "mails": [],
        "counts": {"requests": 2, "Contact Created": 2},
    }


async def test_server_ends_at_once_with_a_request_hanging() -> None:
    manager = Manager(KEY)
    manager.faults.set("hang")
    async with aiohttp.ClientSession() as session:
        async with manager.serve() as url:
            hanging = asyncio.ensure_future(Caller(manager, url, session).add())
            while not manager.counts["fault.hang"]:
                await session.get(url.replace("/api.aspx", "/_state"))
        with pytest.raises(aiohttp.ClientError):
            await asyncio.wait_for(hanging, 5)


async def test_it_runs_alone_and_prints_its_url() -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge.demo.manager", "--key", "alone", "--faults", "padded_codes"),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    try:
        assert process.stdout is not None
        url = (await asyncio.wait_for(process.stdout.readline(), 20)).decode().strip()
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/api\.aspx", url)
        async with aiohttp.ClientSession() as session:
            got = await Caller(Manager(), url, session).ask("x", "", qsSecuritykey="alone")
        assert got["errorCode"] == " WEBSERVICE_ERROR "
    finally:
        process.terminate()
        await process.wait()
