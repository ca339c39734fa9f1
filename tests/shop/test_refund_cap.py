"""The last line of defence: the database itself keeps refunds below what was paid."""

import asyncio
import sqlite3
from contextlib import closing
from urllib.parse import urlsplit

import pytest
from checkout import database as engine
from checkout.config import ConfigError
from checkout.models import Share
from kit.buyers import bought
from kit.databases import EACH_SERVER_TOO
from kit.running import RunningShop
from tortoise.exceptions import IntegrityError, OperationalError

from shop import database


@EACH_SERVER_TOO
@pytest.mark.parametrize("reserved_fen", [-1, 9_901])
async def test_no_database_reserves_more_than_was_paid_or_less_than_nothing(
    running: RunningShop, reserved_fen: int
) -> None:
    await bought(running)
    with pytest.raises((IntegrityError, OperationalError), match="checkout_refund_cap"):
        await Share.all().update(reserved_fen=reserved_fen)
    assert (await Share.get()).reserved_fen == 0


#: what a migration does that changes a column: copy, drop, rename
REBUILD = """
    CREATE TABLE rebuilt AS SELECT * FROM checkout_share;
    DROP TABLE checkout_share;
    ALTER TABLE rebuilt RENAME TO checkout_share;
"""
OTHER_TRIGGER = """
    DROP TRIGGER checkout_refund_cap;
    CREATE TRIGGER checkout_refund_cap BEFORE UPDATE ON checkout_share
    WHEN NEW.reserved_fen > 2 * NEW.total_fen BEGIN SELECT RAISE(ABORT, 'cap'); END;
"""


def run(url: str, script: str) -> None:
    with closing(sqlite3.connect(urlsplit(url).path)) as connection:
        connection.executescript(f"BEGIN IMMEDIATE; {script} COMMIT")


async def change(running: RunningShop, script: str) -> None:
    """Change SQLite's file from outside, in a thread: a hook of the shop's may be writing yet."""
    await asyncio.to_thread(run, str(running.shop.settings.database_url), script)


async def test_sqlite_loses_the_cap_with_a_rebuilt_table_and_the_shop_is_not_ready_until_migrated(
    running: RunningShop,
) -> None:
    await bought(running)
    await change(running, REBUILD)
    answer = await running.http.get("/readyz")
    assert answer.status_code == 503
    assert "checkout_refund_cap is missing or another, run migrate" in answer.json()["database"]
    with pytest.raises(ConfigError, match="checkout_refund_cap"):
        await engine.check()
    assert await engine.migrate(database.APPS) == []
    assert (await running.http.get("/readyz")).status_code == 200
    with pytest.raises((IntegrityError, OperationalError), match="checkout_refund_cap"):
        await Share.all().update(reserved_fen=9_901)


async def test_a_trigger_of_that_name_that_caps_nothing_is_found_and_replaced(
    running: RunningShop,
) -> None:
    await bought(running)
    await change(running, OTHER_TRIGGER)
    assert (await running.http.get("/readyz")).status_code == 503
    await engine.migrate(database.APPS)
    assert (await running.http.get("/readyz")).status_code == 200
    with pytest.raises((IntegrityError, OperationalError), match="checkout_refund_cap"):
        await Share.all().update(reserved_fen=9_901)
