"""What a lookup at 200 a second costs while helper URLs read 50,000 contacts of a foreign server, and while none does.

    .venv/bin/python tests/bench/pbxsync_beside_lookups.py [--cards 50000] [--rate 200] [--at-once 1]

The server is a CardDAV stand-in in a process of its own. Both figures come from the same daemon in the same run. Exit
code 1 where the p99 meanwhile is more than 10 ms over that of the idle daemon.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from urllib.parse import quote

import aiohttp
import goals
from beside import Stand, standing
from lookup_beside_load import percentile

from bridge.demo.dav import Book, DavServer

MOST = 10.0
"""Milliseconds."""
LINES = (
    "BEGIN:VCARD",
    "VERSION:3.0",
    "FN:Person {n}",
    "N:{n};Person;;;",
    "TEL;TYPE=CELL:+352691{n:06}",
    "END:VCARD",
    "",
)
CARD = "\r\n".join(LINES)


async def serve(cards: int) -> None:
    """The foreign server: says where it is, and answers until its standard input ends."""
    book = Book("/dav/alice/staff/", "Staff")
    for n in range(cards):
        book.put(f"{n}.vcf", CARD.format(n=n))
    async with DavServer(book, username="alice", password="secret").serve() as url:
        print(url, flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def read(stand: Stand, url: str, cards: int, at_once: int) -> float:
    """Have the helper read all of it, so many times at once; the seconds that took."""

    async def one(n: int) -> None:
        helper = f"http://127.0.0.1:{stand.port}/pbxsync/alice?password=secret&n={n}&server={quote(url, safe='')}"
        async with stand.http.get(helper, timeout=aiohttp.ClientTimeout(120)) as reply:
            text = await reply.text()
            assert (reply.status, text.count("\n")) == (200, cards), (reply.status, text[:200])

    begun = time.perf_counter()
    await asyncio.gather(*(one(n) for n in range(at_once)))
    return time.perf_counter() - begun


async def measure(folder: Path, cards: int, rate: int, at_once: int) -> bool:
    """Run the daemon and both measurements; whether the goal is reached."""
    words = (sys.executable, __file__, "--serve", "--cards", str(cards))
    pipes = {"stdin": asyncio.subprocess.PIPE, "stdout": asyncio.subprocess.PIPE}
    server = await asyncio.create_subprocess_exec(*words, **pipes)
    assert server.stdin
    assert server.stdout
    try:
        url = (await server.stdout.readline()).decode().strip()
        async with standing(folder, '[pbxsync]\nallow = ["127.0.0.1"]', rate) as stand:
            idle = await stand.idle(10)
            began = time.perf_counter()
            busy = await stand.during(lambda: read(stand, url, cards, at_once))
            took = time.perf_counter() - began
    finally:
        server.stdin.close()
        await server.wait()
    print(f"idle: {idle}")
    print(f"while {cards} contacts are read, which took {took:.1f} s: {busy}")
    more = percentile(busy.seconds, 0.99) - percentile(idle.seconds, 0.99)
    what = f"p99 of lookups while a helper URL reads {cards:,} cards, over the idle one"
    return goals.at_most(what, more, MOST, "ms")


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--cards", type=int, default=50_000)
    options.add_argument("--rate", type=int, default=200)
    options.add_argument("--at-once", type=int, default=1)
    options.add_argument("--serve", action="store_true")
    given = options.parse_args()
    if given.serve:
        asyncio.run(serve(given.cards))
        return 0
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as folder:
        return 0 if asyncio.run(measure(Path(folder), given.cards, given.rate, given.at_once)) else 1


if __name__ == "__main__":
    sys.exit(main())
