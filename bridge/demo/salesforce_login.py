"""How one logs in to the stand-in Salesforce: three OAuth grants, SOAP login(), and the sessions that they give."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
import urllib.parse
from dataclasses import dataclass
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import jwt

from bridge.demo.salesforce_org import Org
from bridge.demo.salesforce_wire import XML, Ask, Refused, Reply, told

_TRIES = 10
_FOR_JWT = 300
_LOGIN_HOSTS = ("login.salesforce.com", "test.salesforce.com")
_NO_LOGIN = "Invalid username, password, security token; or user locked out."
_ENVELOPE = "{http://schemas.xmlsoap.org/soap/envelope/}Envelope"
_LOGIN = "{urn:partner.soap.sforce.com}login"
_FAULT = """<?xml version="1.0" encoding="UTF-8"?>\
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" \
xmlns:sf="urn:fault.partner.soap.sforce.com" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">\
<soapenv:Body><soapenv:Fault><faultcode>{prefix}{code}</faultcode><faultstring>{code}: {message}</faultstring>\
<detail><sf:LoginFault xsi:type="sf:LoginFault"><sf:exceptionCode>{code}</sf:exceptionCode>\
<sf:exceptionMessage>{message}</sf:exceptionMessage></sf:LoginFault></detail>\
</soapenv:Fault></soapenv:Body></soapenv:Envelope>"""
_CLIENT_FAULT = """<?xml version="1.0" encoding="UTF-8"?>\
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"><soapenv:Body><soapenv:Fault>\
<faultcode>soapenv:Client</faultcode><faultstring>{message}</faultstring>\
</soapenv:Fault></soapenv:Body></soapenv:Envelope>"""
_RESULT = """<?xml version="1.0" encoding="UTF-8"?>\
<soapenv:Envelope xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/" xmlns="urn:partner.soap.sforce.com" \
xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><soapenv:Body><loginResponse><result>\
<metadataServerUrl>{url}/services/Soap/m/{version}/{org}</metadataServerUrl>\
<passwordExpired>{expired}</passwordExpired><sandbox>{sandbox}</sandbox>\
<serverUrl>{url}/services/Soap/u/{version}/{org}</serverUrl><sessionId>{token}</sessionId><userId>{user}</userId>\
<userInfo><accessibilityMode>false</accessibilityMode><currencySymbol>€</currencySymbol>\
<orgDefaultCurrencyIsoCode>EUR</orgDefaultCurrencyIsoCode><orgHasPersonAccounts>false</orgHasPersonAccounts>\
<organizationId>{org}</organizationId><organizationMultiCurrency>false</organizationMultiCurrency>\
<organizationName>Example</organizationName><profileId>00e5g0000000001AAA</profileId><roleId xsi:nil="true"/>\
<sessionSecondsValid>{seconds}</sessionSecondsValid><userEmail>{name}</userEmail>\
<userFullName>Integration</userFullName><userId>{user}</userId><userLanguage>en_US</userLanguage>\
<userName>{name}</userName><userTimeZone>Europe/Luxembourg</userTimeZone><userType>Standard</userType>\
</userInfo></result></loginResponse></soapenv:Body></soapenv:Envelope>"""


@dataclass(slots=True)
class Credentials:
    """What the admin set up; each may be changed while it serves.

    my_domain: the login host is a My Domain, not login.salesforce.com. run_as: the app has a user for client
    credentials. approved: the user may log in by JWT. password_flow, soap: these ways are switched on. locked: so many
    passwords were wrong that no login works. bare: refusals have no description. lifetime: seconds of an idle session.
    """

    client_id: str = ""
    client_secret: str = ""
    username: str = ""
    password: str = ""
    security_token: str = ""
    public_key: str = ""
    my_domain: bool = True
    run_as: bool = True
    approved: bool = True
    password_flow: bool = True
    soap: bool = True
    password_expired: bool = False
    locked: bool = False
    bare: bool = False
    lifetime: float = 7200.0
    wrong: int = 0


class Logins:
    """The login host of an org, and its open sessions."""

    def __init__(self, org: Org, credentials: Credentials) -> None:
        self.instance_url = ""
        self.login_url = ""
        self._org = org
        self._credentials = credentials
        self._sessions: dict[str, float] = {}

    def expire(self) -> None:
        """End every session."""
        self._sessions.clear()

    def check(self, header: str | None) -> str:
        """The token of a request with a good session, which lives on from now; Refused for all others."""
        kind, _, token = (header or "").partition(" ")
        if header is not None and kind not in ("Bearer", "OAuth"):
            raise Refused(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE")
        used = self._sessions.get(token)
        if used is None or time.monotonic() - used > self._credentials.lifetime:
            raise Refused(401, "INVALID_SESSION_ID", "Session expired or invalid")
        self._sessions[token] = time.monotonic()
        return token

    def answer(self, ask: Ask) -> Reply:
        """The answer to a request below /services/oauth2, /services/Soap/u or /id."""
        match ask.method, ask.parts:
            case "POST", ("services", "oauth2", "token"):
                return self._token(ask)
            case "POST", ("services", "oauth2", "revoke"):
                self._sessions.pop(_form(ask).get("token", ""), None)
                return Reply(200)
            case "GET", ("services", "oauth2", "userinfo") | ("id", _, _):
                self.check(ask.headers.get("Authorization"))
                return told(self._user_info())
            case "POST", ("services", "Soap", "u", version):
                return self._soap(ask, version)
        return _refused("invalid_request", "only POST of a form is supported")

    def _user_info(self) -> dict[str, Any]:
        user, org = self._org.get(self._org.user), self._org.id
        return {
            "sub": f"{self.login_url}/id/{org}/{user['Id']}",
            "user_id": user["Id"],
            "organization_id": org,
            "preferred_username": user["Username"],
            "name": user["Name"],
            "email": user["Email"],
            "user_type": "STANDARD",
            "active": True,
        }

    def _token(self, ask: Ask) -> Reply:
        form = _form(ask)
        grants = {
            "client_credentials": self._by_client,
            "password": self._by_password,
            "urn:ietf:params:oauth:grant-type:jwt-bearer": self._by_jwt,
        }
        grant = grants.get(form.get("grant_type", ""))
        if grant is None:
            return self._told_error(_refused("unsupported_grant_type", "grant type not supported"))
        refusal = grant(ask, form)
        return self._told_error(refusal) if refusal else told(self._granted())

    def _told_error(self, reply: Reply) -> Reply:
        if not self._credentials.bare:
            return reply
        return Reply(reply.status, re.sub(rb',"error_description":"[^"]*"', b"", reply.body))

    def _granted(self) -> dict[str, str]:
        return {
            "access_token": self._session(),
            "instance_url": self.instance_url,
            "id": f"{self.login_url}/id/{self._org.id}/{self._org.user}",
            "token_type": "Bearer",
            "issued_at": str(int(self._org.now.timestamp() * 1000)),
            "signature": base64.b64encode(secrets.token_bytes(32)).decode(),
            "scope": "api",
        }

    def _session(self) -> str:
        token = f"{self._org.id[:15]}!AQ{secrets.token_urlsafe(48)}"
        self._sessions[token] = time.monotonic()
        return token

    def _by_client(self, ask: Ask, form: dict[str, str]) -> Reply | None:
        own = self._credentials.my_domain and ask.headers.get("Host", "") not in _LOGIN_HOSTS
        if not own:
            return _refused("invalid_grant", "request not supported on this domain")
        if refusal := self._wrong_client(*_client(ask, form)):
            return refusal
        return None if self._credentials.run_as else _refused("invalid_grant", "no client credentials user enabled")

    def _by_password(self, ask: Ask, form: dict[str, str]) -> Reply | None:
        if refusal := self._wrong_client(*_client(ask, form)):
            return refusal
        on = self._credentials.password_flow and not self._credentials.password_expired
        if not on or self._wrong_password(form.get("username", ""), form.get("password", "")):
            return _refused("invalid_grant", "authentication failure")
        return None

    def _by_jwt(self, ask: Ask, form: dict[str, str]) -> Reply | None:
        mine = self._credentials
        try:
            claims = jwt.decode(
                form.get("assertion", ""),
                mine.public_key,
                algorithms=["RS256"],
                options={"verify_aud": False, "verify_exp": False},
            )
            left = float(claims.get("exp", 0)) - time.time()
        except (jwt.PyJWTError, TypeError, ValueError):
            return _refused("invalid_grant", "invalid assertion")
        if claims.get("iss") != mine.client_id:
            return _refused("invalid_client_id", "client identifier invalid")
        if claims.get("aud") != f"https://{_LOGIN_HOSTS[self._org.sandbox]}":
            return _refused("invalid_grant", "Audience validation failed")
        if not 0 < left <= _FOR_JWT:
            return _refused("invalid_grant", "expired authorization code")
        if not mine.approved or claims.get("sub") != mine.username:
            return _refused("invalid_grant", "user hasn't approved this consumer")
        return None

    def _wrong_client(self, client: str, secret: str) -> Reply | None:
        mine = self._credentials
        if not mine.client_id or client != mine.client_id:
            return _refused("invalid_client_id", "client identifier invalid")
        return None if secret == mine.client_secret else _refused("invalid_client", "invalid client credentials")

    def _wrong_password(self, username: str, password: str) -> bool:
        """Whether a login fails; too many of them lock the user out."""
        mine = self._credentials
        if mine.locked or not mine.username or username.lower() != mine.username.lower():
            return True
        if password == mine.password + mine.security_token:
            mine.wrong = 0
            return False
        mine.wrong += 1
        mine.locked = mine.wrong >= _TRIES
        return True

    def _soap(self, ask: Ask, version: str) -> Reply:
        number = re.fullmatch(r"(\d+)\.0", version)
        if number is None or int(number[1]) < 31:
            return _fault("UNSUPPORTED_API_VERSION", f"Invalid Api version specified on URL: {version}")
        if "SOAPAction" not in ask.headers:
            return _client_fault("SOAPAction HTTP header missing")
        if not ask.headers.get("Content-Type", "").lower().startswith("text/xml"):
            return _client_fault("Content-Type must be text/xml")
        try:
            root = ElementTree.fromstring(ask.body)
        except ElementTree.ParseError:
            return _client_fault("the envelope is no XML")
        login = root.find(f"{{*}}Body/{_LOGIN}")
        if root.tag != _ENVELOPE or login is None:
            return _fault("INVALID_SESSION_ID", "Invalid Session ID found in SessionHeader: Illegal Session")
        if int(number[1]) > 64 or not self._credentials.soap:
            return _fault("UNSUPPORTED_API_VERSION", "login() is not available: use OAuth")
        return self._soap_login(version, *(login.findtext(f"{{*}}{name}") or "" for name in ("username", "password")))

    def _soap_login(self, version: str, username: str, password: str) -> Reply:
        mine = self._credentials
        if mine.security_token and password == mine.password and username.lower() == mine.username.lower():
            return _fault("LOGIN_MUST_USE_SECURITY_TOKEN", _NO_LOGIN)
        if self._wrong_password(username, password):
            return _fault("INVALID_LOGIN", _NO_LOGIN, prefix="")
        # A session of an expired password is good for nothing: it is told, and never taken.
        token = f"{self._org.id[:15]}!AQexpired" if mine.password_expired else self._session()
        text = _RESULT.format(
            url=escape(self.instance_url),
            version=version,
            org=self._org.id,
            expired=str(mine.password_expired).lower(),
            sandbox=str(self._org.sandbox).lower(),
            token=token,
            user=self._org.user,
            name=escape(mine.username),
            seconds=int(mine.lifetime),
        )
        return Reply(200, text.encode(), XML)


def _fault(code: str, message: str, *, prefix: str = "sf:") -> Reply:
    """A SOAP fault; its code comes with and without a prefix in the wild."""
    return Reply(500, _FAULT.format(prefix=prefix, code=code, message=escape(message)).encode(), XML)


def _client_fault(message: str) -> Reply:
    return Reply(500, _CLIENT_FAULT.format(message=escape(message)).encode(), XML)


def _refused(error: str, description: str) -> Reply:
    return told({"error": error, "error_description": description}, 400)


def _form(ask: Ask) -> dict[str, str]:
    """The values of a form; of another body, none."""
    if not ask.headers.get("Content-Type", "").lower().startswith("application/x-www-form-urlencoded"):
        return {}
    return dict(urllib.parse.parse_qsl(ask.body.decode("utf-8", "replace"), keep_blank_values=True))


def _client(ask: Ask, form: dict[str, str]) -> tuple[str, str]:
    """The app's id and secret, from the form or as HTTP Basic."""
    kind, _, given = ask.headers.get("Authorization", "").partition(" ")
    if kind.lower() != "basic":
        return form.get("client_id", ""), form.get("client_secret", "")
    try:
        id, _, secret = base64.b64decode(given, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return "", ""
    return id, secret
