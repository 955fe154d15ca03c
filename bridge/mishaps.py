"""What may go wrong with a request before its answer is whole, as errors; and how long to wait before the next try."""

from __future__ import annotations

import datetime
import email.utils
import errno
import os
import re
import time

import aiohttp
import tenacity
import yarl

from bridge import errors


class TooMuch(errors.Unavailable):
    """The answer took too long or was too large: asking for less may help."""


class Late(TooMuch):
    """The answer took too long."""


class Passing(errors.Unavailable):
    """A fault that the next try, a moment later, may not meet."""


class Unreached(Passing):
    """There was no connection, so nothing was sent."""


class Lost(aiohttp.ClientError):
    """The connection ended before the answer began."""


class Oversize(Exception):
    """The answer is larger than the `limit` that was asked for, in bytes."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.limit = limit


def explain(url: yarl.URL, fault: Exception, *, safe: bool) -> errors.Unavailable:
    """The error that a fault below HTTP's level is for whoever asked; `safe`: asking twice would have done no harm."""
    host = f"{url.host}:{url.port}"
    match fault:
        case aiohttp.ServerFingerprintMismatch():
            return errors.Unavailable(f"{host} shows another certificate than the pinned one: {fault.got.hex()}")
        case aiohttp.ClientConnectorCertificateError():
            detail = getattr(fault.certificate_error, "verify_message", "") or "not verified"
            return errors.Unavailable(f"the certificate of {host} is not accepted: {detail}")
        case aiohttp.ClientConnectorDNSError():
            return Unreached(f"{url.host}: no such host name")
        case aiohttp.ClientSSLError():
            return Unreached(f"no TLS with {host}: {fault.strerror or 'handshake failed'}")
        case aiohttp.ClientConnectorError():
            return Unreached(f"no connection to {host}: {os.strerror(fault.errno or errno.ECONNREFUSED)}")
        case aiohttp.ConnectionTimeoutError():
            return Unreached(f"no connection to {host} in time")
        case aiohttp.InvalidURL():
            return errors.Unavailable("not an http or https address")
    if not safe:
        return errors.Unsettled(f"{host}: the answer was lost")
    match fault:
        case TimeoutError():
            return Late(f"{host} does not answer in time")
        case Oversize():
            return TooMuch(f"{host} answers with more than {fault.limit >> 20} MiB")
        case aiohttp.ClientResponseError():
            return errors.Unavailable(f"{host} does not answer in HTTP")
    return Passing(f"{host} ended the connection before the answer was whole")


def after(text: str) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date."""
    if re.fullmatch(r"\s*\d{1,9}\s*", text):
        return float(text)
    try:
        date = email.utils.parsedate_to_datetime(text)
    except ValueError:
        return None
    date = date if date.tzinfo else date.replace(tzinfo=datetime.UTC)
    return max(0.0, date.timestamp() - time.time())


_jitter = tenacity.wait_random_exponential(multiplier=0.2, max=1)


def pause(state: tenacity.RetryCallState) -> float:
    """Seconds before the next try: what the server asked for, and a little more each time."""
    fault = state.outcome.exception() if state.outcome is not None else None
    asked = fault.after if isinstance(fault, errors.Unavailable) else None
    return (asked or 0.0) + _jitter(state)
