"""The methods of REST v4_1 as SuiteCRM 7.14 has them, over a store: arguments in, JSON-able answers out."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from bridge.demo import suitecrm_sql as sql
from bridge.demo.suitecrm_faults import DATABASE
from bridge.demo.suitecrm_store import COMPUTED, LINKS, Module, Row, Store, valid

DEFAULT = 20
"""Rows of a list where nobody says how many."""
GONE = "Access to this object is denied since it has been deleted or does not exist"
NAMES = {
    10: ("Invalid Login", "Login attempt failed please check the username and password"),
    11: ("Invalid Session ID", "The session ID is invalid"),
    20: ("Module Does Not Exist", "This module is not available on this server"),
    40: ("Access Denied", "You do not have access"),
    1008: ("Password Expired", "Your password has expired. Please provide a new password."),
    1009: ("Password Expired", "You have been locked out of the application."),
    1012: ("LDAP Authentication Failed", "LDAP Authentication failed but supplied password was already encrypted."),
}
_LONGEST = {"Calls": 50, "Tasks": 50, "Cases": 255, "Notes": 255}
_TIMES = ("date_start", "date_end", "date_due")
_TIME = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d")
_ESCAPES = str.maketrans({'"': "&quot;", "<": "&lt;", ">": "&gt;", "'": "&#039;"})


class Fault(Exception):
    """A fault, by its number."""

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number


class Crash(Exception):
    """PHP, or the database, ends the call: HTTP 500. `told` is what it says."""

    def __init__(self, told: str = "") -> None:
        super().__init__(told)
        self.told = told


PARAMETERS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "login": (("user_auth",), ("application", "name_value_list")),
    "logout": (("session",), ()),
    "get_server_info": ((), ()),
    "get_user_id": (("session",), ()),
    "get_available_modules": (("session",), ("filter",)),
    "get_module_fields": (("session", "module_name"), ("fields",)),
    "get_entries_count": (("session", "module_name", "query", "deleted"), ()),
    "get_entry_list": (
        (),
        (
            *("session", "module_name", "query", "order_by", "offset", "select_fields"),
            *("link_name_to_fields_array", "max_results", "deleted", "favorites"),
        ),
    ),
    "get_entry": (("session", "module_name", "id", "select_fields", "link_name_to_fields_array"), ("track_view",)),
    "get_entries": (("session", "module_name", "ids", "select_fields", "link_name_to_fields_array"), ("track_view",)),
    "get_relationships": (
        (
            *("session", "module_name", "module_id", "link_field_name", "related_module_query", "related_fields"),
            *("related_module_link_name_to_fields_array", "deleted"),
        ),
        ("order_by", "offset", "limit"),
    ),
    "set_entry": (("session", "module_name", "name_value_list"), ("track_view",)),
    "set_entries": (("session", "module_name", "name_value_lists"), ()),
    "set_relationship": (
        ("session", "module_name", "module_id", "link_field_name", "related_ids"),
        ("name_value_list", "delete"),
    ),
}
"""What each method declares: the arguments that it needs, and those that have a default, in order."""


class Methods:
    """Carries out what a logged-in user asks for.

    `hidden`: modules that the user may not see. `closed`: ids of records that may be listed and not opened.
    `most`: rows that an answer has at most, 0 for no cap. `counts` False: the server is told not to count lists.
    """

    def __init__(self, store: Store) -> None:
        self.store = store
        self.hidden: set[str] = set()
        self.closed: set[str] = set()
        self.most = 0
        self.counts = True

    def named(self) -> Mapping[str, Callable[..., Any]]:
        """The methods that need a session, by name; each takes its arguments without it."""
        names = PARAMETERS.keys() - {"login", "logout", "get_server_info", "get_user_id"}
        return {name: getattr(self, name) for name in names}

    def get_available_modules(self, filter: str = "all") -> Any:
        """The modules that the user may see."""
        names = [name for name in self.store.modules if name not in self.hidden]
        return {
            "modules": [{"module_key": name, "module_label": name, "favorite_enabled": False} for name in names],
        }

    def get_module_fields(self, module_name: str, fields: Sequence[str] = ()) -> Any:
        """The fields of a module, those named or all."""
        module = self._module(module_name)
        names = [name for name in module.fields if not fields or name in fields]
        found = {name: {"name": name, "type": "varchar", "label": f"{name}:", "required": 0} for name in names}
        links = {name: {"name": name, "type": "link", "module": to} for name, to in LINKS.get(module_name, {}).items()}
        return {"module_name": module_name, "module_fields": found or [], "link_fields": links or []}

    def get_entries_count(self, module_name: str, query: str, deleted: Any) -> Any:
        """How many rows meet a query, which is joined to the rest without brackets."""
        module = self._module(module_name)
        live = "" if deleted else f"{module.table}.deleted = 0"
        return {"result_count": str(len(self._found(module, " AND ".join(filter(None, (query, live))), deleted=True)))}

    def get_entry_list(
        self,
        module_name: str | None = None,
        query: str | None = None,
        order_by: str | None = None,
        offset: Any = 0,
        select_fields: Sequence[str] | None = None,
        link_name_to_fields_array: Any = None,
        max_results: Any = 0,
        deleted: Any = False,
        favorites: Any = False,
    ) -> Any:
        """Rows by id, whatever order was asked for, in the way that the server counts and ends."""
        module = self._module(module_name or "")
        found = self._found(module, query or "", deleted=bool(deleted))
        if order_by and any(part.split()[0] in module.fields for part in order_by.split(",") if part.split()):
            raise Crash(DATABASE)
        start, asked = max(0, int(offset or 0)), int(max_results or 0)
        size = asked if asked > 0 else DEFAULT
        size = size if self.counts else size + 1
        rows = found[start : start + (min(size, self.most) if self.most else size)]
        total: int | str = (str(len(found)) if found else 0) if self.counts else -1
        return {
            "result_count": len(rows),
            "total_count": total,
            "next_offset": start + len(rows),
            "entry_list": [self._entry(module, row, select_fields or ()) for row in rows],
            "relationship_list": self._linked(module, rows, link_name_to_fields_array),
        }

    def get_entry(
        self, module_name: str, id: str, select_fields: Any, link_name_to_fields_array: Any, track_view: Any = False
    ) -> Any:
        """One row."""
        return self.get_entries(module_name, [id], select_fields, link_name_to_fields_array)

    def get_entries(
        self,
        module_name: str,
        ids: Sequence[str],
        select_fields: Any,
        link_name_to_fields_array: Any,
        track_view: Any = False,
    ) -> Any:
        """Rows by their ids; one that may not be opened spoils the answer for all."""
        module = self._module(module_name)
        if self.closed & set(ids):
            raise Fault(40)
        rows = [module.rows.get(each) for each in ids]
        entries = [
            self._entry(module, row, select_fields) if row and row["deleted"] == "0" else _warning(module_name, each)
            for each, row in zip(ids, rows, strict=True)
        ]
        there = [row for row in rows if row and row["deleted"] == "0"]
        return {"entry_list": entries, "relationship_list": self._linked(module, there, link_name_to_fields_array)}

    def get_relationships(
        self,
        module_name: str,
        module_id: str,
        link_field_name: str,
        related_module_query: str,
        related_fields: Sequence[str],
        related_module_link_name_to_fields_array: Any,
        deleted: Any,
        order_by: str = "",
        offset: Any = 0,
        limit: Any = False,
    ) -> Any:
        """The rows related to one; no list where there is no such link."""
        self._module(module_name)
        if module_id in self.closed:
            raise Fault(40)
        target = LINKS.get(module_name, {}).get(link_field_name, "")
        if target not in self.store.modules:
            return {"entry_list": [], "relationship_list": []}
        module = self.store.modules[target]
        rows = self.store.links(module_name, module_id, link_field_name)
        # What is computed is not there for related rows.
        fields = [field for field in related_fields if field not in COMPUTED]
        return {"entry_list": [self._entry(module, row, fields) for row in rows], "relationship_list": []}

    def set_entry(self, module_name: str, name_value_list: Any, track_view: Any = False) -> Any:
        """Make or change a row; the echo is escaped in another way than what is read."""
        module = self._module(module_name)
        pairs = _pairs(name_value_list)
        if (identity := pairs.get("id", "")) and not valid(identity):
            return None
        saved = self._save(module, pairs)
        return {"id": saved, "entry_list": {name: _pair(name, _echo(value)) for name, value in pairs.items()}}

    def set_entries(self, module_name: str, name_value_lists: Any) -> Any:
        """Make or change rows."""
        module = self._module(module_name)
        return {"ids": [self._save(module, _pairs(each)) for each in name_value_lists]}

    def set_relationship(
        self,
        module_name: str,
        module_id: str,
        link_field_name: str,
        related_ids: Sequence[str],
        name_value_list: Any = (),
        delete: Any = False,
    ) -> Any:
        """Relate rows; neither id is checked."""
        done = self.store.relate(module_name, module_id, link_field_name, related_ids)
        return {"created": int(done), "failed": int(not done), "deleted": 0}

    def _save(self, module: Module, pairs: Mapping[str, str]) -> str:
        values = {name: re.sub(r"<[^<>]*>", "", value) for name, value in pairs.items() if name in module.fields}
        if len(values.get("name", "")) > _LONGEST.get(module.name, 255):
            raise Crash(DATABASE)
        if any(name in values and not _TIME.fullmatch(values[name]) for name in _TIMES):
            raise Crash(DATABASE)
        identity = pairs.get("id", "")
        held = module.rows.get(identity)
        if identity and not pairs.get("new_with_id"):
            if held is not None and held["deleted"] == "0":
                if values.pop("deleted", "0") == "1":
                    self.store.delete(module.name, identity)
                self.store.update(module.name, identity, values)
            return identity
        if held is not None:
            raise Crash(DATABASE)
        return self.store.put(module.name, values)

    def _module(self, name: str) -> Module:
        module = self.store.modules.get(name)
        if module is None:
            raise Fault(20)
        if name in self.hidden:
            raise Fault(40)
        return module

    def _found(self, module: Module, query: str, *, deleted: bool) -> list[Row]:
        try:
            return module.find(query, deleted=deleted)
        except sql.Rejected:
            raise Fault(40) from None
        except sql.Failed:
            raise Crash(DATABASE) from None

    def _entry(self, module: Module, row: Row, fields: Sequence[str]) -> Any:
        company = self.store.company(module.name, row)
        pairs = {}
        for name in fields or module.fields:
            if name == "account_name" and company is not None:
                if company:
                    pairs[name] = _pair(name, _escaped(company))
            elif name in module.fields:
                pairs[name] = _pair(name, _escaped(row.get(name, "")))
        return {"id": row["id"], "module_name": module.name, "name_value_list": pairs or []}

    def _linked(self, module: Module, rows: Sequence[Row], wanted: Any) -> list[Any]:
        """The related records of each row, in the nesting of v4_1."""
        if not wanted:
            return []
        return [{"link_list": [*self._links(module, row, wanted)]} for row in rows]

    def _links(self, module: Module, row: Row, wanted: Any) -> Sequence[Any]:
        lists = []
        for link in wanted:
            if link["name"] not in LINKS.get(module.name, {}):
                continue
            related = self.store.links(module.name, row["id"], link["name"])
            values = [{name: _pair(name, _escaped(each.get(name, ""))) for name in link["value"]} for each in related]
            if values:
                lists.append({"name": link["name"], "records": [{"link_value": each} for each in values]})
        return lists


def _warning(module: str, identity: str) -> Any:
    """What stands in the place of a row that is not there: a list where others have an object."""
    pairs = [{"name": "warning", "value": GONE}, {"name": "deleted", "value": "1"}]
    return {"id": identity, "module_name": module, "name_value_list": pairs}


def _pairs(given: Any) -> dict[str, str]:
    """Names and values, as a list of pairs or as an object; a value is what PHP's database layer makes of it."""
    if isinstance(given, Mapping):
        given = [
            value if isinstance(value, Mapping) else {"name": name, "value": value} for name, value in given.items()
        ]
    if not isinstance(given, Sequence):
        raise Crash
    return {str(each["name"]): _text(each.get("value")) for each in given}


def _text(value: Any) -> str:
    return "" if value is None or value is False else "1" if value is True else str(value)


def _pair(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}


def _escaped(text: str) -> str:
    """As v4_1 writes values: four characters, and not the ampersand."""
    return text.translate(_ESCAPES) if text and not text.isalnum() else text


def _echo(text: str) -> str:
    return "".join("&amp;amp;" if each == "&" else f"&#{ord(each)};" if ord(each) > 127 else each for each in text)
