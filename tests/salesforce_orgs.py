"""Orgs to read, and sources of the stand-in that serves them."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import orjson
from aiohttp import web
from hooks import answering
from mirrored import Mirror

from bridge import keys
from bridge.demo.salesforce import Org, SalesforceServer
from bridge.sources import Cursor, Known, Page, Source, salesforce

SECRETS = {"client_id": "3MVG9", "client_secret": "s3cr3t"}
LOGIN = {"username": "phones@example.com", "password": "pa<&>ss", "security_token": "tok3n"}
START = datetime.datetime(2026, 11, 20, 12, 0, tzinfo=datetime.UTC)


def source(url: str, **more: object) -> salesforce.Salesforce:
    """A source of these keys, by client credentials where nothing else is said."""
    given = {"url": url, "timeout": "5s", **SECRETS, **more}
    return salesforce.open("crm", keys.Salesforce.model_validate(given))


@asynccontextmanager
async def opened(url: str, **more: object) -> AsyncIterator[salesforce.Salesforce]:
    """A source, closed again."""
    made = source(url, **more)
    try:
        yield made
    finally:
        await made.close()


class Noted:
    """A source whose notes are kept."""

    def __init__(self, made: Source, notes: list[str]) -> None:
        self._made = made
        self._notes = notes
        self.check, self.close = made.check, made.close

    async def read(self, since: Cursor | None, known: Known) -> AsyncIterator[Page]:
        """As the source reads."""
        async for page in self._made.read(since, known):
            self._notes.extend(page.notes)
            yield page


@dataclass
class Crm:
    """An org at its clock, the server of it, and what a caller of the source holds."""

    org: Org
    server: SalesforceServer
    url: str
    mirror: Mirror
    notes: list[str] = field(default_factory=list)

    async def run(self, *, full: bool = False, **more: object) -> Mirror:
        """One run by a source opened anew, with `server.calls` those of this run."""
        self.server.calls.clear()
        self.notes.clear()
        async with opened(self.url, **more) as made:
            await self.mirror.run(Noted(made, self.notes), full=full)
        # What is kept between runs is JSON.
        self.mirror.cursor = orjson.loads(orjson.dumps(self.mirror.cursor))
        return self.mirror

    def later(self, **delta: float) -> None:
        """Some time passes."""
        self.org.now = self.org.now + datetime.timedelta(**delta)

    def called(self) -> list[str]:
        """The calls of the last run but the login, their paths shortened."""
        return [line.replace("/services/data/v61.0", "") for line in self.server.calls if "/oauth2/" not in line]

    def many(self, count: int, name: str = "Contact", **fields: object) -> list[str]:
        """That many records, `Person 0` and so on."""
        company = {"Company": "Firm"} if name == "Lead" else {}
        return [
            self.org.put(
                name, {"FirstName": "Person", "LastName": f"{n}", "Phone": f"+352 26 {n:06}", **company, **fields}
            )
            for n in range(count)
        ]


@asynccontextmanager
async def scripted(answers: Mapping[str, object], seen: list[str] | None = None) -> AsyncIterator[str]:
    """A server that answers each path by the first key in it: a dict as JSON, else a whole response.

    An `instance_url` that is empty becomes its own. The bodies that come are put into `seen`.
    """

    async def answer(request: web.BaseRequest) -> web.Response:
        body = await request.text()
        if seen is not None:
            seen.append(body)
        said = next((value for key, value in answers.items() if key in request.path), None)
        if isinstance(said, dict):
            own = {"instance_url": str(request.url.origin())} if said.get("instance_url") == "" else {}
            return web.json_response({**said, **own})
        assert isinstance(said, tuple)
        status, text, headers = said
        return web.Response(status=status, text=text, headers=headers)

    async with answering(answer) as url:
        yield url


@asynccontextmanager
async def served(**more: str) -> AsyncIterator[Crm]:
    """A small org: an account, its contact and a lead."""
    org = Org()
    org.now = START
    org.log_began = START - datetime.timedelta(days=30)
    server = SalesforceServer(org, **{**SECRETS, **more})
    account = org.put("Account", {"Name": "Acme", "Phone": "+352 26 1"})
    org.put(
        "Contact",
        {
            "FirstName": "Anna",
            "LastName": "Müller",
            "AccountId": account,
            "MobilePhone": "+352 621 1",
            "Email": "anna@example.com",
        },
    )
    org.put("Lead", {"FirstName": "Leo", "LastName": "Lead", "Company": "Prospect", "Phone": "+352 26 2"})
    org.now = START + datetime.timedelta(hours=1)
    async with server.serve() as url:
        yield Crm(org, server, url, Mirror())
