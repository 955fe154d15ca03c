"""SessionTalk's app as it keeps its directory: every half hour all that it is given, and nothing else."""

from __future__ import annotations

import base64
import gzip
import json
from dataclasses import dataclass, field
from typing import Any
from xml.etree import ElementTree

import aiohttp
from yarl import URL

ARRAYS = ("Email", "Address", "Softphone", "WorkNumber", "HomeNumber", "MobileNumber", "Fax", "Other")
TEMPLATE = '{"username" : "%user%","password" : "%pwd%"}'


def basic(name: str, password: str) -> str:
    """The header of a login."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass
class App:
    """One installation: what the portal told it, and the contacts that it shows."""

    url: str
    user: str = "phones"
    password: str = "phones-password"
    template: str = ""
    basic: bool = True
    contacts: dict[str, dict[str, Any]] = field(default_factory=dict)
    updates: int = 0

    async def sync(self, session: aiohttp.ClientSession) -> int:
        """The half-hourly request; its status. Anything but 200 leaves the directory as it is."""
        login = {"Authorization": basic(self.user, self.password)} if self.basic else {}
        body = self.template.replace("%user%", self.user).replace("%pwd%", self.password) if self.template else None
        method = "POST" if self.template else "GET"
        async with session.request(
            method, URL(self.url, encoded=True), data=body, headers=login, allow_redirects=False
        ) as reply:
            raw = await reply.read()
            if reply.status == 200:
                text = (gzip.decompress(raw) if raw.startswith(b"\x1f\x8b") else raw).decode("utf-8")
                xml = "xml" in reply.headers["Content-Type"]
                self._take(_xml(text) if xml else json.loads(text))
            return reply.status

    def _take(self, given: list[dict[str, Any]]) -> None:
        """Keep by Id, update where the Checksum is another, remove what is missing."""
        kept = {one["Id"]: one for one in given if one.get("Id")}
        for one in kept.values():
            assert all(isinstance(one[name], list) for name in ARRAYS)
            assert all(isinstance(item, str) and item for name in ARRAYS for item in one[name])
            assert one["Checksum"]
        self.contacts = {id: self.contacts[id] for id in self.contacts if id in kept}
        for id, one in kept.items():
            if id not in self.contacts or self.contacts[id]["Checksum"] != one["Checksum"]:
                self.contacts[id] = one
                self.updates += 1


def _xml(text: str) -> list[dict[str, Any]]:
    root = ElementTree.fromstring(text)
    assert root.tag == "Contacts"
    return [{part.tag: _value(part) for part in one} for one in root.iter("Contact")]


def _value(part: ElementTree.Element) -> Any:
    if part.tag in ARRAYS:
        return [(item.text or "").strip() for item in part.findall("string")]
    return (part.text or "").strip()
