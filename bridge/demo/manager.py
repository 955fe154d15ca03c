"""A stand-in Call Control Manager: keeps what it is told in memory, and refuses what its page does not document.

    manager = Manager("key")
    async with manager.serve() as url: ...

What the page leaves open is decided the hard way: a second add of one number is a second entry, an update or a
delete takes one entry at a time, and an update of what is not there is an error.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import ssl
import urllib.parse
from collections import Counter, deque
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any, NoReturn

from aiohttp import web

from bridge.demo import manager_faults as faults

PARAMETERS = ("action", "qstype", "qsSecuritykey", "qsValue")
CONTACT = ("FirstName", "LastName", "PhoneNumber", "CompanyName")
EXTENSION = ("ExtentionNumber", "EmailAddress", "FirstName", "LastName", "OutboundCallerID")
MESSAGES = {
    "INVALID_AUTH_ID": "Authentication Token invalid",
    "AUTH_ID_EXPIRED": "Authentication Token expired",
    "500": "Internal Server error",
    "INVALID_EXTENSION": "Invalid Extension number",
    "EXTENSION_EXIST": "Extension number already exist",
    "INVALID_EMAIL": "Invalid Email Address",
    "FNAME_INVALID": "Invalid First name",
    "LNAME_INVALID": "Invalid Last name",
    "PHONE_NUMBER_INVALID": "Invalid Phone Number",
}
HTML = "<!DOCTYPE html><html><head><title>{0}</title></head><body><h2>{0}</h2></body></html>"
Row = dict[str, str]


class Failure(Exception):
    """An error answer: its code, and the message that the page prints with it."""

    def __init__(self, code: str, message: str = "") -> None:
        super().__init__(code)
        self.code = code
        self.message = message or MESSAGES.get(code, "Exception Detail")


class Manager:
    """One Manager; `key`, `expired`, `plus`, `absent` and the faults may be changed while it serves.

    absent: the code that an update or a delete of what is not there answers. error_status: the HTTP status of
    error answers. max_url: bytes of query that its web server takes. `calls` are (action, row), the last 100,000.
    """

    def __init__(
        self,
        key: str = "demo-key",
        *,
        plus: bool = False,
        max_url: int = 2048,
        absent: str = "PHONE_NUMBER_INVALID",
        error_status: int = 200,
        delete_contact: tuple[str, str] = ("deletePhonebook", "dContact"),
        delete_extension: tuple[str, str] = ("deleteExt", "dExtension"),
        seed: int = 0,
    ) -> None:
        self.key = key
        self.expired: set[str] = set()
        self.plus = plus
        self.max_url = max_url
        self.absent = absent
        self.error_status = error_status
        self.faults = faults.Faults(seed)
        self.extensions: dict[str, Row] = {}
        self.mails: list[tuple[str, str]] = []
        self.calls: deque[tuple[str, Row]] = deque(maxlen=100_000)
        self.counts: Counter[str] = Counter()
        self._entries: dict[str, list[Row]] = {}
        self._closing = asyncio.Event()
        self._actions = {
            ("addPhonebook", "sContact"): self._add_contact,
            ("updatePhonebook", "uContact"): self._update_contact,
            delete_contact: self._delete_contact,
            ("addExt", "sExtension"): self._add_extensions,
            ("addExt", "mExtension"): self._add_extensions,
            ("updateExt", "uExtension"): self._update_extension,
            delete_extension: self._delete_extension,
        }

    def entries(self) -> list[Row]:
        """Every contact entry held, each as it was sent."""
        return [dict(row) for rows in self._entries.values() for row in rows]

    def forget(self, number: str) -> None:
        """Lose the entries of a number, as somebody at the Manager's own screen would."""
        self._entries.pop(number, None)

    def book(self) -> dict[str, tuple[str, str, str]]:
        """First name, last name and company by number; of duplicates, the first."""
        return {
            number: (rows[0]["FirstName"], rows[0]["LastName"], rows[0]["CompanyName"])
            for number, rows in self._entries.items()
        }

    def duplicates(self) -> list[str]:
        """The numbers that stand more than once."""
        return sorted(number for number, rows in self._entries.items() if len(rows) > 1)

    def state(self) -> dict[str, Any]:
        """All of it, as `GET /_state` answers."""
        return {
            "entries": self.entries(),
            "duplicates": self.duplicates(),
            "extensions": list(self.extensions.values()),
            "mails": self.mails,
            "counts": dict(self.counts),
        }

    def make_app(self) -> web.Application:
        """The web server's side of it: /api.aspx, and /_state for who watches."""
        app = web.Application(client_max_size=1 << 20)
        app.router.add_post("/api.aspx", self._api)
        app.router.add_get("/_state", self._show)
        app.on_startup.append(self._opened)
        app.on_shutdown.append(self._closed)
        return app

    @asynccontextmanager
    async def serve(self, port: int = 0, *, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Serve on a loopback port (0: any free one) and yield the URL of its API."""
        runner = web.AppRunner(self.make_app(), access_log=None, max_line_size=1 << 16, shutdown_timeout=1)
        await runner.setup()
        try:
            await web.TCPSite(runner, "127.0.0.1", port, ssl_context=tls).start()
            yield f"http{'s' if tls else ''}://127.0.0.1:{runner.addresses[0][1]}/api.aspx"
        finally:
            await runner.cleanup()

    async def _opened(self, _: web.Application) -> None:
        self._closing = asyncio.Event()

    async def _closed(self, _: web.Application) -> None:
        self._closing.set()

    async def _show(self, _: web.Request) -> web.Response:
        return web.json_response(self.state())

    async def _api(self, request: web.Request) -> web.StreamResponse:
        self.counts["requests"] += 1
        query = request.raw_path.partition("?")[2]
        if len(query) > self.max_url:
            return self._page(404, "404 - File or directory not found.")
        if request.content_length is None:
            return self._page(411, "Length Required")
        struck = self.faults.draw()
        self.counts.update(f"fault.{name}" for name in struck)
        if "slow" in struck:
            await self._pause(struck["slow"].seconds)
        instead = faults.ending(struck)
        status, answer = 200, dict[str, str]()
        if instead is None or instead.applied:
            status, answer = self._answer(query, await request.read())
        if instead is not None:
            return await self._instead(request, instead)
        return self._dressed(status, answer, struck)

    def _answer(self, query: str, body: bytes) -> tuple[int, dict[str, str]]:
        try:
            done = self._carry_out(query, body)
        except Failure as failure:
            self.counts[f"error.{failure.code}"] += 1
            return self.error_status, {"message": failure.message, "errorCode": failure.code}
        self.counts[done] += 1
        return 200, {"status": done, "errorMessage": "", "errorCode": ""}

    def _carry_out(self, query: str, body: bytes) -> str:
        values = _parameters(query)
        if values.get("qsSecuritykey") in self.expired:
            raise Failure("AUTH_ID_EXPIRED")
        if values.get("qsSecuritykey") != self.key:
            raise Failure("INVALID_AUTH_ID")
        if body or sorted(values) != sorted(PARAMETERS) or values["qstype"] != "1":
            _refuse("the parameters are action, qstype=1, qsSecuritykey and qsValue, in the URL")
        wrapper, rows = _rows(values["qsValue"])
        act = self._actions.get((values["action"], wrapper))
        if act is None:
            _refuse(f"action {values['action']} with {wrapper} is unknown")
        if len(rows) != 1 and wrapper != "mExtension":
            _refuse(f"{wrapper} holds one object")
        self.calls.extend((values["action"], row) for row in rows)
        done = act(rows)
        return f"All {done}" if wrapper == "mExtension" else done

    def _add_contact(self, rows: list[Row]) -> str:
        row = self._contact(rows[0], CONTACT)
        self._entries.setdefault(row["PhoneNumber"], []).append(row)
        return "Contact Created"

    def _update_contact(self, rows: list[Row]) -> str:
        row = self._contact(rows[0], (*CONTACT, "RegisteredPhoneNumber"))
        self._take(row.pop("RegisteredPhoneNumber"))
        self._entries.setdefault(row["PhoneNumber"], []).insert(0, row)
        return "Contact Updated"

    def _delete_contact(self, rows: list[Row]) -> str:
        _only(rows[0], ("PhoneNumber",))
        number = rows[0].get("PhoneNumber", "").strip()
        self._dialable(number)
        self._take(number)
        return "Contact Deleted"

    def _contact(self, row: Row, keys: tuple[str, ...]) -> Row:
        """The row with every key, or the first failure in the page's order."""
        _only(row, keys)
        row = {key: row.get(key, "").strip() for key in keys}
        if not row["FirstName"]:
            raise Failure("FNAME_INVALID")
        if not row["LastName"]:
            raise Failure("LNAME_INVALID")
        for key in keys[2:]:
            if key.endswith("PhoneNumber"):
                self._dialable(row[key])
        return row

    def _dialable(self, number: str) -> None:
        if not re.fullmatch(r"\+?[0-9]+" if self.plus else r"[0-9]+", number):
            raise Failure("PHONE_NUMBER_INVALID")

    def _take(self, number: str) -> None:
        """Take one entry of this number out of the book, or fail as configured."""
        rows = self._entries.get(number)
        if not rows:
            raise Failure(self.absent, "Phone number does not exit" if self.absent == "WEBSERVICE_ERROR" else "")
        rows.pop(0)
        if not rows:
            del self._entries[number]

    def _add_extensions(self, rows: list[Row]) -> str:
        numbers = [row.get("ExtentionNumber", "").strip() for row in rows]
        for row, number in zip(rows, numbers, strict=True):
            _extension(row)
            if number in self.extensions or numbers.count(number) > 1:
                raise Failure("EXTENSION_EXIST")
            _person(row)
        for row in rows:
            self._keep(row, "added")
        return "Extension Created"

    def _update_extension(self, rows: list[Row]) -> str:
        self._known(_extension(rows[0]))
        _person(rows[0])
        self._keep(rows[0], "updated")
        return "Extension Updated"

    def _delete_extension(self, rows: list[Row]) -> str:
        _only(rows[0], ("ExtentionNumber",))
        del self.extensions[self._known(_extension(rows[0]))]
        return "Extension Deleted"

    def _known(self, number: str) -> str:
        if number not in self.extensions:
            raise Failure("INVALID_EXTENSION")
        return number

    def _keep(self, row: Row, how: str) -> None:
        row = {key: row.get(key, "").strip() for key in EXTENSION}
        self.extensions[row["ExtentionNumber"]] = row
        if row["EmailAddress"]:
            self.mails.append((row["EmailAddress"], f"extension {row['ExtentionNumber']} {how}"))

    def _dressed(self, status: int, answer: Mapping[str, str], struck: Mapping[str, faults.Strike]) -> web.Response:
        if "padded_codes" in struck:
            answer = {key: f" {value} " for key, value in answer.items()}
        kind = "text/html" if "text_html" in struck else "application/json"
        body = faults.dress(json.dumps(answer), struck)
        return web.Response(status=status, body=body, content_type=kind, charset="utf-8")

    async def _instead(self, request: web.Request, strike: faults.Strike) -> web.Response:
        """What answers in the place of the answer; a cut connection where none does."""
        codes = {"code_500_applied": "500", "code_500": "500", "key_invalid": "INVALID_AUTH_ID"}
        codes["key_expired"] = "AUTH_ID_EXPIRED"
        if strike.name in codes:
            code = codes[strike.name]
            return self._dressed(self.error_status, {"message": MESSAGES[code], "errorCode": code}, {})
        if strike.name == "status_500_html":
            return self._page(500, "Server Error in '/' Application.")
        if strike.name == "html_200":
            return self._page(200, "Sign in")
        if strike.name == "garbage":
            return web.Response(body=b'{"status":"Contact Cr\x00\xff\xfe', content_type="application/json")
        if strike.name == "hang":
            await self._pause(strike.seconds)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def _page(self, status: int, title: str) -> web.Response:
        self.counts[f"page.{status}"] += 1
        return web.Response(status=status, text=HTML.format(title), content_type="text/html")

    async def _pause(self, seconds: float) -> None:
        """Wait, but not longer than the server lives."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._closing.wait()


def _refuse(why: str) -> NoReturn:
    raise Failure("WEBSERVICE_ERROR", f"Exception Detail: {why}")


def _parameters(query: str) -> dict[str, str]:
    """The query's values, each named once."""
    try:
        pairs = urllib.parse.parse_qsl(query, keep_blank_values=True, strict_parsing=True, errors="strict")
    except ValueError:
        return {}
    return dict(pairs) if len({name for name, _ in pairs}) == len(pairs) else {}


def _rows(text: str) -> tuple[str, list[Row]]:
    """The wrapper's name and what it wraps: one key, an array of flat objects of texts."""
    try:
        value = json.loads(text)
    except ValueError:
        _refuse("qsValue is no JSON")
    if not isinstance(value, dict) or len(value) != 1:
        _refuse("qsValue is an object with one key")
    wrapper, rows = next(iter(value.items()))
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        _refuse(f"{wrapper} is an array of objects")
    if not all(isinstance(text, str) for row in rows for text in row.values()):
        _refuse(f"{wrapper} holds texts")
    return wrapper, rows


def _only(row: Row, keys: tuple[str, ...]) -> None:
    if unknown := row.keys() - set(keys):
        _refuse(f"unknown key {min(unknown)}")


def _extension(row: Row) -> str:
    _only(row, EXTENSION)
    number = row.get("ExtentionNumber", "").strip()
    if not re.fullmatch(r"[0-9]+", number):
        raise Failure("INVALID_EXTENSION")
    return number


def _person(row: Row) -> None:
    address = row.get("EmailAddress", "").strip()
    if address and not re.fullmatch(r"[^@\s]+@[^@\s]+\.[^@\s.]+", address):
        raise Failure("INVALID_EMAIL")
    if not row.get("FirstName", "").strip():
        raise Failure("FNAME_INVALID")


async def _run(manager: Manager, port: int) -> None:
    async with manager.serve(port) as url:
        print(url, flush=True)
        await asyncio.Event().wait()


def main() -> None:
    """Serve until interrupted; the first line printed is the URL."""
    parser = argparse.ArgumentParser(prog="bridge.demo.manager", description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=0, help="loopback port (default: any free one)")
    parser.add_argument("--key", default="demo-key", help="the security key that it takes")
    parser.add_argument("--faults", default="", help="name[=amount][@seconds],… e.g. answer_lost_after_apply=0.1")
    parser.add_argument("--seed", type=int, default=0, help="the same seed, the same faults")
    chosen = parser.parse_args()
    manager = Manager(chosen.key, seed=chosen.seed)
    try:
        manager.faults.read(chosen.faults)
    except ValueError as wrong:
        parser.error(str(wrong))
    with suppress(KeyboardInterrupt):
        asyncio.run(_run(manager, chosen.port))


if __name__ == "__main__":
    main()
