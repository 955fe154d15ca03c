"""Calls, cases, tasks and notes made in the CRM, each once: the record's own id is made of the action's key."""

from __future__ import annotations

import datetime
import urllib.parse
import uuid
from collections.abc import Mapping
from typing import Any

from bridge import errors
from bridge.actions import Action, Made
from bridge.sources.suitecrm import entries, listing, mapping, service

MODULES = {"log-call": "Calls", "ticket": "Cases", "task": "Tasks", "note": "Notes"}
LONGEST = {"Calls": 50, "Cases": 255, "Tasks": 50, "Notes": 255}
"""Characters that a name may have; a longer subject stands whole in the text."""
PEOPLE = {"Contacts": "contacts", "Leads": "leads"}
"""Modules that calls are linked to, by their links."""


class Writer:
    """Writes to one CRM; contacts are of `modules`."""

    def __init__(self, asked: service.Service, modules: tuple[str, ...]) -> None:
        self._service = asked
        self._modules = modules

    async def act(self, action: Action) -> Made:
        """The record that is, or was, made for this key, linked to the contact and the user."""
        module = MODULES[action.kind]
        identity = str(uuid.UUID(action.key))
        contact = await self._contact(action)
        if not await self._there(module, identity):
            user = action.user or (await self._service.login.session()).user
            fields = await self._fields(module, action, contact, user)
            await self._create(module, identity, fields)
        await self._link(module, identity, action, contact)
        return Made(identity, mapping.page(self._service.url, module, identity))

    async def _contact(self, action: Action) -> str:
        """The module that the contact is of: told by its page, else looked for; "" for nobody."""
        if not action.contact:
            return ""
        self._quoted(action.contact)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(action.contact_url).query)
        told = query.get("module", [""])[-1]
        if told in (*self._modules, *PEOPLE, mapping.COMPANIES):
            return told
        for module in self._modules:
            if await self._there(module, action.contact):
                return module
        return ""

    async def _there(self, module: str, identity: str) -> bool:
        """Whether a record was ever made: one that somebody deleted since is not made again."""
        return await self._row(module, identity, "deleted") is not None

    async def _row(self, module: str, identity: str, *fields: str) -> entries.Row | None:
        arguments = {
            "module_name": module,
            "query": f"{module.lower()}.id = {self._quoted(identity)}",
            "order_by": "",
            "offset": 0,
            "select_fields": ["id", *fields],
            "link_name_to_fields_array": [],
            "max_results": 1,
            "deleted": 1,
            "favorites": False,
        }
        listed = entries.read(await self._asked(module, "get_entry_list", arguments), f"{self._service.host}: {module}")
        return next(iter(listed.rows), None)

    async def _create(self, module: str, identity: str, fields: Mapping[str, str]) -> None:
        pairs = {"id": identity, "new_with_id": "1", **fields}
        arguments = {
            "module_name": module,
            "name_value_list": [{"name": name, "value": value} for name, value in pairs.items() if value],
        }
        try:
            answer = await self._ordered(module, "set_entry", arguments)
        except errors.Unsettled:
            raise
        except errors.Unavailable:
            # The same id twice is an error: an earlier try may have arrived after it was looked for.
            if not await self._there(module, identity):
                raise
            return
        if not isinstance(answer, dict) or answer.get("id") != identity:
            raise errors.Refused("id", f"{self._service.host} gives a record of {module} another id than was chosen")

    async def _link(self, module: str, identity: str, action: Action, contact: str) -> None:
        """Links that fields do not make; made again, they stay one."""
        links = []
        if module == "Calls" and contact in PEOPLE:
            links.append((PEOPLE[contact], action.contact))
        if module == "Cases" and contact == "Contacts":
            links.append(("contacts", action.contact))
        if module == "Calls" and action.user:
            links.append(("users", action.user))
        for link, related in links:
            arguments = {
                "module_name": module,
                "module_id": identity,
                "link_field_name": link,
                "related_ids": [related],
                "name_value_list": [],
                "delete": 0,
            }
            answer = await self._ordered(module, "set_relationship", arguments)
            if not isinstance(answer, dict) or answer.get("created") != 1:
                raise errors.Unavailable(f"{self._service.host} does not link {module} to {link}")

    async def _fields(self, module: str, action: Action, contact: str, user: str) -> Mapping[str, str]:
        longest = LONGEST[module]
        cut = len(action.subject) > longest
        fields = {
            "name": action.subject[: longest - 1] + "…" if cut else action.subject,
            "description": "\n".join(filter(None, (action.subject if cut else "", action.text))),
            "assigned_user_id": user,
        }
        if module == "Cases":
            row = await self._row("Contacts", action.contact, "account_id") if contact == "Contacts" else None
            account = action.contact if contact == mapping.COMPANIES else (row or {}).get("account_id", "")
            return {**fields, "account_id": account, "status": "Open_New", "state": "Open", "priority": "P2"}
        fields |= {"parent_type": contact, "parent_id": action.contact if contact else ""}
        if module == "Calls":
            return fields | _call(action)
        fields["contact_id"] = action.contact if contact == "Contacts" else ""
        return fields | ({"status": "Not Started", "priority": "Medium"} if module == "Tasks" else {})

    async def _ordered(self, module: str, method: str, arguments: Mapping[str, object]) -> Any:
        """What is answered to an order."""
        body = await self._asked(module, method, arguments, order=True)
        return self._service.document(f"{method} of {module}", body, order=True)

    async def _asked(self, module: str, method: str, arguments: Mapping[str, object], *, order: bool = False) -> bytes:
        """An answer, or what stands in the way of this one action."""
        try:
            return await (self._service.order if order else self._service.ask)(method, arguments)
        except service.NoModule:
            raise errors.Unsupported(f"{self._service.host} has no module {module}") from None
        except service.NoAccess:
            told = f"{self._service.host} does not let this login into {module}; right is a role that may edit them"
            raise errors.Refused("40", told) from None
        except service.Nothing:
            raise errors.Refused("null", f"{self._service.host} refuses a record of {module}: its ids, say") from None

    def _quoted(self, identity: str) -> str:
        try:
            return listing.quote(identity)
        except ValueError:
            raise errors.Refused("id", f"the contact's id is none of {self._service.host}", absent=True) from None


def _call(action: Action) -> dict[str, str]:
    """A call that was held, as long as was spoken, in whole minutes begun."""
    started = action.call.started or action.call.answered or action.call.ended
    hours, minutes = divmod(-(-action.call.seconds // 60), 60)
    return {
        "status": "Held",
        "direction": action.call.direction.capitalize(),
        "date_start": service.spell(started or datetime.datetime.now(datetime.UTC)),
        "duration_hours": str(hours),
        "duration_minutes": str(minutes),
    }
