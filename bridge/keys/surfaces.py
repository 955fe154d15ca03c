"""The tables of what bridge serves, of where it keeps its state, and the keys above the first table."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field

from bridge.keys.secret import Secret
from bridge.keys.table import Mistake, Table
from bridge.keys.values import (
    AnyPath,
    Endpoint,
    ExistingFile,
    Listen,
    NamesOrAll,
    Networks,
    Prefix,
    PrivateText,
    Region,
    Secrets,
    Servers,
    Style,
    page_url,
    shown,
)

Switch = Literal["Enabled", "Disabled"]


def _database(value: str) -> str:
    right = 'right is "embedded", or "postgresql://bridge@db1.example.com/bridge"'
    try:
        parts = urlsplit(value)
    except ValueError:
        raise ValueError(f"is no address of a database, {right}") from None
    if value in ("", "embedded") or (parts.scheme in ("postgresql", "postgres") and (parts.netloc or parts.query)):
        return value
    raise ValueError(f"is no address of a PostgreSQL, {right}")


def _header(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", value):
        raise ValueError(f'is {shown(value)}, right is the name of an HTTP header, such as "X-Execution-Token"')
    return value


def _suffix(value: int) -> int:
    if value != 0 and not 7 <= value <= 10:
        raise ValueError(f"is {shown(value)}, right is 0 (whole numbers only), or 7 to 10")
    return value


class Top(Table):
    """The keys that stand above the first table."""

    region: Region = Field(default="", examples=['"LU"'])
    internal_digits: Annotated[int, Field(ge=0, le=10)] = 5
    state_dir: AnyPath | None = Field(default=None, examples=['"/var/lib/bridge"'])
    log: Literal["auto", "console", "json"] = "auto"
    tenants: str = Field(default="", examples=['"tenants/*.toml"'])


class Database(Table):
    """Where everything is kept: "embedded", or a URL. Plain text that may hold a password, hence never shown."""

    url: Annotated[PrivateText, AfterValidator(_database)] = Field(default="embedded", examples=['"embedded"'])
    replica: Annotated[PrivateText, AfterValidator(_database)] = Field(
        default="", examples=['"postgresql://db2/bridge"']
    )

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if given.get("url") == "":
            yield "url", 'is empty, right is "embedded", or "postgresql://bridge@db1.example.com/bridge"'
        if given.get("replica") == "embedded":
            yield "replica", 'is "embedded", right is the URL of a replica of [database].url, or to leave it out'
        elif given.get("replica") and given.get("url", "embedded") == "embedded":
            yield "replica", "is set although the database is embedded, which has none, right is to leave it out"


class Tls(Table):
    """The certificate that a server shows, both files PEM."""

    certificate: ExistingFile = Field(examples=['"/etc/bridge/tls.pem"'])
    key: ExistingFile = Field(examples=['"/etc/bridge/tls.key"'])


class Http(Table):
    """The server that PBXs and softphones ask."""

    listen: Listen = Field(default=(Endpoint("127.0.0.1", 8080),), examples=['"127.0.0.1:8080"'])
    tls: Tls | None = Field(default=None, examples=['{ certificate = "tls.pem", key = "tls.key" }'])
    trusted_proxies: Networks = Field(default=(), examples=['["10.0.0.0/8"]'])


class Admin(Table):
    """The server that admins and Prometheus ask."""

    listen: Listen = Field(default=(Endpoint("127.0.0.1", 8081),), examples=['"127.0.0.1:8081"'])
    users: Mapping[str, Secret] = Field(default={}, examples=['{ admin = { env = "ADMIN_PASSWORD" } }'])

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from _users(given.get("users"))


class Workflow(Table):
    """What a button in the CONNECTOR does; `source` "": only the contact's own CRM. `secret` signs a webhook's body."""

    action: Literal["log-call", "ticket", "task", "note", "webhook"] = Field(examples=['"log-call"'])
    source: str = Field(default="", examples=['"crm"'])
    url: Annotated[PrivateText, AfterValidator(page_url)] = Field(
        default="", examples=['"https://hooks.example.com/calls"']
    )
    secret: Secret = Secret()


class Connector(Table):
    """The peoplefone CONNECTOR. `tokens` holds every token that is taken, `token` as well, once loaded."""

    path: Prefix = Field(default="/services", examples=['"/services"'])
    header: Annotated[str, AfterValidator(_header)] = Field(default="X-Execution-Token")
    token: Secret = Secret()
    tokens: Secrets = Field(default=(), examples=['[{ env = "NEW_TOKEN" }, { env = "OLD_TOKEN" }]'])
    limit: Annotated[int, Field(ge=1, le=100)] = 5
    suffix: Annotated[int, AfterValidator(_suffix)] = 0
    workflow: Mapping[str, Workflow] = Field(default={}, examples=['{ CallFlow = { action = "log-call" } }'])

    def model_post_init(self, context: Any) -> None:
        """Joins `token` and `tokens`."""
        if self.token and self.token not in self.tokens:
            object.__setattr__(self, "tokens", (self.token, *self.tokens))

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        tokens = given.get("tokens")
        if not given.get("token") and not tokens:
            yield "token", 'is missing, right is { env = "CONNECTOR_TOKEN" }: nobody is answered without one'
        if isinstance(tokens, list) and "" in tokens:
            yield f"tokens[{tokens.index('')}]", 'is empty, right is { env = "CONNECTOR_TOKEN" }'
        workflows = given.get("workflow")
        for name, workflow in workflows.items() if isinstance(workflows, dict) else ():
            if name.lower() == "lookup":
                yield f"workflow.{name}", 'is the name of the lookup itself, right is another, such as "CallFlow"'
            if not isinstance(workflow, dict):
                continue
            if workflow.get("action") == "webhook" and not workflow.get("url"):
                yield f"workflow.{name}.url", 'is missing, right is "https://…": action = "webhook" needs it'
            elif workflow.get("url") and workflow.get("action", "webhook") != "webhook":
                yield f"workflow.{name}.url", 'is for action = "webhook" alone, right is to leave it out'


class Book(Table):
    """A phone book that softphones read. `title` and `sources` are filled at load: its name, and all."""

    sources: NamesOrAll = Field(default=(), examples=['["crm"]'])
    title: str = Field(default="", examples=['"Staff"'])
    users: Mapping[str, Secret] = Field(default={}, examples=['{ phones = { env = "PHONES_PASSWORD" } }'])
    accounts: bool = False
    numbers: Style = "e164"

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        yield from _users(given.get("users"))
        if given.get("sources") == []:
            yield "sources", "is empty, right is one name or more, or to leave the key out for all of them"
        if not given.get("users") and given.get("accounts") is not True:
            yield (
                "users",
                'is missing, right is { phones = { env = "PHONES_PASSWORD" } }, or accounts = true: '
                "nobody reads a phone book without a password",
            )


class Defaults(Table):
    """What an account has that says nothing else, as the softphone spells it; "": nothing."""

    transport: Literal["UDP", "TCP", "TLS"] = "TLS"
    srtp: Switch | None = Field(default=None, examples=['"Enabled"'])
    subdomain: str = Field(default="", examples=['"pbx"'])
    proxy: str = Field(default="", examples=['"proxy.example.com"'])
    messaging: Switch | None = Field(default=None, examples=['"Enabled"'])
    video: Switch | None = Field(default=None, examples=['"Disabled"'])
    callrecording: Switch | None = Field(default=None, examples=['"Disabled"'])


class Provisioning(Table):
    """Where softphones fetch their SIP accounts; `key` seals their passwords, "": one kept in `state_dir`."""

    path: Prefix = Field(default="/provisioning", examples=['"/provisioning"'])
    defaults: Defaults = Field(default=Defaults(), examples=['{ transport = "TLS", srtp = "Enabled" }'])
    key: Secret = Secret()

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if isinstance(given.get("path"), str) and given["path"].strip("/") == "":
            yield "path", 'is the root, right is a path such as "/provisioning"'


class PbxSync(Table):
    """Mixvoip's helper URLs; `allow` are the only servers that they may reach."""

    allow: Servers = Field(examples=['["zimbra.example.com"]'])

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        if given.get("allow") == []:
            yield "allow", 'is empty, right is the servers that may be reached, such as ["zimbra.example.com"]'


def _users(users: Any) -> Iterator[Mistake]:
    for name, password in users.items() if isinstance(users, dict) else ():
        if not name or ":" in name or not name.isprintable():
            yield f'users."{name}"', "is no user name, right is one without a colon: Basic cannot send it"
        if password == "":
            yield f"users.{name}", 'is empty, right is a password, for example { env = "PASSWORD" }'
