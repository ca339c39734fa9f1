"""The databases of the tests: a fresh one on each server that is there, emptied after each test."""

import os
import secrets
from contextlib import AsyncExitStack
from importlib import import_module
from typing import Any, NoReturn
from urllib.parse import urlsplit, urlunsplit

import pytest
from tortoise.models import Model

from shop import database

SERVERS = {
    "postgres": ("SHOP_TEST_POSTGRES_URL", "asyncpg://postgres@127.0.0.1:5432/postgres"),
    "mysql": ("SHOP_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/mysql"),
}
#: on SQLite always, on the servers in the long run
EVERY_DATABASE = pytest.mark.parametrize(
    "database_kind",
    ["sqlite", *(pytest.param(kind, marks=pytest.mark.thorough) for kind in SERVERS)],
    indirect=True,
)
#: on the servers in the short run, too: for the few tests that stand for the others
EACH_SERVER_TOO = pytest.mark.parametrize("database_kind", ["sqlite", *SERVERS], indirect=True)
CONNECT_SECONDS = 2


def absent(what: str) -> NoReturn:
    """Skip a test for want of a server or a program; in CI, where all of them are, fail."""
    if os.environ.get("CI") == "true":
        pytest.fail(what)
    pytest.skip(what)


def tables_of_the_shop() -> list[str]:
    """List the tables of the three Tortoise apps."""
    modules = [import_module(name) for app in database.APPS.values() for name in app["models"]]
    values = [value for module in modules for value in vars(module).values()]
    models = [v for v in values if isinstance(v, type) and issubclass(v, Model) and v is not Model]
    return [model._meta.db_table for model in models]


class Server:
    """A database server; `run` gives it one statement."""

    def __init__(self, kind: str) -> None:
        name, default = SERVERS[kind]
        self.kind = kind
        self.name = name
        self.url = os.environ.get(name) or default
        self.database = f"shop_test_{secrets.token_hex(4)}"

    @property
    def database_url(self) -> str:
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{self.database}"))

    async def run(self, *statements: str, database: str | None = None) -> None:
        parts = urlsplit(self.url)
        options: dict[str, Any] = {
            "host": parts.hostname,
            "port": parts.port,
            "user": parts.username,
            "password": parts.password or "",
            "database": database or parts.path.strip("/"),
        }
        if self.kind == "postgres":
            import asyncpg  # an extra: without it the server counts as absent

            connection = await asyncpg.connect(**options, timeout=CONNECT_SECONDS)
            for statement in statements:
                await connection.execute(statement)
            await connection.close()
            return
        import asyncmy

        connection = await asyncmy.connect(
            **options, connect_timeout=CONNECT_SECONDS, autocommit=True
        )
        async with connection.cursor() as cursor:
            for statement in statements:
                await cursor.execute(statement)
        await connection.ensure_closed()

    async def empty(self) -> None:
        """Delete every row of every table of the shop, the owner's among them."""
        tables = tables_of_the_shop()
        if self.kind == "postgres":
            await self.run(f"TRUNCATE {', '.join(tables)} CASCADE", database=self.database)
            return
        deletes = [f"DELETE FROM {table}" for table in tables]
        await self.run("SET foreign_key_checks = 0", *deletes, database=self.database)


class Servers(AsyncExitStack):
    """The servers that were wanted so far; an absent one is a reason to skip, in CI a failure."""

    def __init__(self) -> None:
        super().__init__()
        self._servers: dict[str, Server | str] = {}

    async def get(self, kind: str) -> Server:
        """Return a server with a fresh, migrated database of ours."""
        if kind not in self._servers:
            self._servers[kind] = await self._open(Server(kind))
        server = self._servers[kind]
        if isinstance(server, Server):
            return server
        absent(server)

    async def _open(self, server: Server) -> Server | str:
        try:
            await server.run(f"CREATE DATABASE {server.database}")
        except Exception as error:  # each driver has its own for "nobody listens"
            return f"no {server.kind} at {server.name}: {type(error).__name__} {error}"
        self.push_async_callback(server.run, f"DROP DATABASE {server.database}")
        await database.migrate(server.database_url)
        return server
