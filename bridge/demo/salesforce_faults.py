"""What may go wrong at the stand-in Salesforce, by name, and when it does."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from bridge.demo.salesforce_wire import Reply

_PAGE = b"<!DOCTYPE html><html><head><title>%s</title></head><body><h1>%s</h1></body></html>"
_HTML = "text/html;charset=UTF-8"
_XML_ERRORS = (
    b'<?xml version="1.0" encoding="UTF-8"?><Errors><Error><errorCode>NOT_FOUND</errorCode>'
    b"<message>The requested resource does not exist</message></Error></Errors>"
)


def _errors(status: int, code: str, message: str) -> Reply:
    return Reply(status, orjson.dumps([{"message": message, "errorCode": code}]))


def _object(status: int, **body: str) -> Reply:
    return Reply(status, orjson.dumps(body))


INSTEAD: Mapping[str, Reply] = {
    "401": Reply(401),
    "406": Reply(406, reason="CustomNotAcceptable"),
    "420": Reply(420, b"We've hit a snag", "text/plain", reason="Enhance Your Calm"),
    "429": _object(429, errorCode="INTERNAL_SERVER_ERROR", message="Too many requests"),
    "500": _errors(500, "UNKNOWN_EXCEPTION", "An unexpected error occurred. Please include this ErrorId"),
    "502": Reply(502, _PAGE % (b"Bad Gateway", b"Bad Gateway"), _HTML),
    "503": Reply(503, _PAGE % (b"Down for maintenance", b"We are down for maintenance"), _HTML),
    "414": Reply(414, _PAGE % (b"URI Too Long", b"URI Too Long"), _HTML),
    "html": Reply(200, _PAGE % (b"Login", b"Log in to your account"), _HTML),
    "null": Reply(200, b"null"),
    "empty": Reply(200),
    "xml": Reply(404, _XML_ERRORS, "application/xml;charset=UTF-8"),
    "expired": _errors(401, "INVALID_SESSION_ID", "Session expired or invalid"),
    "policy": _object(
        401, errorCode="INVALID_SESSION_ID", message="This session is not valid for use with the REST API"
    ),
    "agent": _errors(401, "INVALID_SESSION_ID", "Connected app is not attached to Agent"),
    "header": _errors(401, "INVALID_AUTH_HEADER", "INVALID_HEADER_TYPE"),
    "quota": _errors(403, "REQUEST_LIMIT_EXCEEDED", "TotalRequests Limit exceeded."),
    "concurrent": _errors(
        403, "REQUEST_LIMIT_EXCEEDED", "ConcurrentRequests (Concurrent API Requests) Limit exceeded."
    ),
    "disabled": _errors(403, "API_DISABLED_FOR_ORG", "The REST API is not enabled for this Organization."),
    "security": _errors(
        403,
        "TXN_SECURITY_METERING_ERROR",
        "We can't complete the action because enabled transaction security policies took too long to complete.",
    ),
    "locator": _errors(400, "INVALID_QUERY_LOCATOR", "invalid query locator"),
    "timeout": _errors(400, "QUERY_TIMEOUT", "Your query request was running for too long."),
    "restricted": _errors(400, "API_ERROR", "Implementation restriction: only users with View All Data can query it"),
    "too_large": _errors(400, "MALFORMED_QUERY", "OPERATION_TOO_LARGE: exceeded 100000 distinct who/what's"),
    "bulk_quota": _errors(400, "LIMIT_EXCEEDED", "Max bulk v2 query jobs (10000) per 24 hrs has been reached (10021)."),
    "no_bulk": _errors(400, "INVALIDENTITY", "The entity is not supported by the Bulk API."),
    "too_many_ids": _errors(400, "EXCEEDED_ID_LIMIT", "too many ids: narrow the window"),
    "replication": _errors(400, "INVALID_REPLICATION_DATE", "startDate before org replication enabled date"),
    "lock": _errors(400, "UNABLE_TO_LOCK_ROW", "unable to obtain exclusive access to this record"),
    "duplicate": _errors(400, "DUPLICATES_DETECTED", "Use one of these records?"),
    "bare": _object(400, error="invalid_grant"),
    "inactive_user": _object(400, error="inactive_user", error_description="user is inactive"),
    "inactive_org": _object(400, error="inactive_org", error_description="organization is inactive"),
    "rate_limit": _object(400, error="rate_limit_exceeded", error_description="login rate exceeded"),
}
"""Kinds whose answer takes the place of the right one; nothing is carried out."""

AFTERWARDS = ("cut", "lost", "truncated", "nul", "slow")
"""Kinds that come after the request was carried out: the answer breaks off half way, the connection ends without one,
the answer is whole for HTTP and half of itself, it has NUL bytes, it comes late."""

OTHERS = ("drop", "hang", "failed")
"""The connection ends before anything is done, or after `seconds`; a bulk job fails while it is worked on."""


@dataclass(slots=True)
class Fault:
    """One fault for the requests whose `METHOD /path` holds the pattern: the first `after` pass, `times` are struck."""

    pattern: str
    kind: str
    times: int = 1
    after: int = 0
    seconds: float = 0.2
    retry_after: int | None = None

    def __post_init__(self) -> None:
        if self.kind not in INSTEAD and self.kind not in AFTERWARDS + OTHERS:
            raise ValueError(f"there is no fault {self.kind}")

    def due(self, line: str) -> bool:
        """Whether this request is to meet it; counts the request."""
        if self.pattern not in line or self.times <= 0:
            return False
        if self.after > 0:
            self.after -= 1
            return False
        self.times -= 1
        return True

    def instead(self) -> Reply | None:
        """The answer in the place of the right one, if this kind is such."""
        reply = INSTEAD.get(self.kind)
        if reply is None or self.retry_after is None:
            return reply
        return Reply(reply.status, reply.body, reply.type, {"Retry-After": str(self.retry_after)}, reply.reason)


def half(reply: Reply) -> Reply:
    """The answer with the first half of its body, which is well-formed HTTP."""
    return Reply(reply.status, reply.body[: len(reply.body) // 2], reply.type, reply.headers)


def with_nuls(reply: Reply) -> Reply:
    """The answer with NUL bytes after each quoted comma, as old rows have them."""
    return Reply(reply.status, reply.body.replace(b'","', b'\x00","'), reply.type, reply.headers)
