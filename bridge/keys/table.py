"""What all tables share: frozen, strict, and every mistake said in the words of an admin."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticUndefined

from bridge.keys.secret import Secret
from bridge.keys.values import shown

Mistake = tuple[str, str]
"""A key, dotted from its table on, and what is wrong and what is right."""

Location = tuple[int | str, ...]

UNKNOWN = "there is no such key"


class Table(BaseModel):
    """One table of bridge.toml."""

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", hide_input_in_errors=True, ser_json_bytes="utf8"
    )

    @classmethod
    def mistakes(cls, given: Mapping[str, Any]) -> Iterator[Mistake]:
        """What the keys say against each other, from the table as written: it may hold other mistakes, too."""
        yield from ()


def wrong(model: type[Table], failed: ValidationError) -> Iterator[Mistake]:
    """Each mistake that pydantic found, as its key and a sentence."""
    for detail in failed.errors(include_url=False):
        yield dotted(detail["loc"]), sentence(model, detail)


def dotted(location: Location) -> str:
    """A key as it is written in TOML: `source.crm.every`, `listen[1]`."""
    parts = [part for part in location if part != "[key]"]
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{quoted(part)}" for part in parts)
    return text.removeprefix(".")


def quoted(key: str) -> str:
    """A key, in quotes where TOML asks for them."""
    return key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else json.dumps(key, ensure_ascii=False)


def sentence(model: type[Table], detail: ErrorDetails) -> str:
    """What is wrong and what is right, for one error of pydantic's."""
    kind, value, context = detail["type"], detail["input"], detail.get("ctx", {})
    if kind == "value_error":
        return str(context["error"])
    if kind == "extra_forbidden":
        *outer, key = detail["loc"]
        return unknown(str(key), _fields(model, tuple(outer)))
    field = _field(model, detail["loc"])
    if kind == "missing":
        return f"is missing, right is {_right(kind, field)}"
    if kind == "literal_error":
        return one_of(value, _choices(field.annotation) if field else ())
    if kind == "string_too_short":
        return f"is empty, right is {_right(kind, field)}"
    if kind in _LIMITS:
        words, limit = _LIMITS[kind]
        return f"is {shown(value)}, right is {words} {context[limit]:.12g}"
    return f"is {_shown(value, field)}, right is {_right(kind, field)}"


def _shown(value: Any, field: FieldInfo | None) -> str:
    """The value, or what it is where it may be a secret that was written in the wrong way."""
    return _kind(value) if field is None or _private(field) else shown(value)


def shown_as(value: Any, model: type[Table]) -> str:
    """The same of a value where a table should be."""
    return _kind(value) if any(map(_private, model.model_fields.values())) else shown(value)


def _kind(value: Any) -> str:
    return {str: "a text", int: "a number", float: "a number"}.get(type(value)) or shown(value)


def _private(field: FieldInfo) -> bool:
    return not field.repr or _of_secrets(field.annotation)


def _of_secrets(annotation: Any) -> bool:
    """Whether secrets are in it: themselves, or as the values of a list or a table."""
    return annotation is Secret or any(map(_of_secrets, get_args(annotation)))


def unknown(key: str, known: Iterable[str]) -> str:
    """That there is no such key, and which one is nearest."""
    keys = list(known)
    near = nearest(key, keys)
    return f"{UNKNOWN}, did you mean {near}?" if near else f"{UNKNOWN}, right is one of {', '.join(keys)}"


def one_of(value: Any, choices: Iterable[Any]) -> str:
    """That a value is none of those there are, and which one is nearest."""
    names = [str(choice) for choice in choices]
    near = nearest(value, names) if isinstance(value, str) else ""
    meant = f'; did you mean "{near}"?' if near else ""
    return f"is {shown(value)}, right is {listed(names)}{meant}"


def listed(names: Iterable[str]) -> str:
    """`one of "a", "b"`."""
    quotes = [f'"{name}"' for name in names]
    return ("one of " if len(quotes) > 1 else "") + ", ".join(quotes)


def nearest(word: str, words: Iterable[str]) -> str:
    """The one of `words` that was most likely meant, or ""."""
    spelled = {_plain(known): known for known in words}
    near = difflib.get_close_matches(_plain(word), spelled, n=1, cutoff=0.6)
    return spelled[near[0]] if near else ""


def _plain(word: str) -> str:
    return word.lower().replace("-", "").replace("_", "")


_LIMITS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}

_KINDS = {
    "string": "a text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false, without quotes",
    "tuple": "a list",
    "list": "a list",
    "dict": "a table",
    "mapping": "a table",
    "model": "a table",
    "date": "a text",
}


def _right(kind: str, field: FieldInfo | None) -> str:
    """What a value of this field looks like, with an example."""
    family = kind.split("_")[0]
    noun = _KINDS.get(family, "")
    example = _example(field) if field is not None and not (noun and _inner(family, field)) else ""
    if family == "bool" or not (noun or example):
        return noun or "another value"
    if not noun:
        return f"for example {example}"
    return f"{noun} such as {example}" if example else noun


def _choices(annotation: Any) -> Iterator[str]:
    """The values of a Literal, optional or not."""
    for inner in get_args(annotation):
        if isinstance(inner, str):
            yield inner
        else:
            yield from _choices(inner)


def _inner(family: str, field: FieldInfo) -> bool:
    """Whether the error is about a thing within the field's value, which its example does not show."""
    outer = get_origin(field.annotation)
    return family == "string" and outer is not None and issubclass(outer, (tuple, Mapping))


def _example(field: FieldInfo) -> str:
    if field.examples:
        return str(field.examples[0])
    default = field.get_default(call_default_factory=False)
    if default is PydanticUndefined or default in ("", None) or not isinstance(default, (str, int, float)):
        return ""
    return json.dumps(default)


def _field(model: type[Table], location: Location) -> FieldInfo | None:
    """The field that a location is in, if it has one; for an item of a list or table, the field that holds it."""
    found: FieldInfo | None = None
    table: type[Table] | None = model
    for part in location:
        if table is not None and isinstance(part, str) and part in table.model_fields:
            found = table.model_fields[part]
            table = _table(found.annotation)
    return found


def _fields(model: type[Table], location: Location) -> list[str]:
    table = model
    for part in location:
        field = table.model_fields.get(str(part))
        table = (_table(field.annotation) if field else None) or table
    return list(table.model_fields)


def _table(annotation: Any) -> type[Table] | None:
    """The model in an annotation: itself, optional, or the values of a mapping."""
    if isinstance(annotation, type) and issubclass(annotation, Table):
        return annotation
    return next((found for inner in get_args(annotation) if (found := _table(inner))), None)
