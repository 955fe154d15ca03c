"""What the CONNECTOR tells of a call, as the page has it and as it may come."""

from __future__ import annotations

import datetime

import pytest

from bridge import calls

TOLD = {
    "contactCrmId": "crm:003xx",
    "userCrmId": "005xx",
    "originatorNumber": "41215522000",
    "originatorName": "Alexa Holiday",
    "destinationNumber": "101",
    "destinationName": "Ann Lee",
    "direction": "incoming",
    "startedTime": "2026-11-21T10:00:00+01:00",
    "answeredTime": "2026-11-21T10:00:10+01:00",
    "endedTime": "2026-11-21T10:01:43+01:00",
    "declinedTime": "",
}
NINE = datetime.datetime(2026, 11, 21, 9, 0, 0, tzinfo=datetime.UTC)


def test_an_incoming_call_is_seen_from_our_side() -> None:
    told = calls.read(TOLD)
    assert (told.contact, told.user) == ("crm:003xx", "005xx")
    call = told.call
    assert (call.direction, call.number, call.name) == ("inbound", "41215522000", "Alexa Holiday")
    assert (call.own_number, call.own_name) == ("101", "Ann Lee")
    assert (call.started, call.seconds) == (NINE, 93)


@pytest.mark.parametrize("word", ["outgoing", "Outgoing", "OUTBOUND", " out "])
def test_an_outgoing_call_is_to_the_destination(word: str) -> None:
    call = calls.read({**TOLD, "direction": word}).call
    assert (call.direction, call.number, call.own_number) == ("outbound", "101", "41215522000")


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-21T10:00:00+01:00",
        "2026-11-21T09:00:00Z",
        "2026-11-21T09:00:00.000",
        "2026-11-21 09:00:00",
        "1795251600",
        "1795251600000",
        "/Date(1795251600000)/",
        "/Date(1795251600000+0100)/",
    ],
)
def test_a_time_is_read_in_any_usual_form(text: str) -> None:
    assert calls.moment(text) == NINE


@pytest.mark.parametrize("text", ["", "  ", "yesterday", "12:00", "99999999999999999999", "2026-13-01", "null"])
def test_what_is_no_time_is_none(text: str) -> None:
    assert calls.moment(text) is None


def test_names_of_inputs_count_in_any_case_and_values_of_any_type() -> None:
    told = calls.read({"ContactCRMID": "crm:1", "ORIGINATORNUMBER": 41215522000, "startedtime": 1795251600, "x": None})
    assert (told.contact, told.call.number, told.call.started) == ("crm:1", "41215522000", NINE)


def test_nothing_told_is_no_error() -> None:
    told = calls.read({})
    assert (told.contact, told.call.direction, told.call.started, told.call.seconds) == ("", "inbound", None, 0)


def test_unknown_inputs_are_kept_in_the_text() -> None:
    told = calls.read({**TOLD, "queue": "Sales", "recording": True, "legs": [1, 2], "none": None})
    text = calls.action("note", "0" * 32, told, "003xx", "").text
    assert text.splitlines()[-3:] == ["queue: Sales", "recording: true", "legs: [1,2]"]


def test_an_action_says_what_happened() -> None:
    told = calls.read(TOLD)
    action = calls.action("log-call", calls.key("default", "CallFlow", told), told, "003xx", "https://crm/003xx")
    assert (action.subject, action.contact, action.user) == ("Call from Alexa Holiday", "003xx", "005xx")
    assert action.text.splitlines() == [
        "Direction: inbound",
        "Other party: 41215522000 (Alexa Holiday)",
        "Our side: 101 (Ann Lee)",
        "Started: 2026-11-21 09:00:00 UTC",
        "Answered: 2026-11-21 09:00:10 UTC",
        "Ended: 2026-11-21 09:01:43 UTC",
        "Spoken: 93 s",
    ]


@pytest.mark.parametrize(
    ("kind", "changes", "subject"),
    [
        ("log-call", {"originatorName": ""}, "Call from 41215522000"),
        ("log-call", {"direction": "outgoing"}, "Call to Ann Lee"),
        ("log-call", {"answeredTime": "", "declinedTime": "2026-11-21T10:00:30Z"}, "Missed call from Alexa Holiday"),
        ("log-call", {"originatorName": "", "originatorNumber": ""}, "Call from an unknown number"),
        ("task", {}, "Call Alexa Holiday back"),
        ("ticket", {"originatorName": "A\r\nB\x00C"}, "Call from A B C"),
    ],
)
def test_the_subject_is_one_line(kind: calls.Kind, changes: dict[str, str], subject: str) -> None:
    assert calls.action(kind, "0" * 32, calls.read({**TOLD, **changes}), "1", "").subject == subject


def test_the_key_is_that_of_the_call_and_of_nothing_else() -> None:
    told = calls.read(TOLD)
    first = calls.key("default", "CallFlow", told)
    assert len(first) == 32
    same = {**TOLD, "endedTime": "", "userCrmId": "x", "startedTime": "2026-11-21T09:00:00Z", "queue": "Sales"}
    assert calls.key("default", "CallFlow", calls.read(same)) == first
    others = [
        calls.key("other", "CallFlow", told),
        calls.key("default", "Ticket", told),
        *(
            calls.key("default", "CallFlow", calls.read({**TOLD, name: "7"}))
            for name in ("contactCrmId", "originatorNumber", "destinationNumber")
        ),
        calls.key("default", "CallFlow", calls.read({**TOLD, "startedTime": "2026-11-21T09:00:01Z"})),
    ]
    assert first not in others


def test_a_nul_in_what_is_told_is_a_blank() -> None:
    assert calls.read({"contactCrmId": "\0crm:7\0"}).contact == "crm:7"
    assert calls.read({"queue\0": "\0Sales"}).more == (("queue", "Sales"),)
