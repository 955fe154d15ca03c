"""Whom a record is to be linked to: who called as the org has them today, merged or converted since."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bridge.sources.salesforce import answers, soql
from bridge.sources.salesforce.calls import Calls

STEPS = 5
"""How many merges and conversions in a row are followed."""

_COLUMNS = {
    "003": ("Contact", ("IsDeleted", "MasterRecordId", "AccountId")),
    "00Q": ("Lead", ("IsDeleted", "MasterRecordId", "IsConverted", "ConvertedContactId", "ConvertedAccountId")),
    "001": ("Account", ("IsDeleted", "MasterRecordId")),
}


@dataclass(frozen=True, slots=True)
class Links:
    """The ids of a contact or lead and of an account; "" for none."""

    person: str = ""
    account: str = ""

    @property
    def lead(self) -> bool:
        """Whether the person is a lead, which has no account."""
        return self.person.startswith("00Q")


async def links(calls: Calls, contact: str) -> Links:
    """What a contact's id stands for now; nothing where the record is gone: the call is logged all the same."""
    id = soql.full_id(contact)
    for _ in range(STEPS):
        table, columns = _COLUMNS.get(id[:3], ("", ()))
        if not table:
            return Links()
        try:
            rows = await calls.find(soql.select(columns, table, f"Id = {soql.text(id)}"), deleted=True)
        except answers.Rejected:
            # Hidden fields: what was read as a contact is linked as it was read.
            return Links(account=id) if table == "Account" else Links(id)
        row: Mapping[str, Any] = rows[0] if rows else {"IsDeleted": True}
        if row.get("IsConverted") and row.get("ConvertedContactId"):
            id = soql.full_id(str(row["ConvertedContactId"]))
        elif not row.get("IsDeleted"):
            return Links(account=id) if table == "Account" else Links(id, str(row.get("AccountId") or ""))
        else:
            id = soql.full_id(str(row.get("MasterRecordId") or ""))
    return Links()
