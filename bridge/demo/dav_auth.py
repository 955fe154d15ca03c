"""Who may ask the stand-in CardDAV server: Basic, Digest or bearer, checked without the client's own code."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from collections.abc import Collection

from aiohttp import web

_REALM = "stand-in"


class Auth:
    """One login; without a password and a token nobody is asked."""

    def __init__(self, username: str, password: str, token: str) -> None:
        self._login = (username, password)
        self._token = token
        self._nonce = secrets.token_hex(8)
        self._counts: set[str] = set()

    def refusal(self, request: web.Request, faults: Collection[str]) -> str | None:
        """The challenge to refuse a request with; None where it may pass."""
        given = request.headers.get("Authorization", "")
        if "bearer" in faults:
            return None if given == f"Bearer {self._token}" else f'Bearer realm="{_REALM}"'
        for fault, algorithm in (("digest", "MD5"), ("digest_sha256", "SHA-256")):
            if fault in faults:
                passed = self._digest(request, given, algorithm)
                return None if passed else self._challenge(algorithm)
        if not self._login[1]:
            return None
        wanted = base64.b64encode(":".join(self._login).encode()).decode()
        return None if given == f"Basic {wanted}" else f'Basic realm="{_REALM}"'

    def _challenge(self, algorithm: str) -> str:
        return f'Digest realm="{_REALM}", nonce="{self._nonce}", algorithm={algorithm}, qop="auth", opaque="x,y"'

    def _digest(self, request: web.Request, given: str, algorithm: str) -> bool:
        """RFC 7616, 3.4.1; an answer counts once."""
        fields = dict(re.findall(r'(\w+)="?([^",]*)"?', given.removeprefix("Digest ").replace('"x,y"', "x")))
        if fields.get("nonce") != self._nonce or fields.get("uri") != request.raw_path:
            return False
        count = fields.get("nc", "")
        if count in self._counts:
            return False
        self._counts.add(count)

        def of(text: str) -> str:
            return hashlib.new(algorithm.replace("-", "").lower(), text.encode()).hexdigest()

        user = of(f"{self._login[0]}:{_REALM}:{self._login[1]}")
        asked = of(f"{request.method}:{request.raw_path}")
        return fields.get("response") == of(f"{user}:{self._nonce}:{count}:{fields.get('cnonce')}:auth:{asked}")
