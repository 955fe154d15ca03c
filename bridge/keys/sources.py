"""The tables `[source.NAME]`: one model a type, with the keys that all of them have."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from bridge.keys.secret import Secret
from bridge.keys.table import Mistake, Table
from bridge.keys.values import (
    AnyPath,
    Duration,
    Every,
    ExistingFile,
    HttpUrl,
    Names,
    NamesOrAll,
    PageUrl,
    PrivateText,
    PrivateUrl,
    Region,
    Text,
    Timeout,
)

Format = Literal["auto", "json", "xml", "text", "csv", "vcard"]
"""How a phone book is written; auto: told from what it holds."""


class Guard(Table):
    """What a run may take away before it is held: over `floor`, and over `percent` or `most`."""

    percent: Annotated[float, Field(ge=0, le=100)] = 10.0
    floor: Annotated[int, Field(ge=0)] = 10
    most: Annotated[int, Field(ge=0)] = 500


class SourceKeys(Table):
    """What every source has. `region` is filled at load: its own, else the tenant's."""

    type: str
    every: Every = Field(default=300.0, examples=['"5m"'])
    full: Every = Field(default=86400.0, examples=['"1d"'])
    label: str = ""
    logo: PageUrl = Field(default="", examples=['"https://www.example.com/logo.png"'])
    region: Region = Field(default="", examples=['"LU"'])
    guard: Guard = Field(default=Guard(), examples=["{ percent = 10, floor = 10, most = 500 }"])
    fields: Mapping[str, Text] = Field(default={}, examples=['{ "Language" = "Language__c" }'])
    timeout: Timeout = Field(default=30.0, examples=['"30s"'])
    ca: ExistingFile | None = Field(default=None, examples=['"/etc/bridge/ca.pem"'])
    verify: bool = True

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        for key, example in cls.needed():
            if given.get(key) == "":
                yield key, f"is empty, right is {example}"
        if given.get("ca") and given.get("verify") is False:
            yield "verify", "is false although ca is given, right is true: the certificate is then checked against ca"

    @classmethod
    def needed(cls) -> Iterator[tuple[str, str]]:
        """Keys of this type that must be there and hold something, each with an example."""
        for key, field in cls.model_fields.items():
            if field.is_required():
                yield key, f"for example {field.examples[0]}" if field.examples else "a text"


class Crm(SourceKeys):
    """What the sources have that can also read the CRM's users; `extension_field` "": the type's own."""

    users: bool = False
    extension_field: str = Field(default="", examples=['"Extension"'])

    @property
    def by_length(self) -> bool:
        """Whether an extension is told by its length: the CRM has no field for it, and none is named."""
        return not self.extension_field


class Salesforce(Crm):
    """Salesforce; `audience` "": the login host's, by `url`."""

    type: Literal["salesforce"] = "salesforce"
    label: str = "Salesforce"
    url: HttpUrl = Field(examples=['"https://example.my.salesforce.com"'])
    login: Literal["client-credentials", "jwt", "password", "soap"] = "client-credentials"
    client_id: str = ""
    client_secret: Secret = Secret()
    username: str = ""
    password: Secret = Secret()
    security_token: Secret = Secret()
    private_key: Secret = Secret()
    audience: PageUrl = Field(default="", examples=['"https://login.salesforce.com"'])
    api_version: Annotated[str, Field(pattern=r"^\d{2,3}\.\d$", examples=['"61.0"'])] = "61.0"
    objects: Names = Field(default=("Contact", "Lead"), examples=['["Contact", "Lead"]'])
    overlap: Duration = Field(default=600.0, examples=['"10m"'])
    bulk_from: Annotated[int, Field(ge=1)] = 10_000
    quota: Annotated[int, Field(ge=1, le=100)] = 80
    call_key: str = Field(default="", examples=['"Bridge_Key__c"'])

    @property
    def by_length(self) -> bool:
        """Never: User.Extension holds nothing else."""
        return False

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from super().mistakes(given)
        login = given.get("login", "client-credentials")
        for key, example in _LOGINS.get(login, {}).items() if isinstance(login, str) else ():
            if not given.get(key):
                yield key, f'is missing, right is {example}: login = "{login}" needs it'
        if login == "client-credentials" and _host(given.get("url")) in ("login.salesforce.com", "test.salesforce.com"):
            yield (
                "url",
                "is a login host, which takes no client credentials; "
                'right is your My Domain, such as "https://example.my.salesforce.com"',
            )


_LOGINS = {
    "client-credentials": {"client_id": '"3MVG9…"', "client_secret": '{ env = "SF_SECRET" }'},
    "jwt": {
        "client_id": '"3MVG9…"',
        "username": '"bridge@example.com"',
        "private_key": '{ file = "/etc/bridge/salesforce.pem" }',
    },
    "password": {
        "client_id": '"3MVG9…"',
        "client_secret": '{ env = "SF_SECRET" }',
        "username": '"bridge@example.com"',
        "password": '{ env = "SF_PASSWORD" }',
    },
    "soap": {"username": '"bridge@example.com"', "password": '{ env = "SF_PASSWORD" }'},
}
"""What each way to log in to Salesforce needs, with an example."""


class SugarCrm(Crm):
    """SugarCRM by REST v11."""

    type: Literal["sugarcrm"] = "sugarcrm"
    label: str = "SugarCRM"
    url: HttpUrl = Field(examples=['"https://crm.example.com"'])
    username: str = Field(examples=['"bridge"'])
    password: Secret = Field(examples=['{ env = "CRM_PASSWORD" }'])
    platform: Text = "bridge"
    client_id: Text = "sugar"
    client_secret: Secret = Secret()
    api_version: Annotated[str, Field(pattern=r"^v\d{2}(_\d{1,2})?$", examples=['"v11_1"'])] = "v11_1"
    modules: Names = Field(default=("Contacts", "Leads"), examples=['["Contacts", "Leads"]'])
    overlap: Duration = Field(default=600.0, examples=['"10m"'])

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from super().mistakes(given)
        if given.get("platform") == "base":
            yield (
                "platform",
                'is "base", which ends the sessions of people at their desks; '
                'right is one of its own that is registered in Sugar, such as "bridge"',
            )


class SuiteCrm(Crm):
    """SuiteCRM, and Sugar's community edition, by REST v4_1."""

    type: Literal["suitecrm"] = "suitecrm"
    label: str = "SuiteCRM"
    url: HttpUrl = Field(examples=['"https://crm.example.com"'])
    username: str = Field(examples=['"bridge"'])
    password: Secret = Field(examples=['{ env = "CRM_PASSWORD" }'])
    modules: Names = Field(default=("Contacts", "Leads"), examples=['["Contacts", "Leads"]'])
    overlap: Duration = Field(default=600.0, examples=['"10m"'])


class Zimbra(Crm):
    """Zimbra by SOAP; `folders = ["*"]`: every contact folder."""

    type: Literal["zimbra"] = "zimbra"
    label: str = "Zimbra"
    url: HttpUrl = Field(examples=['"https://zimbra.example.com"'])
    username: str = Field(examples=['"phones@example.com"'])
    password: Secret = Secret()
    preauth_key: Secret = Secret()
    folders: Names = Field(default=("Contacts",), examples=['["Contacts"]'])
    gal: bool = False

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from super().mistakes(given)
        if not given.get("password") and not given.get("preauth_key"):
            yield "password", 'is missing, right is { env = "ZIMBRA_PASSWORD" }, or a preauth_key in its place'
        elif given.get("password") and given.get("preauth_key"):
            yield "preauth_key", "is given beside password, right is one of the two"
        folders = given.get("folders")
        if isinstance(folders, list) and "*" in folders and len(folders) > 1:
            yield "folders", 'names "*" beside others, right is ["*"] for all of them, or names alone'


class CardDav(SourceKeys):
    """A CardDAV server; `books` are display names, none: all that are found."""

    type: Literal["carddav"] = "carddav"
    label: str = "CardDAV"
    url: HttpUrl = Field(examples=['"https://dav.example.com"'])
    username: str = ""
    password: Secret = Secret()
    books: NamesOrAll = Field(default=(), examples=['["Staff"]'])
    auth: Literal["basic", "digest", "bearer"] = "basic"
    token: Secret = Secret()

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from super().mistakes(given)
        auth = given.get("auth", "basic")
        if auth == "bearer":
            if not given.get("token"):
                yield "token", 'is missing, right is { env = "DAV_TOKEN" }: auth = "bearer" needs it'
            return
        if given.get("token"):
            yield "token", 'is given and not used, right is auth = "bearer" beside it'
        if auth == "digest" and not given.get("username"):
            yield "username", 'is missing, right is for example "phones": auth = "digest" needs it'
        yield from _pair(given)


class PhoneBook(SourceKeys):
    """A phone book at a URL; `post`: the body of a POST, with `%user%` and `%pwd%` filled in."""

    type: Literal["phonebook"] = "phonebook"
    label: str = "Phone book"
    url: PrivateUrl = Field(examples=['"https://phones.example.com/book.json"'])
    username: str = ""
    password: Secret = Secret()
    post: PrivateText = Field(default="", examples=["""'{"username": "%user%", "password": "%pwd%"}'"""])
    format: Format = "auto"

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from super().mistakes(given)
        yield from _pair(given)


class File(SourceKeys):
    """A file of contacts, read again when it changes."""

    type: Literal["file"] = "file"
    label: str = "File"
    every: Every = Field(default=30.0, examples=['"30s"'])
    path: AnyPath = Field(examples=['"contacts.vcf"'])
    format: Format = "auto"


def _pair(given: Mapping[str, Any]) -> Iterator[Mistake]:
    if given.get("username") and not given.get("password"):
        yield "password", 'is missing, right is { env = "PASSWORD" } beside username'
    if given.get("password") and not given.get("username"):
        yield "username", "is missing, right is the name that the password is of"


def _host(url: Any) -> str:
    try:
        return urlsplit(url).hostname or "" if isinstance(url, str) else ""
    except ValueError:
        return ""


SOURCES: Mapping[str, type[SourceKeys]] = {
    "salesforce": Salesforce,
    "sugarcrm": SugarCrm,
    "suitecrm": SuiteCrm,
    "zimbra": Zimbra,
    "carddav": CardDav,
    "phonebook": PhoneBook,
    "file": File,
}
"""The model of each `type`."""
