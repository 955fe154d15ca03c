"""Tokens in headers, compared as bytes and in the same time whether right or wrong."""

from __future__ import annotations

import hmac
import unicodedata
from collections.abc import Iterable


class Tokens:
    """The tokens that are taken. A client may spell an ö in any of four ways, of which none is wrong."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._spellings = tuple({spelled for token in tokens for spelled in _spellings(token[:])})

    def take(self, header: str) -> bool:
        """Whether this value of a header, decoded as aiohttp decodes it, is one of them."""
        given = header.encode("utf-8", "surrogateescape")
        right = False
        for spelled in self._spellings:
            right |= hmac.compare_digest(given, spelled)
        return right


def _spellings(token: str) -> Iterable[bytes]:
    for text in {token, unicodedata.normalize("NFC", token), unicodedata.normalize("NFD", token)}:
        yield text.encode()
        try:
            yield text.encode("latin-1")
        except UnicodeEncodeError:
            continue
