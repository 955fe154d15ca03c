"""The people who work with the org and have an extension."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bridge import errors
from bridge.contact import User
from bridge.sources.salesforce import answers, schema, soql
from bridge.sources.salesforce.calls import Calls

EXTENSION = "Extension"
_COLUMNS = ("FirstName", "LastName", "Email")


async def read(calls: Calls, field: str) -> Sequence[User]:
    """Every active user of a person who has something in that field; Unavailable where it is hidden."""
    field = field or EXTENSION
    if not soql.is_name(field):
        raise errors.Unavailable(f"extension_field = {field!r} is no field of User")
    columns = ["Id", *_COLUMNS, *([] if field in _COLUMNS else [field])]
    while True:
        where = f"IsActive = true AND UserType = 'Standard' AND {field} != null"
        try:
            rows = await calls.find(soql.select(columns, "User", where, "Id"))
        except answers.Rejected as no:
            gone = schema.refused(no, "User", columns)
            if not gone or {"Id", field} & set(gone):
                raise _hidden(no, field) if gone else no from None
            columns = [name for name in columns if name not in gone]
            continue
        return [_user(row, field) for row in rows if _text(row, field).strip()]


def _user(row: Mapping[str, object], field: str) -> User:
    return User(
        id=_text(row, "Id"),
        extension=_text(row, field).strip(),
        first_name=_text(row, "FirstName"),
        last_name=_text(row, "LastName"),
        email=_text(row, "Email"),
    )


def _hidden(no: answers.Rejected, field: str) -> errors.Unavailable:
    # To go on without it would read as if nobody had an extension any more.
    return errors.Unavailable(
        f"User.{field} is hidden from the login, or not there: right is field-level read access, "
        "or extension_field = the field that holds the extension",
        code=no.code,
    )


def _text(row: Mapping[str, object], name: str) -> str:
    """A text, or a number field's number; a path reaches into a parent."""
    value: object = row
    for part in name.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value) if isinstance(value, (str, int, float)) and not isinstance(value, bool) else ""
