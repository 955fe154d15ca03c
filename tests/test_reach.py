"""Which servers may be reached on behalf of others."""

from __future__ import annotations

import asyncio
import ipaddress

import pytest

from bridge import errors, reach


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",
        "10.1.2.3",
        "100.64.0.1",  # carriers' NAT
        "127.0.0.1",
        "169.254.169.254",  # where clouds keep their machines' secrets
        "172.16.0.1",
        "192.0.0.9",
        "192.0.2.1",
        "192.168.1.1",
        "198.18.0.1",
        "224.0.0.1",
        "239.255.255.250",
        "240.0.0.1",
        "255.255.255.255",
        "::",
        "::1",
        "::127.0.0.1",
        "::ffff:127.0.0.1",
        "::ffff:8.8.8.8",
        "64:ff9b::10.0.0.1",
        "64:ff9b:1::8.8.8.8",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::1",
        "fc00::1",
        "fd12::1",
        "fe80::1",
        "fe80::1%eth0",
        "fec0::1",
        "ff02::1",
    ],
)
def test_an_address_that_is_not_public(address: str) -> None:
    assert not reach.public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["8.8.8.8", "100.128.0.1", "2606:4700::1111", "64:ff9b::8.8.8.8"])
def test_an_address_that_is_public(address: str) -> None:
    assert reach.public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("host", "port", "want"),
    [
        ("crm.example.com", 443, True),
        ("CRM.Example.com.", 8443, True),
        ("dav.example.com", 8443, True),
        ("dav.example.com", 443, False),
        ("sub.crm.example.com", 443, False),
        ("10.1.2.3", 80, True),
        ("010.1.2.3", 80, False),
        ("fd00::1", 80, True),
        ("FD00:0:0:0:0:0:0:1", 80, True),
        ("::ffff:10.1.2.3", 80, False),
        ("", 80, False),
    ],
)
def test_a_server_is_named_by_host_and_port(host: str, port: int, want: bool) -> None:
    allow = [("crm.example.com", None), ("dav.example.com", 8443), ("10.1.2.3", None), ("fd00::1", 80)]
    assert reach.named(allow, host, port) is want


async def asked(
    *answers: list[str], allow: tuple[tuple[str, int | None], ...] = (("crm.example.com", None),)
) -> object:
    """What a gate says at each of several calls at once, where the name server gives these answers in turn."""
    turns = iter(answers)

    async def resolve(host: str, port: int) -> list[str]:
        await asyncio.sleep(0)
        return next(turns)

    gate = reach.Reach(allow, resolve)
    found = await asyncio.gather(*(gate.addresses("crm.example.com", 443) for _ in range(3)), return_exceptions=True)
    assert gate.refused is isinstance(found[0], reach.Forbidden)
    first = found[0]
    assert all(each == first or type(each) is type(first) for each in found)
    return type(first) if isinstance(first, BaseException) else first


async def test_a_name_is_resolved_once_whatever_it_means_later() -> None:
    assert await asked(["8.8.8.8", "8.8.8.8", "2606:4700::1111"], ["127.0.0.1"]) == ["8.8.8.8", "2606:4700::1111"]


async def test_one_address_inside_is_one_too_many() -> None:
    assert await asked(["8.8.8.8", "10.0.0.1"]) is reach.Forbidden


async def test_an_address_inside_that_is_named_is_reached() -> None:
    both = (("crm.example.com", None), ("10.0.0.1", 443))
    assert await asked(["8.8.8.8", "10.0.0.1"], allow=both) == ["8.8.8.8", "10.0.0.1"]
    assert await asked(["10.0.0.1"], allow=(both[0], ("10.0.0.1", 80))) is reach.Forbidden


async def test_a_name_that_means_nothing_is_no_server() -> None:
    assert await asked([], [], []) is errors.Unavailable


async def test_a_name_that_is_not_allowed_is_not_asked_for() -> None:
    assert await asked(allow=()) is reach.Forbidden
