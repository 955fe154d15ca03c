"""Listening sockets: bound from the configuration, or inherited from the process that keeps this one."""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import Any

from bridge import errors

_BACKLOG = 1024
Address = tuple[socket.AddressFamily, Any]


def bind(places: Iterable[tuple[str, int]]) -> list[socket.socket]:
    """Sockets that listen at every address of (host, port) places; Unavailable, with none open, where one is taken."""
    made: list[socket.socket] = []
    try:
        for host, port in places:
            for family, address in _addresses(host, port):
                made.append(_listening(family, address))
    except OSError as fault:
        for one in made:
            one.close()
        why = fault.strerror or str(fault)
        raise errors.Unavailable(
            f"cannot listen at {host}:{port}: {why}; right is a free port of this machine"
        ) from fault
    return made


def inherited(numbers: Iterable[int]) -> list[socket.socket]:
    """The sockets behind file descriptors that were handed down."""
    return [socket.socket(fileno=number) for number in numbers]


def _addresses(host: str, port: int) -> list[Address]:
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _listening(family: socket.AddressFamily, address: Any) -> socket.socket:
    one = socket.socket(family, socket.SOCK_STREAM)
    try:
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        one.bind(address)
        one.listen(_BACKLOG)
        one.setblocking(False)
    except OSError:
        one.close()
        raise
    return one
