"""What is wrong between tables of the main file, or in the files that they name."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from bridge.keys.document import Document
from bridge.keys.secret import Secret
from bridge.keys.sinks import Ccm
from bridge.keys.sources import SourceKeys
from bridge.keys.surfaces import Admin, Http, Tls
from bridge.keys.values import Endpoint


def ports(file: Document, raw: Mapping[str, Any], http: Http, admin: Admin) -> None:
    """Note an admin server on the other one's port."""
    ports = {end.port for end in http.listen if end.port}
    shared = next((end for end in admin.listen if end.port in ports), None)
    if shared:
        default = "" if "listen" in raw.get("admin", {}) else " by default"
        file.wrong("admin.listen", f'is "{shared}"{default}, on the port of [http]; right is a port of its own')


def admin_is_closed(file: Document, admin: Admin) -> None:
    """Note an admin server that is open to others without a password."""
    beyond = next((end for end in admin.listen if not end.loopback), None)
    if beyond and not admin.users:
        right = 'right is { admin = { env = "ADMIN_PASSWORD" } }'
        file.wrong("admin.users", f'is missing, {right}: "{beyond}" is open to other machines')


def tls(file: Document, pair: Tls) -> None:
    """Note files that are no certificate with its key."""
    try:
        show(pair, ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    except ValueError as fault:
        file.wrong("http.tls", str(fault))


def show(pair: Tls, context: ssl.SSLContext) -> None:
    """Have a context show this certificate; raises ValueError saying what is wrong and what is right."""
    try:
        # Without a password to try, OpenSSL would ask the terminal for one.
        context.load_cert_chain(pair.certificate, pair.key, password="")
    except OSError as fault:  # ssl.SSLError is one
        files = f"{pair.certificate} and {pair.key} are no certificate with its key"
        said = f"{files} ({fault.strerror or fault}), right is a pair in PEM, the key without a passphrase"
        raise ValueError(said) from fault


def in_the_open(file: Document, key: str, table: SourceKeys | Ccm) -> None:
    """Warn of what a listener on the way could read or change."""
    if getattr(table, "verify", True) is False:
        file.warn(f"{key}.verify", "is false and anybody may pose as the server, right is ca with its certificate")
    url = getattr(table, "url", "")
    if not url.lower().startswith("http:"):
        return
    secret = any(isinstance(value, Secret) and value for _, value in table)
    if secret and not Endpoint(urlsplit(url).hostname or "", 0).loopback:
        file.warn(f"{key}.url", "is http and the secret goes over the wire for all to read, right is https")
