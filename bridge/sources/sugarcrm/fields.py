"""Which fields a run asks for: those wanted, less what a site's metadata does not have."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from bridge import errors
from bridge.contact import Kind
from bridge.sources.sugarcrm import api

ACCOUNTS = "Accounts"
PHONES: Mapping[str, Kind] = {
    "phone_work": "work",
    "phone_mobile": "mobile",
    "phone_home": "home",
    "phone_other": "other",
    "phone_fax": "fax",
    "assistant_phone": "other",
}
OFFICE = "phone_office"
ADDRESSES = tuple(
    tuple(f"{which}_address_{part}" for part in ("street", "postalcode", "city", "state", "country"))
    for which in ("primary", "alt")
)
_PERSON = ("first_name", "last_name", "full_name", *PHONES, "email", "account_name", *ADDRESSES[0], *ADDRESSES[1])
_OF: Mapping[str, tuple[str, ...]] = {
    "Contacts": ("account_id",),
    "Leads": ("converted",),
    ACCOUNTS: (OFFICE,),
}
_OPTIONAL = ("tag",)
"""Newer releases have it; nobody is told where it is missing."""


@dataclass(frozen=True, slots=True)
class Schema:
    """The fields to ask for in each module that may be read, and what of the wanted is not there."""

    fields: Mapping[str, tuple[str, ...]]
    notes: tuple[str, ...] = ()


@dataclass
class Masks:
    """Fields that Sugar blanked because the login may not see them, as rows of a run name them."""

    found: set[tuple[str, str]] = field(default_factory=set)

    def see(self, module: str, row: Mapping[str, Any], wanted: Sequence[str]) -> None:
        """Note what this row hides of the wanted."""
        if _told(row):
            self.found.update((module, name) for name in wanted if hides(row, name))

    @property
    def notes(self) -> tuple[str, ...]:
        """One sentence about all of them, if there are any."""
        names = ", ".join(f"{module}.{name}" for module, name in sorted(self.found))
        return (f"left out, as the login may not see it: {names}",) if names else ()


def hides(row: Mapping[str, Any], name: str) -> bool:
    """Whether this row keeps a field from the login."""
    rights = _told(row).get(name)
    return isinstance(rights, dict) and rights.get("read") == "no"


async def read(http: api.Api, modules: Sequence[str], custom: Sequence[str]) -> Schema:
    """What of these modules, and of Accounts, there is to ask for; Denied where none may be read."""
    known = await _metadata(http, (*modules, ACCOUNTS))
    fields: dict[str, tuple[str, ...]] = {}
    notes: list[str] = []
    for module in dict.fromkeys((*modules, ACCOUNTS)):
        if known is not None and module not in known:
            notes.append(f"{module} may not be read, or is no module there: right is a role with access to it")
            continue
        wanted = _wanted(module, custom if module in modules else ())
        there = wanted if known is None else [name for name in wanted if name in known[module]]
        fields[module] = tuple(there)
        missing = [name for name in wanted if name not in there and _expected(module, name, custom)]
        if missing:
            notes.append(f"left out, as {module} has no such field: {', '.join(missing)}")
    if not any(module in fields for module in modules):
        raise errors.Denied(f"{http.host} lets the login read none of {', '.join(modules)}: right is a role that does")
    return Schema(fields, tuple(notes))


def _told(row: Mapping[str, Any]) -> Mapping[str, Any]:
    acl = row.get("_acl")
    told = acl.get("fields") if isinstance(acl, dict) else None
    return told if isinstance(told, dict) else {}


def _wanted(module: str, custom: Sequence[str]) -> list[str]:
    person = () if module == ACCOUNTS else (*_PERSON, *_OPTIONAL)
    return list(dict.fromkeys((*person, *_OF.get(module, ()), *custom)))


def _expected(module: str, name: str, custom: Sequence[str]) -> bool:
    """Whether it is worth a word that a module lacks this field: made by a template, modules differ."""
    return name in custom or (module in _OF and name not in _OPTIONAL)


async def _metadata(http: api.Api, modules: Sequence[str]) -> Mapping[str, Mapping[str, Any]] | None:
    """The fields of each module that Sugar tells of; None where it tells nothing."""
    names = urllib.parse.quote(",".join(dict.fromkeys(modules)))
    try:
        told = await http.ask("GET", f"metadata?type_filter=modules&module_filter={names}")
    except (api.Refusal, api.Forbidden):
        return None
    found = told.get("modules")
    if not isinstance(found, dict):
        return None
    return {
        name: each["fields"]
        for name, each in found.items()
        if isinstance(each, dict) and isinstance(each.get("fields"), dict)
    }
