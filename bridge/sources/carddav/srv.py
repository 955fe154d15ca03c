"""Where the CardDAV servers of a domain are, as its DNS says: SRV names them, TXT their path (RFC 6764, RFC 2782)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from dns import asyncresolver, exception, name, resolver

from bridge import errors

_WITHIN = 5.0
"""Seconds for an answer, all name servers and repetitions together."""


async def places(domain: str, *, plain: bool = False) -> list[str]:
    """Addresses to look at, the domain's first choice first; none where it has no such service.

    `plain`: servers without TLS will do where there are none with it. Raises Unavailable where DNS gives no answer.
    """
    for service, scheme in (("_carddavs._tcp", "https"), ("_carddav._tcp", "http"))[: 1 + plain]:
        servers = [one for one in await _ask(f"{service}.{domain}", "SRV") if one.target != name.root]
        if servers:
            texts = [b"".join(one.strings).decode(errors="replace") for one in await _ask(f"{service}.{domain}", "TXT")]
            paths = [text[5:] for text in texts if text.startswith("path=/")][:1]
            servers.sort(key=lambda one: (one.priority, -one.weight))
            origins = [f"{scheme}://{one.target.to_text(omit_final_dot=True)}:{one.port}" for one in servers]
            return [origin + path for origin in origins for path in (*paths, "/.well-known/carddav", "/")]
    return []


async def _ask(question: str, kind: str) -> Sequence[Any]:
    try:
        return list(await asyncresolver.resolve(question, kind, lifetime=_WITHIN, search=False))
    except (resolver.NXDOMAIN, resolver.NoAnswer):
        return []
    except (exception.DNSException, OSError) as fault:
        raise errors.Unavailable(f"DNS gives no answer for {question} ({type(fault).__name__})") from None
