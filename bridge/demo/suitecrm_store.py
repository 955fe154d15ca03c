"""What the stand-in SuiteCRM holds: modules with their fields, records, who belongs to whom, and a clock."""

from __future__ import annotations

import bisect
import datetime
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence

from bridge.demo import suitecrm_sql as sql

Row = dict[str, str]

_COMMON = "id name date_entered date_modified created_by modified_user_id assigned_user_id description deleted"
_ADDRESS = " ".join(
    f"{of}_address_{part}" for of in ("{0}", "{1}") for part in ("street", "city", "state", "postalcode", "country")
)
_PERSON = (
    f"{_COMMON} salutation first_name last_name title department email1 email2 phone_home phone_mobile phone_work "
    f"phone_other phone_fax assistant assistant_phone {_ADDRESS.format('primary', 'alt')} account_name account_id"
)
_ACTIVITY = f"{_COMMON} parent_type parent_id contact_id status"
MODULES: Mapping[str, str] = {
    "Contacts": f"{_PERSON} lead_source birthdate",
    "Leads": f"{_PERSON} lead_source status converted",
    "Prospects": _PERSON,
    "Accounts": f"{_COMMON} account_type industry website phone_office phone_alternate phone_fax email1 email2 "
    + _ADDRESS.format("billing", "shipping"),
    "Users": f"{_COMMON} user_name first_name last_name title department phone_home phone_mobile phone_work "
    "phone_other phone_fax email1 status employee_status is_group is_admin portal_only",
    "Calls": f"{_ACTIVITY} direction date_start date_end duration_hours duration_minutes",
    "Cases": f"{_COMMON} account_id account_name status state priority type case_number resolution",
    "Tasks": f"{_ACTIVITY} priority date_due date_start",
    "Notes": f"{_ACTIVITY} filename file_mime_type",
}
"""The fields of each module, as it is shipped."""

COMPUTED = frozenset({"email1", "email2", "account_name"})
"""Fields that are no columns: they can be selected and not asked about. A lead's account name is one."""
LINKS: Mapping[str, Mapping[str, str]] = {
    "Contacts": {"accounts": "Accounts", "calls": "Calls", "cases": "Cases", "email_addresses": "EmailAddresses"},
    "Leads": {"calls": "Calls", "email_addresses": "EmailAddresses"},
    "Accounts": {"contacts": "Contacts", "cases": "Cases", "email_addresses": "EmailAddresses"},
    "Calls": {"contacts": "Contacts", "leads": "Leads", "users": "Users", "accounts": "Accounts"},
    "Cases": {"contacts": "Contacts", "accounts": "Accounts"},
}
_ID = re.compile(r"[A-Za-z0-9_-]{1,36}")


class Module:
    """One module's records by id; `fields` may be added to, as in Studio, or taken away."""

    def __init__(self, name: str, fields: Iterable[str]) -> None:
        self.name = name
        self.table = name.lower()
        self.fields = dict.fromkeys(fields)
        self.rows: dict[str, Row] = {}
        self._ids: list[str] = []

    @property
    def columns(self) -> set[str]:
        """What a condition may ask about."""
        computed = COMPUTED - ({"account_name"} if self.name == "Leads" else set())
        return self.fields.keys() - computed - ({"account_id"} if self.name == "Contacts" else set())

    def find(self, query: str, *, deleted: bool) -> list[Row]:
        """The rows that meet a condition, by id; live ones, or all. Raises Rejected, Failed."""
        condition = sql.read(query, self.table, self.columns)
        rows = (row for row in self._within(condition) if condition.test(row))
        return list(rows) if deleted else [row for row in rows if row["deleted"] == "0"]

    def add(self, row: Row) -> None:
        """Keep a new row."""
        self.rows[row["id"]] = row
        bisect.insort(self._ids, row["id"])

    def drop(self, identity: str) -> None:
        """Lose a row for good."""
        del self.rows[identity]
        del self._ids[bisect.bisect_left(self._ids, identity)]

    def _within(self, condition: sql.Condition) -> Iterator[Row]:
        if condition.ids is not None:
            return (self.rows[each] for each in sorted(condition.ids) if each in self.rows)
        start = bisect.bisect_left(self._ids, condition.low)
        end = bisect.bisect_left(self._ids, condition.high) if condition.high else len(self._ids)
        return (self.rows[each] for each in self._ids[start:end])


class Store:
    """All modules. `now`: the clock's time, None for the real one."""

    def __init__(self) -> None:
        self.modules = {name: Module(name, fields.split()) for name, fields in MODULES.items()}
        self.now: datetime.datetime | None = None
        self.related: dict[tuple[str, str, str], list[str]] = {}

    def time(self) -> str:
        """The clock, as the database spells it."""
        now = self.now or datetime.datetime.now(datetime.UTC)
        return now.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S")

    def put(self, module: str, values: Mapping[str, str]) -> str:
        """Add a record, with an id of its own unless one is given, and return its id."""
        held = self._known(module, values)
        now = self.time()
        identity = values.get("id") or str(uuid.uuid4())
        if identity in held.rows or not _ID.fullmatch(identity):
            raise ValueError(f"{module} has an id {identity!r} already, or cannot have it")
        held.add({"date_entered": now, "date_modified": now, "deleted": "0", **values, "id": identity})
        return identity

    def update(self, module: str, identity: str, values: Mapping[str, str]) -> None:
        """Change a record, at the clock's time."""
        held = self._known(module, values)
        held.rows[identity] |= {"date_modified": self.time(), **values}

    def delete(self, module: str, identity: str) -> None:
        """Mark a record deleted, and let go of what is related to it."""
        self.update(module, identity, {"deleted": "1"})
        for row in self.modules["Contacts"].rows.values() if module == "Accounts" else ():
            if row.get("account_id") == identity:
                row["account_id"] = ""

    def purge(self, module: str, identity: str) -> None:
        """Lose a record for good, as the scheduler does with deleted ones."""
        self.modules[module].drop(identity)

    def relate(self, module: str, identity: str, link: str, related: Sequence[str]) -> bool:
        """Relate records, once each; whether there is such a link. Neither id is checked."""
        if link not in LINKS.get(module, {}):
            return False
        held = self.related.setdefault((module, identity, link), [])
        held += [each for each in related if each not in held]
        if (module, link) == ("Accounts", "contacts"):
            for each in related:
                if each in self.modules["Contacts"].rows:
                    self.modules["Contacts"].rows[each]["account_id"] = identity
        return True

    def links(self, module: str, identity: str, link: str) -> list[Row]:
        """The live records that a record is related to by a link."""
        row = self.modules[module].rows.get(identity, {})
        if link == "email_addresses":
            emails = [row[field] for field in ("email1", "email2") if row.get(field)]
            return [
                {"id": f"{identity[:32]}-{n}", "email_address": email, "primary_address": "0" if n else "1"}
                for n, email in enumerate(emails)
            ]
        target = self.modules[LINKS[module][link]].rows
        if (module, link) == ("Accounts", "contacts"):
            found = [row for row in target.values() if row.get("account_id") == identity]
        elif (module, link) == ("Contacts", "accounts"):
            found = [target[row["account_id"]]] if row.get("account_id") in target else []
        else:
            found = [target[each] for each in self.related.get((module, identity, link), []) if each in target]
        return [row for row in found if row["deleted"] == "0"]

    def company(self, module: str, row: Row) -> str | None:
        """The name of the account that a record is of, "" where it is of none; None where the name is its own field."""
        if module not in ("Contacts", "Cases"):
            return None
        account = self.modules["Accounts"].rows.get(row.get("account_id", ""))
        return "" if account is None or account["deleted"] == "1" else account.get("name", "")

    def _known(self, module: str, values: Mapping[str, str]) -> Module:
        held = self.modules[module]
        if unknown := values.keys() - held.fields.keys():
            raise ValueError(f"{module} has no field {', '.join(sorted(unknown))}")
        return held


def valid(identity: str) -> bool:
    """Whether the validation of ids lets it pass."""
    return bool(_ID.fullmatch(identity))
