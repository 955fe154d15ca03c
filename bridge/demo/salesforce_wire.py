"""What the parts of the stand-in Salesforce hand each other: what is asked, what is answered, and what limits hold."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

JSON = "application/json;charset=UTF-8"
XML = "text/xml;charset=UTF-8"


@dataclass(frozen=True, slots=True)
class Ask:
    """One request; `parts` are the decoded segments of the path, for REST those after the version."""

    method: str
    parts: tuple[str, ...]
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes
    version: str = ""

    @property
    def base(self) -> str:
        """The path of this version of the REST API."""
        return f"/services/data/v{self.version}"

    def json(self) -> dict[str, Any]:
        """The object in the body; refused is what is not sent, or is not, JSON."""
        if self.headers.get("Content-Type", "").partition(";")[0].strip().lower() != "application/json":
            raise Refused(415, "UNSUPPORTED_MEDIA_TYPE", "Content-Type header should be application/json")
        try:
            value = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            raise Refused(400, "JSON_PARSER_ERROR", "The HTTP entity body is not well-formed JSON") from None
        if not isinstance(value, dict):
            raise Refused(400, "JSON_PARSER_ERROR", "The HTTP entity body must be an object")
        return value


@dataclass(frozen=True, slots=True)
class Reply:
    """One answer."""

    status: int = 200
    body: bytes = b""
    type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)
    reason: str | None = None


@dataclass(frozen=True, slots=True)
class Mistake:
    """One entry of an error body."""

    code: str
    message: str
    fields: tuple[str, ...] | None = None


class Refused(Exception):
    """A request that REST refuses, with one or more mistakes."""

    def __init__(self, status: int, code: str, message: str, fields: tuple[str, ...] | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.mistakes = [Mistake(code, message, fields)]

    @classmethod
    def for_all(cls, mistakes: Iterable[Mistake], status: int = 400) -> Refused:
        """One refusal for several mistakes."""
        first, *others = mistakes
        refused = cls(status, first.code, first.message, first.fields)
        refused.mistakes += others
        return refused

    def reply(self) -> Reply:
        """The error body: an array."""
        return told(
            [
                {"message": each.message, "errorCode": each.code}
                | ({} if each.fields is None else {"fields": list(each.fields)})
                for each in self.mistakes
            ],
            self.status,
        )


@dataclass
class Limits:
    """What the server gives at most; each may be changed while it serves.

    page_size: rows of a page of a query, whatever was asked for. bulk_page: rows of a page of a job's results.
    polls: how often a job's state is asked for until it is complete. cursors, cursor_life: open query locators, and the
    seconds after which one that nobody reads is gone. usage, quota: calls of the rolling day.
    """

    page_size: int = 2000
    bulk_page: int = 100_000
    polls: int = 2
    cursors: int = 10
    cursor_life: float = 900.0
    usage: int = 0
    quota: int = 100_000


def told(value: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer in JSON."""
    return Reply(status, orjson.dumps(value), headers=headers or {})


def not_found(message: str = "The requested resource does not exist") -> Refused:
    """What is not there, or may not be seen."""
    return Refused(404, "NOT_FOUND", message)
