"""The lines of vCards as properties: folding, encodings, parameters, nesting.

Two ways through a card. `quick` takes one that is UTF-8 and has nothing nested or encoded in it: nearly all. What it
does not take goes through `Lines`, which works on bytes until it knows their encoding. A line that nobody can read is
left out, and no other with it.
"""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from bridge.contact import Kind
from bridge.formats import stream

Sort = Literal["", "single", "tel", "mail", "other", "nesting"]

NO_PREF = 101
"""Behind every `PREF`, of which 1 is the most and 100 the least preferred."""

_SINGLE = ("VERSION", "FN", "N", "NICKNAME", "ORG", "UID", "REV", "KIND", "X-ADDRESSBOOKSERVER-KIND", "X-ABSHOWAS")
_NESTING = ("BEGIN", "END", "AGENT")
_OTHERS = ("ADR", "CATEGORIES", "IMPP", "X-SIP", "X-ABLABEL", "X-ABADR")
_SORTS: dict[str, Sort] = {
    "TEL": "tel",
    "EMAIL": "mail",
    **dict.fromkeys(_SINGLE, "single"),
    **dict.fromkeys(_OTHERS, "other"),
    **dict.fromkeys(_NESTING, "nesting"),
}

# In this order: a WORK,CELL is a mobile, a HOME,FAX a fax, a WORK,PAGER no number to call anybody at work.
_KINDS: tuple[tuple[Kind, frozenset[str]], ...] = (
    ("fax", frozenset(("fax", "homefax", "workfax", "otherfax", "facsimile", "x-fax", "telefax"))),
    ("other", frozenset(("pager", "modem", "bbs"))),
    ("softphone", frozenset(("softphone", "x-softphone", "sip", "x-sip", "voip", "x-voip", "extension"))),
    ("mobile", frozenset(("cell", "mobile", "iphone", "car", "pcs", "mobil", "handy", "gsm", "portable", "x-mobile"))),
    ("work", frozenset(("work", "business", "office", "arbeit", "büro", "geschäftlich", "bureau", "travail"))),
    ("home", frozenset(("home", "privat", "zuhause", "domicile", "maison", "dom"))),
    ("work", frozenset(("main", "company", "zentrale", "standard", "principal"))),
)
_ENCODINGS = frozenset(("QUOTED-PRINTABLE", "BASE64", "8BIT", "7BIT"))

_PARAMETER = re.compile(r';((?:[^;"]|"[^"]*+"?)*+)')
_HEAD = re.compile(r'((?:[^":]|"[^"]*+")*+):(.*)', re.DOTALL)
_NAME = re.compile(rb"\s*(?:[A-Za-z0-9_-]+\.)?([A-Za-z0-9-]+)\s*[;:]")
_BOUND = re.compile(rb"(?:BEGIN|END)[ \t]*:[ \t]*[\w-]+[ \t]*", re.IGNORECASE)
_CARETS = {"^n": "\n", "^'": '"', "^^": "^"}
_CHARSET = re.compile(r"utf-8|ascii|iso8859-\d+|cp\d+|koi8-[ru]|mac-roman|gb\w+|big5|shift_jis|euc_\w+")


@dataclass(frozen=True, slots=True)
class Head:
    """What stands before the colon. `sort` is "" where we have no use for the property.

    `hard`: the value may need more than to be taken as it is: always where `slow` (quoted-printable, a card within),
    else if it is not ASCII.
    """

    name: str
    sort: Sort = ""
    group: str = ""
    kind: Kind | None = None
    pref: int = NO_PREF
    charset: str = ""
    quoted: bool = False
    slow: bool = False
    hard: bool = False


Property = tuple[Head, str]

_UNWANTED = Head("")
_REMEMBERED = 4096


class Heads:
    """The heads of properties, each parsed once: an address book has a few dozen.

    `others`: names of properties, upper case, that are wanted beside those that we know.
    """

    def __init__(self, others: Iterable[str] = ()) -> None:
        self._sorts: dict[str, Sort] = {**dict.fromkeys(others, "other"), **_SORTS}
        self._heads: dict[str, Head] = {}
        self.known = self._heads.get

    def wants(self, name: str) -> bool:
        """Whether a property of this name, upper case, is of use."""
        return name in self._sorts

    def head(self, text: str) -> Head:
        """What this text before a colon says."""
        head = self._heads.get(text)
        if head is None:
            head = _parsed(text, self._sorts)
            if len(self._heads) < _REMEMBERED and len(text) < 256:
                self._heads[text] = head
        return head


USUAL = Heads()


class Properties:
    """What the lines of one card say, sorted; values are on one line, escapes still in them."""

    __slots__ = ("mails", "others", "single", "tels")

    def __init__(self) -> None:
        self.single: dict[str, str] = {}
        self.tels: list[Property] = []
        self.mails: list[Property] = []
        self.others: list[Property] = []

    def add(self, head: Head, value: str) -> None:
        """Take one more; of what a card has once, the first that says anything counts."""
        if head.sort == "single":
            if head.name not in self.single and value:
                self.single[head.name] = value
        elif head.sort == "tel":
            self.tels.append((head, value))
        elif head.sort == "mail":
            self.mails.append((head, value))
        elif head.sort == "other":
            self.others.append((head, value))


def quick(text: str, heads: Heads = USUAL) -> Properties | None:
    """The properties in a card's lines, without BEGIN and END; None where it takes more than this."""
    if "\n " in text:
        text = text.replace("\n ", "")
    if "\t" in text:
        text = text.replace("\n\t", "").replace("\t", " ")
    found = Properties()
    single, tel = found.single, found.tels.append
    known, add = heads.known, found.add
    for line in text.split("\n"):
        before, colon, value = line.partition(":")
        if not colon:
            continue
        head = known(before) or heads.head(before)
        if head.hard and (head.slow or not value.isascii()):
            return None
        # What `add` does, here for the most frequent: the call would cost as much as all the rest.
        if head.sort == "single":
            if head.name not in single and value:
                single[head.name] = value
        elif head.sort == "tel":
            tel((head, value))
        elif head.sort:
            add(head, value)
    return found


def _parsed(text: str, sorts: Mapping[str, Sort]) -> Head:
    label, semicolon, rest = text.partition(";")
    group, _, name = label.strip("\ufeff \t").upper().rpartition(".")
    types: set[str] = set()
    pref, charset, quoted = NO_PREF, "", False
    for parameter in _PARAMETER.findall(semicolon + rest):
        key, equals, value = (part.strip() for part in parameter.partition("="))
        key = key.upper() if equals else "TYPE"
        value = _value(value) if equals else parameter.strip()
        if key == "ENCODING" or value.upper() in _ENCODINGS:
            quoted = quoted or value.upper() == "QUOTED-PRINTABLE"
        elif key == "TYPE":
            types.update(item.strip().lower() for item in value.split(","))
        elif key == "PREF" and value.isdecimal() and len(value) < 4:
            pref = int(value)
        elif key == "CHARSET":
            charset = _charset(value)
    sort = sorts.get(name, "")
    slow = quoted or sort == "nesting" or text.count('"') % 2 == 1
    if not sort:
        return Head(name, slow=True, hard=True) if slow else _UNWANTED
    pref = min(pref, 1) if "pref" in types else pref
    return Head(name, sort, group, kind_of(types), pref, charset, quoted, slow, slow or bool(charset))


def _value(text: str) -> str:
    """A parameter's value, without quotes and with the escapes of RFC 6868 undone."""
    text = text.strip().replace('"', "")
    return re.sub(r"\^[n'^]", lambda found: _CARETS[found[0]], text) if "^" in text else text


def _charset(name: str) -> str:
    """The name by which Python knows the charset of a property; "" for UTF-8, and for what is none."""
    try:
        known = codecs.lookup(name.strip()).name
    except (LookupError, ValueError):
        return ""
    if known in ("utf-8", "ascii") or not _CHARSET.fullmatch(known):
        return ""
    return "cp1252" if known == "iso8859-1" else known


def kind_of(types: set[str]) -> Kind | None:
    """The kind that these types, or the words of a label, speak of; None where they say nothing."""
    return next((kind for kind, words in _KINDS if not words.isdisjoint(types)), None)


class Lines:
    """Cards out of lines, the tolerant way; lines may come in any portions.

    `lists`: whether there was something that is no card at all, such as SOGo's `BEGIN:VLIST`.
    """

    def __init__(self, heads: Heads = USUAL) -> None:
        self.lists = False
        self._heads = heads
        self._line: bytearray | None = None
        self._keep = False
        self._quoted = False
        self._found: Properties | None = None
        self._depth = 0
        self._agent = False
        self._other = ""

    @property
    def idle(self) -> bool:
        """Whether nothing is begun: it stands between two cards."""
        return self._found is None and self._line is None and not self._other

    def feed(self, data: bytes) -> Iterator[Properties | None]:
        """Each card that ends in these lines; None for text outside of cards."""
        for line in data.removesuffix(b"\n").split(b"\n"):
            if _BOUND.fullmatch(line):
                yield from self._flush()
                self._keep, self._line = True, bytearray(line)
                yield from self._flush()
            elif self._line is not None and self._quoted and self._line.endswith(b"="):
                del self._line[-1:]
                self._extend(line)
            elif self._line is not None and self._quoted and line.strip() and b":" not in line:
                self._extend(line)
            elif self._line is not None and line[:1] in (b" ", b"\t"):
                self._extend(line[1:])
            else:
                yield from self._flush()
                self._begin(line)

    def finish(self) -> Iterator[Properties | None]:
        """What comes of the last line, and the card that was never ended, if there is one."""
        yield from self._flush()
        if self._found is not None:
            yield self._found

    def _begin(self, line: bytes) -> None:
        if not line.strip():
            return
        name = _NAME.match(line)
        self._keep = self._found is None or (name is not None and self._heads.wants(name[1].decode().upper()))
        self._quoted = b"QUOTED-PRINTABLE" in line.partition(b":")[0].upper()
        self._line = bytearray(line if self._keep else line[-1:])

    def _extend(self, line: bytes) -> None:
        """More of the line; of one that nobody wants only its end is kept, by which it may go on."""
        assert self._line is not None
        if not self._keep or len(self._line) > stream.MAX_ITEM:
            self._keep, self._line = False, bytearray(line[-1:])
        else:
            self._line += line

    def _flush(self) -> Iterator[Properties | None]:
        raw, self._line = self._line, None
        if raw is None or not self._keep:
            return
        text = raw.decode("latin-1")  # a character a byte: the encoding is known only from the head
        parted = _HEAD.fullmatch(text)
        before, colon, value = (parted[1], ":", parted[2]) if parted else text.partition(":")
        head = self._heads.head(stream.decode(before.encode("latin-1")))
        if head.name in ("BEGIN", "END") and colon:
            yield from self._nest(head.name, value.strip().upper())
        elif self._other:
            return
        elif self._found is None:
            yield None
        elif not self._depth and colon:
            self._property(head, value.encode("latin-1"))

    def _nest(self, name: str, what: str) -> Iterator[Properties | None]:
        """Into a card or out of one; a card in a card is the AGENT of the outer one where that has just said so."""
        if self._other and (name, what) != ("BEGIN", "VCARD"):
            self._other = "" if name == "END" and what == self._other else self._other
        elif what != "VCARD":
            if self._found is None and name == "BEGIN" and what:
                self.lists, self._other = True, what
            elif self._found is None:
                yield None
        elif self._found is None:
            if name == "BEGIN":
                self._found, self._depth, self._agent, self._other = Properties(), 0, False, ""
        elif name == "BEGIN" and (self._agent or self._depth):
            self._depth, self._agent = self._depth + 1, False
        elif self._depth:
            self._depth -= 1
        else:
            yield self._found
            self._found = Properties() if name == "BEGIN" else None

    def _property(self, head: Head, value: bytes) -> None:
        assert self._found is not None
        self._agent = head.name == "AGENT" and not value.strip()
        if head.name == "AGENT":
            self._depth = int(value.strip().upper() == b"BEGIN:VCARD")
        else:
            self._found.add(head, stream.one_line(_decoded(head, value)))


def _decoded(head: Head, value: bytes) -> str:
    if head.quoted:
        value = binascii.a2b_qp(value)
    return value.decode(head.charset, "replace") if head.charset else stream.decode(value)
