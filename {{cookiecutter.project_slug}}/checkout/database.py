"""What the compare-and-set needs of a database, or a refusal to start.

Any number of Tortoise apps may share the connection. `connection` gives its settings, `migrate`
brings the schema up to date, `check` says at the start whether all of it is there.
"""

import asyncio
import pkgutil
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from tortoise.backends.base.client import BaseDBAsyncClient
from tortoise.backends.base.config_generator import expand_db_url
from tortoise.connection import get_connection
from tortoise.exceptions import OperationalError
from tortoise.migrations.executor import MigrationExecutor
from tortoise.timezone import get_timezone, get_use_tz

from checkout.config import ConfigError
from checkout.work import transaction

SCHEMES = ("sqlite", "postgres", "postgresql", "asyncpg", "mysql")
#: wait for another process instead of failing; a commit survives a power cut
PRAGMAS = {"busy_timeout": "1000", "synchronous": "FULL"}
#: as on PostgreSQL: a second look inside a transaction sees what others committed, and an UPDATE
#: counts the rows that it met (CLIENT_FOUND_ROWS), not only those that it changed
MYSQL = {
    "init_command": "SET SESSION innodb_lock_wait_timeout = 1"
    " /*!80000 , SESSION transaction_isolation = 'READ-COMMITTED' */"  # MySQL's name of it
    " /*M!100000 , SESSION tx_isolation = 'READ-COMMITTED' */",  # MariaDB's
    "client_flag": 2,
}
#: a lock is waited for at most a second: what collides runs again, within its deadline
POSTGRES = {"server_settings": {"lock_timeout": "1000"}}
#: to MySQL's default collation oAb and oaB are one openid
BY_BYTES = "utf8mb4 COLLATE utf8mb4_bin"
LOCKS = {
    "postgres": ("SET LOCAL lock_timeout = '2min'", "SELECT pg_advisory_xact_lock(905512)"),
    "mysql": ("SELECT GET_LOCK('checkout_migrate', 120)",),
}
#: Tortoise's settings of the engine's tables
APP = {"models": ["checkout.models"], "migrations": "checkout.migrations"}
CAP = "checkout_refund_cap"
#: SQLite can add no CHECK to a table, and loses a trigger whenever a migration rebuilds one
TRIGGER = f"""CREATE TRIGGER IF NOT EXISTS {CAP} BEFORE UPDATE OF reserved_fen ON checkout_share
WHEN NEW.reserved_fen < 0 OR NEW.reserved_fen > NEW.total_fen
BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: {CAP}'); END"""


def connection(url: str, folder: Path | None = None) -> str | dict[str, Any]:
    """Return Tortoise's settings of a connection, with what SQLite and MySQL need.

    A relative SQLite path counts from `folder`. What the URL says itself stays.
    """
    url = url.replace("postgresql://", "postgres://", 1)
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        query = dict(parse_qsl(parts.query))
        return f"sqlite://{sqlite_path(url, folder)}?{urlencode({**PRAGMAS, **query})}"
    expanded: dict[str, Any] = expand_db_url(url)
    needed = MYSQL if parts.scheme == "mysql" else POSTGRES
    expanded["credentials"] = {**needed, **expanded["credentials"]}
    return expanded


def sqlite_path(url: str, folder: Path | None = None) -> Path:
    """Return the file of a sqlite:// URL."""
    path = Path(url.removeprefix("sqlite://").partition("?")[0])
    return folder / path if folder else path


async def migrate(apps: Mapping[str, Mapping[str, Any]], name: str = "default") -> list[str]:
    """Bring the schema of some apps up to date, one process at a time; return what was applied.

    Tortoise is initialised already, `name` is the connection's.
    """
    client = get_connection(name)
    async with _one_at_a_time(client, name):
        before = await unapplied(apps, name)
        if client.capabilities.dialect == "mysql":
            client.charset = BY_BYTES  # type: ignore[attr-defined]  # of new tables
        await MigrationExecutor(client, {name: dict(app) for name, app in apps.items()}).migrate()
        await protect(name)
    return before


async def protect(name: str = "default") -> None:
    """Let the database itself keep refunds below what was paid; after every migration again."""
    client = get_connection(name)
    if client.capabilities.dialect == "sqlite":
        await client.execute_script(TRIGGER)


async def unapplied(apps: Mapping[str, Mapping[str, Any]], name: str = "default") -> list[str]:
    """Return the migrations that this database lacks; asking is the test that it answers."""
    client = get_connection(name)
    await client.execute_query("SELECT 1")
    try:
        rows = await client.execute_query_dict("SELECT app, name FROM tortoise_migrations")
    except OperationalError:
        rows = []
    applied = {(row["app"], row["name"]) for row in rows}
    return [
        f"{app}.{module.name}"
        for app, settings in apps.items()
        for module in pkgutil.iter_modules(import_module(settings["migrations"]).__path__)
        if (app, module.name) not in applied
    ]


async def check(name: str = "default") -> None:
    """Raise ConfigError when the connection lacks what keeps the books right."""
    if not get_use_tz() or get_timezone() != "UTC":
        raise ConfigError("Tortoise: use_tz must be True and timezone UTC, or MySQL shifts times")
    client = get_connection(name)
    look = {"sqlite": _check_sqlite, "mysql": _check_mysql}.get(client.capabilities.dialect)
    if look is not None:
        await look(client)


async def _check_sqlite(client: BaseDBAsyncClient) -> None:
    rows = await client.execute_query_dict("PRAGMA synchronous")
    if rows[0]["synchronous"] < 2:
        raise ConfigError("SQLite: synchronous is not FULL, a power cut would lose payments")
    rows = await client.execute_query_dict(
        "SELECT name FROM sqlite_master WHERE type = 'trigger' AND name = ?", [CAP]
    )
    tables = await client.execute_query_dict(
        "SELECT name FROM sqlite_master WHERE name = 'checkout_share'"
    )
    if tables and not rows:
        raise ConfigError(f"SQLite: the trigger {CAP} is missing, run migrate again")


async def _check_mysql(client: BaseDBAsyncClient) -> None:
    rows = await client.execute_query_dict(
        "SHOW SESSION VARIABLES WHERE Variable_name IN ('tx_isolation', 'transaction_isolation')"
    )
    if rows[0]["Value"] != "READ-COMMITTED":
        raise ConfigError("MySQL: the isolation level is not READ COMMITTED, see checkout/README")
    credentials = getattr(client, "extra", {})
    if not int(credentials.get("client_flag", 0)) & 2:
        raise ConfigError("MySQL: CLIENT_FOUND_ROWS is not set, see checkout/README")


@asynccontextmanager
async def _one_at_a_time(client: BaseDBAsyncClient, name: str) -> AsyncIterator[None]:
    """Hold the database's own lock while migrating."""
    statements = LOCKS.get(client.capabilities.dialect)
    if statements is None:
        with _file_lock(Path(client.filename)):  # type: ignore[attr-defined]
            yield
        return
    held, done = asyncio.Event(), asyncio.Event()

    async def hold() -> None:  # in a task of its own: the migration must not run inside it
        async with transaction():
            for statement in statements:
                await get_connection(name).execute_query(statement)
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
