"""CardDAV servers that only the DNS of their domain names, from a name server on loopback."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import dns.asyncresolver
import dns.flags
import dns.message
import dns.rcode
import dns.resolver
import dns.rrset
import pytest
from aiohttp import web
from mirrored import Mirror, filled, opened
from test_client import certificate as certificate

from bridge import client, errors
from bridge.demo.dav import DavServer
from bridge.sources.carddav import srv

LOGIN = {"username": "alice", "password": "secret", "verify": False}


@dataclass
class Names(asyncio.DatagramProtocol):
    """Answers with what `zone` holds for (name, type); `silent`: not at all."""

    zone: dict[tuple[str, str], Sequence[str]] = field(default_factory=dict)
    silent: bool = False
    asked: list[str] = field(default_factory=list)

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def datagram_received(self, data: bytes, address: tuple[str, int]) -> None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = question.name.to_text().lower(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{kind} {name}")
        if self.silent:
            return
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if found := self.zone.get((name, kind)):
            answer.answer.append(dns.rrset.from_text(question.name, 60, "IN", kind, *found))
        elif not any(there == name for there, _ in self.zone):
            answer.set_rcode(dns.rcode.NXDOMAIN)
        self.transport.sendto(answer.to_wire(), address)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Names]:
    """The name server that everything asks."""
    loop = asyncio.get_running_loop()
    transport, made = await loop.create_datagram_endpoint(Names, local_addr=("127.0.0.1", 0))
    asks = dns.asyncresolver.Resolver(configure=False)
    asks.nameservers, asks.port = ["127.0.0.1"], transport.get_extra_info("sockname")[1]
    monkeypatch.setattr(dns.asyncresolver, "default_resolver", asks)
    yield made
    transport.close()


class Loopback:
    """All hosts are this one."""

    async def addresses(self, _host: str, _port: int) -> Sequence[str]:
        return ["127.0.0.1"]


@pytest.fixture(autouse=True)
def hosts() -> Iterator[None]:
    before = client.GATE.set(Loopback())
    yield
    client.GATE.reset(before)


@asynccontextmanager
async def website(tls: ssl.SSLContext) -> AsyncIterator[int]:
    """The domain's own server, which knows nothing of address books; its port."""
    runner = web.AppRunner(web.Application(), shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


@asynccontextmanager
async def domain(names: Names, tls: ssl.SSLContext, host: str) -> AsyncIterator[tuple[str, DavServer]]:
    """The address of example.com, whose DNS says that the address books are at `host`."""
    server = DavServer(filled(2), password="secret")
    async with website(tls) as port, server.serve(tls=tls) as url:
        names.zone["_carddavs._tcp.example.com.", "SRV"] = [f"0 1 {url.rpartition(':')[2]} {host}."]
        yield f"https://example.com:{port}", server


async def test_a_domain_whose_web_server_knows_nothing_is_looked_up_in_dns(names: Names, certificate) -> None:
    async with domain(names, certificate[0], "dav.example.com") as (url, server):
        async with opened(url, **LOGIN) as source:
            mirror = await Mirror().run(source)
        assert len(mirror.records) == 2
        server.seen.clear()
        # A daemon that starts anew goes on where it was, with its login, and asks nobody the way.
        names.asked.clear()
        async with opened(url, **LOGIN) as source:
            await mirror.run(source)
    assert (mirror.complete, names.asked) == (False, [])
    assert server.seen == ["REPORT /dav/alice/book/"]


async def test_the_path_that_dns_names_comes_first(names: Names, certificate) -> None:
    async with domain(names, certificate[0], "dav.example.com") as (url, server):
        names.zone["_carddavs._tcp.example.com.", "TXT"] = ['"other=1"', '"path=/dav/alice/"']
        async with opened(url, **LOGIN) as source:
            assert len((await Mirror().run(source)).records) == 2
        assert server.seen[0] == "PROPFIND /dav/alice/"


async def test_a_host_of_somebody_else_is_named_and_not_asked(names: Names, certificate) -> None:
    async with domain(names, certificate[0], "dav.example.net") as (url, server), opened(url, **LOGIN) as source:
        with pytest.raises(errors.Unavailable, match=r"it names dav\.example\.net, which is another's: .* its address"):
            await Mirror().run(source)
        assert server.seen == []


@pytest.mark.parametrize("said", ["nothing", "no such service", "silence"])
async def test_dns_that_says_nothing_leaves_everything_as_it_was(
    names: Names, certificate, monkeypatch: pytest.MonkeyPatch, said: str
) -> None:
    monkeypatch.setattr(srv, "_WITHIN", 0.3)
    names.silent = said == "silence"
    if said == "no such service":
        names.zone["_carddavs._tcp.example.com.", "SRV"] = ["0 0 0 ."]
    async with website(certificate[0]) as port, opened(f"https://example.com:{port}", **LOGIN) as source:
        with pytest.raises(errors.Unavailable, match="no address book found") as told:
            await Mirror().run(source)
    assert ("DNS gives no answer for _carddavs._tcp.example.com" in str(told.value)) is (said == "silence")
    assert names.asked[0] == "SRV _carddavs._tcp.example.com."


async def test_an_address_with_a_path_is_what_it_is(names: Names, certificate) -> None:
    async with domain(names, certificate[0], "dav.example.com") as (url, _), opened(f"{url}/books/", **LOGIN) as source:
        with pytest.raises(errors.Unavailable, match="no address book found"):
            await Mirror().run(source)
    assert names.asked == []


async def test_servers_come_in_the_domains_order_and_without_tls_where_that_will_do(names: Names) -> None:
    names.zone["_carddavs._tcp.a.example.", "SRV"] = [
        "20 1 443 c.a.example.",
        "10 1 443 b.a.example.",
        "10 5 8443 a.a.example.",
    ]
    names.zone["_carddav._tcp.b.example.", "SRV"] = ["0 1 80 dav.b.example."]
    found = await srv.places("a.example", plain=True)
    assert [place for place in found if place.endswith("/carddav")] == [
        "https://a.a.example:8443/.well-known/carddav",
        "https://b.a.example:443/.well-known/carddav",
        "https://c.a.example:443/.well-known/carddav",
    ]
    assert await srv.places("b.example") == []
    assert "http://dav.b.example:80/" in await srv.places("b.example", plain=True)
