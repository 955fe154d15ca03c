"""Creating, changing and deleting records through the API of the stand-in Salesforce, as strictly as there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from bridge.demo.salesforce_org import Org, Row, Table, full_id, visible_rows
from bridge.demo.salesforce_schema import Field
from bridge.demo.salesforce_wire import Ask, Mistake, Refused, Reply, not_found, told

_TYPES: dict[str, type | tuple[type, ...]] = {"boolean": bool, "int": int, "double": (int, float)}
_UPSERT_SAYS_SINCE = 46


def answer(org: Org, ask: Ask, table: Table, rest: list[str]) -> Reply:
    """The answer to a request that writes, below sobjects/NAME."""
    match ask.method, rest:
        case "POST", []:
            return _created(ask, table, create(org, table, ask.json()))
        case "PATCH", [id]:
            update(org, table, _row(table, id), ask.json())
            return Reply(204)
        case "PATCH", [field, value]:
            return _upsert(org, ask, table, field, value)
        case "DELETE", [id]:
            row = _row(table, id)
            if not table.schema.deletable:
                raise Refused(400, "INSUFFICIENT_ACCESS_OR_READONLY", "insufficient access rights on object id")
            org.delete(row["Id"])
            return Reply(204)
    raise Refused(405, "METHOD_NOT_ALLOWED", f"HTTP Method '{ask.method}' not allowed")


def create(org: Org, table: Table, fields: Row) -> str:
    """A new record of these fields; its id."""
    schema = table.schema
    if not schema.createable:
        raise Refused(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type {schema.name} cannot be inserted")
    fields = _named(table, fields, creating=True)
    missing = [field.name for field in schema.fields.values() if _lacks(field, fields)]
    if missing:
        message = f"Required fields are missing: [{', '.join(missing)}]"
        raise Refused(400, "REQUIRED_FIELD_MISSING", message, tuple(missing))
    _right(org, table, fields, {})
    return org.put(schema.name, fields)


def update(org: Org, table: Table, row: Row, fields: Row) -> None:
    """Change a record."""
    if not table.schema.updateable:
        raise Refused(400, "CANNOT_INSERT_UPDATE_ACTIVATE_ENTITY", f"entity type {table.schema.name} cannot be updated")
    fields = _named(table, fields, creating=False)
    emptied = [name for name, value in fields.items() if value in (None, "") and table.schema.fields[name].required]
    if emptied:
        message = f"Required fields are missing: [{', '.join(emptied)}]"
        raise Refused(400, "REQUIRED_FIELD_MISSING", message, tuple(emptied))
    _right(org, table, fields, row)
    org.update(row["Id"], fields)


def by_external_id(table: Table, field: str, value: str) -> list[Row]:
    """The records with this value in an external id; its case does not matter."""
    known = table.schema.find(field)
    if known is None or not known.external:
        raise not_found(f"Provided external ID field does not exist or is not accessible: {field}")
    wanted = value.casefold()
    rows = visible_rows(table, deleted=False)
    return [row for row in rows if str(row.get(known.name, "")).casefold() == wanted]


def ambiguous(ask: Ask, table: Table, rows: list[Row]) -> Reply:
    """Several records have the value: where they are."""
    return told([f"{ask.base}/sobjects/{table.schema.name}/{row['Id']}" for row in rows], 300)


def _created(ask: Ask, table: Table, id: str, **more: object) -> Reply:
    where = f"{ask.base}/sobjects/{table.schema.name}/{id}"
    return told({"id": id, "success": True, "errors": []} | more, 201, {"Location": where})


def _upsert(org: Org, ask: Ask, table: Table, field: str, value: str) -> Reply:
    found = by_external_id(table, field, value)
    known = table.schema.find(field)
    fields = ask.json()
    if known is None or known.name.lower() in {name.lower() for name in fields}:
        raise Refused(400, "INVALID_FIELD", f"The {field} field should not be specified in the sobject data.")
    if len(found) > 1:
        return ambiguous(ask, table, found)
    if not found:
        return _created(ask, table, create(org, table, fields | {known.name: value}), created=True)
    update(org, table, found[0], fields)
    if float(ask.version) < _UPSERT_SAYS_SINCE:
        return Reply(204)
    return told({"id": found[0]["Id"], "success": True, "errors": [], "created": False})


def _row(table: Table, id: str) -> Row:
    row = table.rows.get(full_id(id) or "")
    if row is None:
        raise not_found()
    if row.get("IsDeleted"):
        raise Refused(404, "ENTITY_IS_DELETED", "entity is deleted", ())
    return row


def _named(table: Table, fields: Row, *, creating: bool) -> Row:
    """The fields by their right names; one that is unknown, hidden or not to be set is refused."""
    found = {}
    for name, value in fields.items():
        field = table.schema.find(name)
        if field is None:
            raise Refused(400, "INVALID_FIELD", f"No such column '{name}' on sobject of type {table.schema.name}")
        if not (field.createable if creating else field.updateable):
            message = (
                f"Unable to create/update fields: {field.name}. Please check the security settings of this field and "
                "verify that it is read/write for your profile or permission set."
            )
            raise Refused(400, "INVALID_FIELD_FOR_INSERT_UPDATE", message, (field.name,))
        found[field.name] = value
    return found


def _lacks(field: Field, fields: Row) -> bool:
    given = fields.get(field.name)
    return field.required and field.createable and field.default is None and given in (None, "")


def _right(org: Org, table: Table, fields: Row, old: Row) -> None:
    """Refused with every mistake that the values make, alone and together."""
    for name, value in fields.items():
        _parsed(table.schema.fields[name], value)
    mistakes = [
        mistake
        for name, value in fields.items()
        if value not in (None, "")
        for mistake in _mistakes(org, table, table.schema.fields[name], value, old)
    ]
    whole = old | fields
    if table.schema.name == "Task":
        mistakes += _of_task(whole)
    mistakes += [
        Mistake("FIELD_CUSTOM_VALIDATION_EXCEPTION", rule.message, ()) for rule in table.rules if rule.broken(whole)
    ]
    if mistakes:
        raise Refused.for_all(mistakes)


def _parsed(field: Field, value: Any) -> None:
    """A value of another JSON type than the field's does not even parse."""
    if value is None:
        return
    patterns = {"date": r"\d{4}-\d\d-\d\d", "datetime": r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)"}
    if field.type in _TYPES:
        right = isinstance(value, _TYPES[field.type]) and (field.type == "boolean" or not isinstance(value, bool))
    elif field.type in patterns:
        right = isinstance(value, str) and re.fullmatch(patterns[field.type], value) is not None
    else:
        right = isinstance(value, str | int | float)
    if not right:
        kind = {bool: "VALUE_TRUE", int: "VALUE_NUMBER_INT", str: "VALUE_STRING"}.get(type(value), "START_OBJECT")
        raise Refused(400, "JSON_PARSER_ERROR", f"Cannot deserialize instance of {field.type} from {kind} value")


def _mistakes(org: Org, table: Table, field: Field, value: Any, old: Row) -> Iterator[Mistake]:
    text = str(value)
    if field.length and field.type not in ("reference", "picklist") and len(text) > field.length:
        message = f"{field.name}: data value too large: {text[:40]} (max length={field.length})"
        yield Mistake("STRING_TOO_LONG", message, (field.name,))
    if field.type == "picklist" and field.restricted and value not in field.values:
        message = f"{field.name}: bad value for restricted picklist field: {value}"
        yield Mistake("INVALID_OR_NULL_FOR_RESTRICTED_PICKLIST", message, (field.name,))
    if field.type == "email" and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", text):
        yield Mistake("INVALID_EMAIL_ADDRESS", f"{field.name}: invalid email address: {text}", (field.name,))
    if field.type == "reference":
        yield from _of_reference(org, table, field, text)
    if field.unique:
        folded = text.casefold()
        for row in visible_rows(table, deleted=False):
            if row.get("Id") != old.get("Id") and str(row.get(field.name, "")).casefold() == folded:
                message = f"duplicate value found: {field.name} duplicates value on record with id: {row['Id']}"
                yield Mistake("DUPLICATE_VALUE", message, ())


def _of_reference(org: Org, table: Table, field: Field, text: str) -> Iterator[Mistake]:
    id = full_id(text)
    named = [org.schemas[name].prefix for name in field.references if name in org.schemas]
    if id is None:
        yield Mistake("MALFORMED_ID", f"{field.name}: id value of incorrect type: {text}", (field.name,))
        return
    if id[:3] not in named:
        message = f"{field.name}: id value of incorrect type: {text}"
        yield Mistake("FIELD_INTEGRITY_EXCEPTION", message, (field.name,))
        return
    row = org.row(id)
    if row is None:
        yield Mistake("INVALID_CROSS_REFERENCE_KEY", "invalid cross reference id", (field.name,))
    elif row.get("IsDeleted"):
        yield Mistake("ENTITY_IS_DELETED", "entity is deleted", (field.name,))
    elif field.name == "OwnerId" and not row.get("IsActive"):
        message = f"operation performed with inactive user [{id}] as owner of {table.schema.name.lower()}"
        yield Mistake("INACTIVE_OWNER_OR_USER", message, (field.name,))


def _of_task(task: Row) -> Iterator[Mistake]:
    if str(task.get("WhoId") or "").startswith("00Q") and task.get("WhatId"):
        message = "If the What field is set, the Who field cannot be a lead"
        yield Mistake("FIELD_INTEGRITY_EXCEPTION", message, ("WhatId",))
