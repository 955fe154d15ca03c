"""`bridge demo`: the whole main job with nothing configured.

A sample CRM on a stand-in server, the real daemon with an embedded database, and a stand-in Call Control Manager, all
on loopback ports and in a temporary directory that is removed at the end.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import os
import secrets
import shlex
import shutil
import signal
import socket
import sys
import tempfile
import time
from asyncio.subprocess import DEVNULL, STDOUT, Process
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from bridge import embedded, errors, kept
from bridge.demo import changes, crms, sample
from bridge.demo.crms import Crm
from bridge.demo.manager import Manager

_PORTS = (8080, 8081)
_FIRST_WITHIN, _CHANGE_WITHIN, _ANSWER_WITHIN, _STOP_WITHIN = 90.0, 30.0, 10.0, 12.0
_EVERY = 20.0
"""Seconds between two changes in the sample CRM."""
_CALLER = "038"
_CONFIG = """\
region    = "{region}"
state_dir = "state"
log       = "console"

[http]
listen = "127.0.0.1:{http}"
[admin]
listen = "127.0.0.1:{admin}"

[source.sample]
every = "2s"
label = "Sample CRM"
{table}

[sink.manager]
type         = "ccm"
url          = "{manager}"
security_key = "{key}"
rate         = 200

[connector]
token = "{token}"
"""

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Stage:
    """The stand-ins, the URLs of all that serves, and the directory of the rest."""

    home: Path
    crm: Crm
    manager: Manager
    crm_url: str
    manager_url: str
    http: int
    admin: int
    token: str

    @property
    def config(self) -> Path:
        return self.home / "bridge.toml"

    @property
    def log(self) -> Path:
        return self.home / "bridge.log"

    @property
    def lookup_url(self) -> str:
        return f"http://127.0.0.1:{self.http}/services/Lookup"


async def run(say: Say, *, crm: crms.Name = "carddav", once: bool = False) -> None:
    """Play with this kind of CRM until SIGINT or SIGTERM, or `once` until the first contacts have arrived.

    Unavailable where they do not.
    """
    stopped = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    async with _staged(crms.make(crm)) as stage:
        playing = asyncio.create_task(_play(stage, say, once))
        ending = asyncio.create_task(stopped.wait())
        try:
            await asyncio.wait({playing, ending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ending.cancel()
            if not playing.done():
                say("ending …")
                playing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await playing


@contextlib.asynccontextmanager
async def _staged(crm: Crm) -> AsyncIterator[Stage]:
    """The stand-ins serving, and a configuration that names them."""
    home = Path(tempfile.mkdtemp(prefix="bridge-demo-"))
    key, token = (secrets.token_urlsafe(12) for _ in range(2))
    manager = Manager(key)
    try:
        async with crm.serve() as crm_url, manager.serve() as manager_url:
            http, admin = _free_ports()
            stage = Stage(home, crm, manager, crm_url, manager_url, http, admin, token)
            table = "\n".join(f"{name} = {orjson.dumps(value).decode()}" for name, value in crm.table(crm_url).items())
            words = {"table": table, "manager": manager_url, "key": key, "token": token}
            stage.config.touch(0o600)
            stage.config.write_text(_CONFIG.format(region=changes.REGION, http=http, admin=admin, **words))
            yield stage
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _free_ports() -> list[int]:
    """Ports of the usual numbers where they are free, else others."""
    with contextlib.ExitStack() as stack:
        return [_port(stack, usual) for usual in _PORTS]


def _port(stack: contextlib.ExitStack, usual: int) -> int:
    for number in (usual, 0):
        with contextlib.suppress(OSError):
            taken = stack.enter_context(socket.create_server(("127.0.0.1", number)))
            return int(taken.getsockname()[1])
    raise errors.Unavailable("there is no free port on 127.0.0.1")


async def _play(stage: Stage, say: Say, once: bool) -> None:
    people = sample.people()
    for key, person in people.items():
        stage.crm.put_person(key, person)
    expected = {number for person in people.values() for number in changes.entries(person)}
    say(f"bridge starts in {stage.home}, with an empty database …")
    began = time.monotonic()
    async with _daemon(stage) as daemon:
        await _until(lambda: set(stage.manager.book()) == expected, _FIRST_WITHIN, daemon, stage)
        took = time.monotonic() - began
        say(f"{len(people)} contacts went from the CRM to the Manager, {len(expected)} numbers, within {took:.1f} s.")
        await _show(stage, people[_CALLER], say)
        if once:
            return
        say("")
        say(f"Every {_EVERY:.0f} s something changes in the CRM. Ctrl-C ends it all.")
        coming = changes.endless(stage.crm, people)
        while True:
            await asyncio.sleep(_EVERY)
            change, began = next(coming), time.monotonic()
            say(f"{time.strftime('%H:%M:%S')} {change.told}")
            await _until(functools.partial(change.known, stage.manager), _CHANGE_WITHIN, daemon, stage)
            say(f"         the Manager knows, {time.monotonic() - began:.1f} s later")


async def _show(stage: Stage, caller: sample.Person, say: Say) -> None:
    """Where everything is, and a lookup to try; it was tried before it is shown."""
    number = min(changes.entries(caller))
    body = orjson.dumps({"inputs": {"phoneNumber": number}}).decode()
    name = await _looked_up(stage, body)
    header = f"X-Execution-Token: {stage.token}"
    curl = shlex.join(["curl", "-s", "-H", header, "-d", body, stage.lookup_url])
    told = f"""
  CRM              {stage.crm_url}   how to log in: see the configuration
  Manager          {stage.manager_url.removesuffix("api.aspx")}_state   what it holds
  Lookups          {stage.lookup_url}
  Admin's page     http://127.0.0.1:{stage.admin}/   also /metrics, /health/ready
  Configuration    {stage.config}   log: {stage.log}

Who is {number}? {name} says the CONNECTOR's question:

  {curl}"""
    for line in told.splitlines():
        say(line)


async def _looked_up(stage: Stage, body: str) -> str:
    """The name that a lookup answers, as soon as it does."""
    end = time.monotonic() + _ANSWER_WITHIN
    headers = {"X-Execution-Token": stage.token}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=5)) as http:
        while True:
            try:
                async with http.post(stage.lookup_url, data=body) as answer:
                    found = orjson.loads(await answer.read()) if answer.status == 200 else []
                    if found:
                        return str(found[0]["name"])
                    said = f"HTTP {answer.status}"
            except (aiohttp.ClientError, TimeoutError) as fault:
                said = str(fault) or type(fault).__name__
            if time.monotonic() > end:
                raise errors.Unavailable(f"{stage.lookup_url} answers no name: {said}")
            await asyncio.sleep(0.1)


@contextlib.asynccontextmanager
async def _daemon(stage: Stage) -> AsyncIterator[Process]:
    """The daemon as an admin would start it, in a session of its own: Ctrl-C is for us, and we end it."""
    words = [sys.executable, "-m", "bridge", "run", "--config", str(stage.config)]
    with stage.log.open("wb") as log:
        daemon = await asyncio.create_subprocess_exec(
            *words,
            stdin=DEVNULL,
            stdout=log,
            stderr=STDOUT,
            env={**os.environ, "NOTIFY_SOCKET": "", "STATE_DIRECTORY": ""},
            start_new_session=True,
            preexec_fn=kept.die_with_parent,
        )
    try:
        yield daemon
    finally:
        await asyncio.shield(_end(daemon, stage))


async def _end(daemon: Process, stage: Stage) -> None:
    with contextlib.suppress(ProcessLookupError):
        daemon.terminate()
    try:
        async with asyncio.timeout(_STOP_WITHIN):
            await daemon.wait()
    except TimeoutError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(daemon.pid, signal.SIGKILL)
        await daemon.wait()
        # The last to leave stops the database.
        await (await embedded.open(stage.home / "state")).close()


async def _until(done: Callable[[], bool], within: float, daemon: Process, stage: Stage) -> None:
    """Wait until it is so; Unavailable, with the end of the daemon's log, where it does not come to that."""
    end = time.monotonic() + within
    while not done():
        if daemon.returncode is not None:
            raise errors.Unavailable(f"the daemon ended with code {daemon.returncode}:\n{_tail(stage.log)}")
        if time.monotonic() > end:
            raise errors.Unavailable(f"nothing arrived within {within:.0f} s:\n{_tail(stage.log)}")
        await asyncio.sleep(0.1)


def _tail(log: Path) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-15:])
