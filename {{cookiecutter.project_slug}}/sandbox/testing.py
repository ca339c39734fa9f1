"""Start a sandbox from a test, on the test's own loop; README.md shows both kinds of test."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import cache
from typing import Any

from sanic import Sanic

from .app import create_app
from .keys import Keys, make_keys
from .state import State


@asynccontextmanager
async def running_sandbox(keys: Keys | None = None) -> AsyncIterator[str]:
    """Run a fresh sandbox on a free port of 127.0.0.1, and give its URL.

    Nothing is written to the disk. Making keys takes a second, so without any of your own all
    sandboxes of a process share a set; orders, people, faults and the clock are each one's own.
    """
    keys = keys or _process_keys()
    state = State(replace(keys, platform=list(keys.platform), used_from=dict(keys.used_from)))
    async with serve(create_app(state)) as url:
        yield url


@asynccontextmanager
async def serve(app: Sanic[Any, Any], listener: socket.socket | None = None) -> AsyncIterator[str]:
    """Serve a Sanic app on this loop and give its URL; without a listener on a free port."""
    listener = listener or socket.create_server(("127.0.0.1", 0))  # port=0 means 8000 to Sanic
    server: Any = await app.create_server(sock=listener, return_asyncio_server=True)
    await server.startup()
    await server.before_start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        await server.before_stop()
        # a connection that is accepted while the server closes would leak: accept no more first
        asyncio.get_running_loop().remove_reader(listener)
        await asyncio.sleep(0)
        server.close()
        for connection in list(server.connections):
            connection.abort()
        await asyncio.sleep(0)  # an aborted transport closes its socket in the next turn
        await server.after_stop()


@cache
def _process_keys() -> Keys:
    return make_keys()
