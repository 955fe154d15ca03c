"""Logins of the stand-in SugarCRM: one living session for each user and platform, refresh tokens that rotate."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any


class Failure(Exception):
    """An error as Sugar answers it: HTTP status, label, and a message or a map of field names to messages."""

    def __init__(self, status: int, label: str, message: str | Mapping[str, list[str]] = "") -> None:
        super().__init__(label)
        self.status = status
        self.label = label
        self.message = message or label.replace("_", " ")


@dataclass(frozen=True, slots=True)
class _Token:
    user: str
    platform: str
    until: datetime


class Logins:
    """Who may log in, and the tokens in force, which live in real time.

    `logins` counts by password, `renewals` by refresh token, `rejected` wrong passwords.
    """

    def __init__(self, users: dict[str, str]) -> None:
        self.users = users
        self.platforms = {"base", "mobile", "portal", "bridge"}
        self.clients = {"sugar": ""}
        self.lifetime = 3600
        self.refresh_lifetime = 1_209_600
        self.logins = 0
        self.renewals = 0
        self.rejected = 0
        self._access: dict[str, _Token] = {}
        self._refresh: dict[str, _Token] = {}

    def grant(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """The answer to a token request, or Failure."""
        platform = str(asked.get("platform") or "base")
        if platform not in self.platforms:
            raise Failure(422, "invalid_parameter", f"El parámetro platform no es válido: {platform}")
        if self.clients.get(str(asked.get("client_id"))) != (asked.get("client_secret") or ""):
            raise Failure(400, "invalid_client", "The client credentials are invalid")
        match asked.get("grant_type"):
            case "password":
                user = self._by_password(asked)
            case "refresh_token":
                user = self._by_refresh(asked, platform)
            case _:
                raise Failure(400, "invalid_request", "Invalid grant_type parameter or parameter missing")
        return self._issue(user, platform)

    def user(self, token: str) -> str:
        """Whose living session this is."""
        if not token:
            raise Failure(401, "need_login", "Debe especificar un nombre de usuario y una contraseña válidos.")
        found = self._access.get(token)
        if found is None or found.until <= _now():
            raise Failure(401, "invalid_grant", "The access token provided is invalid.")
        return found.user

    def logout(self, token: str) -> None:
        """End this session."""
        found = self._access.pop(token, None)
        if found is not None:
            self._end(found.user, found.platform)

    def expire(self) -> None:
        """Every access token has had its time; refresh tokens live on."""
        self._access.clear()

    def kick(self) -> None:
        """Somebody else logs in as each user on each platform: no token of before is good for anything."""
        self._access.clear()
        self._refresh.clear()

    def _by_password(self, asked: Mapping[str, Any]) -> str:
        user = str(asked.get("username"))
        if self.users.get(user) is None or self.users[user] != asked.get("password"):
            self.rejected += 1
            raise Failure(401, "need_login", "Debe especificar un nombre de usuario y una contraseña válidos.")
        self.logins += 1
        return user

    def _by_refresh(self, asked: Mapping[str, Any], platform: str) -> str:
        found = self._refresh.get(str(asked.get("refresh_token")))
        if found is None or found.until <= _now() or found.platform != platform:
            raise Failure(401, "invalid_grant", "Invalid refresh token")
        self.renewals += 1
        return found.user

    def _issue(self, user: str, platform: str) -> dict[str, Any]:
        self._end(user, platform)
        access, refresh, now = str(uuid.uuid4()), str(uuid.uuid4()), _now()
        self._access[access] = _Token(user, platform, now + timedelta(seconds=self.lifetime))
        self._refresh[refresh] = _Token(user, platform, now + timedelta(seconds=self.refresh_lifetime))
        return {
            "access_token": access,
            "expires_in": self.lifetime,
            "token_type": "bearer",
            "scope": None,
            "refresh_token": refresh,
            "refresh_expires_in": self.refresh_lifetime,
            "download_token": str(uuid.uuid4()),
        }

    def _end(self, user: str, platform: str) -> None:
        for kept in (self._access, self._refresh):
            for token in [name for name, each in kept.items() if (each.user, each.platform) == (user, platform)]:
                del kept[token]


def _now() -> datetime:
    return datetime.now(UTC)
