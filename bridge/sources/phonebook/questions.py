"""How a phone book is asked for: by GET, or by the POST whose body the admin wrote. No I/O."""

from __future__ import annotations

import email.utils
import json
import re
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

_PLACE = re.compile("%(user|pwd)%")
_FORM = re.compile(r"[\w.\[\]-]+=[^\s&]*(?:&[\w.\[\]-]+=[^\s&]*)*")
_ACCEPT = {
    "auto": "application/json, application/xml;q=0.9, */*;q=0.8",
    "json": "application/json, */*;q=0.5",
    "xml": "application/xml, text/xml;q=0.9, */*;q=0.5",
    "text": "text/plain, */*;q=0.5",
    "csv": "text/csv, */*;q=0.5",
    "vcard": "text/vcard, */*;q=0.5",
}


@dataclass(frozen=True, slots=True)
class Question:
    """One request; a body holds a login, so it is neither shown nor sent where a redirect leads."""

    method: str
    headers: Mapping[str, str]
    body: bytes = field(default=b"", repr=False)

    @property
    def redirects(self) -> bool:
        """Whether it may be asked again elsewhere."""
        return self.method == "GET"


def make(post: str, username: str, password: str, format: str) -> Question:
    """The question for a book: a POST of the filled-in body where there is one, else a GET."""
    accept = {"Accept": _ACCEPT[format]}
    if not post:
        return Question("GET", accept)
    kind, spell = _spelling(post.strip())
    login = {"user": spell(username), "pwd": spell(password)}
    body = _PLACE.sub(lambda found: login[found[1]], post)
    return Question("POST", {**accept, "Content-Type": kind}, body.encode(errors="surrogateescape"))


def _spelling(template: str) -> tuple[str, Callable[[str], str]]:
    """The content type of a body, and how a text is spelled within it."""
    if template.startswith(("{", "[")):
        return "application/json; charset=utf-8", lambda text: json.dumps(text)[1:-1]
    if _FORM.fullmatch(template):
        return "application/x-www-form-urlencoded", urllib.parse.quote_plus
    return "text/plain; charset=utf-8", lambda text: text


def conditions(question: Question, held: Mapping[str, Any]) -> dict[str, str]:
    """Headers by which the server may answer that what is held is still right; of a GET only (RFC 9110, 13.1)."""
    if question.method != "GET":
        return {}
    if held.get("etag"):
        return {"If-None-Match": held["etag"]}
    return {"If-Modified-Since": held["modified"]} if held.get("modified") else {}


def validators(question: Question, headers: Mapping[str, str]) -> dict[str, str]:
    """What of an answer's headers tells it from the next one."""
    if question.method != "GET":
        return {}
    modified = headers.get("Last-Modified", "")
    return {
        "etag": headers.get("ETag", ""),
        "modified": modified if _settled(modified, headers.get("Date", "")) else "",
    }


def means(question: Question, headers: Mapping[str, str]) -> list[str]:
    """The names of the headers by which changes are told."""
    found = validators(question, headers)
    return ["ETag"] if found.get("etag") else ["Last-Modified"] if found.get("modified") else []


def _settled(modified: str, date: str) -> bool:
    """Whether a time of seconds can still be that of another state: not once it is past (RFC 9110, 8.8.2.2)."""
    try:
        gap = email.utils.parsedate_to_datetime(date) - email.utils.parsedate_to_datetime(modified)
    except (ValueError, TypeError):
        return False
    return gap.total_seconds() >= 2
