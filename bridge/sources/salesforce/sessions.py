"""Logging in, and the connection to the instance that a login names: nothing goes to the login host after that."""

from __future__ import annotations

import urllib.parse
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bridge import client, errors
from bridge.sources.salesforce import grants, soap

if TYPE_CHECKING:
    from bridge import keys


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Session:
    """One login: `http` shows its token to the instance and to no other host. `instance` has no slash at its end."""

    http: client.Client
    instance: str
    org: str
    user: str

    @property
    def host(self) -> str:
        """The instance's name, for messages."""
        return urllib.parse.urlsplit(self.instance).hostname or self.instance

    def page(self, table: str, id: str) -> str:
        """Where people look at a record."""
        return f"{self.instance}/lightning/r/{table}/{id}/view"


class Sessions:
    """Makes sessions of one login."""

    def __init__(self, keys: keys.Salesforce) -> None:
        self._keys = keys
        self._door = self._client(keys.url)
        self._instances: dict[str, client.Client] = {}

    async def make(self, ended: Session | None) -> Session:
        """Log in; Denied where that is rejected. The instance is read anew each time: an org may move."""
        keys = self._keys
        if keys.login == "soap":
            password = keys.password[:] + keys.security_token[:]
            granted = await soap.login(self._door, keys.url, keys.api_version, keys.username, password)
        else:
            granted = await grants.login(self._door, keys)
        instance = self._origin(granted.instance)
        http = self._instances.get(instance)
        if http is None:
            http = self._instances[instance] = self._client(instance)
        http.present({"Authorization": "Bearer " + granted.token})
        return Session(http, instance, granted.org, granted.user)

    async def close(self) -> None:
        """Give back connections. The session is not ended: others of the same user and app may share it."""
        for http in (self._door, *self._instances.values()):
            await http.close()

    def _origin(self, address: str) -> str:
        """Scheme and host of the instance; never one without TLS where the login had it."""
        try:
            parts = urllib.parse.urlsplit(address)
            # Read once more without the user info, which may have held one bracket of two.
            parts = urllib.parse.urlsplit(f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}")
        except ValueError:
            parts = urllib.parse.urlsplit("")
        host = urllib.parse.urlsplit(self._keys.url).hostname
        secure = parts.scheme == "https" or self._keys.url.startswith("http:")
        if not parts.netloc or parts.scheme not in ("http", "https") or not secure:
            raise errors.Unavailable(f"{host} names an instance that is no https address")
        return f"{parts.scheme}://{parts.netloc}"

    def _client(self, base: str) -> client.Client:
        keys = self._keys
        return client.Client(base, timeout=keys.timeout, ca=keys.ca, verify=keys.verify)
