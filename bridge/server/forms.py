"""What a browser may have others' pages do to ours: nothing. Tokens in forms, where they come from, and names of hosts.

A page of somebody else can make a browser send a form here, with the credentials that it remembers (CSRF), or give
its own name our address and so read what we answer (DNS rebinding).
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict
from urllib.parse import urlsplit

from aiohttp import web

from bridge.server.replies import Refusal
from bridge.web.pages import Note

_NOTES = 200
_SHOWN = 60.0
"""Seconds that a note is shown."""


class Forms:
    """The tokens of one process's forms; each is bound to the credentials that the page was shown to."""

    def __init__(self) -> None:
        self._key = secrets.token_bytes(32)

    def token(self, request: web.BaseRequest) -> str:
        """What the forms of a page carry."""
        shown_to = request.headers.get("Authorization", "").encode("utf-8", "surrogateescape")
        return hmac.digest(self._key, shown_to, "sha256").hex()

    def check(self, request: web.BaseRequest, given: str) -> None:
        """Refuse what none of our own pages sent."""
        right = hmac.compare_digest(given.encode("utf-8", "replace"), self.token(request).encode())
        if not from_here(request):
            raise Refusal(403, "This came from the page of another site.")
        if not right:
            raise Refusal(403, "The page that this came from is too old. Open it again, and look before you repeat it.")


def from_here(request: web.BaseRequest) -> bool:
    """Whether the browser says nothing against one of our pages having sent this.

    A form of a page with Referrer-Policy no-referrer has the origin "null", and over plain HTTP there is no
    Sec-Fetch-Site: what then says where it comes from is the token.
    """
    site = request.headers.get("Sec-Fetch-Site")
    if site is not None:
        return site == "same-origin"
    origin = request.headers.get("Origin", "null")
    return origin == "null" or urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower()


def is_ours(host: str) -> bool:
    """Whether a Host header names this machine by its address, or as localhost: nobody can give those to another."""
    try:
        name = urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return False
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Notes:
    """What became of what an admin did: kept for the page that the browser is sent to, which names it by a key."""

    def __init__(self) -> None:
        self._notes: OrderedDict[str, tuple[float, Note]] = OrderedDict()

    def keep(self, note: Note) -> str:
        """The note's key."""
        key = secrets.token_urlsafe(9)
        self._notes[key] = time.monotonic(), note
        while len(self._notes) > _NOTES:
            self._notes.popitem(last=False)
        return key

    def get(self, key: str) -> Note | None:
        """The note, for a minute."""
        since, note = self._notes.get(key, (float("-inf"), None))
        return note if time.monotonic() - since < _SHOWN else None
