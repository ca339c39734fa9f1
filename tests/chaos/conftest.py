"""Fleets for the chaos tests, each on an empty database of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from kit.databases import Server, Servers
from kit.fixtures import keys, servers  # noqa: F401  fixtures

from shop import database
from tests.chaos.fleet import Fleet

INSTANCES = {"sqlite": 1, "postgres": 2, "mysql": 2}


@asynccontextmanager
async def empty_database(kind: str, folder: Path, servers: Servers) -> AsyncIterator[str]:  # noqa: F811
    """Give the URL of a migrated database that nobody else uses."""
    if kind == "sqlite":
        url = f"sqlite://{folder}/shop.db"
        await database.migrate(url)
        yield url
        return
    await servers.get(kind)  # or skip
    server = Server(kind)
    await server.run(f"CREATE DATABASE {server.database}")
    await database.migrate(server.database_url)
    yield server.database_url
    await server.run(f"DROP DATABASE {server.database}")


@pytest.fixture(scope="module")
async def fleet(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    servers: Servers,  # noqa: F811
) -> AsyncIterator[Fleet]:
    """Give a fleet on the database that the test names; its shops are not started yet."""
    kind, _, provider = request.param.partition(" ")
    folder = tmp_path_factory.mktemp(f"fleet-{kind}")
    async with empty_database(kind, folder, servers) as url:
        async with Fleet(folder, url, INSTANCES[kind], bool(provider)) as fleet:
            await database.connect(url)
            yield fleet
        await database.close()
