"""In a rush those who wait for an answer come first: the owner's functions and the sweep wait."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import pytest
from checkout import events
from checkout.clock import Clock
from checkout.events import Events, Hooks
from checkout.lanes import Lane
from checkout.models import Event, Order
from checkout.work import RUSH, Work
from kit.waiting import until

CLOCK = Clock()


@asynccontextmanager
async def waiting(work: Work, callers: int) -> AsyncIterator[None]:
    """Let so many callers wait for an answer."""
    answered = asyncio.Event()
    calls = [asyncio.create_task(work.run(answered.wait(), seconds=10)) for _ in range(callers)]
    await asyncio.sleep(0)
    yield
    answered.set()
    await asyncio.gather(*calls)


class Watched(Events):
    """Notes how many hooks run beside each other, instead of running them."""

    def __init__(self, seconds: float) -> None:
        self.work = Work()
        super().__init__(Hooks(), CLOCK, self.work)
        self.seconds = seconds
        self.running = self.most = self.ran = 0

    async def _at_once(self, *_: Any) -> None:
        self.running += 1
        self.most = max(self.most, self.running)
        await asyncio.sleep(self.seconds)
        self.running -= 1
        self.ran += 1

    async def rush(self, hooks: int = 5, *, lease: timedelta = timedelta(seconds=60)) -> None:
        for n in range(hooks):
            self._start(Event(id=n, due_at=CLOCK.now() + lease), Order(), None)
        assert await self.work.drain(seconds=10) == 0


async def test_quick_hooks_run_a_few_at_a_time() -> None:
    watched = Watched(seconds=0)
    await watched.rush(events.TOGETHER * 5)
    assert (watched.ran, watched.most) == (events.TOGETHER * 5, events.TOGETHER)


async def test_a_slow_hook_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "PATIENCE", 0)
    watched = Watched(seconds=0.2)
    hooks = events.TOGETHER * 2
    await watched.rush(hooks)
    assert (watched.ran, watched.most) == (hooks, hooks)


async def test_what_has_waited_too_long_is_left_to_the_sweep() -> None:
    watched = Watched(seconds=0)
    await watched.rush(lease=timedelta(seconds=events.QUICK_SECONDS / 2))
    assert watched.ran == 0


async def test_in_a_rush_hooks_wait_until_callers_are_answered() -> None:
    watched = Watched(seconds=0)
    async with waiting(watched.work, RUSH + 1):
        watched._start(Event(due_at=CLOCK.now() + timedelta(seconds=60)), Order(), None)
        await asyncio.sleep(3 * events.A_BREATH)
        assert watched.ran == 0
    assert await watched.work.drain(seconds=10) == 0
    assert watched.ran == 1


async def test_on_a_quiet_day_hooks_wait_for_nobody() -> None:
    watched = Watched(seconds=0)
    async with waiting(watched.work, RUSH):
        watched._start(Event(due_at=CLOCK.now() + timedelta(seconds=60)), Order(), None)
        await asyncio.sleep(0.01)
        assert watched.ran == 1


async def test_a_rush_that_goes_on_does_not_keep_hooks_waiting(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(events, "WAITS_IN_A_RUSH", 0.05)
    watched = Watched(seconds=0)

    async def has_run() -> bool:
        return watched.ran == 1

    async with waiting(watched.work, RUSH + 1):
        watched._start(Event(due_at=CLOCK.now() + timedelta(seconds=60)), Order(), None)
        await until(has_run)


async def test_in_a_rush_the_sweep_looks_at_what_is_long_overdue_only() -> None:
    work = Work()
    until_when = []

    async def due(now: Any, _: int) -> list[Any]:
        until_when.append(now)
        return []

    async def handle(_: Any) -> None:
        raise AssertionError("nothing is due")

    waits = timedelta(seconds=20)
    lane = Lane("payments", due, handle, CLOCK, work, slots=1, waits=waits)
    async with waiting(work, RUSH + 1):
        await lane.turn()
    await lane.turn()
    later = until_when[1] - until_when[0]
    assert waits <= later < waits + timedelta(seconds=10)
