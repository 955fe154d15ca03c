"""HTTP Digest authentication (RFC 7616, qop=auth; RFC 2069 where a server offers no qop). No I/O."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

_HASHES: dict[str, Callable[[bytes], hashlib._Hash]] = {"SHA-256": hashlib.sha256, "MD5": hashlib.md5}
_SCHEME = re.compile(r"(?:^|,)\s*([A-Za-z][\w-]*)[ \t]+(?=[\w-]+\s*=)|(?:^|,)\s*(Basic|Negotiate|NTLM)\s*(?=,|$)", re.I)
_PARAM = re.compile(r'([\w-]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s,"]*))')


@dataclass(slots=True)
class Challenge:
    """What a server wants signed; `used` counts the answers given to its nonce."""

    realm: str
    nonce: str
    opaque: str
    algorithm: str
    qop: bool
    used: int = field(default=0)

    def answer(self, username: str, password: str, method: str, target: str, cnonce: str = "") -> str:
        """The Authorization header for one request; `target` as it stands in the request line."""
        self.used += 1
        count, cnonce = f"{self.used:08x}", cnonce or secrets.token_hex(16)
        name = self.algorithm.upper()
        hashed = _HASHES[name.removesuffix("-SESS")]

        def of(*parts: str) -> str:
            return hashed(":".join(parts).encode()).hexdigest()

        user = of(username, self.realm, password)
        if name.endswith("-SESS"):
            user = of(user, self.nonce, cnonce)
        asked = of(method, target)
        proof = of(user, self.nonce, count, cnonce, "auth", asked) if self.qop else of(user, self.nonce, asked)
        fields = [
            f'username="{_quoted(username)}"',
            f'realm="{_quoted(self.realm)}"',
            f'nonce="{_quoted(self.nonce)}"',
            f'uri="{target}"',
            f'response="{proof}"',
            f"algorithm={self.algorithm}",
        ]
        if self.opaque:
            fields.append(f'opaque="{_quoted(self.opaque)}"')
        if self.qop:
            fields += ["qop=auth", f"nc={count}", f'cnonce="{cnonce}"']
        return "Digest " + ", ".join(fields)


def challenge(header: str, *, alone: bool = False) -> Challenge | None:
    """The strongest Digest challenge of a WWW-Authenticate header; `alone`: only where Basic is not offered beside."""
    found: dict[str, Challenge] = {}
    offers = _schemes(header)
    if alone and any(scheme == "basic" for scheme, _ in offers):
        return None
    for scheme, params in offers:
        if scheme == "digest" and (made := _read(params)) is not None:
            found.setdefault(made.algorithm.upper().removesuffix("-SESS"), made)
    return next((found[name] for name in _HASHES if name in found), None)


def _schemes(header: str) -> list[tuple[str, str]]:
    starts = list(_SCHEME.finditer(header))
    ends = [*(start.start() for start in starts[1:]), len(header)]  # one too many where there is no scheme at all
    return [
        ((start.group(1) or start.group(2)).lower(), header[start.end() : end])
        for start, end in zip(starts, ends, strict=False)
    ]


def _read(params: str) -> Challenge | None:
    values = {
        found.group(1).lower(): re.sub(r"\\(.)", r"\1", found.group(2))
        if found.group(2) is not None
        else found.group(3)
        for found in _PARAM.finditer(params)
    }
    algorithm = values.get("algorithm") or "MD5"
    offered = [word.strip().lower() for word in values.get("qop", "").split(",") if word.strip()]
    usable = algorithm.upper().removesuffix("-SESS") in _HASHES and (not offered or "auth" in offered)
    if not usable or not values.get("nonce"):
        return None
    return Challenge(values.get("realm", ""), values["nonce"], values.get("opaque", ""), algorithm, bool(offered))


def _quoted(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"')
