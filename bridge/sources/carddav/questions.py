"""What a CardDAV server is asked: bodies of PROPFIND and REPORT. No I/O."""

from __future__ import annotations

from collections.abc import Iterable
from xml.sax.saxutils import escape

_SPACES = 'xmlns:d="DAV:" xmlns:card="urn:ietf:params:xml:ns:carddav" xmlns:cs="http://calendarserver.org/ns/"'
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'


def _propfind(*names: str) -> bytes:
    return f"{_HEAD}<d:propfind {_SPACES}><d:prop>{''.join(f'<{n}/>' for n in names)}</d:prop></d:propfind>".encode()


_BOOK = ("d:resourcetype", "d:displayname", "cs:getctag", "d:sync-token", "d:supported-report-set")

PLACE = _propfind(*_BOOK, "d:current-user-principal", "card:addressbook-home-set")
"""What is at this address: a book, a home, a principal, or nothing of ours."""

BOOKS = _propfind(*_BOOK, "d:getcontenttype")
"""Which books are in this home."""

STATE = _propfind("d:resourcetype", "cs:getctag", "d:sync-token")
"""Has this book changed?"""

CARDS = _propfind("d:getetag", "d:resourcetype", "cs:getctag", "d:sync-token")
"""Which cards, and which books, are in this book."""

INSIDE = _propfind("d:resourcetype")
"""Which books are in this book; the cards that come along cost least so."""


_DATA = "<card:address-data/>"


def sync(token: str, *, data: bool = False) -> bytes:
    """What changed since `token`, or what is there where it is empty; `data`: and the cards themselves.

    Never with a limit: two of four servers seen cut the list short and still hand out their newest token.
    """
    return (
        f"{_HEAD}<d:sync-collection {_SPACES}><d:sync-token>{escape(token)}</d:sync-token>"
        f"<d:sync-level>1</d:sync-level><d:prop><d:getetag/><d:resourcetype/>{_DATA if data else ''}</d:prop>"
        "</d:sync-collection>"
    ).encode()


def multiget(hrefs: Iterable[str]) -> bytes:
    """These cards, each by the path that the server gave it."""
    wanted = "".join(f"<d:href>{escape(href)}</d:href>" for href in hrefs)
    return (
        f"{_HEAD}<card:addressbook-multiget {_SPACES}><d:prop><d:getetag/>{_DATA}</d:prop>"
        f"{wanted}</card:addressbook-multiget>"
    ).encode()
