"""SIP passwords at rest: AES-256-GCM, each bound to its tenant and user, under a key that the database never sees."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from bridge import errors
from bridge.keys import Secret

FILE = "accounts.key"
"""The key's file in `state_dir`."""
_KEY, _NONCE, _NAME = 32, 12, 4
_FORM = b"\x01"
_SALT = b"bridge provisioning.key"


class Seal:
    """One key. What it seals carries the key's name, so that another key is told from a damaged row."""

    def __init__(self, master: bytes) -> None:
        self._cipher = AESGCM(_derived(master, b"seal"))
        self._mark = _derived(master, b"mark")
        self._head = _FORM + _derived(master, b"name")[:_NAME]

    def close(self, tenant: str, username: str, text: str) -> bytes:
        """The text sealed; it opens for this tenant's user alone."""
        nonce = secrets.token_bytes(_NONCE)
        return self._head + nonce + self._cipher.encrypt(nonce, text.encode(), _owner(tenant, username))

    def open(self, tenant: str, username: str, sealed: bytes) -> str:
        """What was sealed; Unavailable where it does not open."""
        head, nonce, rest = (
            sealed[: len(self._head)],
            sealed[len(self._head) :][:_NONCE],
            sealed[len(self._head) + _NONCE :],
        )
        if head != self._head:
            why = "it was sealed with another key; right is that key, or to import the account again"
            raise errors.Unavailable(f"the SIP password of {username} cannot be opened: {why}")
        try:
            return self._cipher.decrypt(nonce, rest, _owner(tenant, username)).decode()
        except InvalidTag:
            why = "its row was changed by somebody else; right is to import the account again"
            raise errors.Unavailable(f"the SIP password of {username} cannot be opened: {why}") from None

    def mark(self, document: bytes) -> bytes:
        """A keyed hash: says that two documents are the same, and to nobody else what may stand in them."""
        return hmac.digest(self._mark, document, hashlib.sha256)[:16]


def given(key: Secret) -> Seal:
    """The seal of `provisioning.key`. It takes a while, as it has to where somebody chose a word."""
    return Seal(hashlib.scrypt(key[:].encode(), salt=_SALT, n=1 << 14, r=8, p=1, dklen=_KEY))


def kept(state_dir: Path, *, make: bool = False) -> Seal:
    """The seal whose key is in `state_dir`; `make`: there will be one, the same for all who ask at once.

    Unavailable where there is none, or none that can be read.
    """
    path = state_dir / FILE
    try:
        if make:
            _make(path)
        found = path.read_bytes()
        if path.stat().st_mode & 0o077:
            path.chmod(0o600)
    except FileNotFoundError:
        why = "right is the file of the machine that the accounts were made on, or provisioning.key"
        raise errors.Unavailable(f"the key of the accounts is not there: {path}; {why}") from None
    except OSError as fault:
        raise errors.Unavailable(f"the key of the accounts cannot be read: {path}: {fault.strerror}") from None
    if len(found) != _KEY:
        raise errors.Unavailable(f"the key of the accounts is damaged: {path} has {len(found)} bytes, right is {_KEY}")
    return Seal(found)


def _make(path: Path) -> None:
    """Write a new key, whole or not at all, unless there is one."""
    if path.exists():
        return
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    try:
        with os.fdopen(os.open(made, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(secrets.token_bytes(_KEY))
            file.flush()
            if os.geteuid() == 0:
                # Made by root's command and read by the daemon, whose directory this is.
                owner = path.parent.stat()
                os.fchown(file.fileno(), owner.st_uid, owner.st_gid)
            os.fsync(file.fileno())
        # A link takes nobody's place: of several who come at once, the first one's key is everybody's.
        with contextlib.suppress(FileExistsError):
            os.link(made, path)
        _keep_directory(path.parent)
    finally:
        made.unlink(missing_ok=True)


def _keep_directory(path: Path) -> None:
    folder = os.open(path, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _derived(master: bytes, purpose: bytes) -> bytes:
    return hmac.digest(master, b"bridge accounts " + purpose, hashlib.sha256)


def _owner(tenant: str, username: str) -> bytes:
    return b"\0".join((tenant.encode(), username.encode()))
