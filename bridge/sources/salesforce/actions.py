"""What a workflow makes in Salesforce: a Task for a call, a note and a task, a Case for a ticket; each once.

Where `call_key` names an external id of the object, that is what a record is made and found by. Without one, a Task is
found by CallObject, which holds the action's key. A Case has no such field: it is found among the cases of the last
days that were supplied with the same telephone number, by the line with the key that ends its description.
"""

from __future__ import annotations

import datetime
import urllib.parse
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

from bridge import errors
from bridge.actions import Action, Made
from bridge.sources.salesforce import answers, soql
from bridge.sources.salesforce.calls import Calls
from bridge.sources.salesforce.persons import Links, links

Fields = dict[str, Any]

BACK = datetime.timedelta(days=30)
"""How far back a record of an earlier try is looked for."""
LONGEST = 32_000
"""Characters of a description."""

_OPTIONAL = frozenset(
    ("ActivityDate", "CallDisposition", "CallDurationInSeconds", "CallType", "Origin", "OwnerId", "Status")
) | {"SuppliedName", "TaskSubtype", "WhatId", "WhoId", "AccountId", "ContactId", "Description"}
"""Fields without which a record is still worth making: an org may hide them, or have other values."""
_VALUES = frozenset(
    (
        "ENTITY_IS_DELETED",
        "FIELD_INTEGRITY_EXCEPTION",
        "INACTIVE_OWNER_OR_USER",
        "INSUFFICIENT_ACCESS_ON_CROSS_REFERENCE_ENTITY",
        "INVALID_CROSS_REFERENCE_KEY",
        "INVALID_FIELD",
        "INVALID_FIELD_FOR_INSERT_UPDATE",
        "INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST",
        "MALFORMED_ID",
    )
)
"""Codes that are about one field's value, so that the record may be made without it."""


class Writer:
    """Makes tasks and cases; `calls` gives the calls of one action, `key_field` is the external id ("": none)."""

    def __init__(self, calls: Callable[[], Calls], key_field: str) -> None:
        self._calls = calls
        self._key_field = key_field if soql.is_name(key_field) else ""
        self._statuses: tuple[str, str] | None = None

    async def make(self, action: Action) -> Made:
        """The record of this action, made now or before; raises as `sources.WithActions.act`."""
        calls = self._calls()
        table = "Case" if action.kind == "ticket" else "Task"
        try:
            id = await self._made(calls, table, action)
        except answers.Rejected as no:
            raise await self._refusal(calls, table, no) from None
        session = await calls.session()
        return Made(id, session.page(table, id))

    async def _made(self, calls: Calls, table: str, action: Action) -> str:
        if not self._key_field and (found := await _find(calls, table, action)):
            return found
        who = await links(calls, action.contact)
        fields = _case(action, who) if table == "Case" else await self._task(calls, action, who)
        owner = soql.full_id(action.user)
        if owner.startswith("005"):
            fields["OwnerId"] = owner
        if not self._key_field:
            return await _create(calls, table, fields)
        try:
            return await self._upsert(calls, table, fields, action)
        except answers.Rejected as no:
            if no.status != 404 and not (no.code == "INVALID_FIELD" and self._key_field in no.text):
                raise
        # The field is not there for this object: what was made before is found as if none were configured.
        return await _find(calls, table, action) or await _create(calls, table, fields)

    async def _upsert(self, calls: Calls, table: str, fields: Fields, action: Action) -> str:
        """Make or update the record whose external id is the key: asked twice, it is still one."""
        path = f"sobjects/{table}/{self._key_field}/{urllib.parse.quote(action.key, safe='')}"
        said = await _without_odd(fields, lambda: calls.send("PATCH", path, fields, repeat=True))
        if isinstance(said.get("id"), str):
            return str(said["id"])
        found = await calls.get(f"{path}?fields=Id")
        return await _id(calls, found.get("Id"))

    async def _task(self, calls: Calls, action: Action, who: Links) -> Fields:
        call, closed = action.call, action.kind != "task"
        day = (call.started or calls.now()).astimezone(datetime.UTC).date()
        fields: Fields = {
            "Subject": action.subject[:255],
            "Description": action.text[:LONGEST],
            "ActivityDate": day.isoformat(),
            "CallObject": action.key,
            "Status": (await self._status(calls))[closed],
        }
        if action.kind == "log-call":
            fields["TaskSubtype"] = "Call"
            fields["CallType"] = call.direction.capitalize()
            fields["CallDurationInSeconds"] = call.seconds
            if call.answered:
                fields["CallDisposition"] = "Answered"
        if who.person:
            fields["WhoId"] = who.person
        if who.account and not who.lead:
            fields["WhatId"] = who.account
        return fields

    async def _status(self, calls: Calls) -> tuple[str, str]:
        """What this org calls an open task and a closed one."""
        if self._statuses is None:
            columns = ("ApiName", "IsClosed", "IsDefault")
            try:
                rows = await calls.find(soql.select(columns, "TaskStatus", order="SortOrder"))
            except answers.Rejected:
                rows = []
            self._statuses = _pick(rows, False, "Not Started"), _pick(rows, True, "Completed")
        return self._statuses

    async def _refusal(self, calls: Calls, table: str, no: answers.Rejected) -> errors.BridgeError:
        """What a no that stays means for the action."""
        session = await calls.session()
        if no.code in ("QUERY_TIMEOUT", "DUPLICATE_VALUE"):
            # Asked again it is answered, or found: another try was making the same one.
            return errors.Unavailable(str(no), code=no.code)
        if no.code == "INVALID_FIELD" and "CallObject" in no.text:
            return errors.Refused(
                no.code, f"{session.host}: Task.CallObject, by which a call is found again, is hidden from the login"
            )
        if no.status == 404 or no.code in ("INVALID_TYPE", "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY"):
            return errors.Unsupported(
                f"{session.host}: the login may not make a {table} ({no.code}): right is the permission to create one"
            )
        if no.status == 300:
            return errors.Refused(
                no.code or "300",
                f"{session.host}: call_key = {self._key_field!r} is not unique: right is an external id that is",
            )
        named = f" of {', '.join(no.fields)}" if no.fields and all(map(soql.is_name, no.fields)) else ""
        return errors.Refused(
            no.code or str(no.status), f"{session.host} takes no such {table} ({no.code or no.status}{named})"
        )


def _case(action: Action, who: Links) -> Fields:
    mark = _mark(action.key)
    fields: Fields = {
        "Subject": action.subject[:255],
        "Description": f"{action.text[: LONGEST - len(mark) - 2]}\n\n{mark}".lstrip(),
        "Origin": "Phone",
        "SuppliedPhone": action.call.number[:40] or None,
        "SuppliedName": action.call.name[:80] or None,
    }
    if who.person and not who.lead:
        fields["ContactId"] = who.person
    if who.account:
        fields["AccountId"] = who.account
    return {name: value for name, value in fields.items() if value is not None}


def _mark(key: str) -> str:
    return f"bridge:{key}"


async def _find(calls: Calls, table: str, action: Action) -> str:
    """The record that an earlier try of this action made; "" where there is none."""
    since = f"CreatedDate >= {soql.time((calls.now() - BACK).replace(microsecond=0))}"
    if table == "Task":
        rows = await calls.find(soql.select(("Id",), "Task", f"CallObject = {soql.text(action.key)} AND {since}"))
        return await _id(calls, rows[0].get("Id")) if rows else ""
    number = action.call.number[:40]
    where = f"SuppliedPhone = {soql.text(number) if number else 'null'} AND {since}"
    for row in await calls.find(soql.select(("Id", "Description"), "Case", where, "Id")):
        if _mark(action.key) in str(row.get("Description") or ""):
            return await _id(calls, row.get("Id"))
    return ""


async def _create(calls: Calls, table: str, fields: Fields) -> str:
    said = await _without_odd(fields, lambda: calls.send("POST", f"sobjects/{table}/", fields))
    return await _id(calls, said.get("id"))


async def _without_odd(fields: Fields, send: Callable[[], Any]) -> Mapping[str, Any]:
    """What the sending answers; fields that this org has not, or not with this value, are left out of a second one.

    An answer that is none is Unsettled: the record may be there.
    """
    while True:
        try:
            said: Mapping[str, Any] = await send()
            return said
        except answers.Rejected as no:
            odd = _odd(no, fields)
            if not odd:
                raise
            for name in odd:
                del fields[name]
        except answers.Garbled as garbled:
            raise errors.Unsettled(str(garbled)) from None


def _odd(no: answers.Rejected, fields: Collection[str]) -> Sequence[str]:
    if no.code not in _VALUES:
        return []
    named = no.fields or answers.quoted_names(no.text)
    odd = [name for name in fields if name in _OPTIONAL and name.lower() in {one.lower() for one in named}]
    return odd if len(odd) == len({one.lower() for one in named}) else []


async def _id(calls: Calls, id: object) -> str:
    if not isinstance(id, str) or not soql.full_id(id):
        odd = await calls.odd("what was made")
        raise errors.Unsettled(str(odd))
    return id


def _pick(rows: Sequence[Mapping[str, Any]], closed: bool, usual: str) -> str:
    """A status of that kind: the usual one where the org has it, else its default, else its first."""
    fit = [row for row in rows if row.get("IsClosed") is closed and isinstance(row.get("ApiName"), str)]
    names = [str(row["ApiName"]) for row in sorted(fit, key=lambda row: not row.get("IsDefault"))]
    return usual if usual in names or not names else names[0]
