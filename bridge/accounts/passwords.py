"""Login passwords: kept as Argon2id, made and checked off the event loop and a few at a time."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import os
import secrets
import threading
import time
import unicodedata
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import argon2
from argon2 import exceptions

from bridge import errors

_MEMORY, _TURNS, _LANES = 19 * 1024, 2, 1
"""OWASP's parameters for Argon2id. A fleet of softphones that comes back at once makes many of them."""
_NICE = 10
_WAITING = 500
"""Checks that may wait for their turn; one more is told to come again."""
_AGE = 12 * 3600.0
"""Seconds that a checked password counts as checked."""
_SIZE = 50_000


def _bare(raw: bytes) -> str:
    return base64.b64encode(raw).decode().rstrip("=")


NOBODY = f"$argon2id$v=19$m={_MEMORY},t={_TURNS},p={_LANES}${_bare(bytes(16))}${_bare(bytes(32))}"
"""A hash that costs what all others cost and that no password has: what the passwords of unknown users are held to."""


class Passwords:
    """Makes and checks hashes in threads that give way to whatever else this process does."""

    def __init__(self, at_once: int = 0) -> None:
        self._at_once = at_once or max(1, (os.cpu_count() or 2) // 2)
        self._argon2 = argon2.PasswordHasher(time_cost=_TURNS, memory_cost=_MEMORY, parallelism=_LANES)
        self._threads = ThreadPoolExecutor(self._at_once, "argon2", initializer=_give_way)
        self._slots = asyncio.Semaphore(self._at_once)
        self._waiting = 0

    async def hash(self, password: str) -> str:
        """The password as it is kept."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, self._argon2.hash, _bytes(password))

    async def fits(self, kept: str, password: str) -> bool:
        """Whether this is the password, for a command, which waits for as long as it takes."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, self._is, kept, _bytes(password))

    async def check(self, kept: str, password: str, unless: Callable[[], object] = lambda: None) -> bool:
        """Whether this is the password; False without a check if `unless()` holds when its turn comes.

        Unavailable where too many wait already.
        """
        if self._waiting >= _WAITING:
            raise errors.Unavailable("too many passwords wait to be checked", after=5.0)
        self._waiting += 1
        try:
            async with self._slots:
                if unless():
                    return False
                return await asyncio.get_running_loop().run_in_executor(self._threads, self._is, kept, _bytes(password))
        finally:
            self._waiting -= 1

    def _is(self, kept: str, password: bytes) -> bool:
        try:
            return self._argon2.verify(kept, password)
        except exceptions.VerifyMismatchError:
            return False
        except exceptions.VerificationError as fault:
            raise errors.Unavailable(f"a password cannot be checked: {fault}") from None

    def close(self) -> None:
        """Let go of the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)


class Checked:
    """Which passwords this process has found right, so that a poll that changes nothing costs no Argon2.

    Remembered is a keyed BLAKE2b, under a key of this process alone, of the hash as it is kept and the password that
    fitted it. A hit so says that this very password was held against this very hash. A new password, or an account made
    anew, has another hash, whose salt is its own: nothing that was remembered fits it, and nothing need be told.
    Wrong passwords are never remembered, and cost what they cost.
    """

    def __init__(self, size: int = _SIZE, age: float = _AGE, clock: Callable[[], float] = time.monotonic) -> None:
        self._size, self._age, self._clock = size, age, clock
        self._key = secrets.token_bytes(32)
        self._until: OrderedDict[bytes, float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until)

    def holds(self, kept: str, password: str) -> bool:
        """Whether this password was found to fit this hash, not too long ago."""
        return self._until.get(self._digest(kept, password), 0.0) > self._clock()

    def keep(self, kept: str, password: str) -> None:
        """It does."""
        digest = self._digest(kept, password)
        self._until.pop(digest, None)
        self._until[digest] = self._clock() + self._age
        while len(self._until) > self._size:
            self._until.popitem(last=False)

    def _digest(self, kept: str, password: str) -> bytes:
        # The hash holds no zero byte, so the two cannot run into each other.
        told = kept.encode() + b"\0" + _bytes(password)
        return hashlib.blake2b(told, digest_size=16, key=self._key).digest()


def _bytes(password: str) -> bytes:
    """The same for an ö in one piece and an ö of two."""
    text = password if password.isascii() else unicodedata.normalize("NFC", password)
    return text.encode("utf-8", "surrogatepass")


def _give_way() -> None:
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICE)
