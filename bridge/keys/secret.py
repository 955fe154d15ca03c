"""A text that shows itself to nobody, and where bridge.toml may take it from."""

from __future__ import annotations

import difflib
import os
from pathlib import Path
from typing import Any, NoReturn

from pydantic import GetCoreSchemaHandler, ValidationInfo
from pydantic_core import CoreSchema, core_schema

from bridge.keys import outside

HIDDEN = "***"
WAYS = '{ env = "NAME" }, { file = "PATH" } or { credential = "NAME" }'


class Secret(str):
    """A secret: a `str` to whoever sends, compares or encodes it, and `***` to whoever shows it.

    `repr()`, f-strings and `format()` say `***`, and so do a model's dump and the log; pickling refuses. `str()`
    gives the text: libraries call it on what they are to send (`urllib.parse.urlencode` does). So a header is made
    by `+`, `join` or of `reveal()`, never by an f-string around the secret. Empty: none was given.
    """

    __slots__ = ("literal",)
    literal: bool

    def __new__(cls, value: str = "", *, literal: bool = False) -> Secret:
        """`literal`: it stood in the file itself."""
        made = super().__new__(cls, value)
        made.literal = literal
        return made

    def reveal(self) -> str:
        """The characters, as a plain `str`."""
        return self[:]

    def __repr__(self) -> str:
        return f"Secret({format(self)!r})"

    def __format__(self, spec: str) -> str:
        return format(HIDDEN if self else "", spec)

    def __copy__(self) -> Secret:
        return self

    def __deepcopy__(self, memo: Any) -> Secret:
        return self

    def __reduce_ex__(self, protocol: Any) -> NoReturn:
        raise TypeError("a secret is not pickled; hand on where it is read from")

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.with_info_plain_validator_function(
            _validate, serialization=core_schema.plain_serializer_function_ser_schema(format)
        )


def reference(value: dict[str, Any], info: ValidationInfo) -> str:
    """What an `{ env = … }`, `{ file = … }` or `{ credential = … }` names; ValueError says what is not there."""
    unknown = next((key for key in value if key not in READERS), None)
    if unknown is not None:
        near = difflib.get_close_matches(unknown, READERS, n=1)
        raise ValueError(
            f'"{unknown}" is no place of a secret, ' + (f"did you mean {near[0]}?" if near else f"right is {WAYS}")
        )
    if len(value) != 1:
        raise ValueError(f"names {len(value) or 'no'} places of a secret, right is one: {WAYS}")
    [(way, name)] = value.items()
    if not isinstance(name, str) or not name or "\0" in name:
        raise ValueError(f'{way} is no name, right is {{ {way} = "{"PATH" if way == "file" else "NAME"}" }}')
    found = READERS[way](name, outside.base(info))
    if not found:
        raise ValueError(f"{way} {name} is empty, right is one that holds the secret")
    outside.note(info, way, name, found)
    return found


def _validate(value: Any, info: ValidationInfo) -> Secret:
    match value:
        case Secret():
            return value
        case str():
            return Secret(value, literal=True)
        case dict():
            return Secret(reference(value, info))
    raise ValueError(f"is no text, right is the secret in quotes, or {WAYS}")


def _env(name: str, base: Path) -> str:
    try:
        return os.environ[name]
    except KeyError:
        raise ValueError(f"environment variable {name} is not set, right is to set it to the secret") from None


def _file(name: str, base: Path) -> str:
    return _read(base / name)


def _credential(name: str, base: Path) -> str:
    directory = os.environ.get("CREDENTIALS_DIRECTORY")
    if not directory:
        raise ValueError(
            f"credential {name} cannot be read as $CREDENTIALS_DIRECTORY is not set; "
            f"right is LoadCredential={name}:PATH in the systemd unit"
        )
    if "/" in name or name in (".", ".."):
        raise ValueError("credential is a path, right is the name that the systemd unit gives it")
    return _read(Path(directory, name))


def _read(path: Path) -> str:
    try:
        text = path.read_bytes().decode()
    except OSError as failed:
        why = failed.strerror or type(failed).__name__
        raise ValueError(f"{path} cannot be read ({why}), right is a file that holds the secret") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path} is no UTF-8 text, right is a file that holds the secret") from None
    return text.removesuffix("\n").removesuffix("\r")


READERS = {"env": _env, "file": _file, "credential": _credential}
"""How each place of a secret is read; ValueError says what is not there."""
