"""Writes that are committed together or not at all, in as few messages as the database takes.

To send a message and to hear the answer costs our processor more than a write costs the database,
and BEGIN, six writes and COMMIT are eight messages. PostgreSQL takes all of it as one statement,
MySQL as one message and a COMMIT; SQLite is in our own process, there nothing is sent. In a rush
what waits for the database is sent together.
"""

import asyncio
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from itertools import chain
from typing import Any, NamedTuple
from weakref import WeakKeyDictionary

from tortoise.backends.base.client import BaseDBAsyncClient, TransactionalDBClient
from tortoise.exceptions import OperationalError
from tortoise.models import Model

from checkout import sql
from checkout.models import Order, Payment, Refund
from checkout.work import AfterCommit, Overtaken, causes, transaction

MISSED = "22012"  # the SQLSTATE of a division by zero
AT_ONCE = 3  # messages under way; what comes meanwhile waits for others of its kind
TOGETHER = 4  # facts of one message: each number has a text of its own that is planned once


class Write(NamedTuple):
    """One statement that must meet a row; `{parent}` in its text is the id of an earlier one's."""

    text: str
    values: list[Any]
    parent: int | None = None
    row: Model | None = None


class Writes:
    """What one fact changes, collected first, then written in this order.

    Nothing is written before `commit`, or `send` in an open transaction, and nothing can be read
    in between: where a statement's answer decides what follows, open a transaction instead.
    """

    def __init__(self, after: AfterCommit | None = None) -> None:
        self.after = after or AfterCommit()
        self._writes: list[Write] = []

    def run(self, statement: sql.Statement, **values: Any) -> None:
        """Add an UPDATE; one that meets no row undoes all of it."""
        self._writes.append(Write(statement.text, statement.converted(values)))

    def move(self, row: Order | Payment | Refund, state: str, **values: Any) -> None:
        """Add the compare-and-set of a state; `row` is changed once it is committed."""
        moved = {"state": state, **values}
        self.run(sql.compare_and_set_of(row, **values), id=row.id, state__was=row.state, **moved)
        self.after.call(partial(vars(row).update, moved))

    def insert(self, row: Model) -> None:
        """Add a row; it gets its id."""
        self._add(type(row), [sql.fields_of(row)], row)

    def insert_all(self, table: type[Model], *rows: Mapping[str, Any], **parent: Model) -> None:
        """Add rows of one table, by field names.

        `order_id=order` is the id that `order` gets, which is inserted by these writes, too.
        """
        self._add(table, rows, None, **parent)

    def _add(
        self,
        table: type[Model],
        rows: Sequence[Mapping[str, Any]],
        row: Model | None,
        **parent: Model,
    ) -> None:
        column, first = next(iter(parent.items()), ("", None))
        text, values = sql.insert_of(table, rows, parent=column)
        inserted = [write.row for write in self._writes]
        self._writes.append(Write(text, values, inserted.index(first) if first else None, row))

    async def commit(self) -> None:
        """Write all of it as one transaction of its own.

        Raises Overtaken when an UPDATE met no row, IntegrityError when something is there already.
        """
        connection = Order._meta.db
        is_inside = isinstance(connection, TransactionalDBClient)
        if is_inside or connection.capabilities.dialect == "sqlite":  # has groups of its own
            await self.send()
        elif self._writes:
            await _together.setdefault(connection, Together()).write(connection, self._writes)
        self.after.run()

    async def send(self) -> None:
        """Write all of it, in the open transaction if there is one; raises what `commit` raises."""
        if self._writes:
            await _send_to(Order._meta.db, self._writes)


async def _send_to(connection: BaseDBAsyncClient, writes: Sequence[Write]) -> None:
    send = {"postgres": _as_one_statement, "mysql": _as_one_message}
    await send.get(connection.capabilities.dialect, _one_by_one)(connection, writes)


# -- several facts in one message


@dataclass(frozen=True)
class Unwritten:
    """A fact that is not written yet; `written` ends when it is."""

    writes: Sequence[Write]
    written: asyncio.Future[None]


class Together:
    """The facts of this process that wait for a database: one message and one commit for several.

    Each is still whole or not there at all. When one does not go through, none of its message
    does; then each is written alone, and only that one fails.
    """

    def __init__(self) -> None:
        self._waiting: dict[tuple[str, ...], deque[Unwritten]] = {}  # by their texts
        self._busy = 0
        self._tasks: set[asyncio.Task[None]] = set()

    async def write(self, connection: BaseDBAsyncClient, writes: Sequence[Write]) -> None:
        """Write a fact, at once while few others are; raises what `commit` raises."""
        written: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        kind = tuple(write.text for write in writes)
        self._waiting.setdefault(kind, deque()).append(Unwritten(writes, written))
        if self._busy < AT_ONCE:
            self._busy += 1
            task = asyncio.create_task(self._write_waiting(connection))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        await written

    async def _write_waiting(self, connection: BaseDBAsyncClient) -> None:
        try:
            while self._waiting:
                batch = self._next()
                try:
                    if len(batch) == 1 or not await _write_together(connection, batch):
                        await asyncio.gather(*[_write_alone(connection, fact) for fact in batch])
                except BaseException as error:  # we are stopped: let nobody wait for ever
                    _end(batch, error)
                    raise
        finally:
            self._busy -= 1

    def _next(self) -> list[Unwritten]:
        """Take as many facts of one kind as a message has, or else one; kinds take turns."""
        kind = next(iter(self._waiting))
        alike = self._waiting.pop(kind)
        batch = [alike.popleft() for _ in range(TOGETHER if len(alike) >= TOGETHER else 1)]
        if alike:
            self._waiting[kind] = alike
        return batch


async def _write_together(connection: BaseDBAsyncClient, batch: Sequence[Unwritten]) -> bool:
    try:
        await _send_to(connection, _joined([fact.writes for fact in batch]))
    except Exception:  # whose fault it is shows when each is written alone; if only the answer
        return False  # was lost, each meets its own compare-and-set or unique key
    _end(batch)
    return True


async def _write_alone(connection: BaseDBAsyncClient, fact: Unwritten) -> None:
    try:
        await _send_to(connection, fact.writes)
    except Exception as error:
        _end([fact], error)
    else:
        _end([fact])


def _end(batch: Iterable[Unwritten], error: BaseException | None = None) -> None:
    """Tell those who still wait; one may have been cancelled."""
    for fact in batch:
        if fact.written.done():
            continue
        if error is None:
            fact.written.set_result(None)
        else:
            fact.written.set_exception(error)


def _joined(facts: Iterable[Sequence[Write]]) -> list[Write]:
    """Put facts behind each other; a parent is counted from the first write of all."""
    joined: list[Write] = []
    for writes in facts:
        first = len(joined)
        joined += [
            write if write.parent is None else write._replace(parent=write.parent + first)
            for write in writes
        ]
    return joined


_together: WeakKeyDictionary[BaseDBAsyncClient, Together] = WeakKeyDictionary()


# -- PostgreSQL


async def _as_one_statement(connection: BaseDBAsyncClient, writes: Sequence[Write]) -> None:
    text = _with(tuple((write.text, write.parent) for write in writes))
    values = list(chain.from_iterable(write.values for write in writes))
    try:
        [ids] = await connection.execute_query_dict(text, values)
    except OperationalError as error:
        if any(getattr(cause, "sqlstate", None) == MISSED for cause in causes(error)):
            raise Overtaken("a row is no longer as it was read") from None
        raise
    for n, write in enumerate(writes):
        _identify(write.row, ids[f"id{n}"])


@lru_cache
def _with(writes: tuple[tuple[str, int | None], ...]) -> str:
    """Build `WITH w0 AS (UPDATE …), w1 AS (INSERT …) SELECT …`, an error if a write met no row.

    1 / 0 undoes all of it. They are carried out as they are asked for, in their order.
    """
    parts = []
    ids = []
    for n, (text, parent) in enumerate(writes):
        statement = text.format(parent=f"(SELECT id FROM w{parent})")  # noqa: S608
        parts.append(f"w{n} AS ({statement} RETURNING id)")
        ids.append(f"(SELECT min(id) + 0 / count(*) FROM w{n}) AS id{n}")  # noqa: S608
    return sql.placeholders(f"WITH {', '.join(parts)} SELECT {', '.join(ids)}", "postgres")


# -- MySQL


async def _as_one_message(connection: BaseDBAsyncClient, writes: Sequence[Write]) -> None:
    from tortoise.backends.mysql.client import translate_exceptions  # there is a driver now

    await translate_exceptions(_send)(connection, writes)


async def _send(client: BaseDBAsyncClient, writes: Sequence[Write]) -> None:
    """Send BEGIN and all writes, look at the answers, then commit."""
    is_inside = isinstance(client, TransactionalDBClient)
    text = _script(tuple(write.text for write in writes), is_inside=is_inside)
    values = list(chain.from_iterable(write.values for write in writes))
    async with client.acquire_connection() as connection:
        try:
            async with connection.cursor() as cursor:
                await cursor.execute(text, values)
                for n, write in enumerate(writes):
                    if n or not is_inside:
                        await cursor.nextset()
                    _check(cursor.rowcount)
                    _identify(write.row, cursor.lastrowid)
            if not is_inside:
                await connection.commit()
        except Exception:
            if not is_inside:  # also after a lock that was waited for too long: by itself
                await connection.rollback()  # that undoes one statement only
            raise


@lru_cache
def _script(texts: tuple[str, ...], *, is_inside: bool) -> str:
    begin = () if is_inside else ("BEGIN",)
    script = "; ".join((*begin, *texts)).format(parent="LAST_INSERT_ID()")
    return sql.placeholders(script, "mysql")


# -- SQLite


async def _one_by_one(connection: BaseDBAsyncClient, writes: Sequence[Write]) -> None:
    if not isinstance(connection, TransactionalDBClient):
        async with transaction():
            await _one_by_one(Order._meta.db, writes)
        return
    for write in writes:
        await _write(connection, write, writes)


async def _write(connection: BaseDBAsyncClient, write: Write, writes: Sequence[Write]) -> None:
    parent = writes[write.parent].row if write.parent is not None else None
    text = sql.placeholders(write.text.format(parent=parent.pk if parent else ""), "sqlite")
    if write.row is not None:
        _identify(write.row, await connection.execute_insert(text, write.values))
        return
    touched, _ = await connection.execute_query(text, write.values)
    _check(touched)


def _check(touched: int) -> None:
    if not touched:
        raise Overtaken("a row is no longer as it was read")


def _identify(row: Model | None, new_id: int) -> None:
    if row is not None:
        vars(row).update(id=new_id, _saved_in_db=True)
