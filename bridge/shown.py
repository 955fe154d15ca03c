"""What a lookup shows of a contact: kept as few bytes, and put into the frame of its source when it is asked for.

`compact` does once what takes time, to read the contact and to write its texts as JSON, and parts what is the contact's
own from what it has in common with others; `frame` holds all that the contacts of one source have in common. No I/O.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec
import orjson

_BETWEEN = b"\n"
"""Stands between the texts of a compact contact: none of them holds one, as JSON writes it otherwise."""
_ID = b"\1"
"""Stands for the contact's id where its URL has it, so that many contacts have the rest in common."""


class Compact(NamedTuple):
    """A contact in two parts. `own`: name, id and custom fields; `common`: company, its URL and the contact's."""

    own: bytes
    common: bytes


class _Shown(msgspec.Struct):
    """The fields that are shown of what `contact.dump` made: reading all of it would take four times as long."""

    id: str
    first_name: str = ""
    last_name: str = ""
    display_name: str = ""
    company: str = ""
    contact_url: str = ""
    company_url: str = ""
    custom: tuple[tuple[str, str], ...] = ()

    @property
    def name(self) -> str:
        """As `Contact.name`."""
        return self.display_name or f"{self.first_name} {self.last_name}".strip() or self.company


_SHOWN = msgspec.json.Decoder(_Shown)


def compact(body: str | bytes) -> Compact:
    """A contact as `contact.dump` made it, by what is shown of it."""
    held = _SHOWN.decode(body)
    id = _text(held.id)
    url = _text(http(held.contact_url))
    return Compact(
        b"%b\n%b\n%b" % (_text(held.name), id, _custom(held.custom)),
        b"%b\n%b\n%b" % (_text(held.company), _text(http(held.company_url)), url.replace(id, _ID) if id else url),
    )


@functools.lru_cache(1024)
def frame(source: str, label: str, logo: str, workflows: tuple[str, ...]) -> bytes:
    """The result of any contact of a source, with a place for each part of a compact one: see `fill`."""
    texts = {"name": "", "company": "", "contactUri": "", "companyUri": "", "id": f"{source}:"}
    places = _literal(texts).replace(b'"",', b'"%b",').removesuffix(b'"')
    crm = _literal({"crmName": label, "crmLogo": logo})
    actions = _literal({"crmActions": workflows, "CrmActions": workflows})
    return b'{%b%%b",%b,"customData":%%b,"customFields":%%b,%b}' % (places, crm, actions)


def fill(frame: bytes, contact: Compact) -> bytes:
    """The result of one contact: every field of the page, unknown texts "" and objects {}."""
    name, id, custom = contact.own.split(_BETWEEN)
    company, company_url, url = contact.common.split(_BETWEEN)
    return frame % (name, company, url.replace(_ID, id), company_url, id, custom, custom)


def http(url: str) -> str:
    """The URL, if it is one of http or https; else ""."""
    return url if url.lower().startswith(("http://", "https://")) else ""


def _text(text: str) -> bytes:
    """As JSON writes it, without the quotes."""
    return orjson.dumps(text)[1:-1]


def _custom(fields: Sequence[tuple[str, str]]) -> bytes:
    if not fields:
        return b"{}"
    custom: dict[str, str] = {}
    for title, text in fields:
        custom[title] = f"{custom[title]}, {text}" if title in custom else text
    return orjson.dumps(custom)


def _literal(members: Mapping[str, object]) -> bytes:
    """The members of a JSON object, without its braces, as they stand in a frame."""
    return orjson.dumps(members)[1:-1].replace(b"%", b"%%")
