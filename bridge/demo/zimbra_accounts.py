"""Who may log in to the stand-in Zimbra, and with what: passwords, domain keys, tokens, locks and bans."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections import Counter
from dataclasses import dataclass, field

from bridge.demo.zimbra_store import Mailbox
from bridge.demo.zimbra_wire import Element, Request, SoapFault, first, flag, text

FAILURES = 11
"""Failed logins from one address before it is banned."""
_SKEW = 300.0


@dataclass(slots=True)
class Account:
    """One account; `status` may be the code of the fault that its login meets."""

    name: str
    password: str
    mailbox: Mailbox = field(default_factory=Mailbox)
    two_factor: bool = False
    status: str = ""
    failures: int = 0


@dataclass(slots=True)
class Session:
    """What a token stands for; `half`: a second factor is still owed. `csrf`: the word every request must show."""

    zid: str
    ends: float
    half: bool = False
    csrf: str = ""


class Accounts:
    """The accounts of one domain.

    `key` is the domain's for preauthentication ("": it has none), `lifetime` that of a session in seconds, `lock` the
    failures after which an account is locked (0: never), `clear_text` whether passwords are taken without TLS.
    """

    def __init__(self) -> None:
        self.all: list[Account] = []
        self.key = ""
        self.lifetime = 172_800.0
        self.lock = 0
        self.clear_text = True
        self.sessions: dict[str, Session] = {}
        self.failures: Counter[str] = Counter()
        self.logins = 0

    def add(self, name: str, password: str = "secret") -> Account:
        """A new account."""
        self.all.append(Account(name, password))
        return self.all[-1]

    def mailbox(self, zid: str) -> Mailbox:
        """The mailbox of this id; one that is not there is told apart from a forbidden one by nobody."""
        for account in self.all:
            if account.mailbox.zid == zid:
                return account.mailbox
        raise SoapFault("service.PERM_DENIED", "permission denied: can not access account")

    def banned(self, address: str) -> bool:
        """Whether this address has failed too often."""
        return self.failures[address] >= FAILURES

    def expire(self) -> None:
        """End every session."""
        for session in self.sessions.values():
            session.ends = 0.0

    def session(self, request: Request, cookie: str, csrf: str) -> Session:
        """Whose request this is; a token in the context goes before the cookie."""
        shown = text(request.context, "authToken") or cookie
        if not shown:
            raise SoapFault("service.AUTH_REQUIRED", "no valid authtoken present")
        session = self.sessions.get(shown)
        if session is None or session.ends <= time.time() or session.half:
            raise SoapFault("service.AUTH_EXPIRED", "auth credentials have expired")
        if session.csrf and session.csrf not in (csrf, text(request.context, "csrfToken")):
            raise SoapFault("service.AUTH_REQUIRED", "no valid csrf token present")
        return session

    def login(self, request: Request, cookie: str, address: str) -> Element:
        """AuthRequest. A dead token that comes along is a fault of its own."""
        shown = text(request.context, "authToken") or cookie
        if shown and not flag(first(request.context, "authTokenControl"), "voidOnExpired"):
            session = self.sessions.get(shown)
            if session is None or session.ends <= time.time():
                raise SoapFault("service.AUTH_EXPIRED", "auth credentials have expired")
        self.logins += 1
        try:
            account, half = self._proven(request.body)
        except SoapFault as fault:
            self.failures[address] += fault.code == "account.AUTH_FAILED"
            raise
        self.failures.pop(address, None)
        return self._enter(account, request.body, half=half)

    def _proven(self, body: Element) -> tuple[Account, bool]:
        """The account, and whether it owes a second factor: only a password does."""
        ways = [way for way in ("password", "preauth", "authToken", "recoveryCode", "jwtToken") if way in body]
        if len(ways) != 1 or ways[0] not in ("password", "preauth"):
            raise SoapFault("service.INVALID_REQUEST", "must specify password")
        named = first(body, "account")
        by, name = text(named, "by") or "name", text(named, "_content")
        if ways[0] == "preauth":
            self._signed(first(body, "preauth"), by, name)
        account = next((each for each in self.all if name in (each.name, each.mailbox.zid)), None)
        if ways[0] == "password":
            self._check(account, text(body, "password"))
        if account is None:
            raise SoapFault("account.AUTH_FAILED", "authentication failed")
        if account.status:
            raise SoapFault(account.status)
        return account, account.two_factor and ways[0] == "password"

    def _check(self, account: Account | None, password: str) -> None:
        if not self.clear_text:
            raise SoapFault("service.INVALID_REQUEST", "clear text password is not allowed")
        locked = account is not None and self.lock and account.failures >= self.lock
        if account is None or locked or not hmac.compare_digest(account.password.encode(), password.encode()):
            if account is not None:
                account.failures += 1
            raise SoapFault("account.AUTH_FAILED", "authentication failed")
        account.failures = 0

    def _signed(self, preauth: Element, by: str, name: str) -> None:
        if not self.key:
            raise SoapFault("service.INVALID_REQUEST", "domain is not configured for preauth")
        stamp, expires = text(preauth, "timestamp"), text(preauth, "expires") or "0"
        word = f"{name}|{by}|{expires}|{stamp}".encode()
        signed = hmac.new(self.key.encode(), word, hashlib.sha1).hexdigest()
        fresh = stamp.isdigit() and abs(int(stamp) / 1000 - time.time()) <= _SKEW
        if not fresh or not hmac.compare_digest(signed, text(preauth, "_content")):
            raise SoapFault("account.AUTH_FAILED", "authentication failed")

    def _enter(self, account: Account, body: Element, *, half: bool) -> Element:
        token = f"0_{secrets.token_hex(32)}"
        csrf = f"0_{secrets.token_hex(16)}" if flag(body, "csrfTokenSecured") else ""
        self.sessions[token] = Session(account.mailbox.zid, time.time() + self.lifetime, half, csrf)
        told: Element = {"authToken": [{"_content": token}], "lifetime": int(self.lifetime * 1000)}
        if csrf:
            told["csrfToken"] = {"_content": csrf}
        if half:
            return {
                **told,
                "twoFactorAuthRequired": {"_content": "true"},
                "trustedDevicesEnabled": {"_content": "true"},
            }
        return {**told, "skin": [{"_content": "harmony"}]}
