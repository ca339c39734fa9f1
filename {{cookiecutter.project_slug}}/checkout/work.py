"""Units of work: they finish although the client hangs up, and meet each other without harm.

A web server cancels a handler when its client disconnects. A cancelled transaction keeps its
connection for good, so nothing that touches the database or WeChat runs in the handler's task.
"""

import asyncio
import random
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from tortoise.exceptions import DBConnectionError
from tortoise.transactions import in_transaction

from checkout import log
from checkout.errors import CallAgain, CheckoutError
from checkout.models import Order

T = TypeVar("T")
TRIES = 6
RUSH = 8  # callers that wait for an answer at once; a shop that is not busy has one or two
#: a deadlock, a lock that was waited for too long, a snapshot that is too old
SQLSTATES = ("40001", "40P01", "55P03")
MYSQL_NUMBERS = (1205, 1213)
#: the database is gone, or does not let anybody in or write: SQLSTATEs begin so
OUTAGE_SQLSTATES = ("08", "53", "57P", "58", "25006")
OUTAGE_MYSQL_NUMBERS = (1021, 1040, 1053, 1114, 1290, 1836, 2002, 2003, 2006, 2013, 2055)
OUTAGE_TEXTS = ("unable to open", "readonly database", "disk is full", "disk I/O error")
OUTAGE_CLASSES = ("InterfaceError", "ConnectionDoesNotExistError")  # a driver's, cut in mid-call
_deadline: ContextVar[float] = ContextVar("deadline", default=float("inf"))


class Work:
    """The tasks that are under way in this process."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._flights: dict[str, asyncio.Task[Any]] = {}
        self._callers = 0

    @property
    def is_rush(self) -> bool:
        """Tell whether many callers wait for an answer: what nobody waits for can wait a little."""
        return self._callers > RUSH

    def start(
        self, unit: Coroutine[Any, Any, T], *, seconds: float | None = None
    ) -> asyncio.Task[T]:
        """Run a unit of work in a task of its own that nobody cancels."""
        task = asyncio.create_task(_within(unit, seconds))
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def run(self, unit: Coroutine[Any, Any, T], *, seconds: float) -> T:
        """Wait for a unit of work; after `seconds` raise TimeoutError, the unit goes on.

        Called inside a unit, it is a part of that unit.
        """
        if asyncio.current_task() in self._tasks:
            return await unit
        task = self.start(unit, seconds=seconds)
        self._callers += 1
        try:
            done, _ = await asyncio.wait([task], timeout=seconds)  # never cancels the task
        finally:
            self._callers -= 1
        if not done:
            raise TimeoutError
        return task.result()

    async def once(self, key: str, unit: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Single flight: callers that come while `key` is under way share its outcome."""
        flight = self._flights.get(key)
        if flight is None:
            flight = self._flights[key] = self.start(unit())
            flight.add_done_callback(lambda _: self._flights.pop(key, None))
        return await asyncio.shield(flight)

    async def drain(self, *, seconds: float) -> int:
        """Wait for everything under way, and for what that begins; return what did not end."""
        until = time.monotonic() + seconds
        while pending := self._tasks - {asyncio.current_task()}:
            left = until - time.monotonic()
            if left <= 0:
                return len(pending)
            await asyncio.wait(pending, timeout=left)
        return 0

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen: whoever still waits gets it, nobody is warned about it


async def _within(unit: Coroutine[Any, Any, T], seconds: float | None) -> T:
    _deadline.set(float("inf") if seconds is None else time.monotonic() + seconds)
    try:
        return await unit
    except CheckoutError:
        raise
    except Exception as error:  # a single statement outside of `again` may collide, too
        if collided(error):
            raise _busy() from error
        raise


async def forever(step: Callable[[], Awaitable[object]], *, pause: float) -> None:
    """Repeat a step until cancelled, every `pause` seconds; a failing step is tried again."""
    while True:
        try:
            await step()
        except Exception as error:
            failed("background step failed", error)
        await asyncio.sleep(pause)


def failed(event: str, error: BaseException, **fields: Any) -> None:
    """Log what failed; an outage of the database is one line a second, however many meet it."""
    if is_outage(error):
        log.at_most_once_a_second("the database does not answer", why=type(error).__name__)
    else:
        log.failure(event, error, **fields)


class Overtaken(Exception):
    """Raised when somebody moved a row between our read and our write: read it again."""


class AfterCommit:
    """What is to be done once a transaction is committed, and not at all when it is not."""

    def __init__(self) -> None:
        self._calls: list[Callable[[], object]] = []

    def call(self, function: Callable[[], object]) -> None:
        """Remember a function; it must not block and not fail."""
        self._calls.append(function)

    def run(self) -> None:
        """Call all of them, in order."""
        for function in self._calls:
            function()


@asynccontextmanager
async def transaction() -> AsyncIterator[AfterCommit]:
    """Open a short transaction; the first statement inside must be a write.

    This is the only place of `in_transaction`. Never call WeChat inside.
    """
    after = AfterCommit()
    async with in_transaction(Order._meta.default_connection):
        yield after
    after.run()


async def again(unit: Callable[[], Awaitable[T]]) -> T:
    """Run a unit of reads and one transaction; run it again, whole, when it met another one.

    It begins from ids: never pass rows in that it changes, never call WeChat inside. Raises
    CallAgain when it still collides after the last try or at the deadline.
    """
    for attempt in range(TRIES):
        try:
            return await unit()
        except Exception as error:
            if not collided(error):
                raise
            log.info("collision", why=type(error).__name__, attempt=attempt)
            pause = random.uniform(0.5, 1.5) * 0.01 * 2**attempt  # noqa: S311
            if attempt == TRIES - 1 or time.monotonic() + pause > _deadline.get():
                raise _busy() from error
        await asyncio.sleep(pause)
    raise AssertionError("the last try returns or raises")


def _busy() -> CallAgain:
    """Ask for another call; jitter keeps those who collided from meeting again."""
    return CallAgain("the books are busy, call again", retry_after=random.randint(1, 3))  # noqa: S311


def collided(error: BaseException) -> bool:
    """Tell whether another transaction was in the way, whatever the driver calls it."""
    return any(
        isinstance(cause, Overtaken)
        or getattr(cause, "sqlstate", None) in SQLSTATES
        or "database is locked" in str(cause)
        or (cause.args and cause.args[0] in MYSQL_NUMBERS)
        for cause in causes(error)
    )


def is_outage(error: BaseException) -> bool:
    """Tell whether the database could not be reached, or takes no writes."""
    return any(
        isinstance(cause, DBConnectionError)
        or (isinstance(cause, OSError) and _came_through_tortoise(cause))
        or str(getattr(cause, "sqlstate", None)).startswith(OUTAGE_SQLSTATES)
        or type(cause).__name__ in OUTAGE_CLASSES
        or (cause.args and cause.args[0] in OUTAGE_MYSQL_NUMBERS)
        or any(text in str(cause) for text in OUTAGE_TEXTS)
        for cause in causes(error)
    )


def _came_through_tortoise(error: BaseException) -> bool:
    """Tell a driver's OSError from that of a hook which cannot reach its own server."""
    frames = (frame for frame, _ in traceback.walk_tb(error.__traceback__))
    return any(frame.f_globals.get("__name__", "").startswith("tortoise.") for frame in frames)


def causes(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it; Tortoise keeps a driver's error as the first argument."""
    while error is not None:
        yield error
        inner = error.args[0] if error.args else None
        error = error.__cause__ or (inner if isinstance(inner, BaseException) else None)
