"""On SQLite units that wait for the disk together are committed together, each whole or not."""

import asyncio
import sqlite3
from collections.abc import Iterator

import pytest
from checkout.sqlite import SqliteTransaction
from checkout.work import Overtaken, transaction
from kit.running import RunningShop
from shop.models import DeliveryNote
from tortoise.exceptions import IntegrityError, OperationalError

pytestmark = pytest.mark.usefixtures("running")


class Disk:
    """A disk that takes as long as the test wants, and may be broken."""

    def __init__(self) -> None:
        self.may_write = asyncio.Event()
        self.reached = asyncio.Event()
        self.commits = 0
        self.is_broken = False


@pytest.fixture
def disk(running: RunningShop, monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    disk = Disk()
    commit = SqliteTransaction.commit

    async def watched(unit: SqliteTransaction) -> None:
        disk.commits += 1
        disk.reached.set()
        await disk.may_write.wait()
        if disk.is_broken:
            raise sqlite3.OperationalError("disk I/O error")
        await commit(unit)

    monkeypatch.setattr(SqliteTransaction, "commit", watched)
    yield disk
    disk.may_write.set()


async def note(order_no: str) -> None:
    await DeliveryNote.create(order_no=order_no, buyer="b", contents="c")


async def notes() -> set[str]:
    return {row.order_no for row in await DeliveryNote.all()}


async def begun(disk: Disk, *order_numbers: str) -> list[asyncio.Task[None]]:
    """Let the first one wait for the disk, and the others for the first."""
    tasks = [asyncio.create_task(note(order_no)) for order_no in order_numbers]
    await disk.reached.wait()
    await asyncio.sleep(0)
    return tasks


async def test_units_that_wait_while_the_disk_is_busy_share_one_commit(disk: Disk) -> None:
    tasks = await begun(disk, *(f"n{n}" for n in range(20)))
    disk.may_write.set()
    await asyncio.gather(*tasks)
    assert len(await notes()) == 20
    assert disk.commits <= 3


async def test_nobody_is_answered_or_sees_anything_before_the_commit(disk: Disk) -> None:
    tasks = await begun(disk, "a", "b")
    assert (any(task.done() for task in tasks), await notes()) == (False, set())
    disk.may_write.set()
    await asyncio.gather(*tasks)
    assert await notes() == {"a", "b"}


async def test_a_unit_that_fails_takes_nothing_of_the_others_with_it(disk: Disk) -> None:
    async def fails() -> None:
        async with transaction():
            await note("failed")
            raise ZeroDivisionError

    tasks = [asyncio.create_task(unit) for unit in (note("a"), fails(), note("b"), fails())]
    disk.may_write.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [type(None), ZeroDivisionError] * 2
    assert await notes() == {"a", "b"}


async def test_when_the_first_one_fails_the_others_are_committed_all_the_same(disk: Disk) -> None:
    async def fails() -> None:
        async with transaction():
            await note("failed")
            raise ZeroDivisionError

    tasks = [asyncio.create_task(unit) for unit in (fails(), note("a"))]
    disk.may_write.set()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert await notes() == {"a"}


async def test_a_commit_that_fails_fails_for_all_of_its_units(disk: Disk) -> None:
    disk.is_broken = True
    tasks = await begun(disk, *(f"n{n}" for n in range(5)))
    disk.may_write.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert {type(answer) for answer in answers} == {OperationalError}
    disk.is_broken = False
    assert await notes() == set()
    await note("afterwards")
    assert await notes() == {"afterwards"}


async def test_a_twin_hears_that_it_is_one_only_when_the_first_is_committed(disk: Disk) -> None:
    first, twin = await begun(disk, "a", "a")
    assert not twin.done()
    disk.may_write.set()
    with pytest.raises(IntegrityError):
        await twin
    assert await notes() == {"a"}
    await first


async def test_a_client_that_hangs_up_takes_no_commit_from_the_others(disk: Disk) -> None:
    first, other = await begun(disk, "a", "b")
    first.cancel()
    disk.may_write.set()
    await other
    assert "b" in await notes()


async def test_a_transaction_that_the_database_undid_is_lost_to_all_of_its_units(
    disk: Disk,
) -> None:
    """A full disk may make SQLite roll back the transaction, not only the statement."""

    async def fills_the_disk() -> None:
        async with transaction():
            DeliveryNote._meta.db._connection._conn.execute("ROLLBACK")
            raise ZeroDivisionError

    tasks = [asyncio.create_task(unit) for unit in (note("a"), fills_the_disk(), note("b"))]
    disk.may_write.set()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(answer) for answer in answers] == [Overtaken] * 3
    assert await notes() == set()
