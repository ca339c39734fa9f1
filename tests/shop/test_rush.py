"""In a rush of payments WeChat is answered first: the owner's functions take turns."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from checkout import events
from checkout.clock import Clock
from checkout.events import Events, Hooks
from checkout.models import Event, Order
from checkout.work import Work

CLOCK = Clock()


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
    watched, hooks = Watched(seconds=0.2), events.TOGETHER * 2
    await watched.rush(hooks)
    assert (watched.ran, watched.most) == (hooks, hooks)


async def test_what_has_waited_too_long_is_left_to_the_sweep() -> None:
    watched = Watched(seconds=0)
    await watched.rush(lease=timedelta(seconds=events.QUICK_SECONDS / 2))
    assert watched.ran == 0
