"""The first sync of a Radicale address book, and one without a change, beside `vdirsyncer sync` of the same book.

    python3 -m venv /tmp/vdirsyncer && /tmp/vdirsyncer/bin/pip install vdirsyncer
    .venv/bin/python tests/bench/carddav_sync.py --vdirsyncer /tmp/vdirsyncer/bin/vdirsyncer [--cards 5000]

Both are whole commands, start to end, against the same server: `bridge sync` into its embedded database, vdirsyncer
to a folder. Radicale's own cache of its items is warm for both. The requests of the run without a change are counted.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[2])]

import goals
from carddav_servers import PASSWORD, USER, counted, radicale

ROOT = Path(__file__).parents[2]


def cards(count: int) -> dict[str, str]:
    """Ordinary cards of some ten lines."""
    made = {}
    for n in range(count):
        lines = [
            *("BEGIN:VCARD", "VERSION:3.0", f"UID:card-{n}", f"FN:Anna Müller-{n}", f"N:Müller-{n};Anna;;;"),
            *(f"ORG:Firma {n // 5}", f"EMAIL;TYPE=WORK:anna.{n}@example.com", f"TEL;TYPE=CELL:+352 621 {n:06}"),
            *(f"TEL;TYPE=WORK:+49 30 {1_000_000 + n}", "END:VCARD", ""),
        ]
        made[f"card-{n}.vcf"] = "\r\n".join(lines)
    return made


def timed(words: list[str], folder: Path) -> float:
    """Seconds that a command takes."""
    begun = time.perf_counter()
    done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{words[0]} failed:\n{done.stdout}\n{done.stderr}")
    return time.perf_counter() - begun


def ours(folder: Path, url: str) -> list[str]:
    """The command that syncs with bridge."""
    (folder / "bridge.toml").write_text(
        f'region = "LU"\nstate_dir = "state"\n[source.book]\ntype = "carddav"\nurl = "{url}"\n'
        f'username = "{USER}"\npassword = "{PASSWORD}"\n'
    )
    return [sys.executable, "-m", "bridge", "sync", "--config", str(folder / "bridge.toml")]


def theirs(folder: Path, url: str, program: str) -> list[str]:
    """The command that syncs with vdirsyncer, its collection discovered."""
    config = folder / "vdirsyncer.conf"
    config.write_text(
        f'[general]\nstatus_path = "{folder}/status"\n'
        f'[pair book]\na = "here"\nb = "there"\ncollections = [["staff", "staff", "staff"]]\n'
        f'[storage here]\ntype = "filesystem"\npath = "{folder}/cards"\nfileext = ".vcf"\n'
        f'[storage there]\ntype = "carddav"\nurl = "{url}"\nusername = "{USER}"\npassword = "{PASSWORD}"\n'
    )
    asked = [program, "-c", str(config), "discover"]
    subprocess.run(asked, input="y\ny\n", text=True, check=True, capture_output=True)
    return [program, "-c", str(config), "sync"]


async def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--vdirsyncer", default="vdirsyncer")
    options.add_argument("--cards", type=int, default=5000)
    asked = options.parse_args()
    with tempfile.TemporaryDirectory() as place, radicale(Path(place) / "radicale") as server:
        server.fill(cards(asked.cards))
        folder = Path(place)
        async with counted(server.url) as (url, seen):
            their = await asyncio.to_thread(theirs, folder, url, asked.vdirsyncer)
            warm = [sys.executable, "-c", f"import urllib.request as r; r.urlopen('{server.url}/.web/').read()"]
            await asyncio.to_thread(timed, warm, folder)
            their_first = await asyncio.to_thread(timed, their, folder)
            our = ours(folder, url)
            our_first = await asyncio.to_thread(timed, our, folder)
            pairs = []
            for _ in range(3):
                before = len(seen)
                mine = await asyncio.to_thread(timed, our, folder)
                requests = len(seen) - before
                pairs.append((mine, await asyncio.to_thread(timed, their, folder), requests))
    mine, other = min(p[0] for p in pairs), min(p[1] for p in pairs)
    print(f"first sync: bridge {our_first:.2f} s, vdirsyncer {their_first:.2f} s")
    print(f"no change: bridge {mine:.2f} s, vdirsyncer {other:.2f} s")
    what = f"{asked.cards:,} cards from Radicale, beside `vdirsyncer sync`"
    good = goals.at_least(f"{what}: the first sync", their_first / our_first, 2, "times as fast")
    good &= goals.at_least(f"{what}: without a change", other / mine, 1, "times as fast")
    good &= goals.at_most(f"{what}: without a change", max(p[2] for p in pairs), 2, "requests")
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(asyncio.run(main()))
