"""What the stand-in SugarCRM knows of its modules: their fields, choices, links, and what a new record needs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

Type = Literal["id", "varchar", "text", "phone", "datetime", "bool", "int", "enum", "email", "tag", "relate"]

_BEAN: Mapping[str, Type] = {
    "id": "id",
    "name": "varchar",
    "date_entered": "datetime",
    "date_modified": "datetime",
    "deleted": "bool",
    "description": "text",
    "assigned_user_id": "id",
    "sync_key": "varchar",
}
_PERSON: Mapping[str, Type] = {
    **_BEAN,
    **dict.fromkeys(("salutation", "first_name", "last_name", "full_name", "title", "department"), "varchar"),
    **dict.fromkeys(("phone_work", "phone_mobile", "phone_home", "phone_other", "phone_fax"), "phone"),
    "email": "email",
    **dict.fromkeys(
        (
            f"{which}_address_{part}"
            for which in ("primary", "alt")
            for part in ("street", "city", "state", "postalcode", "country")
        ),
        "varchar",
    ),
}
_ASSISTED: Mapping[str, Type] = {
    "assistant": "varchar",
    "assistant_phone": "phone",
    "do_not_call": "bool",
    "reports_to_id": "id",
    "tag": "tag",
}
_RELATED: Mapping[str, Type] = {"parent_type": "enum", "parent_id": "id", "parent_name": "relate"}
_PARENTS = ("Accounts", "Contacts", "Leads", "Cases", "Tasks")


@dataclass(frozen=True, slots=True)
class Module:
    """One module: fields by name, what may stand in its enums, its links and the modules they lead to."""

    fields: Mapping[str, Type]
    enums: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    links: Mapping[str, str] = field(default_factory=dict)
    required: tuple[str, ...] = ()
    defaults: Mapping[str, str] = field(default_factory=dict)


_USER = Module(
    {
        **_PERSON,
        **dict.fromkeys(("user_name", "phone_extension_c"), "varchar"),
        **dict.fromkeys(("status", "employee_status"), "enum"),
        **dict.fromkeys(("is_group", "portal_only", "is_admin", "show_on_employees"), "bool"),
    },
    {"status": ("Active", "Inactive"), "employee_status": ("Active", "Terminated", "Leave of Absence")},
)

MODULES: Mapping[str, Module] = {
    "Accounts": Module(
        {
            **_BEAN,
            **dict.fromkeys(("phone_office", "phone_alternate", "phone_fax"), "phone"),
            "email": "email",
            "website": "varchar",
            "parent_id": "id",
        },
        links={"contacts": "Contacts"},
        required=("name",),
    ),
    "Contacts": Module(
        {**_PERSON, **_ASSISTED, "account_id": "id", "account_name": "relate", "language_c": "varchar"},
        links={"accounts": "Accounts", "calls": "Calls", "cases": "Cases", "tasks": "Tasks"},
        required=("last_name",),
    ),
    "Leads": Module(
        {
            **_PERSON,
            **_ASSISTED,
            "account_name": "varchar",
            "account_id": "id",
            "contact_id": "id",
            "converted": "bool",
            "status": "enum",
        },
        {"status": ("New", "Assigned", "In Process", "Converted", "Recycled", "Dead")},
        required=("last_name",),
    ),
    "Users": _USER,
    "Employees": _USER,
    "Calls": Module(
        {
            **_BEAN,
            **_RELATED,
            **dict.fromkeys(("status", "direction"), "enum"),
            **dict.fromkeys(("duration_hours", "duration_minutes", "reminder_time"), "int"),
            "date_start": "datetime",
            "auto_invite_parent": "bool",
        },
        {
            "status": ("Planned", "Held", "Not Held"),
            "direction": ("Inbound", "Outbound"),
            "parent_type": _PARENTS,
        },
        {"contacts": "Contacts", "leads": "Leads", "users": "Users"},
        ("name", "status", "date_start", "duration_hours", "duration_minutes"),
    ),
    "Cases": Module(
        {
            **_BEAN,
            **dict.fromkeys(("status", "priority", "type", "source"), "enum"),
            **dict.fromkeys(("account_id", "primary_contact_id"), "id"),
            "case_number": "int",
        },
        {
            "status": ("New", "Assigned", "Closed", "Pending Input", "Rejected", "Duplicate"),
            "priority": ("P1", "P2", "P3"),
            "type": ("Administration", "Product", "User"),
            "source": ("", "Internal", "Forum", "Web", "InboundEmail", "Phone"),
        },
        {"contacts": "Contacts", "accounts": "Accounts"},
        ("name", "account_id"),
        {"status": "New", "priority": "P2"},
    ),
    "Tasks": Module(
        {
            **_BEAN,
            **_RELATED,
            **dict.fromkeys(("status", "priority"), "enum"),
            **dict.fromkeys(("date_start", "date_due"), "datetime"),
            "contact_id": "id",
        },
        {
            "status": ("Not Started", "In Progress", "Completed", "Pending Input", "Deferred"),
            "priority": ("High", "Medium", "Low"),
            "parent_type": _PARENTS,
        },
        {"contacts": "Contacts"},
        ("name",),
        {"status": "Not Started", "priority": "Medium"},
    ),
    "Notes": Module(
        {**_BEAN, **_RELATED, "contact_id": "id"},
        {"parent_type": (*_PARENTS, "Calls")},
        {"contacts": "Contacts"},
        ("name",),
    ),
}
"""Every module that the stand-in has; Employees shows the records of Users."""
