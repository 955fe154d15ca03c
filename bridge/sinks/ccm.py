"""The Call Control Manager: one entry a number, one POST a push, everything in the URL as its page documents.

The page's answers are read by what they say, never by HTTP status or content type. What it leaves open:
a delete's names are configurable, and an error that says "it is not there" is told apart from all others.
"""

from __future__ import annotations

import bisect
import json
import re
import unicodedata
import urllib.parse
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Literal

import orjson

from bridge import client, errors
from bridge.contact import User
from bridge.keys import Ccm
from bridge.sinks import Entry, Extension, Push

LONG = 1024
"""Bytes of URL from which a web server's 400 or 404 may mean "too long" (IIS: 2,048 of query by default)."""

LONGEST_NUMBER = "0" * 24
"""Room for any registered number: E.164 has 15 digits, and its plus is three bytes of a URL."""

ANY_STATUS = range(100, 600)
TURNED_AWAY = frozenset({400, 401, 403, 404, 405, 411, 413, 414, 431})
"""What a web server answers before the Manager has seen the request."""

EMAIL = re.compile(r"[^@\s,;<>()]+@[^@\s,;<>()]+\.[^@\s.,;<>()]+", re.ASCII)
"""The "global email format" that the Manager checks for, which its page names and does not give."""

QUOTES = str.maketrans(dict.fromkeys("“”„‟″", '"'))
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")
INVISIBLE = " \xad\u200b\u200c\u200d\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2060\u2066\u2067\u2068\u2069\ufeff"
JOINERS = "\u200d\ufe0e\ufe0f"

KEY_ERRORS = {"INVALID_AUTH_ID": "does not know the security key", "AUTH_ID_EXPIRED": "says the security key expired"}
FIELDS = {
    "FNAME_INVALID": "the first name",
    "LNAME_INVALID": "the last name",
    "PHONE_NUMBER_INVALID": "the phone number",
    "INVALID_EXTENSION": "the extension number",
    "INVALID_EMAIL": "the e-mail address",
}
NAME_ERRORS = frozenset({"FNAME_INVALID", "LNAME_INVALID"})
NUMBER_ERRORS = frozenset({"PHONE_NUMBER_INVALID", "INVALID_EXTENSION"})
"""On an update or a delete these may mean "not found", says the page."""

_OURS = r"(?:contact|entry|extension|number|phone)"
NOT_THERE = re.compile(
    rf"(?:\bnot|n.t)\s+(?:(?:be\s+)?(?:exi\w*|found)|find\s+(?:\w+\s+){{0,2}}{_OURS})|\bno such {_OURS}", re.IGNORECASE
)
NOT_OURS = re.compile(
    r"server|database|table|column|object|file|path|host|network|connection|method|procedure", re.IGNORECASE
)


def open(name: str, keys: Ccm) -> CallControlManager:
    """The sink of `[sink.name]`; nothing is sent before the first call."""
    return CallControlManager(name, keys)


def render(first: str, last: str, display: str, company: str, kind: str, number: str) -> Entry:
    """The entry for one number of a contact, the same every time; Refused where there is no name or no digits.

    Both names are filled: as structured, else from the display name or the company split at the last blank;
    a single word is filled up with the company, else with the kind of number.
    """
    if not re.fullmatch(r"\+?[0-9]+", number):
        raise errors.Refused("NUMBER_NOT_DIALABLE", f"{number[:40]!r} is not made of digits alone")
    first, last, display, company = (_clean(text) for text in (first, last, display, company))
    first, last = _names(first, last, display, company, kind.capitalize() or "Phone")
    return Entry(first, last, number, company)


def render_extension(user: User) -> Extension:
    """The extension of a user of a CRM; a last name alone is the first one, which the Manager must have."""
    number = "".join(user.extension.split())
    first, last = _clean(user.first_name), _clean(user.last_name)
    return Extension(number, first or last, last if first else "", user.email.strip(), _clean(user.caller_id))


def check_extension(extension: Extension) -> None:
    """Refused where the Manager would not take it, as its page says."""
    if not re.fullmatch(r"[0-9]+", extension.number):
        raise errors.Refused(
            "INVALID_EXTENSION", f"{extension.number[:40]!r} is no extension number: right is digits alone"
        )
    if extension.email and not EMAIL.fullmatch(extension.email):
        raise errors.Refused("INVALID_EMAIL", "the e-mail address is none, right is for example anna@example.com")
    if not extension.first_name:
        raise errors.Refused("FNAME_INVALID", "there is no name: the Manager wants a first name")


class CallControlManager:
    """One Call Control Manager, spoken to over HTTP."""

    def __init__(self, name: str, keys: Ccm) -> None:
        self._name = name
        self._keys = keys
        self._understood = False
        self._secrets = {
            spelled.casefold()
            for spelled in (
                keys.security_key,
                urllib.parse.quote(keys.security_key, safe=""),
                urllib.parse.quote_plus(keys.security_key),
                json.dumps(keys.security_key)[1:-1],
            )
        }
        self._client = client.Client(
            keys.url,
            timeout=keys.timeout,
            fingerprint=keys.fingerprint,
            connections=keys.concurrency,
            rate=keys.rate,
            abrupt=True,
        )

    async def check(self) -> str:
        """Show the key with an update of nobody, which the Manager has to refuse."""
        nothing = {**_contact(Entry("", "", "")), "RegisteredPhoneNumber": ""}
        try:
            await self._ask(self._url("updatePhonebook", "uContact", nothing), "updated")
        except errors.Refused:
            return "the Call Control Manager answers and takes the security key"
        except errors.Unavailable as fault:
            if not fault.code or fault.code.isdigit():
                raise
            return f"the Call Control Manager answers, and of the security key it says nothing bad ({fault.code})"
        return "the Call Control Manager takes the security key, and does not check what it is sent"

    async def send(self, push: Push) -> None:
        """Do one push, or raise what the contract of a sink says."""
        if push.entry is None:
            action, wrapper = self._keys.delete_contact_action, self._keys.delete_contact_key
            await self._ask(self._url(action, wrapper, {"PhoneNumber": push.registered}), "deleted")
            return
        row = _contact(self._fitting(push.entry))
        if push.op == "add":
            await self._ask(self._url("addPhonebook", "sContact", row), "created")
        else:
            row["RegisteredPhoneNumber"] = push.registered
            await self._ask(self._url("updatePhonebook", "uContact", row), "updated")

    def fitting(self, extensions: Sequence[Extension]) -> int:
        """How many of these, from the first on, `max_url` lets one request add."""
        rows = [_extension(one) for one in extensions]
        return max(
            1, _longest(len(rows), lambda n: len(self._url("addExt", "mExtension", *rows[:n])) <= self._keys.max_url)
        )

    async def send_extensions(self, op: Literal["add", "update", "delete"], extensions: Sequence[Extension]) -> None:
        """Add these extensions, or update or delete the only one; or raise what the contract of a sink says."""
        if op == "delete":
            action, wrapper = self._keys.delete_extension_action, self._keys.delete_extension_key
            await self._ask(self._url(action, wrapper, {"ExtentionNumber": extensions[0].number}), "deleted")
            return
        rows = [_extension(one) for one in extensions]
        if op == "update":
            await self._ask(self._url("updateExt", "uExtension", *rows), "updated")
        else:
            await self._ask(self._url("addExt", "mExtension" if len(rows) > 1 else "sExtension", *rows), "created")

    async def close(self) -> None:
        """Give back connections."""
        await self._client.close()

    def _url(self, action: str, wrapper: str, *rows: Mapping[str, str]) -> str:
        text = orjson.dumps({wrapper: rows}).decode()
        # ASP.NET refuses a query that looks like markup; in JSON these two can be spelled otherwise.
        text = text.replace("<", "\\u003c").replace("&", "\\u0026")
        values = {"action": action, "qstype": "1", "qsSecuritykey": self._keys.security_key}
        query = urllib.parse.urlencode(values, quote_via=urllib.parse.quote, safe="")
        return f"{self._keys.url}?{query}&qsValue={urllib.parse.quote(text, safe=':,')}"

    def _fitting(self, entry: Entry) -> Entry:
        """The entry with its company and then its names cut to what `max_url` takes, alike in an add and an update."""
        most = self._keys.max_url

        def fits(entry: Entry) -> bool:
            longest = {**_contact(entry), "RegisteredPhoneNumber": LONGEST_NUMBER}
            return len(self._url("updatePhonebook", "uContact", longest)) <= most

        fitted = shorten(entry, fits)
        if fitted is None:
            raise errors.Refused(
                "URL_TOO_LONG", f"the shortest URL for this entry is over max_url of [sink.{self._name}] ({most})"
            )
        return fitted

    async def _ask(self, url: str, done: str) -> None:
        """Send one request; returns when the Manager says that it is done."""
        try:
            got = await self._client.request("POST", url, accept=ANY_STATUS, repeat=False, limit=1 << 16)
        except errors.BridgeError as error:
            # What the error grew out of may quote the URL, and the key is in the URL.
            error.__context__ = None
            raise
        values = read(got.body)
        if values is None:
            raise self._not_the_manager(got, len(url))
        self._understood = True
        failure = self._failure(values, done)
        if failure is not None:
            raise failure

    def _failure(self, values: Mapping[str, str], done: str) -> errors.BridgeError | None:
        """What the Manager's answer means; None where it is done."""
        message = values.get("message") or values.get("errormessage", "")
        said = self._shown(message, ": ")
        if not values.get("errorcode"):
            if re.search(rf"\b{done}\W*$", values.get("status", ""), re.IGNORECASE):
                return None
            return errors.Unsettled(f"the Call Control Manager answered neither {done!r} nor an error code{said}")
        code = self._shown(values["errorcode"]).upper() or "UNKNOWN"
        if code in KEY_ERRORS:
            return errors.Denied(
                f"the Call Control Manager {KEY_ERRORS[code]} ({code}): "
                f"set security_key of [sink.{self._name}] to the one that it shows now",
                code,
            )
        exists = done != "created"
        if code == "EXTENSION_EXIST" and not exists:
            return errors.Refused(code, "the Call Control Manager has this extension already", present=True)
        if code.startswith("INVALID_") or code.endswith("_INVALID"):
            what = FIELDS.get(code, "this entry")
            reason = f"the Call Control Manager does not take {what} ({code})"
            absent, perhaps = exists and code in NUMBER_ERRORS, exists and code not in NAME_ERRORS
            return errors.Refused(code, reason, absent=absent, perhaps_absent=perhaps)
        if exists and says_absent(f"{code.replace('_', ' ')}. {message}"):
            return errors.Refused(code, f"the Call Control Manager holds no such entry ({code}){said}", absent=True)
        return errors.Unavailable(f"the Call Control Manager failed ({code}){said}", code=code)

    def _shown(self, text: str, before: str = "") -> str:
        """The Manager's own words, on one short line; nothing where the key is in them."""
        text = _clean(text)
        secret = any(spelled in text.casefold() for spelled in self._secrets)
        return f"{before}{text[:160]}" if text and not secret else ""

    def _not_the_manager(self, got: client.Answer, length: int) -> errors.BridgeError:
        """What an answer means that no Manager gave."""
        status, wait = got.status, got.headers.get("Retry-After", "")
        after = float(wait) if wait.isascii() and wait.isdigit() else None
        if length > LONG and (status in (413, 414, 431) or (status in (400, 404) and self._understood)):
            return errors.Refused(
                "URL_TOO_LONG",
                f"the web server takes no URL of {length} bytes (HTTP {status}): lower max_url of [sink.{self._name}]",
            )
        if status == 429:
            return errors.Unavailable("the web server of the Call Control Manager asks to wait (HTTP 429)", after=after)
        if status in TURNED_AWAY:
            return errors.Unavailable(
                f"a web server answered HTTP {status} and no Call Control Manager: check url of [sink.{self._name}]"
            )
        return errors.Unsettled(
            f"the answer (HTTP {status}) is none that a Call Control Manager gives: "
            f"if that stays so, check url of [sink.{self._name}]",
            after=after,
        )


def read(body: bytes) -> dict[str, str] | None:
    """The Manager's answer, keys in lower case and values stripped; None where it is no JSON object.

    Typographic quotes, as the page prints them, count only where the text is no JSON without them. Markup behind
    the object is what an .aspx page adds that does not end its answer.
    """
    text = body.decode("utf-8-sig", "replace").strip()
    for spelled in (text, text.translate(QUOTES)):
        try:
            value, end = json.JSONDecoder().raw_decode(spelled)
        except (ValueError, RecursionError):
            continue
        rest = spelled[end:].lstrip()
        if isinstance(value, dict) and (not rest or rest.startswith("<")):
            return {key.strip().casefold(): "" if held is None else str(held).strip() for key, held in value.items()}
    return None


def says_absent(message: str) -> bool:
    """Whether an error says that the entry is not there, and not that the server lacks something of its own."""
    for sentence in re.split(r"[.;:\n]\s", message):
        found = NOT_THERE.search(sentence)
        if found and not NOT_OURS.search(sentence[: found.start()]):
            return True
    return False


def shorten(entry: Entry, fits: Callable[[Entry], bool]) -> Entry | None:
    """The entry that fits, as long as it can be: the company is cut first, then the names; None where none fits."""
    if fits(entry):
        return entry
    company = _longest(len(entry.company), lambda size: fits(_cut(entry, company=size)))
    if company or fits(_cut(entry, company=0)):
        return _cut(entry, company=company)
    most = max(len(entry.first_name), len(entry.last_name))
    names = _longest(most, lambda size: fits(_cut(entry, company=0, names=size)))
    return _cut(entry, company=0, names=names) if names else None


def _longest(most: int, fits: Callable[[int], bool]) -> int:
    """The largest size from 1 to `most` that fits, 0 where none does."""
    return bisect.bisect_left(range(1, most + 1), True, key=lambda size: not fits(size))


def _cut(entry: Entry, company: int, names: int = -1) -> Entry:
    entry = replace(entry, company=_start(entry.company, company))
    if names < 0:
        return entry
    return replace(entry, first_name=_start(entry.first_name, names), last_name=_start(entry.last_name, names))


def _start(text: str, size: int) -> str:
    """At most so many characters from the text's beginning, none without the accents that belong to it."""
    end = size
    while 0 < end < len(text) and (
        unicodedata.combining(text[end]) or text[end] in JOINERS or text[end - 1] == "\u200d"
    ):
        end -= 1
    return text[:end].rstrip() or text[:size]


def _contact(entry: Entry) -> dict[str, str]:
    return {
        "FirstName": entry.first_name,
        "LastName": entry.last_name,
        "PhoneNumber": entry.number,
        "CompanyName": entry.company,
    }


def _extension(extension: Extension) -> dict[str, str]:
    return {
        "ExtentionNumber": extension.number,  # spelled so by its page
        "EmailAddress": extension.email,
        "FirstName": extension.first_name,
        "LastName": extension.last_name,
        "OutboundCallerID": extension.caller_id,
    }


def _names(first: str, last: str, display: str, company: str, filler: str) -> tuple[str, str]:
    """Both names, from whatever there is."""
    if first and last:
        return first, last
    if last and display.endswith(f" {last}"):
        return display.removesuffix(last).rstrip(), last
    if first and display.startswith(f"{first} "):
        return first, display.removeprefix(first).lstrip()
    single = first or last or display or company
    if not single:
        raise errors.Refused("NAME_MISSING", "no name and no company: the Manager wants a first and a last name")
    head, blank, tail = single.rpartition(" ")
    if blank:
        return head, tail
    other = company if company.casefold() != single.casefold() else ""
    return (other or filler, single) if last else (single, other or filler)


def _clean(text: str) -> str:
    """One line, composed, no blank or invisible character at its ends, no blank twice."""
    if not text.isprintable():
        text = CONTROLS.sub(" ", text)
    return " ".join(unicodedata.normalize("NFC", text).split()).strip(INVISIBLE)
