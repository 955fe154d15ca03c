"""Paths, ids and ETags as servers spell them, made comparable. No I/O."""

from __future__ import annotations

import re
import unicodedata
import urllib.parse

_ORIGIN = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^/?#]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def path(href: str, within: str) -> str:
    """The absolute path that `href` means in an answer of the address `within`, its escapes as written.

    The host of an absolute href is not looked at: behind a proxy it may be any.
    """
    href = href.strip()
    if found := _ORIGIN.match(href):
        return href[found.end() :] or "/"
    if href.startswith("/"):
        return href
    folder = urllib.parse.urlsplit(within).path.rpartition("/")[0]
    return f"{folder}/{href.removeprefix('./')}"


def resolve(href: str, within: str) -> str:
    """The address that `href` means in an answer of `within`; never from https down to http on one host."""
    here, there = urllib.parse.urlsplit(within), urllib.parse.urlsplit(href.strip())
    if not there.hostname or (there.hostname == here.hostname and (here.scheme, there.scheme) == ("https", "http")):
        return f"{here.scheme}://{here.netloc}{path(href, within)}"
    return href.strip()


def at(within: str, raw: str) -> str:
    """The address of the absolute path `raw` on the server of `within`."""
    here = urllib.parse.urlsplit(within)
    return f"{here.scheme}://{here.netloc}{raw}"


def key(raw: str) -> str:
    """The same text for every spelling of a path: decoded, but for an escaped slash or control character."""
    return "/".join(_segment(part) for part in raw.split("/"))


def place(url: str) -> str:
    """The key of a collection's path, with or without its last slash."""
    return key(path(url, url)).rstrip("/")


def _segment(part: str) -> str:
    try:
        text = urllib.parse.unquote(part, errors="strict")
    except UnicodeDecodeError:
        text = urllib.parse.unquote(part, encoding="latin-1")
    text = _CONTROL.sub(lambda found: f"%{ord(found.group()):02X}", text.replace("/", "%2F"))
    return unicodedata.normalize("NFC", text)


def etag(text: str) -> str:
    """An ETag without what proxies add: the weak mark, quotes, the suffix of a compressed answer."""
    bare = text.strip().removeprefix("W/").strip('"')
    return bare.removesuffix("-gzip").removesuffix(";gzip").strip('"')
