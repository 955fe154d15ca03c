"""Who may see what `[admin]` serves: Basic credentials of its users, wrong ones counted by address."""

from __future__ import annotations

import base64
import binascii
import hmac
from collections.abc import Mapping

from aiohttp import web

from bridge.server import peers
from bridge.server.forms import is_ours
from bridge.server.peers import Throttle
from bridge.server.replies import Refusal

_CHALLENGE = 'Basic realm="bridge", charset="UTF-8"'


class Logins:
    """One count of wrong passwords for all that is served."""

    def __init__(self, throttle: Throttle | None = None) -> None:
        self._throttle = throttle or Throttle()

    def admit(self, users: Mapping[str, str], request: web.BaseRequest) -> str:
        """Which of the users asks, "" where there are none; whoever shows no password of theirs is refused.

        Where there are none, who comes by another name than this machine's is refused (DNS rebinding).
        """
        given = request.headers.get("Authorization")
        if not users:
            if not is_ours(request.headers.get("Host", "")):
                raise Refusal(421, "Without a password this is answered to localhost and addresses alone.")
            return ""
        name = _known(users, given or "")
        if name:
            return name
        wait = self._throttle.wrong(peers.address(request, ())) if given else 0.0
        if wait:
            raise Refusal(429, "too many wrong passwords from this address", after=wait)
        raise Refusal(401, "a user and password of [admin].users are needed", challenge=_CHALLENGE)


def _known(users: Mapping[str, str], header: str) -> str:
    """The user whose credentials these are, else ""; takes the same time for whoever it is."""
    scheme, _, coded = header.partition(" ")
    try:
        given = base64.b64decode(coded, validate=True) if scheme.lower() == "basic" else b""
    except (binascii.Error, ValueError):
        given = b""
    right = ""
    for name, password in users.items():
        if hmac.compare_digest(given, f"{name}:".encode() + password[:].encode()):
            right = name
    return right
