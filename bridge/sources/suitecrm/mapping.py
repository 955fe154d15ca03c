"""Which fields of which module say what, and a record of them. Pure."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bridge.contact import Address, Kind, RawNumber, Record
from bridge.sources.suitecrm import service
from bridge.sources.suitecrm.entries import Row

COMPANIES = "Accounts"
NUMBERS: Mapping[str, Kind] = {
    "phone_work": "work",
    "phone_mobile": "mobile",
    "phone_home": "home",
    "phone_other": "other",
    "phone_fax": "fax",
    "assistant_phone": "other",
}
COMPANY_NUMBERS: Mapping[str, Kind] = {"phone_office": "work", "phone_alternate": "work", "phone_fax": "fax"}
EMAILS = ("email1", "email2")

_ALWAYS = ("id", "date_modified", "deleted")
_UNTOLD = frozenset({"email2", "deleted"})
"""Fields that a module may well be without: nothing is missing then."""
_ADDRESS = ("street", "postalcode", "city", "state", "country")
_PERSON_ADDRESSES = ("primary_address", "alt_address")
_COMPANY_ADDRESSES = ("billing_address", "shipping_address")


@dataclass(frozen=True, slots=True)
class Company:
    """What a contact takes from the account that it belongs to: its name, and its own numbers."""

    name: str
    numbers: tuple[RawNumber, ...]


def wanted(module: str) -> tuple[str, ...]:
    """The fields of a module that a record is made of, whether it has them or not."""
    person = module != COMPANIES
    streets = _PERSON_ADDRESSES if person else _COMPANY_ADDRESSES
    names = ("first_name", "last_name", "account_name") if person else ("name",)
    links = {"Contacts": ("account_id",), "Leads": ("converted", "status")}.get(module, ())
    numbers = NUMBERS if person else COMPANY_NUMBERS
    return (*_ALWAYS, *names, *links, *numbers, *EMAILS, *(f"{of}_{part}" for of in streets for part in _ADDRESS))


def missing(module: str, there: Mapping[str, object], custom: Mapping[str, str]) -> Sequence[str]:
    """The fields that ought to be in a module and are not."""
    fields = dict.fromkeys((*wanted(module), *custom.values()))
    return [field for field in fields if field not in there and field not in _UNTOLD]


def gone(row: Row) -> bool:
    """Whether this is no contact any more: deleted, or a lead that became one."""
    return row.get("deleted") == "1" or row.get("converted") == "1" or row.get("status") == "Converted"


def page(url: str, module: str, identity: str) -> str:
    """The page of a record; SuiteCRM 8 leads from there to its own."""
    return f"{url}/index.php?module={module}&action=DetailView&record={urllib.parse.quote(identity, safe='')}"


def company(row: Row) -> Company:
    """An account, as its contacts see it."""
    numbers = (RawNumber(row[field], kind, company=True) for field, kind in COMPANY_NUMBERS.items() if field in row)
    return Company(row.get("name", ""), tuple(number for number in numbers if number.kind != "fax"))


class Reader:
    """Makes records of the rows of one module; `custom` maps titles to fields."""

    def __init__(self, url: str, module: str, custom: Mapping[str, str]) -> None:
        self._url = url
        self._module = module
        self._custom = custom
        self._streets = _PERSON_ADDRESSES if module != COMPANIES else _COMPANY_ADDRESSES

    def record(self, row: Row, companies: Mapping[str, Company]) -> Record:
        """What the row says, and what the company in it does."""
        return self._company(row) if self._module == COMPANIES else self._person(row, companies)

    def _person(self, row: Row, companies: Mapping[str, Company]) -> Record:
        account = row.get("account_id", "") if self._module == "Contacts" else ""
        company = companies.get(account) if account else None
        numbers = [RawNumber(row[field], kind) for field, kind in NUMBERS.items() if field in row]
        if company is not None:
            numbers += company.numbers
        return Record(
            id=row["id"],
            first_name=row.get("first_name", ""),
            last_name=row.get("last_name", ""),
            company=row.get("account_name") or (company.name if company is not None else ""),
            emails=self._emails(row),
            addresses=self._addresses(row),
            numbers=tuple(numbers),
            contact_url=page(self._url, self._module, row["id"]),
            company_url=page(self._url, COMPANIES, account) if account else "",
            custom=self._customs(row),
            modified=service.stamp(row.get("date_modified", "")),
        )

    def _company(self, row: Row) -> Record:
        url = page(self._url, COMPANIES, row["id"])
        numbers = (RawNumber(row[field], kind, company=True) for field, kind in COMPANY_NUMBERS.items() if field in row)
        return Record(
            id=row["id"],
            display_name=row.get("name", ""),
            company=row.get("name", ""),
            emails=self._emails(row),
            addresses=self._addresses(row),
            numbers=tuple(numbers),
            contact_url=url,
            company_url=url,
            custom=self._customs(row),
            modified=service.stamp(row.get("date_modified", "")),
        )

    def _emails(self, row: Row) -> tuple[str, ...]:
        return tuple(row[field] for field in EMAILS if field in row)

    def _addresses(self, row: Row) -> tuple[Address, ...]:
        found = []
        for of in self._streets:
            parts = [row.get(f"{of}_{part}", "") for part in _ADDRESS]
            if any(parts):
                found.append(Address(*parts))
        return tuple(found)

    def _customs(self, row: Row) -> tuple[tuple[str, str], ...]:
        return tuple((title, row[field]) for title, field in self._custom.items() if field in row)
