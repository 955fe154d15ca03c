"""What a server answered: its bytes unpacked, the format that they are in, and whether they are all."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from bridge import client, errors, formats
from bridge.formats import stream

_MAGIC = b"\x1f\x8b"
_PIECE = 1 << 18
_ENDLESS = ("text", "csv", "vcard")
"""Formats that have no end of their own: half of such a book is a book."""
LARGEST = 4 << 30
"""Bytes of a book, unpacked."""


@dataclass(frozen=True, slots=True)
class Book:
    """One answer; `format` "" where there is nothing in it. `sure`: a cut would have been seen, here or in reading."""

    spool: client.Spool
    host: str
    format: str
    sum: str
    sure: bool

    def pieces(self) -> Iterator[bytes]:
        """Its bytes, from the first one on."""
        return _unpacked(self.spool, self.host)


def open(spool: client.Spool, format: str, host: str) -> Book:
    """The answer, looked at as far as it tells its format; Unavailable where it is no phone book."""
    try:
        head, _ = stream.open(_unpacked(spool, host))
        kind = format if format != "auto" else formats.detect(head) if head else ""
    except errors.Unavailable as fault:
        raise errors.Unavailable(f"{host}: {fault}") from None
    framed = "Content-Length" in spool.headers or "chunked" in spool.headers.get("Transfer-Encoding", "").lower()
    return Book(spool, host, kind if head else "", total(spool), framed or kind not in _ENDLESS)


def total(spool: client.Spool) -> str:
    """A hash over the whole body."""
    whole = hashlib.sha256()
    for chunk in spool.chunks(_PIECE):
        whole.update(chunk)
    return whole.hexdigest()[:32]


def _unpacked(spool: client.Spool, host: str) -> Iterator[bytes]:
    """The body; unpacked where it is a gzip file, which some servers send without saying so."""
    chunks = spool.chunks(_PIECE)
    first = next(chunks, b"")
    if not first.startswith(_MAGIC):
        yield first
        yield from chunks
        return
    try:
        yield from _gunzipped(first, chunks, host)
    except zlib.error:
        raise errors.Unavailable(f"{host} answers with a gzip file that is damaged") from None


def _gunzipped(first: bytes, chunks: Iterator[bytes], host: str) -> Iterator[bytes]:
    size, unpacker = 0, zlib.decompressobj(wbits=31)
    chunk = first
    while chunk or (chunk := next(chunks, b"")):
        if unpacker.eof:  # one file may be several, one behind the other
            unpacker = zlib.decompressobj(wbits=31)
        piece = unpacker.decompress(chunk, _PIECE)
        size += len(piece)
        if size > LARGEST:
            raise errors.Unavailable(f"{host} answers with more than {LARGEST >> 30} GB, packed: this is no phone book")
        yield piece
        chunk = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
    if not unpacker.eof:
        raise errors.Unavailable(f"{host} answers with a gzip file that is cut")
