"""One login for all: single-flight, renewed once, never hammered."""

import asyncio
import contextlib

import pytest

from bridge import errors
from bridge.logins import Expired, Login


class Server:
    """Gives out sessions 1, 2, 3 …; `ended` ones are not known any more."""

    def __init__(self) -> None:
        self.logins = 0
        self.renewed: list[int | None] = []
        self.ended: set[int] = set()
        self.rejects = False

    async def make(self, before: int | None) -> int:
        await asyncio.sleep(0)
        self.logins += 1
        self.renewed.append(before)
        if self.rejects:
            raise errors.Denied("the password is wrong")
        return self.logins

    async def ask(self, session: int) -> int:
        await asyncio.sleep(0)
        if session in self.ended:
            raise Expired("the session has ended")
        return session


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


async def test_many_at_once_log_in_once():
    server = Server()
    login = Login(server.make)
    assert await asyncio.gather(*(login.use(server.ask) for _ in range(20))) == [1] * 20
    assert server.logins == 1


async def test_a_session_that_ended_is_renewed_once_for_all():
    server = Server()
    login = Login(server.make)
    await login.use(server.ask)
    server.ended.add(1)
    assert await asyncio.gather(*(login.use(server.ask) for _ in range(20))) == [2] * 20
    assert server.renewed == [None, 1]


async def test_a_new_session_that_is_not_known_either_is_a_refusal():
    server = Server()
    server.ended = {1, 2, 3}
    login = Login(server.make)
    with pytest.raises(errors.Denied, match="a new login does not help"):
        await login.use(server.ask)
    assert server.logins == 2


async def test_a_rejected_login_is_not_tried_again_before_the_next_run():
    server = Server()
    server.rejects = True
    login = Login(server.make)
    for _ in range(3):
        with pytest.raises(errors.Denied, match="the password is wrong"):
            await login.use(server.ask)
    assert server.logins == 1
    login.begin()
    server.rejects = False
    assert await login.use(server.ask) == 2


async def test_a_session_taken_again_and_again_is_won_back_with_growing_pauses():
    server, clock = Server(), Clock()
    login = Login(server.make, clock=clock)
    await login.session()
    won = []
    for _ in range(200):
        server.ended.add(server.logins)
        with contextlib.suppress(errors.Unavailable):
            await login.use(server.ask)
            won.append(clock.now - 1000)
        clock.now += 10
    assert won == [0, 60, 180, 420, 900, 1800]


async def test_it_is_told_when_to_try_a_taken_session_again():
    server, clock = Server(), Clock()
    login = Login(server.make, clock=clock)
    await login.session()
    server.ended.add(1)
    assert await login.use(server.ask) == 2
    server.ended.add(2)
    clock.now += 20
    with pytest.raises(errors.Unavailable, match="another program uses the same login") as raised:
        await login.use(server.ask)
    assert raised.value.after == 40


async def test_a_session_that_lived_long_is_renewed_at_once():
    server, clock = Server(), Clock()
    login = Login(server.make, clock=clock)
    for _ in range(5):
        await login.use(server.ask)
        server.ended.add(server.logins)
        clock.now += 3600
        await login.use(server.ask)
    assert server.logins == 6


async def test_a_session_whose_time_is_over_is_renewed_before_it_is_used():
    server, clock = Server(), Clock()
    until: dict[int, float] = {}

    async def make(before: int | None) -> int:
        session = await server.make(before)
        until[session] = clock.now + 60
        return session

    login = Login(make, lives=lambda session: clock.now < until[session], clock=clock)
    for _ in range(3):
        await login.use(server.ask)
        clock.now += 61
    assert server.renewed == [None, 1, 2]
