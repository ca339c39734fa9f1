"""Units of work: they finish although the client hangs up, and are drained at shutdown.

Sanic cancels a handler when its client disconnects. A cancelled transaction keeps its
connection for good, so nothing that touches the database or WeChat runs in the handler's task.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.transactions import in_transaction

from shop import log

T = TypeVar("T")


class Work:
    """The tasks that are under way in this process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flights: dict[str, asyncio.Task[Any]] = {}

    def start(self, unit: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run a unit of work in a task of its own that nobody cancels."""
        task = asyncio.create_task(unit)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def run(self, unit: Coroutine[Any, Any, T], *, seconds: float) -> T:
        """Wait for a unit of work; after `seconds` raise TimeoutError, the unit goes on."""
        return await asyncio.wait_for(asyncio.shield(self.start(unit)), seconds)

    async def once(self, key: str, unit: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Single flight: callers that come while `key` is under way share its outcome."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = self.start(unit())
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    async def drain(self, *, seconds: float) -> int:
        """Wait for everything under way; return how many units did not finish in time."""
        mine = asyncio.current_task()
        pending = {task for task in self._tasks if task is not mine}
        if pending:
            _, pending = await asyncio.wait(pending, timeout=seconds)
        return len(pending)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever still waits gets it, nobody is warned about it


@asynccontextmanager
async def transaction() -> AsyncIterator[BaseDBAsyncClient]:
    """Open a short transaction; the first statement inside must be a write.

    This is the only place of `in_transaction`. Never call WeChat inside.
    """
    async with in_transaction() as connection:
        yield connection


async def forever(step: Callable[[], Coroutine[Any, Any, object]], *, pause: float) -> None:
    """Repeat a step until cancelled; a failing step is logged and tried again."""
    while True:
        try:
            await step()
        except Exception as error:
            log.failure("background step failed", error)
        await asyncio.sleep(pause)
