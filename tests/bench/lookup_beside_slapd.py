"""How many lookups a second, as a share of OpenLDAP's slapd with the same data on the same machine.

    apt-get install -y --no-install-recommends slapd ldap-utils
    python tests/bench/lookup_beside_slapd.py [--numbers 1000000] [--asked 10000] [--connections 16] [--rounds 5]
        [--bind-each 2000] [--state DIR]

The slapd is a process of its own on a loopback port, with its database (mdb, equality index on telephoneNumber) in
DIR; the service of the system is neither started nor touched. One round asks both for numbers that were never asked
before, then both for the same again. The first one warms up; then bridge has time to read the tenant into memory.
`--bind-each N` also asks N of them on a connection each, with a bind each at slapd, as telephones do: this is printed
and not judged. `--state` keeps both databases for the next time. Exit code 1 where a share is missed. The paths of
modules and schemas are those of Debian.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import goals
from lookup_rate import HERE, TOKEN, Process, free_port, load, prepared, serving

FIRST = 621000000
WANTED = {"never asked": 0.8, "asked before": 1.0}
EACH = "a connection each"
PATH = f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
# Every search asks for referrals too, and reads all entries where objectClass has no index.
CONF = """include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
loglevel none
pidfile {folder}/slapd.pid
database mdb
suffix "dc=example,dc=com"
directory {data}
maxsize {size}
index objectClass eq
index telephoneNumber eq
"""
TOP = "dn: dc=example,dc=com\nobjectClass: dcObject\nobjectClass: organization\ndc: example\no: Example\n\n"
PERSON = """dn: uid={n},dc=example,dc=com
objectClass: inetOrgPerson
uid: {n}
cn: Alexa Holiday {i}
sn: Holiday {i}
givenName: Alexa
o: White Cross Co {company}
telephoneNumber: +352{number}

"""


def program(name: str) -> str:
    found = shutil.which(name, path=PATH)
    if not found:
        sys.exit(f"{name} is not installed: apt-get install -y --no-install-recommends slapd ldap-utils")
    return found


def configured(folder: Path, data: Path, numbers: int) -> Path:
    """A slapd.conf; the map is sparse and larger than the entries will ever be."""
    conf = folder / "slapd.conf"
    conf.write_text(CONF.format(folder=folder, data=data, size=(numbers + 65536) * 4096))
    return conf


def directory(state: Path, folder: Path, numbers: int) -> Path:
    """A slapd.conf over a database of the same numbers as the store's, an entry a number."""
    data, part = state / f"slapd-{numbers}", state / f"slapd-{numbers}.part"
    if not data.exists():
        shutil.rmtree(part, ignore_errors=True)
        part.mkdir(parents=True)
        ldif = folder / "entries.ldif"
        with ldif.open("w") as file:
            file.write(TOP)
            for n in range(numbers):
                file.write(PERSON.format(n=n, i=n // 2, company=n // 2 % 997, number=FIRST + n))
        conf = configured(folder, part, numbers)
        subprocess.run([program("slapadd"), "-q", "-f", str(conf), "-l", str(ldif)], check=True)
        ldif.unlink()
        part.rename(data)
    return configured(folder, data, numbers)


@contextlib.contextmanager
def slapd(conf: Path, port: int) -> Iterator[None]:
    """A slapd in the foreground on loopback, for the block."""
    command = [program("slapd"), "-d", "0", "-f", str(conf), "-h", f"ldap://127.0.0.1:{port}"]
    with subprocess.Popen(command) as process:
        try:
            while process.poll() is None:
                with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port)):
                    break
                time.sleep(0.05)
            assert process.poll() is None, "slapd did not start"
            yield
        finally:
            process.terminate()


@contextlib.contextmanager
def bridge(folder: Path, dsn: str, port: int) -> Iterator[Process]:
    """The answering process, for the block."""
    told = folder / "bridge.toml"
    told.write_text(
        f'region = "LU"\n[http]\nlisten = "127.0.0.1:{port}"\n[admin]\nlisten = "127.0.0.1:{free_port()}"\n'
        f'[source.crm]\ntype = "file"\npath = "none.vcf"\n[connector]\ntoken = "{TOKEN}"\n'
    )
    told.chmod(0o600)
    # The process says `ready` to its keeper's pipe, which here is its standard output.
    with serving(
        "-m", "bridge.answer", "--config", str(told), env={"BRIDGE_DSN": dsn, "BRIDGE_REPORT": "1"}
    ) as process:
        yield process


def load_ldap(mode: str, port: int, connections: int, numbers: list[int]) -> dict[str, float]:
    """What load_ldap.py says; a number is written as its server has to be asked for it."""
    plus = "" if mode == "http-each" else "+"
    asked = "".join(f"{plus}352{number}\n" for number in numbers)
    command = [sys.executable, str(HERE / "load_ldap.py"), mode, str(port), str(connections), TOKEN]
    said: dict[str, float] = json.loads(
        subprocess.run(command, input=asked, stdout=subprocess.PIPE, check=True, text=True).stdout
    )
    return said


class Rounds:
    """Lookups a second of both, by what was asked."""

    def __init__(self) -> None:
        self.rates: dict[tuple[str, str], list[float]] = {}

    def add(self, name: str, who: str, said: dict[str, float]) -> None:
        rate = said["answers"] / said["seconds"]
        self.rates.setdefault((name, who), []).append(rate)
        busy = f"  (its load {said['busy']:.0%} of a core)" if "busy" in said else ""
        print(f"{name:17} {who:6} {rate:8.0f}/s  p50 {said['p50'] * 1e3:.2f} ms  p99 {said['p99'] * 1e3:.2f} ms{busy}")

    def share(self, name: str) -> float:
        """The median of bridge's share in a round."""
        both = zip(self.rates[name, "bridge"], self.rates[name, "slapd"], strict=True)
        return statistics.median(ours / theirs for ours, theirs in both)

    def verdict(self) -> bool:
        """Print each share; whether all that are judged are reached."""
        for (name, who), rates in self.rates.items():
            print(f"median {name:17} {who:6} {statistics.median(rates):8.0f}/s")
        good = True
        for name, wanted in WANTED.items():
            what = f"lookups, {name}, as a share of OpenLDAP's rate at the same numbers"
            good &= goals.at_least(what, self.share(name), wanted)
        if (EACH, "bridge") in self.rates:
            print(f"{EACH}: {self.share(EACH):.2f} of slapd, not judged")
        return good


def measure(options: argparse.Namespace, ours: int, theirs: int, answering: Process) -> Rounds:
    """Ask both servers, in turns which is first."""
    pool = random.Random(1).sample(range(FIRST, FIRST + options.numbers), options.asked * (options.rounds + 1))
    rounds = Rounds()
    for turn in range(options.rounds + 1):
        numbers = pool[turn * options.asked : (turn + 1) * options.asked]
        names = [*WANTED, *([EACH] if options.bind_each else [])]
        for name in names:
            for who in ("bridge", "slapd") if turn % 2 else ("slapd", "bridge"):
                few = numbers[: options.bind_each]
                if who == "bridge" and name == EACH:
                    said = load_ldap("http-each", ours, options.connections, few)
                elif who == "bridge":
                    said = load(ours, options.connections, numbers)
                elif name == EACH:
                    said = load_ldap("ldap-each", theirs, options.connections, few)
                else:
                    said = load_ldap("ldap", theirs, options.connections, numbers)
                assert said["empty"] == 0, (who, said)
                if turn:  # the first one warms up
                    rounds.add(name, who, said)
        if not turn:
            answering.settle()
    return rounds


def main() -> int:
    options = argparse.ArgumentParser()
    options.add_argument("--numbers", type=int, default=1_000_000)
    options.add_argument("--asked", type=int, default=10_000)
    options.add_argument("--connections", type=int, default=16)
    options.add_argument("--rounds", type=int, default=5)
    options.add_argument("--bind-each", type=int, default=0)
    options.add_argument("--state", type=lambda path: Path(path).resolve())
    given = options.parse_args()
    with tempfile.TemporaryDirectory(prefix="bridge-bench-") as name, asyncio.Runner() as runner:
        folder, ours, theirs = Path(name), free_port(), free_port()
        conf = directory(given.state or folder, folder, given.numbers)
        server = runner.run(prepared(given.state or folder, given.numbers))
        try:
            with slapd(conf, theirs), bridge(folder, server.dsn, ours) as answering:
                good = measure(given, ours, theirs, answering).verdict()
            print("load average", *(f"{load:.2f}" for load in os.getloadavg()))
            return 0 if good else 1
        finally:
            runner.run(server.close())


if __name__ == "__main__":
    sys.exit(main())
