"""`bridge demo` as a stranger runs it."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shlex
import signal
import socket
import sys
from pathlib import Path

import pytest
from commands import bridge, environment

from bridge import formats, numbers
from bridge.contact import Record
from bridge.demo import changes, crms, sample
from bridge.demo.manager import Manager


def _processes(of: Path) -> list[str]:
    """Command lines of processes that name a directory."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = each.read_bytes().replace(b"\0", b" ").decode()
            if str(of) in words:
                found.append(words)
    return found


@pytest.mark.parametrize("crm", ["carddav", "salesforce", "sugarcrm", "suitecrm", "zimbra"])
async def test_once_shows_the_flow_and_leaves_nothing_behind(tmp_path: Path, crm: str) -> None:
    with contextlib.ExitStack() as stack:
        # The usual ports are somebody else's.
        for port in (8080, 8081):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
        ran = await bridge(tmp_path, "demo", "--once", "--crm", crm, within=60, TMPDIR=str(tmp_path))
    assert (ran.code, ran.err) == (0, "")
    assert re.search(r"^50 contacts went from the CRM to the Manager, 77 numbers, within \d+\.\d s\.$", ran.out, re.M)
    assert "Who is 33199001038? Claire Dubois says" in ran.out
    assert list(tmp_path.iterdir()) == []
    assert _processes(tmp_path) == []


async def test_the_printed_line_answers_and_ctrl_c_ends_everything(tmp_path: Path) -> None:
    demo = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "bridge", "demo"),
        cwd=tmp_path,
        env=environment(TMPDIR=str(tmp_path)),
        stdout=asyncio.subprocess.PIPE,
    )
    assert demo.stdout is not None
    try:
        async with asyncio.timeout(60):
            line = ""
            while not line.startswith("curl "):
                line = (await demo.stdout.readline()).decode().strip()
        _, _, _, header, _, body, url = shlex.split(line)
        answered = await asyncio.to_thread(_post, url, header, body)
        assert '"name":"Claire Dubois"' in answered
    finally:
        demo.send_signal(signal.SIGINT)
        async with asyncio.timeout(15):
            await demo.communicate()
    assert demo.returncode == 0
    assert list(tmp_path.iterdir()) == []
    assert _processes(tmp_path) == []


def _post(url: str, header: str, body: str) -> str:
    """The answer to what the printed line asks, without curl."""
    host, _, path = url.removeprefix("http://").partition("/")
    name, _, port = host.partition(":")
    head = f"POST /{path} HTTP/1.1\r\nHost: {host}\r\n{header}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n"
    with socket.create_connection((name, int(port)), timeout=10) as connection:
        connection.sendall(f"{head}\r\n{body}".encode())
        return b"".join(iter(lambda: connection.recv(1 << 16), b"")).decode()


def test_every_number_of_the_sample_is_one() -> None:
    people = sample.people()
    for person in people.values():
        fields = [field.strip() for field in f"{person.work},{person.cell}".split(",") if field.strip()]
        keys = [numbers.read(field, changes.REGION) for field in fields]
        assert [len(key) for key in keys] == [1] * len(fields)
        assert keys
    everything = [number for person in people.values() for number in changes.entries(person)]
    assert len(everything) == len(set(everything)) == 77


def test_every_card_of_the_sample_is_read_as_it_was_meant() -> None:
    people = list(sample.people().values())
    cards = "".join(person.vcard() for person in people).encode()
    read = list(formats.read([cards]))
    assert [(each.first_name, each.last_name, each.company) for each in read if isinstance(each, Record)] == [
        (person.first, person.last, person.company) for person in people
    ]


def test_changes_go_round_and_leave_a_book_that_can_change_again() -> None:
    crm, people = crms.CardDav(), sample.people()
    for key, person in people.items():
        crm.put_person(key, person)
    coming = changes.endless(crm, people)
    told = [next(coming).told for _ in range(400)]
    assert told[0] == "Marc Weber's mobile number is no longer 621 000 001, but 621 001 000"
    assert [line.rpartition(" ")[2] for line in told[2:4]] == ["new", "left"]
    assert len(crm.book.cards) == len(people) == 50
    assert max(len(person.name) for person in people.values()) < 40


def test_a_change_is_known_once_the_manager_holds_it() -> None:
    crm, people, manager = crms.CardDav(), sample.people(), Manager()
    change = next(changes.endless(crm, people))
    assert change.known(manager) is False
    for number in changes.entries(people["001"]):
        manager._entries[number] = [{"FirstName": "Marc", "LastName": "Weber", "CompanyName": ""}]
    assert change.known(manager) is True
