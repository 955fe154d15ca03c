"""`bridge run`: the keeper of two processes, one that answers (`bridge.answer`) and one that works (`bridge.worker`).

Either may die and is started again while the other goes on. The keeper holds what outlives them: the listening
sockets, so that no connection is refused meanwhile, and the embedded database. It imports little, for it only waits.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bridge import embedded, errors, log, sockets, systemd

_LOG = log.get()
_SILENT, _LOOKS = 15.0, 15
"""Seconds without a sign of life after which a process is taken for frozen, and how often it is looked meanwhile."""
_LEAVE_WITHIN, _STOP_WITHIN = 9.0, 6.0
"""Seconds after SIGTERM by which all has ended, and by which both processes have: the database gets what is left."""
_STEADY = 30.0
"""Seconds that a process must live for its next start to be immediate."""
_PATIENCE = 60_000_000
"""Microseconds that systemd is asked to wait longer, time and again."""
GIVE_UP = 78
"""A process's exit code for what no restart mends (EX_CONFIG)."""


class Child:
    """One of the two processes: started, watched, started again."""

    def __init__(
        self,
        module: str,
        options: Sequence[str],
        env: dict[str, str],
        pass_fds: Sequence[int],
        died: Callable[[], None] = lambda: None,
    ) -> None:
        self.name = module.rpartition(".")[2]
        self._command = [sys.executable, "-m", module, *options]
        self._env = env
        self._fds = tuple(pass_fds)
        self._died = died
        self._process: asyncio.subprocess.Process | None = None
        self._unheard = 0
        self.ready = asyncio.Event()
        self.status = ""

    async def keep(self) -> int:
        """Run it until it says that no restart would help; its exit code then."""
        tries = 0
        while True:
            begun = time.monotonic()
            end: dict[str, object]
            try:
                end = {"code": await self._once()}
            except OSError as fault:
                # Too many processes or too little memory: that may pass, and the other process goes on meanwhile.
                end = {"reason": fault}
            self.ready.clear()
            if end.get("code") == GIVE_UP:
                return GIVE_UP
            tries = 0 if time.monotonic() - begun > _STEADY else tries + 1
            wait = 0.0 if tries < 2 else min(30.0, 0.5 * 2.0 ** (tries - 2))
            _LOG.error("process.died", process=self.name, **end, again_in=wait)
            self._died()
            await asyncio.sleep(wait)

    async def _once(self) -> int:
        """Start it, and watch it until it ends; OSError: it cannot be started now."""
        # A try that fails is no silence, or systemd would end the other process, too.
        self._unheard = 0
        reading, writing = os.pipe()
        env = {**self._env, "BRIDGE_REPORT": str(writing), "BRIDGE_KEEPER": str(os.getpid())}
        try:
            self._process = await asyncio.create_subprocess_exec(
                *self._command, env=env, pass_fds=(*self._fds, writing), stdin=asyncio.subprocess.DEVNULL
            )
        except BaseException:
            os.close(reading)
            raise
        finally:
            os.close(writing)
        listening = asyncio.create_task(self._listen(reading))
        watching = asyncio.create_task(self._watch())
        try:
            return await self._process.wait()
        finally:
            listening.cancel()
            watching.cancel()

    async def _listen(self, reading: int) -> None:
        """Hear what it reports: `ready`, `beat`, `status TEXT`."""
        stream = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        pipe = os.fdopen(reading, "rb", buffering=0)
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(stream), pipe)
        try:
            while line := (await stream.readline()).decode().strip():
                self._unheard = 0
                if line == "ready":
                    self.ready.set()
                elif line.startswith("status "):
                    self.status = line.removeprefix("status ")
        finally:
            transport.close()

    async def _watch(self) -> None:
        """Kill it once it is silent; looks are counted and no seconds, for while the keeper is frozen it hears nobody.

        Such a pause is one look, and before the next one the loop has read what was said meanwhile.
        """
        while self._unheard < _LOOKS:
            await asyncio.sleep(_SILENT / _LOOKS)
            self._unheard += 1
        _LOG.error("process.frozen", process=self.name, silent=round(_SILENT))
        self.signal(signal.SIGKILL)

    def well(self) -> bool:
        """Whether it gave a sign of life lately."""
        return self._unheard < _LOOKS

    def signal(self, number: int) -> None:
        """Send it a signal, if it lives."""
        if self._process and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)

    async def stop(self, within: float) -> None:
        """SIGTERM, and SIGKILL when it has not ended by then."""
        if not self._process:
            return
        self.signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(within):
                await self._process.wait()
        except TimeoutError:
            _LOG.error("process.late", process=self.name)
            self.signal(signal.SIGKILL)
            await self._process.wait()


async def keep(config: Path, state_dir: Path, database: str, http: Sequence[str], admin: Sequence[str]) -> int:
    """Keep both processes until SIGTERM; the exit code."""
    told: asyncio.Queue[int] = asyncio.Queue()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        loop.add_signal_handler(number, told.put_nowait, number)
    listening = {"http": sockets.bind(map(_place, http)), "admin": sockets.bind(map(_place, admin))}
    for one in (one for made in listening.values() for one in made):
        one.set_inheritable(True)
    systemd.notify("STATUS=starting the database")
    server = await _opened(state_dir, told) if database == "embedded" else None
    if database == "embedded" and not server:
        return 0
    fds = {name: [one.fileno() for one in made] for name, made in listening.items()}
    env = {**os.environ, "BRIDGE_DSN": server.dsn if server else database, "BRIDGE_SOCKETS": json.dumps(fds)}
    if server:
        env["BRIDGE_EMBEDDED"] = "1"
    # A heap for each thread would keep what the busiest moment of each needed.
    env.setdefault("MALLOC_ARENA_MAX", "2")
    options = ["--config", str(config)]
    answer = Child("bridge.answer", options, env, [fd for made in fds.values() for fd in made])
    worker = Child("bridge.worker", options, env, (), died=lambda: _count(answer))
    try:
        return await _until_told(answer, worker, told)
    finally:
        ends = time.monotonic() + _LEAVE_WITHIN
        await asyncio.gather(*(one.stop(_STOP_WITHIN) for one in (answer, worker)))
        if server:
            await server.close(ends - time.monotonic())
        _LOG.info("daemon.stopped")


async def _opened(state_dir: Path, told: asyncio.Queue[int]) -> embedded.Embedded | None:
    """The embedded database, which may take minutes to start after a crash; None where SIGTERM came first."""
    opening = asyncio.ensure_future(embedded.open(state_dir))
    try:
        while True:
            heard = asyncio.ensure_future(told.get())
            await asyncio.wait({opening, heard}, return_when=asyncio.FIRST_COMPLETED)
            if opening.done():
                if not heard.cancel():
                    told.put_nowait(heard.result())
                return opening.result()
            if heard.result() != signal.SIGHUP:
                return None
    finally:
        opening.cancel()
        await asyncio.gather(opening, return_exceptions=True)


def _count(answer: Child) -> None:
    """Have the answering process count that the other one died; before it is ready the signal would end it."""
    if answer.ready.is_set():
        answer.signal(signal.SIGUSR1)


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


async def _until_told(answer: Child, worker: Child, told: asyncio.Queue[int]) -> int:
    keeping = [asyncio.create_task(one.keep()) for one in (answer, worker)]
    notifying = asyncio.create_task(_notify(answer, worker))
    try:
        while True:
            heard = asyncio.ensure_future(told.get())
            await asyncio.wait({heard, *keeping}, return_when=asyncio.FIRST_COMPLETED)
            if not heard.done():
                heard.cancel()
                _tell_faults(keeping)
                return 1
            if heard.result() != signal.SIGHUP:
                return 0
            systemd.notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")
            for one in (answer, worker):
                one.signal(signal.SIGHUP)
            systemd.notify("READY=1")
    finally:
        systemd.notify("STOPPING=1")
        _LOG.info("daemon.stopping")
        notifying.cancel()
        for task in keeping:
            task.cancel()
        await asyncio.gather(*keeping, notifying, return_exceptions=True)


def _tell_faults(keeping: Sequence[asyncio.Task[int]]) -> None:
    """What ended the keeping of a process, unless the process itself gave up and has said why."""
    for task in keeping:
        if task.done() and (fault := task.exception()):
            _LOG.critical("daemon.broken", exc_info=fault)


async def _notify(answer: Child, worker: Child) -> None:
    """Tell systemd: READY once lookups are answered, then a watchdog's beat while both processes live.

    Until then that it may take longer: without its database bridge waits for it, and no restart would help.
    """
    said = ""
    while not answer.ready.is_set():
        said = _say(worker.status or answer.status or "starting", said)
        if answer.well() and worker.well():
            systemd.notify(f"EXTEND_TIMEOUT_USEC={_PATIENCE}")
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(5.0):
                await answer.ready.wait()
    _LOG.info("daemon.ready")
    systemd.notify("READY=1")
    while True:
        said = _say(worker.status or answer.status or "answering lookups", said)
        if answer.well() and worker.well():
            systemd.notify("WATCHDOG=1")
        await asyncio.sleep(min(5.0, systemd.watchdog() / 3))


def _say(status: str, said: str) -> str:
    if status != said:
        systemd.notify(f"STATUS={status}")
    return status


def main(words: Sequence[str] | None = None) -> int:
    """`python -m bridge.daemon`, as `bridge run` starts it with a configuration that it has checked.

    The database's URL comes in $BRIDGE_DATABASE, for it may hold a password.
    """
    options = argparse.ArgumentParser(prog="bridge.daemon")
    options.add_argument("--config", type=Path, required=True)
    options.add_argument("--state-dir", type=Path, required=True)
    options.add_argument("--http", action="append", default=[])
    options.add_argument("--admin", action="append", default=[])
    options.add_argument("--log", choices=("auto", "console", "json"), default="auto")
    asked = options.parse_args(words)
    log.setup(asked.log, aside=True)
    database = os.environ.pop("BRIDGE_DATABASE", "embedded")
    log.hide([database] if "@" in database else [])
    try:
        return asyncio.run(keep(asked.config, asked.state_dir, database, asked.http, asked.admin))
    except errors.BridgeError as fault:
        _LOG.error("daemon.failed", reason=str(fault))
        return 1
    except Exception:
        # A mistake of ours: told as the log tells one, with no secret in it, and nobody waits for who reads it.
        _LOG.critical("daemon.broken", exc_info=True)
        return 1


if __name__ == "__main__":
    sys.exit(main())
