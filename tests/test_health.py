"""For how long a sink that fails is left in peace, whoever tried it last; from a real database."""

from __future__ import annotations

from bridge import errors
from bridge.health import Health
from bridge.store import Store

AWAY = errors.Unavailable("no connection")


async def left_in_peace(db: Store) -> float:
    """Seconds until it may be tried again."""
    return float(
        await db.value("select coalesce(extract(epoch from due_at - now())::float8, 0) from sink where name = 'pbx'")
    )


async def test_one_that_fails_is_left_in_peace_for_as_long_again(db: Store) -> None:
    for failed_for, least, most in ((0, 0.3, 1), (10, 7, 13), (7200, 45, 75)):
        await db.execute(
            "insert into sink (tenant, name, error, failing_since)"
            " values ('default', 'pbx', 'away', now() - $1 * interval '1 s')"
            " on conflict (tenant, name) do update set due_at = null, failing_since = excluded.failing_since",
            float(failed_for),
        )
        # One that knows nothing of earlier tries, as after a rest or a restart: the first failure is enough.
        health = Health("default", "pbx", tolerance=8)
        async with db.pooled() as connection:
            assert not await health.waits(connection)
            await health.failed(connection, AWAY)
            assert health.halted
            assert await health.waits(connection)
        assert least < await left_in_peace(db) < most


async def test_a_failure_that_may_be_the_pushs_own_stops_nothing(db: Store) -> None:
    health = Health("default", "pbx", tolerance=3)
    async with db.pooled() as connection:
        for _ in range(2):
            await health.failed(connection, AWAY)
        assert not health.halted
        assert not await health.waits(connection)
        await health.good(connection)
        for _ in range(2):
            await health.failed(connection, AWAY)
        assert not health.halted
        await health.failed(connection, AWAY)
        assert await health.waits(connection)
        await health.good(connection)
        assert not await health.waits(connection)
