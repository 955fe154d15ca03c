"""Calls, cases, tasks and notes, each made once: by a sync key where Sugar has them, else under an id of our own."""

from __future__ import annotations

import datetime
import re
import urllib.parse
import uuid
from collections.abc import Mapping, Sequence
from typing import Any

from bridge import errors
from bridge.actions import Action, Kind, Made
from bridge.sources.sugarcrm import api, listing, people

_MODULES: Mapping[Kind, str] = {"log-call": "Calls", "ticket": "Cases", "task": "Tasks", "note": "Notes"}
_CHOICES = frozenset({"status", "priority"})
"""Fields of cases and tasks whose choices an administrator may have changed."""
_NAME = 255
"""The longest name that the column of a name takes."""
_KEYED_FROM = 10
"""The minor version of v11 that brought sync keys."""
_UNKEYED = frozenset({404, 405, 422})
"""What a site answers that has no upsert by sync key after all."""


class Acts:
    """Makes records at one site."""

    def __init__(self, http: api.Api, url: str, modules: Sequence[str]) -> None:
        self._http = http
        self._url = url
        self._modules = modules
        version = re.fullmatch(r"v(\d+)_(\d+)", http.version)
        self._keyed = version is not None and (int(version[1]), int(version[2])) >= (11, _KEYED_FROM)

    async def act(self, action: Action) -> Made:
        """What the action asks for, or what an earlier try made of it; as `bridge.sources.WithActions` says."""
        module = _MODULES[action.kind]
        try:
            identity = await self._made(module, action.key, await self._values(module, action))
        except api.Forbidden as refused:
            raise errors.Refused(
                refused.code, f"{self._http.host} lets the login make no {module}: right is a role that may"
            ) from None
        except api.Refusal as refused:
            raise errors.Refused(refused.code or str(refused.status), str(refused)) from None
        return Made(identity, people.page(self._url, module, identity))

    async def _made(self, module: str, key: str, values: Mapping[str, Any]) -> str:
        """The id of the record; where a site's own choices lack ours, its defaults stand."""
        try:
            return await self._once(module, key, values)
        except api.Refusal as refused:
            if not refused.fields or module == "Calls" or not _CHOICES.issuperset(refused.fields):
                raise
        return await self._once(module, key, {name: said for name, said in values.items() if name not in _CHOICES})

    async def _once(self, module: str, key: str, values: Mapping[str, Any]) -> str:
        identity = await self._by_key(module, key, values) if self._keyed else ""
        return identity or await self._by_id(module, key, values)

    async def _by_key(self, module: str, key: str, values: Mapping[str, Any]) -> str:
        """Update or create the record with this sync key; "" where the login or the site does not do that."""
        try:
            told = await self._http.ask("PATCH", f"{module}/sync_key/{key}", values)
        except api.Forbidden:
            # Newer releases keep it to administrators.
            self._keyed = False
            return ""
        except api.Refusal as refused:
            if refused.status not in _UNKEYED or refused.fields:
                raise
            self._keyed = False
            return ""
        return self._identity(told.get("record", told))

    async def _by_id(self, module: str, key: str, values: Mapping[str, Any]) -> str:
        """Create the record with the id that the key is, unless it is there."""
        own = str(uuid.UUID(hex=key))
        if await self._there(module, own):
            return own
        try:
            return self._identity(await self._http.ask("POST", module, {"id": own, **values}))
        except api.Refusal as refused:
            # Another try may have been quicker: a second record with the same id is refused.
            if refused.status == 422 and not refused.fields and await self._there(module, own):
                return own
            raise

    async def _there(self, module: str, identity: str) -> bool:
        try:
            await self._http.ask("GET", f"{module}/{identity}?fields=id")
        except api.Refusal as refused:
            if refused.status != 404:
                raise
            return False
        return True

    def _identity(self, told: Any) -> str:
        identity = told.get("id") if isinstance(told, dict) else told
        if not isinstance(identity, str) or not identity:
            raise errors.Unsettled(f"{self._http.host} does not say what it made")
        return identity

    async def _values(self, module: str, action: Action) -> dict[str, Any]:
        of = self._module(action) if action.contact else ""
        values: dict[str, Any] = {"name": action.subject[:_NAME] or module, "description": action.text}
        if action.user:
            values["assigned_user_id"] = action.user
        match action.kind:
            case "log-call":
                values |= _call(action, of)
            case "ticket":
                values |= {"status": "New", "priority": "P2"}
                return values | await self._case(action, of)
            case "task":
                values |= {"status": "Not Started", "priority": "Medium"}
        if of:
            values |= {"parent_type": of, "parent_id": action.contact}
        if of == "Contacts" and module != "Calls":
            values["contact_id"] = action.contact
        return values

    async def _case(self, action: Action, of: str) -> dict[str, Any]:
        """Whom a case is about; a contact that is gone is of no account."""
        if not of:
            return {}
        about = {"primary_contact_id": action.contact} if of == "Contacts" else {}
        path = f"{of}/{urllib.parse.quote(action.contact, safe='')}?fields=account_id"
        try:
            account = people.text((await self._http.ask("GET", path)).get("account_id"))
        except api.Refusal:
            return about
        return about | ({"account_id": account} if account else {})

    def _module(self, action: Action) -> str:
        """The module of the action's contact, as its page names it; the first that is read where it does not."""
        named = re.search(r"#(\w+)/", action.contact_url)
        return named[1] if named else self._modules[0]


def _call(action: Action, of: str) -> dict[str, Any]:
    call = action.call
    minutes = -(-call.seconds // 60)
    started = call.started or call.answered or call.ended or datetime.datetime.now(datetime.UTC)
    values: dict[str, Any] = {
        "status": "Held",
        "direction": "Outbound" if call.direction == "outbound" else "Inbound",
        "date_start": listing.spelled(started),
        "duration_hours": minutes // 60,
        "duration_minutes": minutes % 60,
        "description": f"{action.text}\nDuration: {call.seconds} s".strip(),
        "auto_invite_parent": False,
    }
    if of in ("Contacts", "Leads"):
        values[of.lower()] = {"add": [action.contact]}
    if action.user:
        values["users"] = {"add": [action.user]}
    return values
