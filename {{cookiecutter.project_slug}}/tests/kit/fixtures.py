"""A fresh sandbox and a fresh shop for every test, both on real sockets of the test's own loop."""

import itertools
import shutil
import socket
from collections.abc import AsyncIterator, Iterator
from functools import cache, partial
from pathlib import Path

import pytest
from tortoise.backends.base.executor import EXECUTOR_CACHE

from checkout.clock import Clock
from checkout.config import Env
from checkout.events import Events, Hooks
from checkout.ledger import Ledger
from checkout.work import Work
from kit import owner
from kit.answers import note_surprise
from kit.databases import Servers
from kit.logs import Diary
from kit.running import MoreSettings, RunningShop, http_client, settings
from sandbox.keys import Keys, make_keys
from sandbox.testing import running_sandbox, serve
from shop import database
from shop.app import build
from shop.web.server import server_of
from wechat import keys as wechat_keys

_names = itertools.count(1)


@pytest.fixture(scope="session", autouse=True)
def keys_are_checked_once() -> Iterator[None]:
    """Let every shop of the tests share its keys: to see whether primes are primes takes 25 ms."""
    loaders = tuple(cache(load) for load in wechat_keys._LOADERS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wechat_keys, "_LOADERS", loaders)
        yield


@pytest.fixture(scope="session")
def keys() -> Keys:
    return make_keys()


@pytest.fixture(scope="session")
async def servers() -> AsyncIterator[Servers]:
    """Give the databases beside SQLite: each is tried when it is first wanted, once."""
    async with Servers() as servers:
        yield servers


@pytest.fixture(scope="session")
async def migrated_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Migrate one SQLite file; each test gets a copy."""
    file = tmp_path_factory.mktemp("migrated") / "shop.db"
    await database.migrate(f"sqlite://{file}")
    return file


@pytest.fixture
def database_kind(request: pytest.FixtureRequest) -> str:
    """SQLite, unless a test is marked EVERY_DATABASE."""
    return getattr(request, "param", "sqlite")


@pytest.fixture
async def database_url(
    database_kind: str, tmp_path: Path, servers: Servers, migrated_file: Path
) -> AsyncIterator[str]:
    """Give the URL of a migrated database without rows."""
    EXECUTOR_CACHE.clear()  # Tortoise keeps SQL by the table's name, whatever the database
    if database_kind == "sqlite":
        yield f"sqlite://{shutil.copy(migrated_file, tmp_path)}"
        return
    server = await servers.get(database_kind)
    yield server.database_url
    await server.empty()


@pytest.fixture
async def ledger(database_url: str) -> AsyncIterator[Ledger]:
    """Give a ledger alone, on a database without rows."""
    await database.connect(database_url)
    clock = Clock()
    work = Work()
    yield Ledger(clock, Events(Hooks(), clock, work), work)
    assert await work.drain(seconds=5) == 0
    await database.close()


@pytest.fixture
def diary(caplog: pytest.LogCaptureFixture) -> Diary:
    return Diary(caplog)


@pytest.fixture
def more_settings() -> MoreSettings:
    """Settings that a test file adds or changes by a fixture of its own; perhaps from the keys."""
    return {}


@pytest.fixture
async def sandbox_url(keys: Keys) -> AsyncIterator[str]:
    async with running_sandbox(keys) as url:
        yield url


@pytest.fixture
async def running(
    sandbox_url: str, database_url: str, more_settings: MoreSettings
) -> AsyncIterator[RunningShop]:
    async with http_client(sandbox_url, timeout=20) as sandbox:
        credentials = (await sandbox.get("/_sandbox/credentials")).json()
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        more = more_settings(credentials) if callable(more_settings) else more_settings
        env = Env(settings(credentials, sandbox_url, url, database_url) | more)
        built = build(env, owner.products, owner.HOOKS)
        server = server_of(built, sweep=False, name=f"shop-{next(_names)}")
        server.config.LEAVE_SECONDS = 0
        server.config.TOUCHUP = False  # it can be done only once in a process
        surprises: list[str] = []
        server.register_middleware(partial(note_surprise, surprises), "response")
        async with (
            serve(server, listener),
            http_client(url, timeout=30) as http,
        ):
            yield RunningShop(built, http, sandbox, credentials)
        assert surprises == [], "errors that /docs does not name: shop/web/docs/failures.py"
