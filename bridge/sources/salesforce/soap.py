"""The old way in: `login()` of the SOAP partner API, which ends with version 64.0."""

from __future__ import annotations

import urllib.parse
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from bridge import client, errors
from bridge.sources.salesforce.grants import TOKEN, Granted

LAST = 64.0
"""The last version of the API that has `login()`."""

_REJECTED = {
    "API_DISABLED_FOR_ORG": "this edition has no API, or the user lacks the permission API Enabled",
    "CLIENT_NOT_ACCESSIBLE_FOR_USER": "the user may not use this client",
    "INVALID_LOGIN": "the username, password or security token is wrong, or the user is locked out",
    "INVALID_OPERATION_WITH_EXPIRED_PASSWORD": "the password has expired: right is a new one",
    "LOGIN_CHALLENGE_ISSUED": "a verification code is asked for: right is a trusted IP range, or a security_token",
    "LOGIN_CHALLENGE_PENDING": "a verification code is asked for: right is a trusted IP range, or a security_token",
    "LOGIN_DURING_RESTRICTED_DOMAIN": "the user may not log in from this IP address",
    "LOGIN_DURING_RESTRICTED_TIME": "the user may not log in at this hour",
    "LOGIN_MUST_USE_SECURITY_TOKEN": "a security token is needed: right is security_token beside password",
    "MUTUAL_AUTHENTICATION_FAILED": "a client certificate is asked for",
    "PASSWORD_LOCKOUT": "the user is locked out after too many wrong passwords",
    "UNSUPPORTED_API_VERSION": "it takes no SOAP login of this version: right is another login",
}
_LATER = {
    "API_CURRENTLY_DISABLED": "the API is switched off for the moment",
    "ORG_IN_MAINTENANCE": "the org is in maintenance",
    "ORG_LOCKED": "the org is locked",
    "REQUEST_LIMIT_EXCEEDED": "the org's API calls of the last 24 hours are used up",
    "SERVER_UNAVAILABLE": "the server is busy",
    "TRIAL_EXPIRED": "the org's trial has expired",
}


async def login(http: client.Client, url: str, version: str, username: str, password: str) -> Granted:
    """A session for a username and a password with its security token behind it; Denied says what is wrong."""
    host = urllib.parse.urlsplit(url).hostname or ""
    address = urllib.parse.urljoin(url, f"/services/Soap/u/{min(float(version), LAST):.1f}")
    answer = await http.request(
        "POST",
        address,
        body=_envelope(username, password),
        headers={"Content-Type": "text/xml; charset=UTF-8", "SOAPAction": "login", "Accept": "text/xml"},
        accept=(400, 401, 403, 404, 500),
        repeat=False,
        redirects=False,
        limit=1 << 20,
    )
    said = _read(answer.body)
    if answer.status != 200:
        raise _fault(host, answer.status, said)
    if said.get("passwordExpired") == "true":
        raise errors.Denied(f"{host}: the password has expired: right is a new one", "PASSWORD_EXPIRED")
    odd = errors.Unavailable(f"{host} answers a SOAP login with something else")
    try:
        server = urllib.parse.urlsplit(said.get("serverUrl", ""))
    except ValueError:
        raise odd from None
    token = said.get("sessionId", "")
    if not server.netloc or not TOKEN.fullmatch(token):
        raise odd
    return Granted(
        token,
        f"{server.scheme}://{server.netloc.replace('-api.', '.')}",
        said.get("organizationId", ""),
        said.get("userId", ""),
    )


def _envelope(username: str, password: str) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>'
        '<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
        ' xmlns:urn="urn:partner.soap.sforce.com"><soapenv:Body><urn:login>'
        f"<urn:username>{escape(username)}</urn:username><urn:password>{escape(password[:])}</urn:password>"
        "</urn:login></soapenv:Body></soapenv:Envelope>"
    ).encode()


def _read(body: bytes) -> Mapping[str, str]:
    """The texts of the first element of each name, whatever their prefixes; nothing where it is no XML."""
    try:
        root = ElementTree.fromstring(body) if b"<!DOCTYPE" not in body else ElementTree.Element("none")
    except (ElementTree.ParseError, LookupError, ValueError):  # the latter two for encodings that are none
        return {}
    found: dict[str, str] = {}
    for each in root.iter():
        found.setdefault(each.tag.rpartition("}")[2], (each.text or "").strip())
    return found


def _fault(host: str, status: int, said: Mapping[str, str]) -> errors.BridgeError:
    code = (said.get("exceptionCode") or said.get("faultcode", "")).rpartition(":")[2]
    if code in _LATER:
        return errors.Unavailable(f"{host}: {_LATER[code]} ({code})", code=code)
    if code in _REJECTED:
        return errors.Denied(f"{host}: {_REJECTED[code]} ({code})", code)
    if status in (401, 403, 404) or (code and not code.startswith(("Server", "UNKNOWN"))):
        shown = code if code.isidentifier() else str(status)
        return errors.Denied(
            f"{host} takes no SOAP login ({shown}): it may be switched off for the org or the user; "
            'right is login = "client-credentials" or "jwt"',
            shown,
        )
    return errors.Unavailable(f"{host} answers a SOAP login with {status}")
