"""What the compare-and-set needs of a database, or a refusal to start.

Any number of Tortoise apps may share the connection. `connection` gives its settings, `reach` asks
whether it answers at all, `migrate` brings the schema up to date, `check` says at the start whether
all of it is there.
"""

import asyncio
import pkgutil
import socket
import sqlite3
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, suppress
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

from checkout import sqlite
from checkout.config import ConfigError
from checkout.errors import CallAgain
from checkout.work import again, transaction

SCHEMES = ("sqlite", "postgres", "postgresql", "asyncpg", "mysql")
#: wait for another process instead of failing; a commit survives a power cut
PRAGMAS = {"busy_timeout": "1000", "synchronous": "FULL"}
#: connections of one process; commits that wait for the disk together are written together
POOL = 12
#: as on PostgreSQL: a second look inside a transaction sees what others committed, and an UPDATE
#: counts the rows that it met (CLIENT_FOUND_ROWS), not only those that it changed
MYSQL = {
    "init_command": "SET SESSION innodb_lock_wait_timeout = 1"
    " /*!80000 , SESSION transaction_isolation = 'READ-COMMITTED' */"  # MySQL's name of it
    " /*M!100000 , SESSION tx_isolation = 'READ-COMMITTED' */",  # MariaDB's
    "client_flag": 2,
    "maxsize": POOL,
}


async def _leave_as_it_is(_: object) -> None:
    """Reset nothing: no statement of ours changes a session, SET LOCAL ends with its transaction.

    asyncpg's own reset is a round trip at every release, a third of all that a payment makes.
    """


#: a lock is waited for at most a second: what collides runs again, within its deadline
POSTGRES = {
    "server_settings": {"lock_timeout": "1000"},
    "reset": _leave_as_it_is,
    "maxsize": POOL,
}
#: to MySQL's default collation oAb and oaB are one openid
BY_BYTES = "utf8mb4 COLLATE utf8mb4_bin"
LOCKS = {
    "postgres": ("SET LOCAL lock_timeout = '2min'", "SELECT pg_advisory_xact_lock(905512)"),
    "mysql": ("SELECT GET_LOCK('checkout_migrate', 120)",),
}
#: rewrites one row as it is
PROBE = "UPDATE tortoise_migrations SET name = name WHERE app = 'checkout'"
#: Tortoise's settings of the engine's tables
APP = {"models": ["checkout.models"], "migrations": "checkout.migrations"}
CAP = "checkout_refund_cap"
#: a database that answers does so in milliseconds; its drivers would wait for a minute
REACH_SECONDS = 5
#: why a database cannot be used, by SQLSTATE (PostgreSQL) and by error number (MySQL)
REASONS: dict[str | int, str] = {
    "28P01": "the user or the password is wrong",
    "28000": "the user is unknown there, or may not connect (pg_hba.conf)",
    "3D000": "there is no such database: create it first",
    "42501": "the user may not create tables: GRANT CREATE ON SCHEMA public",
    "53300": "the server has no connection left",
    1040: "the server has no connection left",
    1044: "the user may not use this database: GRANT ALL ON it",
    1045: "the user or the password is wrong",
    1049: "there is no such database: create it first",
    1142: "the user may not create tables: GRANT ALL ON the database",
    1698: "the user or the password is wrong",
}
NETWORK_REASONS: dict[type[BaseException], str] = {
    TimeoutError: f"no answer within {REACH_SECONDS} s: host, port, firewall?",
    socket.gaierror: "there is no host of this name",
    ConnectionRefusedError: "nobody listens there: is the server started, is the port right?",
}
#: the same for SQLite, which has only texts
FILE_REASONS = {
    "unable to open": "the file cannot be opened: is there a folder that this user may write to?",
    "readonly": "the file is read-only for this user",
    "not a database": "the file is no SQLite database",
    "disk is full": "the disk is full",
}
#: SQLite can add no CHECK to a table, and loses a trigger whenever a migration rebuilds one
TRIGGER = f"""CREATE TRIGGER {CAP} BEFORE UPDATE OF reserved_fen, total_fen ON checkout_share
WHEN NEW.reserved_fen < 0 OR NEW.reserved_fen > NEW.total_fen
BEGIN SELECT RAISE(ABORT, 'CHECK constraint failed: {CAP}'); END"""


def connection(url: str, folder: Path | None = None) -> dict[str, Any]:
    """Return Tortoise's settings of a connection, with what SQLite and MySQL need.

    A relative SQLite path counts from `folder`. What the URL says itself stays.
    """
    url = url.replace("postgresql://", "postgres://", 1)
    parts = urlsplit(url)
    if parts.scheme == "sqlite":
        query = dict(parse_qsl(parts.query))
        path = f"sqlite://{sqlite_path(url, folder)}?{urlencode({**PRAGMAS, **query})}"
        return {**expand_db_url(path), "engine": sqlite.__name__}
    expanded: dict[str, Any] = expand_db_url(url)
    needed = MYSQL if parts.scheme == "mysql" else POSTGRES
    expanded["credentials"] = {**needed, **expanded["credentials"]}
    return expanded


def sqlite_path(url: str, folder: Path | None = None) -> Path:
    """Return the file of a sqlite:// URL."""
    path = Path(url.removeprefix("sqlite://").partition("?")[0])
    return folder / path if folder else path


class Unreachable(ConfigError):
    """Raised when a database does not answer or lets nobody in: where it is, and why."""


async def reach(name: str = "default") -> None:
    """Ask the database for one answer, for 5 seconds. Raises Unreachable, never with a password."""
    client = get_connection(name)
    try:
        async with asyncio.timeout(REACH_SECONDS):
            await client.execute_query("SELECT 1")
            if client.capabilities.dialect == "sqlite":
                await _write_nothing(client)
    except Exception as error:
        failed = f"the connection failed ({type(error).__name__}): host, port, firewall?"
        raise Unreachable(f"{place_of(client)}: {reason(error) or failed}") from None


async def _write_nothing(client: BaseDBAsyncClient) -> None:
    """Find out whether the file may be written; another writer's lock says that it may."""
    try:
        await client.execute_script("BEGIN IMMEDIATE; ROLLBACK")
    except OperationalError as error:
        if "locked" not in str(error):
            raise


def place_of(client: BaseDBAsyncClient) -> str:
    """Say where a database is: host, port and name, or the file."""
    if client.capabilities.dialect == "sqlite":
        return f"SQLite file {client.filename}"  # type: ignore[attr-defined]
    return place(client.host, client.port, client.database)  # type: ignore[attr-defined]


def place(host: str | None, port: int | None, database: str) -> str:
    """Say where a database on a server is."""
    return f"database {database or '(none named)'} at {host}{f':{port}' if port else ''}"


def reason(error: BaseException) -> str:
    """Say why a database could not be used, "" when nobody knows; drivers' texts hide it."""
    return next(filter(None, map(_meaning, _causes(error))), "")


def _meaning(error: BaseException) -> str:
    for code in (*error.args[:1], getattr(error, "sqlstate", None)):
        if isinstance(code, (str, int)) and code in REASONS:
            return REASONS[code]
    if isinstance(error, sqlite3.Error):
        return next((FILE_REASONS[text] for text in FILE_REASONS if text in str(error)), "")
    return next((text for kind, text in NETWORK_REASONS.items() if isinstance(error, kind)), "")


def _causes(error: BaseException | None) -> list[BaseException]:
    causes = []
    while error is not None and error not in causes:
        causes.append(error)
        error = error.__cause__ or error.__context__
    return causes


async def migrate(apps: Mapping[str, Mapping[str, Any]], name: str = "default") -> list[str]:
    """Bring the schema of some apps up to date, one process at a time; return what was applied.

    Tortoise is initialised already, `name` is the connection's. Raises Unreachable.
    """
    client = get_connection(name)
    await reach(name)
    async with _one_at_a_time(client, name):
        before = await unapplied(apps, name)
        if client.capabilities.dialect == "mysql":
            client.charset = BY_BYTES  # type: ignore[attr-defined]  # of new tables
        try:
            await MigrationExecutor(client, {app: dict(apps[app]) for app in apps}).migrate()
        except Exception as error:
            if why := reason(error):
                raise Unreachable(f"{place_of(client)}: {why}") from error
            raise
        await protect(name)
    return before


async def protect(name: str = "default") -> None:
    """Let the database itself keep refunds below what was paid; after every migration again."""
    client = get_connection(name)
    if client.capabilities.dialect == "sqlite":
        await client.execute_script(
            f"BEGIN IMMEDIATE; DROP TRIGGER IF EXISTS {CAP}; {TRIGGER}; COMMIT"
        )


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


async def probe(name: str = "default") -> None:
    """Write something and change nothing, or raise: a full or read-only database takes no money.

    One that is only busy is not waited for.
    """
    client = get_connection(name)
    with suppress(CallAgain):
        await again(lambda: client.execute_query(PROBE))


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
        "SELECT sql FROM sqlite_master WHERE type = 'trigger' AND name = ?", [CAP]
    )
    tables = await client.execute_query_dict(
        "SELECT name FROM sqlite_master WHERE name = 'checkout_share'"
    )
    if tables and [row["sql"] for row in rows] != [TRIGGER]:
        raise ConfigError(f"SQLite: the trigger {CAP} is missing or another, run migrate again")


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
    held = asyncio.Event()
    done = asyncio.Event()

    async def hold() -> None:  # in a task of its own: the migration must not run inside it
        async with transaction():
            for statement in statements:
                await get_connection(name).execute_query(statement)
            held.set()
            await done.wait()

    holder = asyncio.create_task(hold())
    locked = asyncio.create_task(held.wait())
    try:
        await asyncio.wait([holder, locked], return_when=asyncio.FIRST_COMPLETED)
        if not held.is_set():
            await holder  # raises what kept it from the lock
        yield
    finally:
        locked.cancel()
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
