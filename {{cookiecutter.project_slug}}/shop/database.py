"""The shop's database: three Tortoise apps on one connection; the schema only by `migrate`."""

import os
from typing import Any

from tortoise import Tortoise

from checkout import database as engine
from shop.settings import ROOT

DEFAULT_URL = "sqlite://var/shop.db"
#: three rows of migrations, so that their numbers never meet: the engine's, the buyers', yours
APPS = {
    "checkout": engine.APP,
    "accounts": {"models": ["accounts.models"], "migrations": "accounts.migrations"},
    "shop": {"models": ["shop.models"], "migrations": "shop.migrations"},
}


def config(url: str) -> dict[str, Any]:
    """Return Tortoise's configuration; a relative SQLite path counts from the project's folder."""
    return {
        "connections": {"default": engine.connection(url, ROOT)},
        "apps": APPS,
        "use_tz": True,
        "timezone": "UTC",
    }


#: for `python -m tortoise -c shop.database.TORTOISE makemigrations` after a change of a models.py
TORTOISE = config(os.environ.get("SHOP_DATABASE_URL", DEFAULT_URL))


async def connect(url: str) -> None:
    """Open the database for this process. Raises ConfigError when it would not keep the books."""
    if url.startswith("sqlite://"):
        engine.sqlite_path(url, ROOT).parent.mkdir(parents=True, exist_ok=True)
    await Tortoise.init(config=config(url), _enable_global_fallback=True)


async def close() -> None:
    """Close every connection."""
    await Tortoise.close_connections()


async def migrate(url: str) -> list[str]:
    """Bring the schema up to date, one process at a time; return what was applied."""
    await connect(url)
    try:
        return await engine.migrate(APPS)
    finally:
        await close()


async def unapplied() -> list[str]:
    """Return the migrations that the database lacks; asking is the test that it answers."""
    return await engine.unapplied(APPS)
