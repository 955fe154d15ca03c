"""One more line in the NOTE of a card, and every other byte of it kept. No I/O.

The card is not parsed and written again, for that loses what the parser does not know: the line is put into its text,
in the encoding, the charset, the folding and the line ends that it finds there.
"""

from __future__ import annotations

import codecs
import datetime
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bridge.actions import Action

WIDTH = 75
MOST = 1000
"""Characters of one line: a caller's text is not to fill a card."""

_PHYSICAL = re.compile(rb"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_HEAD = re.compile(rb"\s*(?:[A-Za-z0-9_-]+\.)?([A-Za-z0-9-]+)((?:[^\":\r\n]|\"[^\"]*\")*):")
_BOUND = re.compile(rb"(BEGIN|END)[ \t]*:[ \t]*([\w-]+)[ \t]*[\r\n]*", re.IGNORECASE)
_CHARSET = re.compile(rb";\s*CHARSET\s*=\s*\"?([\w-]+)", re.IGNORECASE)
_ENCODED = re.compile(
    rb";\s*(?:ENCODING\s*=\s*)?\"?(?:B|BASE64)\"?\s*(?:;|\Z)|;\s*VALUE\s*=\s*\"?UR[IL]", re.IGNORECASE
)
_GROUP = re.compile(rb"(?:X-ADDRESSBOOKSERVER-)?KIND", re.IGNORECASE)
_BREAK = re.compile(rb"=?(?:\r\n|\r|\n)[ \t]?")
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f-\xa0\u2028\u2029\ud800-\udfff]+")
_ESCAPES = str.maketrans({"\\": "\\\\", ",": "\\,", ";": "\\;"})
_BOM = b"\xef\xbb\xbf"
_LABELS = {"log-call": "Call", "ticket": "Ticket", "task": "Task", "note": "Note"}


def mark(action: Action) -> str:
    """What tells the line of this action from all others."""
    return f"[bridge:{action.key}]"


def line(action: Action, now: datetime.datetime) -> str:
    """What is noted of an action: when, which way, with whom, what of it, and its mark."""
    call = action.call
    when = (call.started or call.answered or call.ended or now).astimezone(datetime.UTC)
    words = [f"{when:%Y-%m-%d %H:%M} UTC", call.direction, call.number, call.name]
    if action.kind == "log-call":
        said = f"Call, {call.seconds // 60}:{call.seconds % 60:02d} min" if call.seconds else "Call"
    else:
        said = ", ".join([_LABELS[action.kind], *filter(None, (action.subject, action.text))])
    text = ", ".join(word for word in map(_flat, words) if word) + f": {_flat(said)}"
    return f"{text[:MOST]} {mark(action)}"


def holds(card: bytes, key: str) -> bool:
    """Whether the card has the line of this key already, however it is folded."""
    return key.encode() in _BREAK.sub(b"", card)


def append(card: bytes, text: str) -> bytes:
    """The card with `text` as the last line of its note; ValueError where it is no whole card."""
    physical: list[bytes] = _PHYSICAL.findall(card)
    found = _card(physical)
    note = next((each for each in found.lines if each.name == b"NOTE" and not _ENCODED.search(each.parameters)), None)
    end = found.end
    eol = _eol(physical[end]) or _eol(physical[0]) or b"\r\n"
    if note is None:
        added = _fresh(text, found.old, eol)
        return b"".join([*physical[:end], added, *physical[end:]])
    last = physical[note.stop - 1]
    bare = last[: len(last) - len(_eol(last))]
    more = _more(note, text, found.old, eol, open=bare.endswith(b"="))
    return b"".join([*physical[: note.stop - 1], bare, more, _eol(last) or eol, *physical[note.stop :]])


@dataclass(frozen=True, slots=True)
class _Line:
    """One property: its physical lines from `start` to before `stop`."""

    start: int
    stop: int
    name: bytes
    parameters: bytes
    value: bytes

    @property
    def quoted(self) -> bool:
        return b"QUOTED-PRINTABLE" in self.parameters.upper()


@dataclass(frozen=True, slots=True)
class _Card:
    """The properties of one card, those of cards within it left out, and where its END stands."""

    lines: Sequence[_Line]
    end: int

    @property
    def old(self) -> bool:
        """It is a vCard 2.1, in which a value has no escapes."""
        return any(each.name == b"VERSION" and each.value.strip() == b"2.1" for each in self.lines)

    @property
    def group(self) -> bool:
        return any(_GROUP.fullmatch(each.name) and each.value.strip().lower() == b"group" for each in self.lines)


def _card(physical: Sequence[bytes]) -> _Card:
    """The card that the contact was read from: the first that is no group."""
    for found in _cards(physical):
        if not found.group:
            return found
    raise ValueError("it holds no whole vCard")


def _cards(physical: Sequence[bytes]) -> Iterator[_Card]:
    lines: list[_Line] = []
    depth = 0
    for start, stop in _logical(physical):
        bound = _BOUND.fullmatch(physical[start].removeprefix(_BOM))
        if bound and bound[2].upper() == b"VCARD":
            if bound[1].upper() == b"BEGIN":
                depth += 1
            elif depth:
                depth -= 1
                if not depth:
                    yield _Card(lines, start)
                    lines = []
        elif depth == 1:
            whole = _BREAK.sub(b"", b"".join(physical[start:stop]))
            if head := _HEAD.match(whole):
                lines.append(_Line(start, stop, head[1].upper(), head[2], whole[head.end() :]))


def _logical(physical: Sequence[bytes]) -> Iterator[tuple[int, int]]:
    """From where to where each property goes."""
    start = 0
    while start < len(physical):
        head, stop = _HEAD.match(physical[start]), start + 1
        quoted = head is not None and b"QUOTED-PRINTABLE" in head[2].upper()
        while stop < len(physical) and _continues(physical[stop - 1], physical[stop], quoted):
            stop += 1
        yield start, stop
        start = stop


def _continues(above: bytes, below: bytes, quoted: bool) -> bool:
    if below[:1] in (b" ", b"\t"):
        return True
    if not quoted or _BOUND.fullmatch(below):
        return False
    return above.rstrip(b"\r\n").endswith(b"=") or (b":" not in below and bool(below.strip()))


def _more(note: _Line, text: str, old: bool, eol: bytes, *, open: bool) -> bytes:
    """What is put behind the note's last character; `open`: its last line says that it goes on."""
    charset = _charset(note)
    if note.quoted:
        added = _quoted((b"=0D=0A" if note.value.strip() else b""), text, charset, eol)
        return (b"" if open else b"=") + eol + added
    if old:
        # No escape and no folding here that every reader knows, so it stays one line.
        return (b" | " if note.value.strip() else b"") + text.encode(charset, "replace")
    # A backslash that nothing follows would take ours for its own.
    halved = (len(note.value) - len(note.value.rstrip(b"\\"))) % 2
    return _folded("\\" * halved + ("\\n" if note.value.strip() else "") + text.translate(_ESCAPES), charset, eol, 0)


def _fresh(text: str, old: bool, eol: bytes) -> bytes:
    """A note where there was none."""
    if not old:
        return b"NOTE:" + _folded(text.translate(_ESCAPES), "utf-8", eol, WIDTH - len("NOTE:")) + eol
    if text.isascii():
        return b"NOTE:" + text.encode() + eol
    return b"NOTE;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:=" + eol + _quoted(b"", text, "utf-8", eol) + eol


def _folded(text: str, charset: str, eol: bytes, room: int) -> bytes:
    """The text in lines of at most `WIDTH` octets that end in no character's middle; `room` is left on the first."""
    pieces, piece = [], b""
    for character in text:
        raw = character.encode(charset, "replace")
        if len(piece) + len(raw) > room:
            pieces.append(piece)
            piece, room = b"", WIDTH - 1
        piece += raw
    return (eol + b" ").join([*pieces, piece])


def _quoted(lead: bytes, text: str, charset: str, eol: bytes) -> bytes:
    """The text in quoted-printable, with soft breaks between its lines."""
    pieces, piece = [], lead
    for octet in text.encode(charset, "replace"):
        raw = b"%c" % octet if 32 < octet < 127 and octet != 61 else b"=%02X" % octet
        if octet == 32:
            raw = b" "
        if len(piece) + len(raw) > WIDTH - 1:
            pieces.append(piece)
            piece = b""
            raw = b"=20" if octet == 32 else raw  # a blank at the beginning would be taken for folding
        piece += raw
    return (b"=" + eol).join([*pieces, piece])


def _charset(note: _Line) -> str:
    """The charset that the note's characters are in: the one that it names, else the one that it can be."""
    named = _CHARSET.search(note.parameters)
    if named:
        try:
            return codecs.lookup(named[1].decode()).name
        except LookupError:
            return "ascii"
    try:
        note.value.decode()
    except UnicodeDecodeError:
        return "cp1252"
    return "utf-8"


def _eol(raw: bytes) -> bytes:
    return raw[len(raw.rstrip(b"\r\n")) :]


def _flat(text: str) -> str:
    """On one line, with single blanks."""
    return _UNPRINTABLE.sub(" ", text).strip()
