"""Start shops quickly: a process that has imported everything forks one for each line it reads.

A line is a JSON object {port, point, log, events, generation}; the answer is the child's pid.
"""

import asyncio
import contextvars
import json
import os
import signal
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import shop.__main__ as command
from checkout import sweep
from checkout.events import Hooks
from checkout.models import Event
from kit import owner
from kit.owner import Product
from shop.goods import Catalogue

from shop import app, shop
from tests.chaos.points import arm


def main() -> None:
    """Fork a shop for each line of standard input."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for the dead
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            live(**json.loads(line))
        sys.stdout.write(f"{pid}\n")
        sys.stdout.flush()


def live(port: int, point: str, log: str, events: str, generation: int) -> None:
    """Be a shop until killed: events leave a line in a file, each generation renames the goods."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(out, 1)
    os.dup2(out, 2)
    app.build = partial(app.build, products=renamed(generation), hooks=keep_events(Path(events)))
    sweep_often()
    if point:
        arm(point)
    sys.argv = ["shop", "serve", "--port", str(port)]
    os._exit(command.main())


def keep_events(file: Path) -> Hooks:
    """Let the owner's functions write the event's id down, and whether it was committed then."""

    async def keep(*args: Any) -> None:
        event_id = args[-1]
        url = os.environ["SHOP_DATABASE_URL"]
        word = "committed" if await is_committed(url, event_id) else "early"
        with file.open("a") as lines:
            lines.write(f"{event_id} {word}\n")

    return Hooks(on_paid=keep, on_closed=keep, on_refunded=keep)


async def is_committed(url: str, event_id: str) -> bool:
    """Tell whether others see the event: looked at from outside of any transaction of ours."""
    if url.startswith("sqlite://"):
        return await asyncio.to_thread(_is_in_file, url.removeprefix("sqlite://"), event_id)

    async def look() -> bool:
        return await Event.exists(event_id=event_id)

    # a fresh context knows no open transaction: it gets another connection of the pool
    return await asyncio.create_task(look(), context=contextvars.Context())


def _is_in_file(path: str, event_id: str) -> bool:
    with closing(sqlite3.connect(path, timeout=10)) as connection:
        statement = "SELECT 1 FROM checkout_event WHERE event_id = ?"
        return connection.execute(statement, [event_id]).fetchone() is not None


def renamed(generation: int) -> Catalogue:
    """Sell under another name, as after a redeploy: a repeat must not notice.

    The cup is another merchant's, so that it is paid combined with anything else.
    """

    async def products() -> dict[str, Product]:
        goods = {
            sku: replace(product, name=f"{product.name} v{generation}")
            for sku, product in (await owner.products()).items()
        }
        goods["cup"] = replace(goods["cup"], merchant=os.environ["CHAOS_OTHER_MERCHANT"])
        return goods

    return products


def sweep_often() -> None:
    """Sweep every tenth of a second: virtual time runs fast here."""
    sweep.PAUSE = 0.1
    sweep.HOUSEKEEPING = 1.0
    shop.SYNCHRONISE_SECONDS = 0.1


if __name__ == "__main__":
    main()
