"""The shop's database: three Tortoise apps on one connection; the schema only by `migrate`."""

from typing import Any, NoReturn
from urllib.parse import urlsplit

from tortoise import Tortoise
from tortoise.backends.sqlite.client import SqliteClient

from checkout import database as engine
from checkout.database import Unreachable
from shop.settings import ROOT

#: three rows of migrations, so that their numbers never meet: the engine's, the buyers', yours
APPS = {
    "checkout": engine.APP,
    "accounts": {"models": ["accounts.models"], "migrations": "accounts.migrations"},
    "shop": {"models": ["shop.models"], "migrations": "shop.migrations"},
}


def config(connection: str | dict[str, Any]) -> dict[str, Any]:
    """Return Tortoise's configuration around the settings of a connection."""
    return {
        "connections": {"default": connection},
        "apps": APPS,
        "use_tz": True,
        "timezone": "UTC",
    }


class MakesMigrationsOnly(SqliteClient):
    """What the `tortoise` command gets: a migration is applied by `migrate`, under its lock."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(":memory:", **settings)

    def acquire_connection(self) -> NoReturn:
        """End the command: Tortoise takes every Exception for a database without tables."""
        raise SystemExit("Nothing was done. Type: python -m shop migrate 什么都没做，请改用这一条")


#: Tortoise imports the engine's module and takes this
client_class = MakesMigrationsOnly
#: for `python -m tortoise -c shop.database.TORTOISE makemigrations` after a change of a models.py
TORTOISE = config({"engine": __name__, "credentials": {}})


async def connect(url: str) -> None:
    """Open the database for this process; a relative SQLite path counts from our folder.

    Raises ConfigError when its driver is missing. Whether it answers is what `reach` finds out.
    """
    try:
        if url.startswith("sqlite://"):
            engine.sqlite_path(url, ROOT).parent.mkdir(parents=True, exist_ok=True)
        await Tortoise.init(
            config=config(engine.connection(url, ROOT)), _enable_global_fallback=True
        )
    except ImportError:
        raise Unreachable(_no_driver(url)) from None
    except OSError as error:
        path = engine.sqlite_path(url, ROOT)
        raise Unreachable(
            f"SQLite file {path}: its folder cannot be made, {error.strerror}"
        ) from None


def _no_driver(url: str) -> str:
    parts = urlsplit(url)
    extra = "mysql" if parts.scheme == "mysql" else "postgres"
    install = f"its driver is not installed: python -m pip install -e '.[{extra}]'"
    where = engine.place(parts.hostname, parts.port, parts.path.strip("/"))
    return f"{where}: {install}"


async def close() -> None:
    """Close every connection."""
    await Tortoise.close_connections()


async def reach(url: str) -> None:
    """Open the database, ask it once, close it.

    Raises Unreachable naming host, database, reason and what to install.
    """
    await connect(url)
    try:
        await engine.reach()
    finally:
        await close()


async def ready(url: str) -> None:
    """Raise Unreachable unless the database answers and has every table."""
    await connect(url)
    try:
        await engine.reach()
        if missing := await unapplied():
            raise Unreachable(f"the schema lacks {', '.join(missing)}: python -m shop migrate")
    finally:
        await close()


async def migrate(url: str) -> list[str]:
    """Bring the schema up to date, one process at a time; return what was applied.

    Raises Unreachable.
    """
    await connect(url)
    try:
        return await engine.migrate(APPS)
    finally:
        await close()


async def unapplied() -> list[str]:
    """Return the migrations that the database lacks; asking is the test that it answers."""
    return await engine.unapplied(APPS)
