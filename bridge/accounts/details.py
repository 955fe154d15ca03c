"""What an account consists of: the page's fields, and the person that an extension is made of.

What is wrong is said without what was written: in a table whose columns are shifted that may be a password.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec
import orjson

from bridge import errors
from bridge.contact import User
from bridge.keys import Defaults

_SWITCHES = ("srtp", "messaging", "video", "callrecording")
_ON, _OFF = ("enabled", "enable", "on", "yes", "true", "1"), ("disabled", "disable", "off", "no", "false", "0")
_TRANSPORTS = ("UDP", "TCP", "TLS")
_LONGEST = 250


class Details(msgspec.Struct, frozen=True, omit_defaults=True):
    """All of an account but its user name and passwords, named as the CSV's columns; "": not set.

    The page's fields are spelled as the page spells them.
    """

    sipusername: str = ""
    subdomain: str = ""
    authusername: str = ""
    transport: str = ""
    srtp: str = ""
    proxy: str = ""
    messaging: str = ""
    video: str = ""
    callrecording: str = ""
    extension: str = ""
    firstname: str = ""
    lastname: str = ""
    email: str = ""
    callerid: str = ""


FIELDS: tuple[str, ...] = Details.__struct_fields__
OF_PAGE = FIELDS[: FIELDS.index("extension")]
"""What a softphone is given, beside the SIP password, in the page's order."""
COLUMNS = ("username", "password", "sipusername", "sippassword", *FIELDS[1:])
_DECODER = msgspec.json.Decoder(Details)


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of one account: what is not told stays. "" clears a detail; passwords are never empty."""

    username: str
    password: str | None = field(default=None, repr=False)
    sippassword: str | None = field(default=None, repr=False)
    details: Mapping[str, str] = field(default_factory=dict)


def change(told: Mapping[str, str]) -> Change:
    """A change from texts by the names of `COLUMNS`; Refused where one of them is wrong."""
    name = username(told.get("username", ""))
    if not name:
        raise errors.Refused("username", "the user name is missing")
    for column, text in told.items():
        if len(text) > _LONGEST or not text.isprintable():
            raise errors.Refused(column, f"{column} holds a control character, or more than {_LONGEST} characters")
    details = {column: _clean(column, told[column].strip()) for column in FIELDS if column in told}
    return Change(name, told.get("password") or None, told.get("sippassword") or None, details)


def username(text: str) -> str:
    """A user name as it is kept and looked for."""
    return unicodedata.normalize("NFC", text).strip()


def _clean(column: str, text: str) -> str:
    if column in _SWITCHES and text:
        word = text.lower()
        if word not in _ON and word not in _OFF:
            raise errors.Refused(column, f"{column} is neither Enabled nor Disabled")
        return "Enabled" if word in _ON else "Disabled"
    if column == "transport" and text:
        if text.upper() not in _TRANSPORTS:
            raise errors.Refused(column, "transport is none of UDP, TCP, TLS")
        return text.upper()
    return text


def applied(change: Change, before: Details | None) -> Details:
    """The details once the change is made."""
    return msgspec.structs.replace(before or Details(), **change.details)


def dump(details: Details) -> str:
    """As the table keeps it: the same text for the same details."""
    return msgspec.json.encode(details).decode()


def load(text: str) -> Details:
    """What `dump` made."""
    return _DECODER.decode(text)


def user(name: str, details: Details) -> User | None:
    """Whom an extension is made of; None where the account names none."""
    if not details.extension:
        return None
    return User(name, details.extension, details.firstname, details.lastname, details.email, details.callerid)


def public(details: Details, defaults: Defaults) -> dict[str, str]:
    """What a softphone is given but for the password, in the page's order; optional fields without a value left out."""
    told = {name: getattr(details, name) or getattr(defaults, name, "") for name in OF_PAGE}
    return {name: text for name, text in told.items() if text}


def document(given: Mapping[str, str], sippassword: str) -> bytes:
    """One SIP account as the page has it."""
    return orjson.dumps({"sipusername": given["sipusername"], "sippassword": sippassword, **given})
