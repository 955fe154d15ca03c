"""Pages as bytes: templates compiled once, written in small pieces between which others have their turn."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import importlib.resources
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import jinja2
from markupsafe import Markup, escape

from bridge.web import pictures, views, words
from bridge.web.views import View

EVERY = 5
"""Seconds after which a page looks for news of itself."""
_SLICE = 0.002
"""Seconds that a page may keep a lookup waiting."""
_TYPES = {"css": "text/css; charset=utf-8", "js": "text/javascript; charset=utf-8", "svg": "image/svg+xml"}


@dataclass(frozen=True, slots=True)
class Asset:
    """A file that pages refer to, by a path that changes when it does."""

    path: str
    type: str
    body: bytes


def _assets() -> Mapping[str, Asset]:
    found = {}
    for file in importlib.resources.files("bridge.web").joinpath("static").iterdir():
        body = file.read_bytes()
        stem, _, ending = file.name.rpartition(".")
        mark = hashlib.sha256(body).hexdigest()[:12]
        found[file.name] = Asset(f"/static/{stem}.{mark}.{ending}", _TYPES[ending], body)
    return found


ASSETS = _assets()


@dataclass(frozen=True, slots=True)
class Note:
    """What became of something that an admin did."""

    tone: str
    text: str


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page has around its view. `tenant` "": there is one alone, or none was chosen.

    `tenants`: to choose from; there may be too `many` for that, which are found by a part of their names.
    """

    path: str
    now: datetime.datetime
    masked: Callable[[str], str]
    name: str = ""
    tenant: str = ""
    tenants: tuple[str, ...] = ()
    many: bool = False
    find: str = ""
    numbers: bool = False
    token: str = ""
    user: str = ""
    note: Note | None = None

    def to(self, path: str, **query: object) -> Markup:
        """The address of a page, for the same tenant."""
        words = {key: str(value) for key, value in query.items() if value not in ("", None, False)}
        if self.tenant:
            words.setdefault("tenant", self.tenant)
        if self.numbers:
            words.setdefault("numbers", "1")
        return escape(f"{path}?{urlencode(words, errors='replace')}" if words else path)

    def number(self, said: str) -> str:
        """A caller's number, masked unless it was asked for."""
        return said if self.numbers or not said else self.masked(said)


def _bounded(value: Any) -> Any:
    """Whatever a template puts out is of bounded length, unless it was made for the page."""
    return value if isinstance(value, Markup | int | float) else words.text(value)


def _environment() -> jinja2.Environment:
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("bridge.web"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        finalize=_bounded,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    filters = (words.span, words.ago, words.stamp, words.seconds, words.count, words.bounded, words.plural, words.text)
    made.filters.update({filter.__name__: filter for filter in filters})
    made.filters["link"] = lambda url: escape(words.link(url))
    made.filters["path"] = Markup  # of numbers and letters that pictures.py wrote
    made.globals.update(EVERY=EVERY, MENU=views.MENU, SLOTS=pictures.SLOTS, ASSETS=ASSETS)
    for name in made.list_templates():
        made.get_template(name)
    return made


_TEMPLATES = _environment()


async def render(view: View, frame: Frame) -> bytes:
    """The page."""
    parts: list[str] = []
    began = time.perf_counter()
    for part in _TEMPLATES.get_template(view.template).generate(view.values, title=view.title, frame=frame):
        parts.append(part)
        if time.perf_counter() - began > _SLICE:
            await asyncio.sleep(0)
            began = time.perf_counter()
    return "".join(parts).encode("utf-8", "replace")
