"""The CRMs that `bridge demo` can play: each a stand-in server on a loopback port, filled with the sample's people."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager
from typing import Literal, Protocol

from bridge.demo.dav import Book, DavServer
from bridge.demo.sample import Person

Name = Literal["carddav", "salesforce", "sugarcrm", "suitecrm", "zimbra"]


class Crm(Protocol):
    """A CRM that holds people, each under a key of its own."""

    def put_person(self, key: str, person: Person) -> None:
        """Create or change somebody."""

    def remove_person(self, key: str) -> None:
        """Somebody goes."""

    def serve(self) -> AbstractAsyncContextManager[str]:
        """Serve for the block, which gets the URL."""

    def table(self, url: str) -> Mapping[str, str]:
        """The keys of the `[source.x]` that reads it there."""


class CardDav:
    """An address book."""

    def __init__(self) -> None:
        self.book = Book("/dav/demo/customers/", "Customers")
        self._password = secrets.token_urlsafe(12)
        self.server = DavServer(self.book, username="demo", password=self._password)

    def put_person(self, key: str, person: Person) -> None:
        """Create or replace a card."""
        self.book.put(f"{key}.vcf", person.vcard())

    def remove_person(self, key: str) -> None:
        """A card goes."""
        self.book.delete(f"{key}.vcf")

    def serve(self) -> AbstractAsyncContextManager[str]:
        """Serve for the block, which gets the URL."""
        return self.server.serve()

    def table(self, url: str) -> Mapping[str, str]:
        """The keys of the `[source.x]` that reads it there."""
        return {"type": "carddav", "url": url + self.book.path, "username": "demo", "password": self._password}


def make(name: Name) -> Crm:
    """The stand-in of this name, empty, with credentials that nobody else knows."""
    secret = secrets.token_urlsafe(12)
    # Imported where they are wanted: every other command would wait for all of them.
    match name:
        case "carddav":
            return CardDav()
        case "salesforce":
            from bridge.demo.salesforce import Org, SalesforceServer

            return SalesforceServer(Org(), client_id="demo", client_secret=secret)
        case "sugarcrm":
            from bridge.demo.sugarcrm import SugarServer

            return SugarServer(password=secret)
        case "suitecrm":
            from bridge.demo.suitecrm import SuiteCrm

            return SuiteCrm(password=secret)
        case "zimbra":
            from bridge.demo.zimbra import ZimbraServer

            return ZimbraServer(password=secret)
