"""Tortoise's SQLite client for many writers in one process; named as the `engine` of a connection.

What Tortoise's own does with one connection and one thread costs more than SQLite itself needs:

* Reads have a connection of their own. It sees what is committed, and waits for nobody.
* The disk is waited for once for all units that meanwhile wait for the write lock: each has a
  savepoint of its own, so it is written whole or not at all, and is over when the COMMIT is.
* aiosqlite runs each statement in a thread, some 80 µs where SQLite needs 5 to 20. Here only what
  waits goes there: for another process's lock (BEGIN IMMEDIATE), for the disk (COMMIT).
"""

import asyncio
import sqlite3
from collections.abc import Sequence
from typing import Any

import aiosqlite
from tortoise.backends.base.client import (
    ConnectionWrapper,
    TransactionalDBClient,
    TransactionContext,
)
from tortoise.backends.sqlite.client import (
    SqliteClient,
    SqliteTransactionContext,
    SqliteTransactionWrapper,
    translate_exceptions,
)
from tortoise.connection import get_connections

from checkout.work import Overtaken

LOST = "another unit met a full disk, and SQLite undid all of the transaction"
WRITES = ("INSERT", "UPDATE", "DELETE")


class Group:
    """Units that are committed together."""

    def __init__(self) -> None:
        self.committed = asyncio.get_running_loop().create_future()
        self.commit: asyncio.Task[None] | None = None
        self.is_lost = False
        """A full disk made SQLite undo all of it, not only the unit that met it."""


class SqliteWithFewerHops(SqliteClient):
    """The connections of this process, outside a transaction."""

    group: Group | None = None
    _reader: sqlite3.Connection | None = None

    def __init__(self, file_path: str, **settings: Any) -> None:
        super().__init__(file_path, **settings)
        self.pragmas.setdefault("busy_timeout", 5000)

    async def create_connection(self, with_db: bool) -> None:
        """Open the file twice, usable from both threads, and set its pragmas."""
        if self._connection:
            return
        self._connection = await aiosqlite.connect(
            self.filename, isolation_level=None, check_same_thread=False
        )
        self._connection._conn.row_factory = sqlite3.Row
        for pragma, value in self.pragmas.items():
            await self._connection.execute_fetchall(f"PRAGMA {pragma}={value}")
        reader = sqlite3.connect(self.filename, isolation_level=None, check_same_thread=False)
        reader.row_factory = sqlite3.Row
        reader.execute(f"PRAGMA busy_timeout={self.pragmas['busy_timeout']}")
        self._reader = reader
        await self._post_connect()

    async def close(self) -> None:
        """Close the file."""
        if self._reader:
            async with self.acquire_connection():
                self._reader.close()
                self._reader = None
        await super().close()

    def acquire_connection(self) -> ConnectionWrapper[aiosqlite.Connection]:
        """Return the writing connection for what is no unit: a script, a pragma."""
        return _Alone(self._lock, self)

    def _in_transaction(self) -> TransactionContext:
        return _Context(SqliteTransaction(self), self._lock)

    @translate_exceptions
    async def execute_insert(self, query: str, values: list[Any]) -> int:
        """Insert a row, as a unit; return its id."""
        async with self._in_transaction() as unit:
            new_id: int = await unit.execute_insert(query, values)
        return new_id

    @translate_exceptions
    async def execute_many(self, query: str, values: list[list[Any]]) -> None:
        """Execute it once for each set of values, as a unit."""
        async with self._in_transaction() as unit:
            await unit.execute_many(query, values)

    @translate_exceptions
    async def execute_query(
        self, query: str, values: list[Any] | None = None
    ) -> tuple[int, Sequence[Any]]:
        """Return how many rows were touched or read, and what was read."""
        if query.startswith("SELECT"):
            rows: Sequence[Any] = await self._read(query, values)
            return len(rows), rows
        if not query.startswith(WRITES):
            touched, rows = await super().execute_query(query, values)
            return touched, rows
        async with self._in_transaction() as unit:
            touched, rows = await unit.execute_query(query, values)
        return touched, rows

    @translate_exceptions
    async def execute_query_dict(
        self, query: str, values: list[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return what was read."""
        if query.startswith("SELECT"):
            return await self._read(query, values)
        return [dict(row) for row in (await self.execute_query(query, values))[1]]

    async def _read(self, query: str, values: list[Any] | None) -> list[dict[str, Any]]:
        if self._reader is None:
            async with self.acquire_connection():
                pass
        assert self._reader is not None
        return _dicts(self._reader.execute(query, values or ()))


class SqliteTransaction(SqliteTransactionWrapper):
    """The writing connection while a unit has it: nothing waits until the COMMIT."""

    async def begin(self) -> None:
        """Take the write lock; raise sqlite3.OperationalError when another process keeps it."""
        connection = self._connection._conn
        patience = self._parent.pragmas["busy_timeout"]  # type: ignore[attr-defined]
        connection.execute("PRAGMA busy_timeout=0")
        try:
            connection.execute("BEGIN IMMEDIATE")
            return
        except sqlite3.OperationalError:  # another process writes: wait for it in the thread
            pass
        finally:
            connection.execute(f"PRAGMA busy_timeout={patience}")
        await self._connection.execute("BEGIN IMMEDIATE")

    @translate_exceptions
    async def execute_insert(self, query: str, values: list[Any]) -> int:
        """Insert a row; return its id."""
        return self._connection._conn.execute(query, values).lastrowid or 0

    @translate_exceptions
    async def execute_many(self, query: str, values: list[list[Any]]) -> None:
        """Execute it once for each set of values."""
        self._connection._conn.executemany(query, values)

    @translate_exceptions
    async def execute_query(
        self, query: str, values: list[Any] | None = None
    ) -> tuple[int, Sequence[Any]]:
        """Return how many rows were touched or read, and what was read."""
        cursor = self._connection._conn.execute(query, values or ())
        rows = _dicts(cursor)
        return (len(rows) if cursor.rowcount < 0 else cursor.rowcount), rows

    @translate_exceptions
    async def execute_query_dict(
        self, query: str, values: list[Any] | None = None
    ) -> list[dict[str, Any]]:
        """Return what was read."""
        return _dicts(self._connection._conn.execute(query, values or ()))


class _Alone(ConnectionWrapper[aiosqlite.Connection]):
    """The writing connection while nobody writes: a script would commit what others began."""

    __slots__ = ()

    async def __aenter__(self) -> aiosqlite.Connection:
        connection: aiosqlite.Connection = await super().__aenter__()
        while group := self.client.group:  # type: ignore[attr-defined]
            self._lock.release()
            await asyncio.wait([group.committed])
            await self._lock.acquire()
        return connection


class _Context(SqliteTransactionContext):
    """A unit. The first of a group takes the write lock, and commits for all of them."""

    __slots__ = ("_client", "_group", "_leads")

    async def __aenter__(self) -> TransactionalDBClient:
        await self._trxlock.acquire()
        try:
            await self.ensure_connection()
            await self._join()
        except BaseException:
            self._trxlock.release()
            raise
        self.token = get_connections().set(self.connection_name, self.connection)
        return self.connection  # type: ignore[no-any-return]

    async def _join(self) -> None:
        client = self._client = self.connection._parent
        self._leads = client.group is None
        if self._leads:
            try:
                await self.connection.begin()
            except BaseException:
                await self.connection.rollback()  # nothing, unless only our wait was cancelled
                raise
            client.group = Group()
        self._group = client.group
        if self._group.is_lost:
            raise Overtaken(LOST)
        client._connection._conn.execute("SAVEPOINT unit")

    async def __aexit__(self, exc_type: Any, exc_val: Any, exc_tb: Any) -> None:
        get_connections().reset(self.token)
        try:
            self._end(failed=exc_type is not None)
        finally:
            self._trxlock.release()
            if self._leads:
                self._group.commit = asyncio.create_task(self._commit())
        # a unit that failed waits, too: what was in its way counts only when it is committed
        await asyncio.shield(self._group.committed)

    def _end(self, *, failed: bool) -> None:
        """End the unit; its savepoint is gone when SQLite undid, or a script committed, all."""
        connection = self._client._connection._conn
        if not connection.in_transaction:
            self._group.is_lost = self._group.is_lost or failed
            return
        if failed:
            connection.execute("ROLLBACK TO unit")
        connection.execute("RELEASE unit")

    async def _commit(self) -> None:
        """Let everybody write who waits already, then commit for all of them."""
        async with self._trxlock:  # its queue is in order: they are served before us
            self._client.group = None
            try:
                if self._group.is_lost:
                    raise Overtaken(LOST)
                await self.connection.commit()
            except Exception as error:
                self._group.committed.set_exception(error)
                self._group.committed.exception()  # seen, if nobody waits for it
                await self.connection.rollback()
            else:
                self._group.committed.set_result(None)


def _dicts(cursor: sqlite3.Cursor) -> list[dict[str, Any]]:
    return [dict(row) for row in cursor.fetchall()]


client_class = SqliteWithFewerHops  # what Tortoise looks for in an engine
