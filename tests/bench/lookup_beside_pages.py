"""What a lookup at 200 a second costs while ten of the admin's pages update themselves, and while softphones poll.

    .venv/bin/python tests/bench/lookup_beside_pages.py [--pages 10] [--phones 50] [--seconds 15] [--rate 200]

Pages ask for themselves every five seconds, as their script does, and then without a pause, each one kind after the
other. Phones ask for their book ten times a second, nine times for what changed and once for all of it, while it does
change, so that it is made anew. Exit code 1 where a p99 is more than 10 ms over that of the idle daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import itertools
import sys
import tempfile
import time
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import aiohttp
import goals
from beside import CONTACTS, Figures, standing
from lookup_beside_load import percentile

MOST = 10.0
"""Milliseconds."""
EVERY = 5.0
PAGES = ("/", "/source?name=a", "/held", "/refused", "/lookup?number=352621000001", "/calls?numbers=1", "/phones")
LOGIN = aiohttp.encode_basic_auth("phones", "phones-password")
TABLES = '[phonebook.staff]\nusers = { phones = "phones-password" }'


async def page(admin: int, number: int, end: float, every: float) -> None:
    """One page that is open."""
    async with aiohttp.ClientSession() as http:
        for n in itertools.count(number):
            if time.perf_counter() > end:
                return
            async with http.get(f"http://127.0.0.1:{admin}{PAGES[n % len(PAGES)]}") as reply:
                assert reply.status == 200, (reply.status, await reply.text())
                await reply.read()
            await asyncio.sleep(every)


async def phone(port: int, number: int, end: float) -> None:
    """One softphone, which has the book already nine times of ten."""
    url = f"http://127.0.0.1:{port}/phonebook/staff.{('json', 'xml', 'vcf')[number % 3]}"
    tag = ""
    async with aiohttp.ClientSession(headers={"Authorization": LOGIN}, auto_decompress=False) as http:
        for n in itertools.count():
            if time.perf_counter() > end:
                return
            async with http.get(url, headers={"If-None-Match": tag} if n % 10 else {}) as reply:
                assert reply.status in (200, 304), reply.status
                await reply.read()
                tag = reply.headers["ETag"]
            await asyncio.sleep(0.1)


async def ask(port: int, pages: int, every: float, phones: int, seconds: float) -> None:
    """All of them, in a process that asks for no numbers."""
    end = time.perf_counter() + seconds
    opened = [page(port, n, end, every) for n in range(pages)]
    await asyncio.gather(*opened, *(phone(port, n, end) for n in range(phones)))


async def asking(port: int, seconds: float, *, pages: int = 0, every: float = EVERY, phones: int = 0) -> None:
    """The same, apart from here."""
    words = [f"--{name}={value}" for name, value in (("pages", pages), ("every", every), ("phones", phones))]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, __file__, f"--ask={port}", f"--seconds={seconds}", *words)
    )
    assert await process.wait() == 0


async def changes(folder: Path, end: float) -> None:
    """The book's source changes every three seconds, and is read again."""
    for n in itertools.count():
        if time.perf_counter() > end:
            return
        made = folder / "few.new"
        made.write_text(f"+352691000000:Person {n}:\n")
        made.replace(folder / "few.txt")
        await asyncio.sleep(3)


async def measure(folder: Path, given: argparse.Namespace) -> bool:
    """Run the daemon and all measurements; whether the goals are reached."""
    (folder / "few.txt").write_text("+352691000000:Person:\n")
    more = f'[source.b]\ntype = "file"\npath = "few.txt"\nevery = "1s"\n{TABLES}'
    async with standing(folder, more, given.rate) as stand:

        async def phones() -> None:
            end = time.perf_counter() + given.seconds
            await asyncio.gather(changes(folder, end), asking(stand.port, given.seconds, phones=given.phones))

        def pages(every: float) -> Coroutine[Any, Any, None]:
            return asking(stand.admin, given.seconds, pages=given.pages, every=every)

        async with stand.http.get(f"http://127.0.0.1:{stand.port}/phonebook/staff", headers={"Authorization": LOGIN}):
            pass
        idle = await stand.idle(given.seconds)
        found: dict[str, Figures] = {
            f"{given.pages} pages that update themselves": await stand.during(lambda: pages(EVERY)),
            f"{given.pages} pages that never rest": await stand.during(lambda: pages(0.0)),
            f"{given.phones} phones that poll a book of {CONTACTS} that changes": await stand.during(phones),
        }
    print(f"idle: {idle}")
    good = True
    for name, figures in found.items():
        over = percentile(figures.seconds, 0.99) - percentile(idle.seconds, 0.99)
        print(f"beside {name}: {figures}")
        good &= goals.at_most(f"p99 of lookups beside {name}, over the idle one", over, MOST, "ms")
    return good


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--pages", type=int, default=10)
    options.add_argument("--phones", type=int, default=50)
    options.add_argument("--seconds", type=float, default=15.0)
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--every", type=float, default=EVERY)
    options.add_argument("--ask", type=int, default=0, metavar="PORT")
    given = options.parse_args()
    if given.ask:
        asyncio.run(ask(given.ask, given.pages, given.every, given.phones, given.seconds))
        return 0
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        return 0 if asyncio.run(measure(Path(folder), given)) else 1


if __name__ == "__main__":
    sys.exit(main())
