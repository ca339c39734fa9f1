"""Towns for the chaos tests, each on an empty database of its own."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from shop import database
from tests.chaos.town import Town
from tests.shop.conftest import keys, servers  # noqa: F401  fixtures
from tests.shop.databases import Server, Servers

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
async def town(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    servers: Servers,  # noqa: F811
) -> AsyncIterator[Town]:
    """Give a town on the database that the test names; its shops are not started yet."""
    kind, _, provider = request.param.partition(" ")
    folder = tmp_path_factory.mktemp(f"town-{kind}")
    async with empty_database(kind, folder, servers) as url:
        async with Town(folder, url, INSTANCES[kind], bool(provider)) as town:
            await database.connect(url)
            yield town
        await database.close()
