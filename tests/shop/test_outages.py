"""A database that is away: background work says so once a second, and goes on when it is back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from checkout import log, sweep
from checkout.work import failed, is_outage
from kit.logs import Diary

from tests.shop.desk import Desk, opened

AWAY = {
    "sqlite": "sqlite:///no/such/folder/shop.db",
    "postgres": "postgres://nobody@127.0.0.1:1/away",
    "mysql": "mysql://nobody@127.0.0.1:1/away",
}
DRIVERS = {"sqlite": "aiosqlite", "postgres": "asyncpg", "mysql": "asyncmy"}


@pytest.fixture(params=AWAY)
async def desk(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Desk]:
    """Open an engine whose database is not there."""
    pytest.importorskip(DRIVERS[request.param])
    url = AWAY[request.param].replace("/no/such/folder", f"{tmp_path}")
    if request.param == "sqlite":
        tmp_path.joinpath("shop.db").mkdir()  # a folder is no file
    async with opened(url) as desk:
        yield desk


async def test_the_sweep_says_so_once_a_second_and_without_a_traceback(
    desk: Desk, diary: Diary, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sweep, "PAUSE", 0.01)
    log._last.clear()
    sweeping = asyncio.create_task(desk.checkout.sweep_on())
    with contextlib.suppress(TimeoutError):  # every lane meets it many times
        await asyncio.wait_for(asyncio.shield(sweeping), 0.5)
    sweeping.cancel()
    await desk.checkout.drain(seconds=5)
    records = diary.caplog.records
    assert {record.message for record in records} == {"the database does not answer"}
    assert len(records) == 1
    assert records[0].exc_info is None


async def test_a_sweep_once_raises_at_once(desk: Desk) -> None:
    with pytest.raises(Exception) as raised:
        await asyncio.wait_for(desk.checkout.sweep_once(), 10)
    assert is_outage(raised.value)


def test_another_failure_has_its_traceback_each_time(diary: Diary) -> None:
    """A hook that cannot reach its own server is not the database."""
    for _ in range(2):
        failed("event failed", ConnectionRefusedError("the warehouse"))
    assert [record.message for record in diary.caplog.records] == ["event failed"] * 2
    assert all(record.exc_info for record in diary.caplog.records)
