"""A stand-in Zimbra: a domain with accounts, mailboxes and a directory, spoken to by SOAP in JSON or XML.

    server = ZimbraServer()
    server.mailbox.put({"firstName": "Jane", "workPhone": "+352 26 00 10 01"})
    async with server.serve() as url: ...

What it is not asked for rightly it refuses as the real one does: faults by HTTP 500, a context without its namespace
by XML, a banned address by 503.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import web

from bridge.demo import zimbra_mail, zimbra_sync, zimbra_wire
from bridge.demo.sample import Person
from bridge.demo.zimbra_accounts import Accounts
from bridge.demo.zimbra_faults import Faults, Name
from bridge.demo.zimbra_gal import Gal
from bridge.demo.zimbra_mail import Asking
from bridge.demo.zimbra_wire import Element, Request, SoapFault, Unparsable

PAGE = "<!DOCTYPE html><html><head><title>Zimbra</title></head><body>Sign in</body></html>"
_SILENCE = 60.0
_MAIL: Mapping[str, Callable[[Asking], Element]] = {
    "GetFolder": zimbra_mail.get_folder,
    "GetContacts": zimbra_mail.get_contacts,
    "Search": zimbra_mail.search,
    "Sync": zimbra_sync.sync,
    "CreateContact": zimbra_mail.create_contact,
    "ModifyContact": zimbra_mail.modify_contact,
    "ContactAction": zimbra_mail.act_on_contact,
    "CreateTask": zimbra_mail.create_task,
    "NoOp": lambda ask: {},
}


class ZimbraServer:
    """One server and its domain; `account` is the first of `accounts`, `mailbox` that account's.

    `calls` are the names of the requests that came, without "Request". `before` are called, once, right before the
    next request of that name: what happens in the mailbox while somebody reads it.
    """

    def __init__(self, username: str = "phones@example.com", password: str = "secret") -> None:
        self.accounts = Accounts()
        self.account = self.accounts.add(username, password)
        self.mailbox = self.account.mailbox
        self.gal = Gal()
        self.faults = Faults()
        self.calls: list[str] = []
        self.before: dict[str, Callable[[], object]] = {}
        self._people: dict[str, int] = {}

    def table(self, url: str) -> dict[str, Any]:
        """The keys of a `[source.x]` table that reads this server at `url`."""
        return {"type": "zimbra", "url": url, "username": self.account.name, "password": self.account.password}

    def put_person(self, key: str, person: Person) -> None:
        """Somebody of the sample, in Contacts, new or changed."""
        attributes = {"firstName": person.first, "lastName": person.last, "company": person.company}
        for name, written in (("workPhone", person.work), ("mobilePhone", person.cell)):
            for n, text in enumerate((part.strip() for part in written.split(",")), 1):
                attributes[name if n == 1 else f"{name}{n}"] = text
        given = {name: text for name, text in attributes.items() if text}
        if key in self._people:
            known = self.mailbox.contacts[self._people[key]].attributes
            self.mailbox.update(self._people[key], **{**dict.fromkeys(known), **given})
        else:
            self._people[key] = self.mailbox.put(given)

    def remove_person(self, key: str) -> None:
        """Somebody of the sample goes to Trash, as when a user deletes a contact."""
        self.mailbox.trash(self._people.pop(key))

    @asynccontextmanager
    async def serve(self, port: int = 0) -> AsyncIterator[str]:
        """Listen on loopback; the address of the server's root."""
        app = web.Application(client_max_size=16 << 20)
        app.router.add_post("/service/soap{rest:(/.*)?}", self._serve)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port).start()
            yield f"http://127.0.0.1:{runner.addresses[0][1]}"
        finally:
            await runner.cleanup()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        address = request.remote or ""
        if self.accounts.banned(address):
            return web.Response(status=503, text=PAGE, content_type="text/html")
        try:
            asked = zimbra_wire.read(body)
        except Unparsable as wrong:
            fault = SoapFault("service.PARSE_ERROR" if not wrong.xml else "service.FAILURE", str(wrong))
            return self._said("Fault", fault.element(), xml=wrong.xml)
        self.calls.append(asked.name)
        if (happens := self.before.pop(asked.name, None)) is not None:
            happens()
        struck = self.faults.draw(asked.name)
        if (instead := self._before(struck)) is not None:
            return instead
        if struck == "silent":
            await asyncio.sleep(_SILENCE)
        if struck in ("cut", "silent"):
            return _cut(request)
        response = self._answer(asked, request, address)
        if struck == "lost":
            return _cut(request)
        if struck == "truncated" and isinstance(response.body, bytes):
            return web.Response(body=response.body[: len(response.body) // 2], content_type="text/javascript")
        return response

    def _before(self, struck: Name | None) -> web.Response | None:
        """What is answered in the place of doing anything."""
        match struck:
            case "fault_500":
                return self._said("Fault", SoapFault("service.FAILURE", "system failure").element())
            case "error_500":
                return web.Response(status=500, text=PAGE, content_type="text/html")
            case "busy_503":
                return web.Response(status=503, text=PAGE, content_type="text/html", headers={"Retry-After": "30"})
            case "html_200":
                return web.Response(text=PAGE, content_type="text/html")
            case "null":
                return web.Response(text="null", content_type="text/javascript")
            case "empty":
                return web.Response(text='{"Header":{},"Body":{}}', content_type="text/javascript")
            case "expire":
                self.accounts.expire()
        return None

    def _answer(self, asked: Request, request: web.Request, address: str) -> web.Response:
        """What the request is answered with: its response, or a fault with 500."""
        cookie = request.cookies.get("ZM_AUTH_TOKEN", "")
        csrf = request.headers.get("X-Zimbra-Csrf-Token", "")
        try:
            told = self._carry_out(asked, cookie, csrf, address)
        except SoapFault as fault:
            return self._said("Fault", fault.element(), xml=asked.xml)
        response = self._said(f"{asked.name}Response", told, xml=asked.xml)
        if asked.name == "Auth":
            response.set_cookie("ZM_AUTH_TOKEN", told["authToken"][0]["_content"], httponly=True)
        return response

    def _carry_out(self, asked: Request, cookie: str, csrf: str, address: str) -> Element:
        if (asked.space, asked.name) == ("urn:zimbraAccount", "Auth"):
            return {**self.accounts.login(asked, cookie, address), "_jsns": asked.space}
        session = self.accounts.session(asked, cookie, csrf)
        ask = Asking(self.accounts, session.zid, asked)
        if (asked.space, asked.name) == ("urn:zimbra", "Batch"):
            return self._batch(ask)
        told = self._one(ask)
        if "requestId" in asked.body:
            told["requestId"] = asked.body["requestId"]
        return {**told, "_jsns": asked.space}

    def _one(self, ask: Asking) -> Element:
        match ask.request.space, ask.request.name:
            case "urn:zimbraMail", name if name in _MAIL:
                return _MAIL[name](ask)
            case "urn:zimbraAccount", "SyncGal":
                return self.gal.sync(ask.request.body)
            case "urn:zimbraAccount", "SearchGal":
                return self.gal.search(ask.request.body)
            case "urn:zimbraAccount", "GetInfo":
                account = next(each for each in self.accounts.all if each.mailbox.zid == ask.user)
                return {"id": ask.user, "name": account.name, "version": "10.1.0_GA"}
            case "urn:zimbraAccount", "EndSession":
                self.accounts.sessions.clear()
                return {}
        raise SoapFault("service.UNKNOWN_DOCUMENT", f"unknown document: {ask.request.name}Request")

    def _batch(self, ask: Asking) -> Element:
        """Each of its requests, with the faults of some beside the answers to others."""
        answers: dict[str, list[Element]] = {}
        stop = ask.request.body.get("onerror") == "stop"
        for name, value in ask.request.body.items():
            if not name.endswith("Request"):
                continue
            for body in value if isinstance(value, list) else [value]:
                inner = zimbra_wire.request(name, body, ask.request.context)
                told: Element
                try:
                    told, kind = {**self._one(Asking(self.accounts, ask.user, inner)), "_jsns": inner.space}, inner.name
                except SoapFault as fault:
                    told, kind = fault.element(), ""
                told["requestId"] = str(body.get("requestId", ""))
                answers.setdefault(f"{kind}Response" if kind else "Fault", []).append(told)
                if stop and not kind:
                    return {**answers, "_jsns": "urn:zimbra"}
        return {**answers, "_jsns": "urn:zimbra"}

    def _said(self, name: str, body: Element, *, xml: bool = False) -> web.Response:
        context = {"change": {"token": self.mailbox.change}}
        told, kind = zimbra_wire.write(name, body, context, xml=xml)
        status = 500 if name == "Fault" else 200
        return web.Response(status=status, body=told, content_type=kind, charset="utf-8")


def _cut(request: web.Request) -> web.Response:
    """The connection ends without an answer."""
    if request.transport is not None:
        request.transport.abort()
    return web.Response()
