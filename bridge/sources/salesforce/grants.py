"""OAuth at the token endpoint: client credentials, JWT bearer, username and password; its noes in an admin's words."""

from __future__ import annotations

import email.utils
import re
import time
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import jwt
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from bridge import client, errors
from bridge.sources.salesforce import answers

if TYPE_CHECKING:
    from bridge import keys

PRODUCTION, SANDBOX = "https://login.salesforce.com", "https://test.salesforce.com"
LIFE = 180
"""Seconds that an assertion is good for; Salesforce takes no more than five minutes."""

TOKEN = re.compile("[!-~]+")
"""What can stand in a header as a token."""

_REDIRECTS = (301, 302, 303, 307, 308)


@dataclass(frozen=True, slots=True, repr=False)
class Granted:
    """What a login gives: a token, the instance where it is good, whose it is (ids of org and user, where told)."""

    token: str
    instance: str
    org: str = ""
    user: str = ""


async def login(http: client.Client, keys: keys.Salesforce) -> Granted:
    """A token by the grant that the keys ask for; Denied says what is wrong and what is right."""
    host = urllib.parse.urlsplit(keys.url).hostname or ""
    answer = await http.request(
        "POST",
        urllib.parse.urljoin(keys.url, "/services/oauth2/token"),
        body=urllib.parse.urlencode(_GRANTS[keys.login](keys)).encode(),
        headers={"Content-Type": "application/x-www-form-urlencoded", "Accept": "application/json"},
        accept=(*_REDIRECTS, 400, 401, 403, 404),
        repeat=False,
        redirects=False,
        limit=1 << 20,
    )
    if answer.status != 200:
        raise _refusal(host, answer, keys)
    said = answers.mapping(host, answer.body)
    token, instance = said.get("access_token"), said.get("instance_url")
    if not isinstance(token, str) or not TOKEN.fullmatch(token) or not isinstance(instance, str) or not instance:
        raise errors.Unavailable(f"{host} answers a login with something else than a token")
    identity = said.get("id")
    whose = identity.rstrip("/").split("/") if isinstance(identity, str) else []
    org, user = whose[-2:] if len(whose) > 1 else ("", "")
    return Granted(token, instance if "://" in instance else f"https://{instance}", org, user)


def audience(keys: keys.Salesforce) -> str:
    """The `aud` of an assertion: what is configured, else the sandboxes' login host for a sandbox."""
    if keys.audience:
        return keys.audience
    host = urllib.parse.urlsplit(keys.url).hostname or ""
    sandbox = host == "test.salesforce.com" or host.endswith(
        (".sandbox.my.salesforce.com", ".scratch.my.salesforce.com")
    )
    sandbox = sandbox or "--" in host
    return SANDBOX if sandbox else PRODUCTION


def _client_credentials(keys: keys.Salesforce) -> Mapping[str, str]:
    return {
        "grant_type": "client_credentials",
        "client_id": keys.client_id,
        "client_secret": keys.client_secret[:],
    }


def _password(keys: keys.Salesforce) -> Mapping[str, str]:
    return {
        "grant_type": "password",
        "client_id": keys.client_id,
        "client_secret": keys.client_secret[:],
        "username": keys.username,
        "password": keys.password[:] + keys.security_token[:],
    }


def _jwt(keys: keys.Salesforce) -> Mapping[str, str]:
    claims = {
        "iss": keys.client_id,
        "sub": keys.username,
        "aud": audience(keys),
        "exp": int(time.time()) + LIFE,
    }
    pem = keys.private_key[:]
    if "\n" not in pem.strip():
        pem = pem.replace("\\n", "\n")
    try:
        key = serialization.load_pem_private_key(pem.encode(), None)
    except (ValueError, TypeError, UnsupportedAlgorithm):
        key = None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise errors.Denied(
            "private_key is no RSA private key in PEM without a password: right is the whole file, BEGIN to END"
        )
    assertion = jwt.encode(claims, key, algorithm="RS256")
    return {"grant_type": "urn:ietf:params:oauth:grant-type:jwt-bearer", "assertion": assertion}


_GRANTS: Mapping[str, Callable[[keys.Salesforce], Mapping[str, str]]] = {
    "client-credentials": _client_credentials,
    "jwt": _jwt,
    "password": _password,
}


def _refusal(host: str, answer: client.Answer, keys: keys.Salesforce) -> errors.BridgeError:
    """What a no of the token endpoint means."""
    if answer.status in _REDIRECTS:
        return errors.Denied(
            f"{host} redirects the login elsewhere: right is url = your My Domain, "
            'such as "https://example.my.salesforce.com"'
        )
    said = answers.fault(answer.body)
    code, text = said.code, said.text.lower()
    if answer.status == 404 or not code:
        return errors.Denied(
            f"{host} has no login of Salesforce's ({answer.status}): right is url = your My Domain, "
            'such as "https://example.my.salesforce.com"'
        )
    if code in _LATER:
        return errors.Unavailable(f"{host}: {_LATER[code]} ({code})", code=code)
    for words, reason in _DESCRIPTIONS.items():
        if words in text:
            return errors.Denied(f"{host}: {reason.format(**_named(keys))} ({code})", code)
    if "expired" in text:
        return errors.Denied(f"{host}: {_clocks(answer, keys)} ({code})", code)
    return errors.Denied(f"{host}: {_CODES.get(code, _OTHER).format(**_named(keys))} ({code})", code)


def _named(keys: keys.Salesforce) -> Mapping[str, str]:
    who = f"the user {keys.username}" if keys.username else "the user"
    return {"who": who, "audience": audience(keys), "wrong": _WRONG[keys.login]}


def _clocks(answer: client.Answer, keys: keys.Salesforce) -> str:
    """An assertion is held to be expired: the two clocks tell why."""
    if keys.login != "jwt":
        return "the login has expired there"
    try:
        there = email.utils.parsedate_to_datetime(answer.headers.get("Date", "")).timestamp()
    except ValueError:
        return "the assertion counts as expired: right is a clock that NTP keeps"
    off = round(time.time() - there)
    way = "ahead of" if off > 0 else "behind"
    return f"the assertion counts as expired, and this machine's clock is {abs(off)} s {way} the server's: right is NTP"


_WRONG = {
    "client-credentials": "client_id or client_secret is wrong, or the app's policies forbid the flow",
    "jwt": "the user, the certificate or the app's policies do not fit",
    "password": "username, password or security_token is wrong, the user may not log in from here, "
    "or the username-password flow is switched off for the org",
    "soap": "username, password or security_token is wrong",
}
_DESCRIPTIONS = {
    "not supported on this domain": "this host takes no client credentials: right is url = your My Domain, "
    'such as "https://example.my.salesforce.com"',
    "no client credentials user": "the app has no run-as user: right is one in the app's client credentials policy",
    "audience": 'the audience "{audience}" is not taken: right is audience = "https://login.salesforce.com", '
    'for a sandbox "https://test.salesforce.com"',
    "approved": "{who} is not pre-authorised for the app: right is the policy "
    '"Admin approved users are pre-authorized" and a profile or permission set of the user in it',
    "authentication failure": "{wrong}",
    "invalid assertion": "the certificate of the app does not belong to private_key",
    "ip restricted": "the app or the user's profile does not allow this IP address",
}
_CODES = {
    "invalid_client_id": "client_id is not known there (a new app takes some minutes)",
    "invalid_client": "client_secret is wrong",
    "invalid_client_credentials": "client_secret is wrong",
    "inactive_user": "{who} is not active",
    "inactive_org": "the org is not active",
    "invalid_app_access": "{who} is not admitted to the app by its policies",
    "unsupported_grant_type": "the app or the org does not offer this way to log in",
    "invalid_assertion": "the certificate of the app does not belong to private_key",
}
_OTHER = "the login is refused: {wrong}"
_LATER = {
    "rate_limit_exceeded": "too many logins in the last hour",
    "server_error": "the login service has a fault of its own",
    "temporarily_unavailable": "the login service is busy",
    "API_CURRENTLY_DISABLED": "the API is switched off for the moment",
    "ORG_IN_MAINTENANCE": "the org is in maintenance",
    "SERVER_UNAVAILABLE": "the server is busy",
}
