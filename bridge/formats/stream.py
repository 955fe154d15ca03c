"""The bytes before they are a format: encodings, line ends, cuts, and what they look like."""

from __future__ import annotations

import codecs
import itertools
import re
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from bridge import errors

if TYPE_CHECKING:
    from bridge.formats import Format

MAX_ITEM = 16 << 20
"""Bytes that one line, one object or one card may take; beyond it the input is not what it claims to be."""

_HEAD = 4096
_CHUNK = 1 << 18
_UTF8_BOM = b"\xef\xbb\xbf"
_UTF16 = {b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}
_CONTROLS_TO_BLANKS = bytes(c if (c >= 32 and c != 127) or c in b"\t\n\r" else 32 for c in range(256))
_UNPRINTABLE = re.compile(r" *[\x00-\x1f\x7f\ud800-\udfff][\x00-\x20\x7f\ud800-\udfff]*")
_HTML = re.compile(rb"(?i)(?:<\?xml[^>]*+>|(?><!--.*?-->)|\s)*+<(?:!doctype\s+html|html|head|body)\b", re.DOTALL)
_CARD = re.compile(rb"(?im)^[ \t]*BEGIN:V(?:CARD|LIST)\b")
_NUMBER_NAME = re.compile(r"\s*[+(*#\d][^:,;\"]*:")
_ENDINGS: dict[str, Format] = {
    ".vcf": "vcard",
    ".vcard": "vcard",
    ".json": "json",
    ".xml": "xml",
    ".csv": "csv",
    ".txt": "text",
    ".text": "text",
}


def open(chunks: Iterable[bytes]) -> tuple[bytes, Iterator[bytes]]:
    """The first bytes that are not blank, and all of it as UTF-8 without mark or control characters.

    Raises Unavailable where it is no text, or a web page. Text that is neither UTF-8 nor UTF-16 passes as it is.
    """
    start, whole = peek(iter(chunks), 2)
    if start[:2] in _UTF16:
        whole = _recoded(whole, _UTF16[start[:2]])
    start, whole = peek(whole, _HEAD)
    head = _content(start)[:_HEAD]
    if not head and len(start) > MAX_ITEM:
        raise errors.Unavailable(f"this begins with more than {MAX_ITEM >> 20} MB of nothing: it is no phone book")
    if head.count(0) * 20 > len(head) or head.startswith((b"PK\x03\x04", b"\x1f\x8b")):
        raise errors.Unavailable("this is a binary file (an archive or a workbook?), not a phone book as text")
    if _HTML.match(head):
        raise errors.Unavailable("this is an HTML page (a login or an error?), not a phone book")
    return head, _cleaned(whole)


def peek(chunks: Iterator[bytes], size: int) -> tuple[bytes, Iterator[bytes]]:
    """At least so many bytes of content, where there are, and the whole with them."""
    start = b""
    for chunk in chunks:
        start += chunk
        if len(_content(start)) >= size or len(start) > MAX_ITEM:
            break
    return start, itertools.chain([start], chunks)


def _content(start: bytes) -> bytes:
    return start.removeprefix(_UTF8_BOM).lstrip()


def _recoded(chunks: Iterator[bytes], encoding: str) -> Iterator[bytes]:
    """UTF-16 as UTF-8."""
    decoder = codecs.getincrementaldecoder(encoding)()
    try:
        for chunk in chunks:
            yield decoder.decode(chunk).encode()
        yield decoder.decode(b"", final=True).encode()
    except UnicodeError:
        raise errors.Unavailable("this begins as UTF-16 and is not: it was cut or damaged") from None


def _cleaned(chunks: Iterator[bytes]) -> Iterator[bytes]:
    """The chunks without mark and control characters, none of them large."""
    first = True
    for chunk in chunks:
        for at in range(0, len(chunk), _CHUNK):
            piece = chunk[at : at + _CHUNK]
            yield clean(piece.removeprefix(_UTF8_BOM) if first else piece)
            first = False


def clean(data: bytes) -> bytes:
    """Control characters as blanks, line ends and tabs as they are."""
    return data.translate(_CONTROLS_TO_BLANKS)


def unix(data: bytes) -> bytes:
    """CRLF and CR as LF."""
    return data.replace(b"\r\n", b"\n").replace(b"\r", b"\n") if b"\r" in data else data


def blocks(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The same bytes in blocks of whole lines; every line, the last one too, ends with LF alone."""
    parts: list[bytes] = []
    size = 0
    for chunk in _line_feeds(chunks):
        end = chunk.rfind(b"\n") + 1
        if end:
            yield b"".join((*parts, chunk[:end]))
            parts, size = [], 0
        parts.append(chunk[end:])
        size += len(chunk) - end
        if size > MAX_ITEM:
            raise errors.Unavailable(f"a line of more than {MAX_ITEM >> 20} MB: this is no phone book")
    if size:
        yield b"".join((*parts, b"\n"))


def _line_feeds(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """CRLF and CR as LF; a CR at a cut waits for what follows it."""
    held = b""
    for chunk in chunks:
        chunk = held + chunk
        held = b"\r" if chunk.endswith(b"\r") else b""
        yield unix(chunk.removesuffix(b"\r"))
    if held:
        yield b"\n"


def lines(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The lines, without their ends."""
    for block in blocks(chunks):
        yield from block[:-1].split(b"\n")


def decode(data: bytes) -> str:
    """UTF-8, or else what Windows wrote; never fails."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return data.decode("cp1252", "replace")


def one_line(text: str) -> str:
    """The text on one line: no control character, no line break, no blank around it."""
    return text if text.isprintable() and text == text.strip() else _UNPRINTABLE.sub(" ", text).strip()


def sniff(head: bytes, name: str) -> Format:
    """The format of what begins so; see `formats.detect`."""
    head = _content(head)
    if _CARD.search(head):
        return "vcard"
    if head[:1] in (b"[", b"{"):
        return "json"
    if head[:1] == b"<":
        return "xml"
    rows = decode(head).splitlines()[:20] or [""]
    pairs = sum(bool(_NUMBER_NAME.match(row)) for row in rows)
    if pairs * 2 > len(rows) or _NUMBER_NAME.match(rows[0]):
        return "text"
    if any(mark in rows[0] for mark in ("#.", ",", ";", "\t")):
        return "csv"
    for ending, format in _ENDINGS.items():
        if name.lower().endswith(ending):
            return format
    if pairs:
        return "text"
    raise errors.Unavailable("this is no phone book: neither vCard, JSON, XML, CSV nor lines of number:name")
