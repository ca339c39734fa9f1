"""The database: SQLite by default, PostgreSQL or MySQL by its URL; schema only by `migrate`."""

import asyncio
import os
import pkgutil
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tortoise import Tortoise
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.connection import get_connection
from tortoise.exceptions import OperationalError
from tortoise.migrations.executor import MigrationExecutor

from shop import migrations
from shop.settings import ROOT
from shop.work import transaction

#: wait for another process instead of failing; a commit survives a power cut
PRAGMAS = {"busy_timeout": "10000", "synchronous": "FULL"}
#: as on PostgreSQL: a second look inside a transaction sees what others committed, and an UPDATE
#: counts the rows that it found (CLIENT_FOUND_ROWS), not only those that it changed
MYSQL = {
    "init_command": "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",
    "client_flag": 2,
}
#: to MySQL's default collation oAb and oaB are one openid
BY_BYTES = "utf8mb4 COLLATE utf8mb4_bin"
DEFAULT_URL = "sqlite://var/shop.db"
LOCKS = {
    ("postgres", "asyncpg", "psycopg"): "SELECT pg_advisory_xact_lock(905512)",
    ("mysql",): "SELECT GET_LOCK('shop_migrate', 120)",
}


def config(url: str) -> dict[str, Any]:
    """Return Tortoise's configuration; a relative SQLite path counts from the project's folder."""
    return {
        "connections": {"default": with_defaults(url)},
        "apps": {"shop": {"models": ["shop.models"], "migrations": "shop.migrations"}},
        "use_tz": True,
        "timezone": "UTC",
    }


def with_defaults(url: str) -> str | dict[str, Any]:
    """Add what SQLite and MySQL need, where the URL does not say otherwise."""
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        query = dict(parse_qsl(parts.query))
        return f"sqlite://{sqlite_path(url)}?{urlencode({**PRAGMAS, **query})}"
    if parts.scheme == "mysql":
        expanded: dict[str, Any] = expand_db_url(url)
        expanded["credentials"] = {**MYSQL, **expanded["credentials"]}
        return expanded
    return url


def sqlite_path(url: str) -> Path:
    """Return the file of a sqlite:// URL."""
    return ROOT / url.removeprefix("sqlite://").partition("?")[0]


#: for `python -m tortoise -c shop.database.TORTOISE makemigrations` after a change of models.py
TORTOISE = config(os.environ.get("SHOP_DATABASE_URL", DEFAULT_URL))


async def connect(url: str) -> None:
    """Open the database for this process."""
    if urlsplit(url).scheme == "sqlite":
        sqlite_path(url).parent.mkdir(parents=True, exist_ok=True)
    await Tortoise.init(config=config(url), _enable_global_fallback=True)


async def close() -> None:
    """Close every connection."""
    await Tortoise.close_connections()


async def migrate(url: str) -> list[str]:
    """Bring the schema up to date, one process at a time; return what was applied."""
    await connect(url)
    try:
        async with _one_at_a_time(url):
            before = await unapplied()
            connection = get_connection("default")
            if urlsplit(url).scheme == "mysql":
                connection.charset = BY_BYTES  # type: ignore[attr-defined]  # of new tables
            await MigrationExecutor(connection, config(url)["apps"]).migrate()
        return before
    finally:
        await close()


async def unapplied() -> list[str]:
    """Return the migrations that this database lacks; asking is the test that it answers."""
    connection = get_connection("default")
    await connection.execute_query("SELECT 1")
    try:
        rows = await connection.execute_query_dict("SELECT name FROM tortoise_migrations")
    except OperationalError:
        rows = []
    applied = {row["name"] for row in rows}
    return [m.name for m in pkgutil.iter_modules(migrations.__path__) if m.name not in applied]


@asynccontextmanager
async def _one_at_a_time(url: str) -> AsyncIterator[None]:
    """Hold the database's own lock while migrating."""
    scheme = urlsplit(url).scheme
    statement = next((sql for names, sql in LOCKS.items() if scheme in names), None)
    if statement is None:
        with _file_lock(sqlite_path(url)):
            yield
        return
    held, done = asyncio.Event(), asyncio.Event()

    async def hold() -> None:  # in a task of its own: the migration must not run inside it
        async with transaction() as connection:
            await connection.execute_query(statement)
            held.set()
            await done.wait()

    holder = asyncio.create_task(hold())
    try:
        await held.wait()
        yield
    finally:
        done.set()
        await holder


@contextmanager
def _file_lock(path: Path) -> Iterator[None]:
    """Lock a file beside the database; an empty SQLite file is a lock on every system."""
    lock = sqlite3.connect(f"{path}-migrating", timeout=120, isolation_level=None)
    try:
        lock.execute("BEGIN EXCLUSIVE")
        yield
    finally:
        lock.close()
