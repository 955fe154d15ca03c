"""Events, one a line, with the secrets taken out.

    logger = log.get()
    logger.info("run.done", source="crm", added=3)

`setup` is called once, by the program that owns the process; what the standard library's loggers say (aiohttp,
asyncio, warnings) goes the same way. Whatever is logged passes `redact`: values under names that sound like a
secret, credentials and queries of URLs, and every text that `hide` was told of come out as `***`.
"""

from __future__ import annotations

import atexit
import base64
import contextlib
import io
import logging
import os
import queue
import re
import sys
import threading
import traceback
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, TextIO, cast
from urllib.parse import quote, quote_plus

import orjson
import structlog

Mode = Literal["auto", "console", "json"]

HIDDEN = "***"
LONGEST = 2000
"""Characters of one text: an answer's body must not come out by way of an error."""
SHORTEST = 6
"""Shorter secrets are not struck out of other texts: they would be found in words."""
DEEPEST = 6

_SECRET_WORDS = frozenset(
    ("auth", "cookie", "cookies", "credentials", "key", "keys", "pass", "passphrase", "passwords", "pwd", "tokens")
)
_SECRET_PARTS = ("password", "passwd", "secret", "token", "authorization", "credential", "apikey", "securitykey")
_WORD = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])|\d+")

_URL = re.compile(
    r"(?P<scheme>\b[a-z][a-z0-9+.-]{0,20}://)(?P<user>[^\s/?#\"'<>]*@)?(?P<rest>[^\s?#\"'<>]*)(?P<query>[?#][^\s\"'<>]*)?",
    re.I,
)
_QUERY = re.compile(r"(?P<path>/[^\s?\"'<>]*)\?[^\s\"'<>]+")
_PATH = re.compile(r"(/pbxsync/)[^\s\"'<>]+", re.I)
_AUTHORIZATION = re.compile(r"(\b(?:proxy-)?authorization[\"']?\s*[:=]\s*)[^\r\n]+", re.I)
_SCHEME = re.compile(r"\b((?i:basic|bearer|token|oauth))\s+(?=[^\s,;\"']*[A-Z0-9=+/])[A-Za-z0-9._~+/=-]{8,}")
_PAIR = re.compile(
    r"(?P<name>[\"']?\b[\w-]{0,40}(?:password|passwd|passphrase|pwd|secret|token|securitykey|security_key|api_?key|private_key)"
    r"[\"']?\s*[=:]\s*)(?P<value>\"[^\"]*\"|'[^']*'|[^\s&,;\"'})\]]+)",
    re.I,
)
_PEM = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(-----END [A-Z ]*PRIVATE KEY-----|\Z)", re.S)
_CONTROL = {n: f"\\x{n:02x}" for n in (*range(32), *range(127, 160))} | {
    10: "\\n",
    13: "\\r",
    9: "\\t",
    0x2028: "\\u2028",
    0x2029: "\\u2029",
}

_hidden: Mapping[str, Sequence[str]] = {}
"""What is struck out, by its first `SHORTEST` characters, the longest first."""


def get(**fields: Any) -> structlog.typing.FilteringBoundLogger:
    """A logger whose events carry `fields`."""
    logger: structlog.typing.FilteringBoundLogger = structlog.get_logger(**fields)
    return logger


def setup(mode: Mode = "auto", stream: TextIO | None = None, level: int = logging.INFO, *, aside: bool = False) -> None:
    """From now on write events to `stream` (standard error), for people or as JSON; auto: people have a terminal.

    `aside`: nobody waits until they are written (`Aside`), for a process that must go on whatever becomes of its log.
    """
    out = sys.stderr if stream is None else stream
    people = mode == "console" or (mode == "auto" and out.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True, key="time"),
            _describe_exception,
            redact,
            *([_for_people, _console(out)] if people else [structlog.processors.JSONRenderer(serializer=_json)]),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=cast("TextIO", Aside(out)) if aside else out),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, _Standard)]:
        root.removeHandler(handler)
    root.addHandler(_Standard())
    root.setLevel(level)
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)
    logging.captureWarnings(True)


class Aside:
    """A stream that a thread writes to: nobody waits for who reads it, a stuck journal, a stopped terminal or a disk.

    `most`: lines that may wait. Those for which there is no room are left out, and how many is said after them.
    """

    def __init__(self, out: TextIO, most: int = 2_000) -> None:
        self._out = out
        self._most = most
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._left_out = 0
        self._thread = threading.Thread(target=self._run, name="log", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, line: str) -> None:
        """Have this line written. The logger has one call at a time."""
        if self._lines.qsize() < self._most:
            self._lines.put(line)
        else:
            self._left_out += 1

    def flush(self) -> None:
        """Nothing is held back here."""

    def close(self, within: float = 1.0) -> None:
        """Have what waits written, in so many seconds."""
        self._lines.put(None)
        self._thread.join(within)

    def _run(self) -> None:
        told = 0
        while (line := self._lines.get()) is not None:
            # Who reads may be gone, and a disk full: that is no reason to stop answering, and nobody could be told.
            with contextlib.suppress(OSError, ValueError):
                self._put(line)
            untold = self._left_out - told
            if untold and self._lines.qsize() < self._most // 2:
                told += untold
                get().warning("log.left_out", lines=untold)

    def _put(self, line: str) -> None:
        """Past the stream's buffer, whose lock would be held while nobody reads: a process waits for it at its end."""
        try:
            file = self._out.fileno()
        except io.UnsupportedOperation:
            self._out.write(line)
            self._out.flush()
            return
        left = memoryview(line.encode(self._out.encoding, "backslashreplace"))
        while left:
            left = left[os.write(file, left) :]


def hide(secrets: Iterable[str]) -> None:
    """Strike these texts out of all that is logged from now on, as they are and as URLs and headers spell them.

    Takes the place of what was told before.
    """
    global _hidden
    spellings: set[str] = set()
    for secret in {text for text in ("".join(secret) for secret in secrets) if len(text) >= SHORTEST}:
        spellings |= {secret, quote(secret, safe=""), quote(secret), quote_plus(secret), repr(secret)[1:-1]}
        spellings |= {orjson.dumps(secret).decode()[1:-1], base64.b64encode(secret.encode()).decode().rstrip("=")}
        spellings |= {line for line in secret.splitlines() if len(line) >= 16}
    found: dict[str, list[str]] = {}
    for spelling in spellings:
        found.setdefault(spelling[:SHORTEST], []).append(spelling)
    for alike in found.values():
        alike.sort(key=len, reverse=True)
    _hidden = found


def _struck(said: str) -> str:
    """The text without what is hidden; as fast with the secrets of thousands of tenants as with one."""
    hidden, done, at = _hidden, 0, 0
    parts: list[str] = []
    while at + SHORTEST <= len(said):
        for spelling in hidden.get(said[at : at + SHORTEST], ()):
            if said.startswith(spelling, at):
                parts += (said[done:at], HIDDEN)
                done = at = at + len(spelling)
                break
        else:
            at += 1
    return "".join((*parts, said[done:]))


def redact(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """The event with nothing secret in it, and nothing but texts, numbers, lists and mappings."""
    return {
        name: HIDDEN if value not in (None, "") and secret_name(name) else clean(value) for name, value in event.items()
    }


def secret_name(name: str) -> bool:
    """Whether a value of this name is likely a secret: `security_key`, `clientSecret`, `X-Execution-Token`."""
    words = [word.lower() for word in _WORD.findall(name)]
    joined = "".join(words)
    return any(word in _SECRET_WORDS for word in words) or any(part in joined for part in _SECRET_PARTS)


def clean(value: Any, depth: int = 0) -> Any:
    """A value as it may be logged."""
    match value:
        case int() if not -(2**63) <= value < 2**63:
            return str(value)
        case None | bool() | int() | float():
            return value
        case str():
            # A secret is a text that formats itself as ***.
            return text(format(value))
        case Mapping() if depth < DEEPEST:
            return {
                text(f"{name}"): HIDDEN if secret_name(str(name)) else clean(inner, depth + 1)
                for name, inner in value.items()
            }
        case list() | tuple() | set() | frozenset() if depth < DEEPEST:
            return [clean(inner, depth + 1) for inner in value]
        case BaseException():
            return text(f"{type(value).__name__}: {value}")
    return text(repr(value))


def text(said: str, longest: int = LONGEST) -> str:
    """A text without credentials, and not endless."""
    if _hidden:
        said = _struck(said)
    length = len(said)
    # Cut generously first, so that the last cut goes through nothing that still needs its end to be known.
    said = said[: 8 * longest].encode("utf-8", "backslashreplace").decode()
    said = _PEM.sub(HIDDEN, said)
    said = _AUTHORIZATION.sub(rf"\1{HIDDEN}", said)
    said = _URL.sub(_bare_url, said)
    said = _QUERY.sub(rf"\g<path>?{HIDDEN}", said)
    said = _PATH.sub(rf"\1{HIDDEN}", said)
    said = _PAIR.sub(rf"\g<name>{HIDDEN}", said)
    said = _SCHEME.sub(rf"\1 {HIDDEN}", said)
    return said if len(said) <= longest else f"{said[:longest]}… ({length} characters)"


def _bare_url(found: re.Match[str]) -> str:
    query = f"{found['query'][0]}{HIDDEN}" if found["query"] else ""
    return f"{found['scheme']}{found['rest']}{query}"


def _describe_exception(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """`exc_info` as a text without locals, and without the words of causes that were suppressed."""
    said = event.pop("exc_info", None)
    if said is True:
        said = sys.exc_info()
    raised = said if isinstance(said, BaseException) else said[1] if isinstance(said, tuple) else None
    if raised is not None:
        lines = "".join(traceback.TracebackException.from_exception(raised, capture_locals=False).format())
        event["exception"] = [text(line) for line in lines.splitlines()[-60:]]
    return event


def _for_people(logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Control characters spelled out, so that no name moves the cursor or begins a line of its own.

    Only the lines of a traceback stay lines, below their event.
    """
    spelled = {name: _spelled(value) for name, value in event.items()}
    if "exception" in spelled:
        spelled["exception"] = "\n".join(spelled["exception"])
    return spelled


def _spelled(value: Any) -> Any:
    match value:
        case str():
            return value.translate(_CONTROL)
        case list():
            return [_spelled(inner) for inner in value]
        case Mapping():
            return {_spelled(name): _spelled(inner) for name, inner in value.items()}
    return value


def _console(out: TextIO) -> structlog.typing.Processor:
    return structlog.dev.ConsoleRenderer(colors=out.isatty(), timestamp_key="time", pad_event_to=24, sort_keys=False)


def _json(event: Any, **_: Any) -> str:
    first = {name: event[name] for name in ("time", "level", "event") if name in event}
    return orjson.dumps(first | event, option=orjson.OPT_NON_STR_KEYS, default=repr).decode()


class _Standard(logging.Handler):
    """Hands what the standard library's loggers say to ours."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            message = record.getMessage()
        except (TypeError, ValueError):
            message = f"{record.msg} {record.args}"
        level = min(max(record.levelno // 10 * 10, logging.DEBUG), logging.CRITICAL)
        get().log(level, message, origin=record.name, exc_info=record.exc_info)
