"""The objects that the stand-in Salesforce knows, and what describe tells of each of their fields."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any


@dataclass(frozen=True, slots=True)
class Field:
    """One field as describe shows it; `values` are the names of a picklist, which is `restricted` or a proposal."""

    name: str
    type: str
    length: int = 0
    required: bool = False
    references: tuple[str, ...] = ()
    values: tuple[str, ...] = ()
    restricted: bool = False
    default: Any = None
    external: bool = False
    unique: bool = False
    createable: bool = True
    updateable: bool = True

    @property
    def relationship(self) -> str | None:
        """The name by which a query reaches the parent: AccountId by Account, Thing__c by Thing__r."""
        if self.type != "reference":
            return None
        return self.name[:-1] + "r" if self.name.endswith("__c") else self.name.removesuffix("Id")

    @property
    def filterable(self) -> bool:
        """Long texts and addresses cannot stand in a condition."""
        return not (self.type == "textarea" and self.length > 255) and self.type != "address"

    def described(self) -> dict[str, Any]:
        """The field's entry in a describe answer."""
        return {
            "name": self.name,
            "label": self.name.removesuffix("__c").replace("_", " "),
            "type": self.type,
            "length": self.length,
            "nillable": not self.required,
            "createable": self.createable,
            "updateable": self.updateable,
            "filterable": self.filterable,
            "sortable": self.filterable,
            "custom": self.name.endswith("__c"),
            "externalId": self.external,
            "idLookup": self.external or self.name == "Id",
            "unique": self.unique,
            "defaultedOnCreate": self.default is not None or self.type == "boolean",
            "referenceTo": list(self.references),
            "relationshipName": self.relationship,
            "restrictedPicklist": self.restricted,
            "picklistValues": [
                {"active": True, "defaultValue": value == self.default, "label": value, "value": value}
                for value in self.values
            ],
        }


class Schema:
    """One object: its fields, in describe's order, and those that this user may not see."""

    def __init__(self, name: str, prefix: str, fields: Mapping[str, Field], *, verbs: str) -> None:
        self.name = name
        self.prefix = prefix
        self.fields = dict(fields)
        self.createable, self.updateable, self.deletable = (verb in verbs for verb in "cud")
        self.bulk = name not in ("TaskStatus", "CaseStatus", "Organization")
        self.hidden: set[str] = set()
        self._lower = {field.lower(): field for field in fields}
        self._missing: dict[str, Any] = {}

    def add(self, field: Field) -> None:
        """Add a field, or replace it."""
        self._missing = {}
        self.fields[field.name] = field
        self._lower[field.name.lower()] = field.name

    def find(self, name: str) -> Field | None:
        """The field of this name in any case, if the user may see it."""
        field = self.fields.get(self._lower.get(name.lower(), ""))
        return None if field is None or field.name in self.hidden else field

    def visible(self) -> Iterator[Field]:
        """The fields that the user may see."""
        return (field for field in self.fields.values() if field.name not in self.hidden)

    def missing(self) -> dict[str, Any]:
        """What a new record holds where nothing is given."""
        if not self._missing:
            kept = [field for field in self.fields.values() if field.type == "boolean" or field.default is not None]
            self._missing = {field.name: False if field.type == "boolean" else field.default for field in kept}
        return self._missing

    def parent(self, relationship: str) -> Field | None:
        """The reference by which this relationship goes."""
        wanted = relationship.lower()
        return next((each for each in self.visible() if (each.relationship or "").lower() == wanted), None)

    def described(self) -> dict[str, Any]:
        """The describe answer."""
        return self.summary() | {
            "fields": [field.described() for field in self.visible()],
            "childRelationships": [],
            "recordTypeInfos": [],
        }

    def summary(self) -> dict[str, Any]:
        """The object's entry in the list of all."""
        return {
            "name": self.name,
            "label": self.name,
            "labelPlural": f"{self.name}s",
            "keyPrefix": self.prefix,
            "custom": False,
            "queryable": True,
            "retrieveable": True,
            "replicateable": self.deletable,
            "searchable": self.createable,
            "createable": self.createable,
            "updateable": self.updateable,
            "deletable": self.deletable,
            "undeletable": self.deletable,
        }


def schemas() -> dict[str, Schema]:
    """Every object anew, by name."""
    return {
        name: Schema(name, prefix, {field.name: field for field in _fields(name, text)}, verbs=verbs)
        for name, (prefix, verbs, text) in _OBJECTS.items()
    }


def _fields(name: str, text: str) -> Iterator[Field]:
    yield Field("Id", "id", 18, required=True, createable=False, updateable=False)
    if name not in _NEVER_DELETED:
        yield Field("IsDeleted", "boolean", required=True, createable=False, updateable=False)
    for line in text.strip().splitlines():
        yield _field(*line.split(None, 2))
    if name in ("TaskStatus", "CaseStatus"):
        return
    for stamp in ("CreatedDate", "LastModifiedDate", "SystemModstamp"):
        yield Field(stamp, "datetime", required=True, createable=False, updateable=False)
    for user in ("CreatedById", "LastModifiedById"):
        yield Field(user, "reference", 18, True, ("User",), createable=False, updateable=False)


def _field(name: str, kind: str, rest: str = "") -> Field:
    """One line of a table: name, type or type(length), then `!` required, `ro`, `->Object`, `=default`, `a|b`."""
    kind, _, length = kind.rstrip(")").partition("(")
    field = Field(name, kind, int(length or {"picklist": 255, "phone": 40, "email": 80}.get(kind, 0)))
    for word in rest.split("  "):
        if word == "!":
            field = replace(field, required=True)
        elif word == "ro":
            field = replace(field, createable=False, updateable=False)
        elif word == "once":
            field = replace(field, updateable=False)
        elif word == "open":
            field = replace(field, restricted=False)
        elif word.startswith("->"):
            field = replace(field, references=tuple(word[2:].split("|")), length=18)
        elif word.startswith("="):
            field = replace(field, default=word[1:])
        elif word:
            field = replace(field, values=tuple(word.split("|")), restricted=True)
    return field


_ADDRESS = """
{0}Street textarea(255)
{0}City string(40)
{0}State string(80)
{0}PostalCode string(20)
{0}Country string(80)
{0}Latitude double
{0}Longitude double
{0}GeocodeAccuracy string(40) ro
{0}Address address ro
"""
_PERSON = """
LastName string(80) !
FirstName string(40)
Salutation picklist Mr.|Ms.|Mrs.|Dr.|Prof.  open
Name string(121) ro
"""
_CONTACT = f"""
MasterRecordId reference ->Contact  ro
AccountId reference ->Account
{_PERSON.strip()}
{_ADDRESS.format("Other").strip()}
{_ADDRESS.format("Mailing").strip()}
Phone phone
Fax phone
MobilePhone phone
HomePhone phone
OtherPhone phone
AssistantPhone phone
ReportsToId reference ->Contact
Email email
Title string(128)
Department string(80)
AssistantName string(40)
Birthdate date
Description textarea(32000)
OwnerId reference ->User
DoNotCall boolean
HasOptedOutOfEmail boolean
LastActivityDate date ro
PhotoUrl url(255) ro
"""
_LEAD = f"""
MasterRecordId reference ->Lead  ro
{_PERSON.strip()}
Title string(128)
Company string(255) !
{_ADDRESS.format("").strip()}
Phone phone
MobilePhone phone
Fax phone
Email email
Website url(255)
Description textarea(32000)
LeadSource picklist Web|Phone Inquiry|Other  open
Status picklist =Open - Not Contacted  Open - Not Contacted|Working - Contacted|Closed - Converted  open
Industry picklist open
OwnerId reference ->User
DoNotCall boolean
HasOptedOutOfEmail boolean
IsConverted boolean ro
ConvertedDate date ro
ConvertedAccountId reference ->Account  ro
ConvertedContactId reference ->Contact  ro
"""
_ACCOUNT = f"""
MasterRecordId reference ->Account  ro
Name string(255) !
Type picklist Prospect|Customer - Direct|Other  open
ParentId reference ->Account
{_ADDRESS.format("Billing").strip()}
{_ADDRESS.format("Shipping").strip()}
Phone phone
Fax phone
AccountNumber string(40)
Website url(255)
Industry picklist open
Description textarea(32000)
OwnerId reference ->User
"""
_USER = f"""
Username string(80) !
{_PERSON.strip()}
CompanyName string(80)
Division string(80)
Department string(80)
Title string(80)
Email email !
Alias string(8) !
CommunityNickname string(40) !
Phone phone
Fax phone
MobilePhone phone
Extension phone
IsActive boolean
UserType picklist ro  Standard|PowerPartner|CustomerSuccess|AutomatedProcess|CloudIntegrationUser  =Standard
ProfileId reference ->Profile
UserRoleId reference ->UserRole
EmployeeNumber string(20)
FederationIdentifier string(512)
ManagerId reference ->User
TimeZoneSidKey picklist open
SmallPhotoUrl url(1024) ro
FullPhotoUrl url(1024) ro
"""
_TASK = """
WhoId reference ->Contact|Lead
WhatId reference ->Account|Case
Subject combobox(255)
ActivityDate date
Status picklist !  =Not Started
Priority picklist !  =Normal  High|Normal|Low
IsHighPriority boolean ro
OwnerId reference ->User
Description textarea(32000)
AccountId reference ->Account  ro
IsClosed boolean ro
CallDurationInSeconds int
CallType picklist Internal|Inbound|Outbound
CallDisposition string(255)
CallObject string(255)
ReminderDateTime datetime
IsReminderSet boolean
IsArchived boolean ro
TaskSubtype picklist once  =Task  Task|Email|ListEmail|Cadence|Call|LinkedIn
CompletedDateTime datetime ro
"""
_CASE = """
MasterRecordId reference ->Case  ro
CaseNumber string(30) ro
ContactId reference ->Contact
AccountId reference ->Account
ParentId reference ->Case
SuppliedName string(80)
SuppliedEmail email
SuppliedPhone string(40)
SuppliedCompany string(80)
Type picklist Mechanical|Electrical|Electronic|Structural|Other  open
Status picklist !  =New
Reason picklist open
Origin picklist Email|Phone|Web
Subject string(255)
Priority picklist =Medium  High|Medium|Low
Description textarea(32000)
IsClosed boolean ro
OwnerId reference ->User
"""
_STATUS = """
MasterLabel string(255) ro
ApiName string(255) ro
SortOrder int ro
IsDefault boolean ro
IsClosed boolean ro
"""
_ORGANIZATION = """
Name string(80) ro
InstanceName string(5) ro
IsSandbox boolean ro
OrganizationType picklist ro  Enterprise Edition|Developer Edition
"""
_OBJECTS = {
    "Organization": ("00D", "", _ORGANIZATION),
    "User": ("005", "cu", _USER),
    "Account": ("001", "cud", _ACCOUNT),
    "Contact": ("003", "cud", _CONTACT),
    "Lead": ("00Q", "cud", _LEAD),
    "Task": ("00T", "cud", _TASK),
    "Case": ("500", "cud", _CASE),
    "TaskStatus": ("01J", "", _STATUS),
    "CaseStatus": ("01P", "", _STATUS),
}
_NEVER_DELETED = ("Organization", "User", "TaskStatus", "CaseStatus")
