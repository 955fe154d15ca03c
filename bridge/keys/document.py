"""One file of TOML while it is checked: its mistakes, its warnings and its secrets, each noted as it is found."""

from __future__ import annotations

import hashlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote, urlsplit

from pydantic import ValidationError

from bridge import errors
from bridge.keys import outside
from bridge.keys import table as tables
from bridge.keys.outside import Seen
from bridge.keys.secret import READERS, Secret
from bridge.keys.surfaces import Top
from bridge.keys.table import Table

M = TypeVar("M", bound=Table)

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
"""What may stand in a URL, a log line and an id as it is."""
READABLE = 0o044
_LOOK = {**READERS, "stamp": lambda name, _directory: outside.stamp(name)}


class Document:
    """What was found in one file so far."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.problems: list[str] = []
        self.warnings: list[str] = []
        self.secrets: list[str] = []
        self.seen: Seen = {}
        self.mark = b""
        self._directory = path.absolute().parent
        self._bytes = b""
        self._bare = False

    def fetch(self) -> None:
        """Read the file; ConfigError where it cannot be. From now on `mark` is another one if the file is."""
        try:
            with open(self.path, "rb", buffering=0) as file:
                self._bytes = file.read()
                self._bare = bool(os.fstat(file.fileno()).st_mode & READABLE)
        except FileNotFoundError:
            raise errors.ConfigError([f"{self.path}: there is no such file, right is the path of one"]) from None
        except OSError as failed:
            why = f"{self.path}: cannot be read ({failed.strerror}), right is a file that bridge may read"
            raise errors.ConfigError([why]) from None
        place = f"{self._directory}\0{self.path.name}\0{self._bare}\0".encode("utf-8", "surrogateescape")
        self.mark = hashlib.blake2b(place + self._bytes, digest_size=16).digest()

    def parsed(self) -> dict[str, Any]:
        """What the file holds; ConfigError where it is no TOML."""
        try:
            text = self._bytes.decode("utf-8-sig")
        except UnicodeDecodeError as failed:
            line = failed.object[: failed.start].count(b"\n") + 1
            raise errors.ConfigError([f"{self.path}:{line}: is no UTF-8, right is a text saved as UTF-8"]) from None
        try:
            return tomllib.loads(text)
        except tomllib.TOMLDecodeError as failed:
            raise errors.ConfigError([f"{self.path}:{_syntax(str(failed), text)}"]) from None

    def still(self, seen: Mapping[tuple[str, str], object]) -> bool:
        """Whether all that its tables looked at outside of it once is as it was."""
        return outside.unchanged(seen, _LOOK, self._directory)

    def wrong(self, key: str, sentence: str) -> None:
        """Note a mistake."""
        self.problems.append(f"{self.path}:{key}: {sentence}")

    def warn(self, key: str, sentence: str) -> None:
        """Note what works and should not stay so."""
        self.warnings.append(f"{self.path}:{key}: {sentence}")

    def take(self, other: Document) -> None:
        """Add what was noted of another file."""
        self.problems += other.problems
        self.warnings += other.warnings
        self.secrets += other.secrets

    def check_known(self, raw: Mapping[str, Any], known: Sequence[str]) -> None:
        """Note each key, or table, that there is none of at the top of the file."""
        for key in raw:
            if key not in known:
                self.wrong(tables.quoted(key), tables.unknown(key, known))

    def named(self, raw: Mapping[str, Any], family: str) -> Iterator[tuple[str, dict[str, Any]]]:
        """The tables `[family.NAME]`, in file order."""
        group = raw.get(family, {})
        if not isinstance(group, dict) or any(not isinstance(one, dict) for one in group.values()):
            self.wrong(family, f"is no group of tables, right is [{family}.NAME] with a name of your choice")
        for name, one in group.items() if isinstance(group, dict) else ():
            if isinstance(one, dict):
                self.check_name(f"{family}.{tables.quoted(name)}", name)
                yield name, one

    def check_name(self, key: str, name: str) -> None:
        """Note a name that cannot stand everywhere as it is."""
        if not NAME.fullmatch(name):
            self.wrong(key, "is no name, right is letters, digits, _ and -, at most 63, no _ or - in front")

    def table(self, model: type[M], raw: Any, key: str) -> M | None:
        """A table checked; None, and its mistakes noted, where it is wrong."""
        if not isinstance(raw, dict):
            # A text may be meant for a key in it.
            self.wrong(key, f"is {tables.shown_as(raw, model)}, right is a table: [{key}]")
            return None
        noted: dict[str, str] = {}
        made: M | None = None
        try:
            made = model.model_validate(raw, context=outside.context(self._directory, self.seen))
        except ValidationError as failed:
            noted.update(tables.wrong(model, failed))
        for inner, sentence in model.mistakes(raw):
            noted.setdefault(inner, sentence)
        for inner, sentence in noted.items():
            self.wrong(f"{key}.{inner}" if key else inner, _placed(inner, sentence) if key else sentence)
        if noted or made is None:
            return None
        self._note_secrets(made, raw, key)
        return made

    def _note_secrets(self, made: Table, raw: Mapping[str, Any], key: str) -> None:
        for inner, text, literal in _secrets(made, raw, key):
            self.secrets.append(text)
            if literal and self._bare:
                self.warn(inner, 'is a secret in a file that others can read, right is { env = "NAME" } or chmod 600')


def _secrets(made: Table, raw: Mapping[str, Any], key: str) -> Iterator[tuple[str, str, bool]]:
    """Each secret of a table: its key, its text, and whether it stood in the file itself."""
    for name, info in type(made).model_fields.items():
        value, written = getattr(made, name), raw.get(name)
        if not info.repr and isinstance(value, str):
            yield from _private(value, isinstance(written, dict), f"{key}.{name}")
        elif written is not None:
            yield from _within(value, written, f"{key}.{name}")


def _within(value: Any, written: Any, key: str) -> Iterator[tuple[str, str, bool]]:
    match value:
        case Secret() if value:
            yield key, value.reveal(), value.literal
        case Table():
            yield from _secrets(value, written, key)
        case Mapping():
            for name, inner in value.items():
                yield from _within(inner, written[name], f"{key}.{tables.quoted(name)}")
        case tuple() if isinstance(written, list):
            # A token joined to `tokens` stands in front of those that were written.
            for n, inner in enumerate(value[-len(written) :] if written else ()):
                yield from _within(inner, written[n], f"{key}[{n}]")


def _private(value: str, referred: bool, key: str) -> Iterator[tuple[str, str, bool]]:
    """The secrets of a text that may hold some: all of it if it was referred to, else the password in a URL."""
    if referred:
        yield key, value, False
    password = urlsplit(value).password if "://" in value else None
    if password:
        yield key, unquote(password), not referred


def _placed(key: str, sentence: str) -> str:
    """The sentence, and where the key belongs if it is one that stands above the first table."""
    if sentence.startswith(tables.UNKNOWN) and key in Top.model_fields:
        return f"{tables.UNKNOWN} in a table, right is above the first [table] of the file"
    return sentence


def _syntax(said: str, text: str) -> str:
    """`line: what is wrong, what is right` from what the TOML reader said."""
    found = re.search(r"\s*\(at line (\d+), column (\d+)\)$", said)
    line = found[1] if found else str(text.count("\n") + 1)
    column = f", column {found[2]}" if found else ", at the end of the file"
    what = re.sub(r"\s*\(at [^)]*\)$", "", said)
    return f"{line}: is no TOML{column}: {what}; right is [table] or key = value, with texts in quotes"
