"""All records of the stand-in SugarCRM, changed by hand or over the wire, and how Sugar shows them."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

from bridge.demo.sugarcrm_logins import Failure
from bridge.demo.sugarcrm_modules import MODULES, Module, Type
from bridge.demo.sugarcrm_rows import Row, Table

_ALWAYS = ("id", "date_modified")


class Store:
    """The tables of the `modules`, and what this login may see: `hidden` fields are blank, `absent` ones unknown.

    `offset` is the user's zone in hours, `string_flags` writes the flags of e-mail addresses as "0" and "1".
    """

    def __init__(self, clock: Callable[[], datetime]) -> None:
        self.clock = clock
        self.offset = -4.0
        self.string_flags = True
        self.hidden: set[tuple[str, str]] = set()
        self.absent: set[tuple[str, str]] = set()
        self.modules = dict(MODULES)
        self.tables = {name: Table() for name in MODULES if name != "Employees"}
        self.tables["Employees"] = self.tables["Users"]
        self.links: dict[tuple[str, str, str], list[str]] = {}
        self._cases = 0

    def fields(self, module: str) -> Mapping[str, Type]:
        """The fields of a module that there are."""
        absent = {name for of, name in self.absent if of == module}
        return {name: kind for name, kind in self.modules[module].fields.items() if name not in absent}

    def add(self, module: str, values: Mapping[str, Any]) -> str:
        """Keep a new record, whatever it holds; its id."""
        now = self.clock()
        row: Row = {"id": str(uuid.uuid4()), "date_entered": now, "date_modified": now, "deleted": False}
        if module == "Cases":
            self._cases += 1
            row["case_number"] = self._cases
        row |= {**self.modules[module].defaults, **values}
        self.tables[module].put(row)
        return str(row["id"])

    def change(self, module: str, identity: str, values: Mapping[str, Any]) -> None:
        """Change a record, which is modified now unless the values say when."""
        row = self.tables[module].rows[identity]
        row |= {"date_modified": self.clock(), **values}
        self.tables[module].put(row)
        if module == "Accounts" and row["deleted"]:
            for contact in self.tables["Contacts"].rows.values():
                if contact.get("account_id") == identity:
                    contact["account_id"] = ""

    def live(self, module: str, identity: str) -> Row:
        """A record that is not deleted, or Failure."""
        row = self.tables[module].rows.get(identity)
        if row is None or row["deleted"]:
            raise Failure(404, "not_found", f"Could not find record: {identity} in module: {module}")
        return row

    def written(self, module: str, given: Mapping[str, Any], *, new: bool) -> tuple[Row, dict[str, list[str]]]:
        """The values to keep, and the ids to link, of what a client wants to write; Failure where it may not."""
        shape, values, links = self.modules[module], Row(), dict[str, list[str]]()
        for name, value in given.items():
            if name in shape.links:
                links[name] = _linked(value)
            elif name not in self.fields(module):
                raise Failure(422, "invalid_parameter", {name: [f"{name} is no field of {module}"]})
            else:
                values[name] = _kept(shape, name, value)
        missing = [name for name in shape.required if new and values.get(name) in (None, "")]
        if missing:
            raise Failure(422, "missing_parameter", {name: ["ERROR_FIELD_REQUIRED"] for name in missing})
        for name, ids in links.items():
            for identity in ids:
                self.live(shape.links[name], identity)
        return values, links

    def link(self, module: str, identity: str, name: str, ids: Iterable[str]) -> None:
        """Join records to one."""
        kept = self.links.setdefault((module, identity, name), [])
        kept.extend(one for one in ids if one not in kept)

    def shown(self, module: str, row: Row, names: Iterable[str]) -> dict[str, Any]:
        """A record as it goes out: times in the user's zone, hidden fields blank and said to be."""
        zone = timezone(timedelta(hours=self.offset))
        told: dict[str, Any] = {}
        acl: dict[str, dict[str, str]] = {}
        kinds = self.modules[module].fields
        for name in dict.fromkeys((*_ALWAYS, *names)):
            if (module, name) in self.hidden:
                acl[name] = {"read": "no", "write": "no", "create": "no"}
                told[name] = ""
            elif kinds[name] == "datetime":
                moment = row.get(name)
                told[name] = moment.astimezone(zone).isoformat(timespec="seconds") if moment else ""
            else:
                told[name] = self._value(module, row, name)
        return {**told, "_acl": {"fields": acl}, "_module": module}

    def _value(self, module: str, row: Row, name: str) -> Any:
        if name == "account_name" and module == "Contacts":
            account = self.tables["Accounts"].rows.get(row.get("account_id", ""))
            return account["name"] if account and not account["deleted"] else ""
        if name in ("full_name", "name") and name not in row:
            return " ".join(filter(None, (row.get(part) for part in ("salutation", "first_name", "last_name"))))
        if name == "email":
            return [self._mail(each, n == 0) for n, each in enumerate(row.get("email", ()))]
        if name == "tag":
            return [{"id": str(uuid.uuid5(uuid.NAMESPACE_URL, each)), "name": each} for each in row.get("tag", ())]
        kind = self.modules[module].fields[name]
        return row.get(name, False if kind == "bool" else "")

    def _mail(self, mail: str | Mapping[str, Any], first: bool) -> dict[str, Any]:
        told = {"email_address": mail} if isinstance(mail, str) else dict(mail)
        flags = {"primary_address": first, "opt_out": False, "invalid_email": False}
        flags |= {name: bool(told[name]) for name in flags if name in told}
        return told | {name: str(int(flag)) if self.string_flags else flag for name, flag in flags.items()}


def _linked(value: Any) -> list[str]:
    if not isinstance(value, dict) or not value.keys() <= {"add", "delete", "create"}:
        raise Failure(422, "invalid_parameter", "a link takes add, delete and create")
    return [each["id"] if isinstance(each, dict) else str(each) for each in value.get("add", ())]


def _kept(shape: Module, name: str, value: Any) -> Any:
    """A value as its field keeps it, or Failure."""
    kind = shape.fields[name]
    if kind == "enum" and name in shape.enums and value not in ("", *shape.enums[name]):
        raise Failure(422, "invalid_parameter", {name: [f"{value} is no choice of {name}"]})
    if kind == "datetime" and value:
        try:
            moment = datetime.fromisoformat(str(value))
        except ValueError:
            raise Failure(422, "invalid_parameter", {name: ["no date"]}) from None
        return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    if kind == "int" and not isinstance(value, int):
        raise Failure(422, "invalid_parameter", {name: ["no number"]})
    return value
