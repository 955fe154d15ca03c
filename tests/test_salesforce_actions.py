"""What calls become in Salesforce: tasks and cases, each once."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from salesforce_orgs import Crm, opened, served

from bridge import errors
from bridge.actions import Action, Call, Made
from bridge.actions import Kind as ActionKind
from bridge.demo.salesforce import Fault
from bridge.sources.salesforce import Salesforce

KEY = "0123456789abcdef0123456789abcdef"
BEGAN = datetime.datetime(2026, 11, 20, 12, 30, tzinfo=datetime.UTC)
CALL = Call(
    direction="inbound",
    number="+352 621 1",
    name="Anna Müller",
    own_number="21",
    started=BEGAN,
    answered=BEGAN + datetime.timedelta(seconds=5),
    ended=BEGAN + datetime.timedelta(seconds=98),
)
KINDS: tuple[ActionKind, ...] = ("log-call", "note", "task", "ticket")


def action(kind: ActionKind, contact: str = "", **more: Any) -> Action:
    """One of that kind about the call."""
    return Action(
        kind, **{"key": KEY, "subject": "Call of Anna", "text": "Said hello", "call": CALL, "contact": contact, **more}
    )


@asynccontextmanager
async def writing(**more: object) -> AsyncIterator[tuple[Crm, Salesforce]]:
    """An org and a source to write with; the org's clock is ours, as what was made is looked for by its date."""
    async with served() as crm, opened(crm.url, **more) as made:
        crm.org.now = datetime.datetime.now(datetime.UTC)
        yield crm, made


def made(crm: Crm, name: str = "Task") -> list[dict[str, Any]]:
    """All records of an object."""
    return [crm.org.get(id) for id in crm.org.ids(name)]


async def test_a_call_is_a_closed_task_of_the_contact_and_its_account() -> None:
    async with writing() as (crm, source):
        [anna], [account] = crm.org.ids("Contact"), crm.org.ids("Account")
        done = await source.act(action("log-call", anna))
        [task] = made(crm)
        assert done == Made(task["Id"], f"{crm.server.instance_url}/lightning/r/Task/{task['Id']}/view")
        wanted = {
            "Subject": "Call of Anna",
            "Description": "Said hello",
            "TaskSubtype": "Call",
            "CallType": "Inbound",
            "CallDurationInSeconds": 93,
            "CallDisposition": "Answered",
            "CallObject": KEY,
            "Status": "Completed",
            "ActivityDate": "2026-11-20",
            "WhoId": anna,
            "WhatId": account,
            "IsClosed": True,
        }
        assert {name: task.get(name) for name in wanted} == wanted


async def test_a_lead_has_no_account() -> None:
    async with writing() as (crm, source):
        [lead] = crm.org.ids("Lead")
        await source.act(action("log-call", lead))
        [task] = made(crm)
        assert (task["WhoId"], task.get("WhatId")) == (lead, None)


async def test_a_task_is_open_and_a_note_is_closed() -> None:
    async with writing() as (crm, source):
        crm.org.picklist("Task", "Status", ("Offen", "Erledigt*"))
        await source.act(action("task"))
        await source.act(action("note", key="f" * 32))
        assert [(task["Status"], task["IsClosed"], task["TaskSubtype"]) for task in made(crm)] == [
            ("Offen", False, "Task"),
            ("Erledigt", True, "Task"),
        ]


async def test_a_ticket_is_a_case_of_the_contact() -> None:
    async with writing() as (crm, source):
        [anna], [account] = crm.org.ids("Contact"), crm.org.ids("Account")
        done = await source.act(action("ticket", anna))
        [case] = made(crm, "Case")
        wanted = {
            "Id": done.id,
            "Subject": "Call of Anna",
            "Description": f"Said hello\n\nbridge:{KEY}",
            "Origin": "Phone",
            "SuppliedName": "Anna Müller",
            "SuppliedPhone": "+352 621 1",
            "ContactId": anna,
            "AccountId": account,
        }
        assert {name: case.get(name) for name in wanted} == wanted
        assert done.url.endswith(f"/lightning/r/Case/{done.id}/view")


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("kind", KINDS)
async def test_the_same_action_is_made_once(kind: ActionKind, keyed: bool) -> None:
    async with writing(**({"call_key": "Bridge_Key__c"} if keyed else {})) as (crm, source):
        for name in ("Task", "Case"):
            crm.org.field(name, "Bridge_Key__c", external=True, unique=True)
        first = await source.act(action(kind))
        again = await source.act(action(kind))
        other = await source.act(action(kind, key="f" * 32))
        assert (first == again, first == other) == (True, False)
        assert len(made(crm, "Case" if kind == "ticket" else "Task")) == 2


@pytest.mark.parametrize("keyed", [False, True])
@pytest.mark.parametrize("fault", ["lost", "cut", "truncated", "drop"])
@pytest.mark.parametrize("kind", ["log-call", "ticket"])
async def test_what_was_made_though_the_answer_was_lost_is_found(kind: ActionKind, fault: str, keyed: bool) -> None:
    async with writing(**({"call_key": "Bridge_Key__c"} if keyed else {})) as (crm, source):
        for name in ("Task", "Case"):
            crm.org.field(name, "Bridge_Key__c", external=True, unique=True)
        name = "Case" if kind == "ticket" else "Task"
        crm.server.faults.append(Fault(f"/sobjects/{name}/", fault))
        if keyed and fault != "truncated":
            await source.act(action(kind))  # a second try of an upsert is safe, and is made at once
        else:
            with pytest.raises(errors.Unsettled):
                await source.act(action(kind))
        done = await source.act(action(kind))
        assert [record["Id"] for record in made(crm, name)] == [done.id]


@pytest.mark.parametrize("fault", ["html", "null", "empty"])
async def test_an_answer_that_is_none_leaves_it_open_whether_it_was_made(fault: str) -> None:
    async with writing() as (crm, source):
        crm.server.faults.append(Fault("POST /services/data/v61.0/sobjects", fault))
        with pytest.raises(errors.Unsettled):
            await source.act(action("log-call"))
        await source.act(action("log-call"))
        assert len(made(crm)) == 1


async def test_an_external_id_that_an_object_lacks_is_done_without() -> None:
    async with writing(call_key="Bridge_Key__c") as (crm, source):
        first = await source.act(action("ticket"))
        assert await source.act(action("ticket")) == first
        assert len(made(crm, "Case")) == 1


async def test_an_old_answer_to_an_upsert_says_no_id() -> None:
    async with writing(call_key="Bridge_Key__c", api_version="45.0") as (crm, source):
        crm.org.field("Task", "Bridge_Key__c", external=True, unique=True)
        first = await source.act(action("log-call"))
        assert await source.act(action("log-call")) == first


async def test_an_external_id_that_is_not_unique_is_said() -> None:
    async with writing(call_key="Bridge_Key__c") as (crm, source):
        crm.org.field("Task", "Bridge_Key__c", external=True)
        for _ in range(2):
            crm.org.put("Task", {"Subject": "x", "Bridge_Key__c": KEY})
        with pytest.raises(errors.Refused, match="is not unique"):
            await source.act(action("log-call"))


async def test_who_was_merged_or_converted_since_is_still_linked() -> None:
    async with writing() as (crm, source):
        winner, loser = crm.many(2)
        crm.org.merge(winner, loser)
        [lead], [account] = crm.org.ids("Lead"), crm.org.ids("Account")
        crm.org.update(lead, {"IsConverted": True, "ConvertedContactId": winner, "ConvertedAccountId": account})
        gone = crm.org.put("Contact", {"LastName": "Gone"})
        crm.org.delete(gone, hard=True)
        for number, contact in enumerate((loser, lead, gone, account, "nonsense")):
            await source.act(action("log-call", contact, key=f"{number:032}"))
        assert [(task.get("WhoId"), task.get("WhatId")) for task in made(crm)] == [
            (winner, None),
            (winner, None),
            (None, None),
            (None, account),
            (None, None),
        ]


async def test_who_took_the_call_owns_the_record_where_that_is_an_active_user() -> None:
    async with writing() as (crm, source):
        uma = crm.org.put("User", {"LastName": "Uma"})
        gone = crm.org.put("User", {"LastName": "Gone", "IsActive": False})
        for number, user in enumerate((uma[:15], gone, "21")):
            await source.act(action("log-call", user=user, key=f"{number:032}"))
        assert [task["OwnerId"] for task in made(crm)] == [uma, crm.org.user, crm.org.user]


async def test_fields_and_values_that_an_org_has_not_are_left_out() -> None:
    async with writing() as (crm, source):
        crm.org.hide("Task", "CallDurationInSeconds", "TaskSubtype")
        crm.org.picklist("Task", "CallType", ("Anruf",))
        await source.act(action("log-call"))
        [task] = made(crm)
        assert (task["CallObject"], task.get("CallType"), task.get("CallDurationInSeconds")) == (KEY, None, None)


async def test_a_task_is_not_made_where_it_could_not_be_found_again() -> None:
    async with writing() as (crm, source):
        crm.org.hide("Task", "CallObject")
        with pytest.raises(errors.Refused, match=r"Task\.CallObject, by which a call is found again, is hidden"):
            await source.act(action("log-call"))
        assert made(crm) == []


async def test_a_rule_of_the_org_refuses_with_its_code() -> None:
    async with writing() as (crm, source):
        crm.org.rule("Task", "no +352 621 1 please", lambda task: True)
        with pytest.raises(errors.Refused) as caught:
            await source.act(action("log-call"))
        assert (caught.value.code, str(caught.value)) == (
            "FIELD_CUSTOM_VALIDATION_EXCEPTION",
            "127.0.0.1 takes no such Task (FIELD_CUSTOM_VALIDATION_EXCEPTION)",
        )


async def test_an_object_that_the_login_may_not_make_is_unsupported() -> None:
    async with writing() as (crm, source):
        crm.org.hide("Case")
        with pytest.raises(errors.Unsupported, match="the login may not make a Case"):
            await source.act(action("ticket"))


@pytest.mark.parametrize("fault", ["lock", "429", "503", "500", "concurrent", "quota", "406"])
async def test_what_passes_is_asked_again_later(fault: str) -> None:
    async with writing() as (crm, source):
        crm.server.faults.append(Fault("POST /services/data/v61.0/sobjects", fault))
        with pytest.raises(errors.Unavailable):
            await source.act(action("log-call"))
        await source.act(action("log-call"))
        assert len(made(crm)) == 1


async def test_long_texts_are_cut_and_the_mark_of_a_case_stays() -> None:
    async with writing() as (crm, source):
        await source.act(action("ticket", subject="s" * 400, text="t" * 40_000))
        await source.act(action("log-call", subject="s" * 400, text="t" * 40_000))
        [case], [task] = made(crm, "Case"), made(crm)
        assert (len(case["Subject"]), len(case["Description"]), case["Description"][-39:]) == (
            255,
            32_000,
            f"bridge:{KEY}",
        )
        assert (len(task["Subject"]), len(task["Description"])) == (255, 32_000)


async def test_texts_that_mean_something_to_soql_mean_nothing() -> None:
    async with writing() as (crm, source):
        odd = Call(number="' OR Id != '", name='"\\')
        for _ in range(2):
            await source.act(action("ticket", "' OR Id != '", call=odd, text="\\'"))
        [case] = made(crm, "Case")
        assert (case["SuppliedPhone"], case["SuppliedName"]) == ("' OR Id != '", '"\\')


async def test_a_session_that_ended_is_renewed_for_an_action() -> None:
    async with writing() as (crm, source):
        await source.check()
        crm.server.expire()
        await source.act(action("log-call"))
        assert len(made(crm)) == 1
