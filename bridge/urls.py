"""Addresses of other servers: read as written, followed with care. No I/O."""

from __future__ import annotations

import re
import urllib.parse

import yarl

from bridge import errors

# Second-level names under which registries sell third-level ones (co.uk, com.au): no one's own domain.
_SHARED = frozenset(
    ("ac", "co", "com", "edu", "gob", "gov", "gv", "ltd", "mil", "ne", "net", "nom", "or", "org", "plc")
)
_UNSENDABLE = re.compile(r"[^!-~]")


def read(text: str, base: yarl.URL | None = None) -> yarl.URL:
    """An address with its escapes as they are written; what cannot be sent raw is escaped, user info cut."""
    try:
        text = urllib.parse.urljoin(str(base), text) if base is not None else text
        url = yarl.URL(_UNSENDABLE.sub(lambda found: urllib.parse.quote(found.group()), text), encoded=True)
        if url.scheme in ("http", "https") and url.host:
            return yarl.URL.build(
                scheme=url.scheme,
                host=f"[{url.host}]" if ":" in url.host else url.host.lower(),
                port=url.explicit_port,
                path=url.raw_path,
                query_string=url.raw_query_string,
                encoded=True,
            )
    except ValueError:
        pass
    raise errors.Unavailable("not an http or https address")


def redirect(url: yarl.URL, location: str) -> tuple[yarl.URL, yarl.URL | None]:
    """Where a redirect leads, and where the same path is on the origin it came from, if the host is the same."""
    target = read(location, url)
    spare = None
    if target.host == url.host and target.origin() != url.origin():
        spare = read(target.raw_path_qs, url)
    if url.scheme == "https" and target.scheme == "http":
        if spare is None or spare == url:
            raise errors.Unavailable(f"{url.host} redirects from https to http")
        return spare, None
    return target, spare


def registrable(host: str) -> str:
    """The domain that somebody registered: the last two labels, three under a shared second level; "" for none."""
    labels = host.lower().split(".")
    if len(labels) < 2 or ":" in host or labels[-1].isdigit():
        return ""
    size = 3 if len(labels[-1]) == 2 and labels[-2] in _SHARED else 2
    return ".".join(labels[-size:]) if len(labels) >= size else ""
