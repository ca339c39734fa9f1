"""What reaches a database's driver, and how the database would carry it out."""

import json
import re
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from typing import Any, NamedTuple
from urllib.parse import SplitResult, urlsplit

import pytest

TABLE = re.compile(r'"?`?((?:checkout|accounts)_\w+)[`"]?(?:\s+(?:AS\s+)?[`"]?(\w+)[`"]?)?', re.I)
LITERAL = re.compile(r"'(?:[^']|'')*'|\b\d+(?:\.\d+)?\b|NULL")
READS = ("SELECT", "UPDATE", "DELETE", "WITH")
MANY = 1_000  # rows that a statement may look at without a LIMIT


class Statement(NamedTuple):
    """A statement with its values: beside the text, or written into it already."""

    text: str
    values: tuple[Any, ...] = ()

    @property
    def shape(self) -> str:
        """Return the text without its values: what makes two of them alike."""
        return LITERAL.sub("?", self.text)

    @property
    def tables(self) -> dict[str, str]:
        """Return the tables by the names that the plan calls them."""
        return {
            name: table
            for table, alias in TABLE.findall(self.text)
            for name in (alias, table)
            if name
        }


class Access(NamedTuple):
    """How a plan reads one table: all of it, and how many rows the database expects."""

    table: str
    reads_all: bool
    rows: int
    how: str


class Sent:
    """The statements that reached the driver, one of each shape."""

    def __init__(self) -> None:
        self.by_shape: dict[str, Statement] = {}

    def add(self, text: str, *values: Any) -> None:
        """Remember a statement that reads our tables."""
        text = text.strip()
        if text.upper().startswith(READS) and TABLE.search(text):
            statement = Statement(text, values)
            self.by_shape.setdefault(statement.shape, statement)

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Listen to every connection that is opened from now on."""
        self._watch_sqlite(monkeypatch)
        with suppress(ImportError):
            self._watch_postgres(monkeypatch)
        with suppress(ImportError):
            self._watch_mysql(monkeypatch)

    def _watch_sqlite(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connect = sqlite3.connect

        def traced(*args: Any, **options: Any) -> sqlite3.Connection:
            connection = connect(*args, **options)
            connection.set_trace_callback(self.add)
            return connection

        monkeypatch.setattr(sqlite3, "connect", traced)

    def _watch_postgres(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import asyncpg

        connection = asyncpg.connection.Connection
        begin = connection.__init__

        def watched(self_: Any, *args: Any, **options: Any) -> None:
            begin(self_, *args, **options)
            self_.add_query_logger(lambda query: self.add(query.query, *query.args))

        monkeypatch.setattr(connection, "__init__", watched)

    def _watch_mysql(self, monkeypatch: pytest.MonkeyPatch) -> None:
        from asyncmy.connection import Connection

        query = Connection.query

        async def watched(self_: Any, text: Any, *args: Any, **options: Any) -> Any:
            script = text if isinstance(text, str) else text.decode(errors="replace")
            for statement in script.removeprefix("BEGIN; ").split("; "):
                self.add(statement)
            return await query(self_, text, *args, **options)

        monkeypatch.setattr(Connection, "query", watched)


Explain = Callable[[Statement], Awaitable[list[Access]]]


@asynccontextmanager
async def explaining(url: str) -> AsyncIterator[Explain]:
    """Give a function that asks this database for its plan of a statement."""
    parts = urlsplit(url)
    async with {"sqlite": _sqlite, "mysql": _mysql}.get(parts.scheme, _postgres)(parts) as explain:
        yield explain


@asynccontextmanager
async def _sqlite(parts: SplitResult) -> AsyncIterator[Explain]:
    connection = sqlite3.connect(parts.path)

    async def explain(statement: Statement) -> list[Access]:
        return list(sqlite_plan(connection, statement))

    with closing(connection):
        yield explain


def indexes(url: str) -> list[tuple[str, str]]:
    """Return each index of a SQLite file that keeps nothing unique, with its table."""
    with closing(sqlite3.connect(urlsplit(url).path)) as connection:
        text = "SELECT name, tbl_name FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL"
        return [(name, table) for name, table in connection.execute(text) if TABLE.match(table)]


@contextmanager
def without(url: str, index: str) -> Iterator[None]:
    """Let a SQLite file lack an index."""
    with closing(sqlite3.connect(urlsplit(url).path, isolation_level=None)) as connection:
        find = "SELECT sql FROM sqlite_master WHERE name = ?"
        (create,) = connection.execute(find, (index,)).fetchone()
        connection.execute(f'DROP INDEX "{index}"')
        try:
            yield
        finally:
            connection.execute(create)


@asynccontextmanager
async def _postgres(parts: SplitResult) -> AsyncIterator[Explain]:
    import asyncpg

    connection = await asyncpg.connect(parts._replace(scheme="postgres").geturl())

    rows = await connection.fetch("SELECT relname, reltuples FROM pg_class WHERE relkind = 'r'")
    sizes = {row["relname"]: int(row["reltuples"]) for row in rows}
    # it reads a small table from end to end even where an index would serve: ask whether one would
    await connection.execute("SET enable_seqscan = off")

    async def explain(statement: Statement) -> list[Access]:
        text = f"EXPLAIN (FORMAT JSON) {statement.text}"
        plan = json.loads(await connection.fetchval(text, *statement.values))
        return list(postgres_plan(plan[0]["Plan"], sizes, is_limited=False))

    try:
        yield explain
    finally:
        await connection.close()


@asynccontextmanager
async def _mysql(parts: SplitResult) -> AsyncIterator[Explain]:
    import asyncmy
    from asyncmy.cursors import DictCursor

    connection = await asyncmy.connect(
        host=parts.hostname,
        port=parts.port,
        user=parts.username,
        password=parts.password or "",
        database=parts.path.strip("/"),
        autocommit=True,
    )

    async def explain(statement: Statement) -> list[Access]:
        async with connection.cursor(DictCursor) as cursor:
            await cursor.execute(f"EXPLAIN {statement.text}")
            return list(mysql_plan(statement, await cursor.fetchall()))

    try:
        yield explain
    finally:
        await connection.ensure_closed()


def sqlite_plan(connection: sqlite3.Connection, statement: Statement) -> Iterator[Access]:
    """Ask SQLite; it tells no numbers. A scan that nothing filters and a LIMIT ends is none."""
    rows = connection.execute(f"EXPLAIN QUERY PLAN {statement.text}", statement.values)
    for *_, detail in rows:
        word, _, rest = detail.partition(" ")
        table = statement.tables.get(rest.partition(" ")[0])
        if word in ("SCAN", "SEARCH") and table:
            by_id = re.search(r"\(rowid[<>]\?\)", detail)
            ends = " LIMIT " in statement.text and not filters(statement.text)
            yield Access(table, bool(word == "SCAN" or by_id) and not ends, 0, detail)


def filters(text: str) -> bool:
    """Tell whether a statement leaves rows out by more than a range of ids."""
    condition = text.partition(" WHERE ")[2].partition(" ORDER BY ")[0]
    return bool(condition) and not re.fullmatch(r"[\w\"`.]*\bid[\"`]?\s*[<>]\s*\S+", condition)


def postgres_plan(
    node: dict[str, Any], sizes: dict[str, int], *, is_limited: bool
) -> Iterator[Access]:
    """Walk down; what needs all of its input, as a sort does, ends the power of a LIMIT above.

    A LIMIT ends a scan soon when no filter is in its way, or one that many rows pass.
    """
    kind = node["Node Type"]
    is_limited = kind == "Limit" or (is_limited and kind not in ("Sort", "Aggregate", "Hash"))
    if "Relation Name" in node:
        table = node["Relation Name"]
        condition = node.get("Index Cond", "")
        by_id = re.fullmatch(r"\(\(?id\)? [<>] \S+\)", condition)
        reads_index = kind == "Seq Scan" or (kind.startswith("Index") and (by_id or not condition))
        passes_many = "Filter" not in node or node["Plan Rows"] * 10 > sizes[table]
        ends = is_limited and passes_many and kind != "Seq Scan"
        rows = 0 if is_limited else int(node["Plan Rows"])
        yield Access(table, bool(reads_index) and not ends, rows, f"{kind} {condition}")
    for child in node.get("Plans", ()):
        yield from postgres_plan(child, sizes, is_limited=is_limited)


def mysql_plan(statement: Statement, rows: Sequence[dict[str, Any]]) -> Iterator[Access]:
    """Read the rows of an EXPLAIN of MySQL or MariaDB."""
    limited = " LIMIT " in statement.text
    for row in rows:
        table = statement.tables.get(row["table"] or "")
        if table:
            extra = row["Extra"] or ""
            sorts = "filesort" in extra or "temporary" in extra
            number = int(str(row["rows"] or 0).split()[0])  # as far as a LIMIT lets it go
            ends = limited and not sorts and number <= MANY
            by_id = row["type"] == "range" and row["key"] == "PRIMARY" and limited
            reads_index = row["type"] == "index" or (by_id and filters(statement.text))
            reads_all = row["type"] == "ALL" or (reads_index and not ends)
            number = 0 if limited and not sorts else number
            yield Access(table, reads_all, number, f"{row['type']} {row['key']} {extra}")
