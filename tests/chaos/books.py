"""A shop and its sandbox in this process, for walks and for runs of the judge."""

import itertools
import socket
from contextlib import AsyncExitStack
from typing import Any

import httpx
from checkout.config import Env
from checkout.events import Hooks
from kit import owner
from kit.running import BuyerClient, RunningShop, settings
from sandbox.keys import Keys
from sandbox.testing import running_sandbox, serve
from shop.app import build
from shop.web.server import server_of
from tortoise.backends.base.executor import EXECUTOR_CACHE

from tests.chaos.forks import is_committed

_names = itertools.count(1)


class Books:
    """A shop and its sandbox in this process, as the judge looks at them."""

    running: RunningShop
    buyer: BuyerClient
    sandbox: httpx.AsyncClient

    def __init__(self, url: str, keys: Keys) -> None:
        self.url = url
        self.keys = keys
        self.heard: list[tuple[str, bool]] = []

    async def open(self) -> None:
        """Start both, and log a buyer in; what was started before a failure is closed again."""
        EXECUTOR_CACHE.clear()
        async with AsyncExitStack() as stack:
            sandbox_url = await stack.enter_async_context(running_sandbox(self.keys))
            self.sandbox = await stack.enter_async_context(client(sandbox_url))
            credentials = (await self.sandbox.get("/_sandbox/credentials")).json()
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            origin = f"http://127.0.0.1:{listener.getsockname()[1]}"
            env = Env(settings(credentials, sandbox_url, origin, self.url))
            hooks = Hooks(on_paid=self.hear, on_closed=self.hear, on_refunded=self.hear)
            built = build(env, owner.products, hooks)
            server = server_of(built, sweep=False, name=f"books-{next(_names)}")
            server.config.update(LEAVE_SECONDS=0, TOUCHUP=False)
            await stack.enter_async_context(serve(server, listener))
            http = await stack.enter_async_context(client(origin))
            self.running = RunningShop(built, http, self.sandbox, credentials)
            self.buyer = await self.running.buyer()
            self._opened = stack.pop_all()

    async def close(self) -> None:
        """Stop both."""
        await self._opened.aclose()

    async def hear(self, *args: Any) -> None:
        """Be the owner's functions: the event's id is the last argument."""
        self.heard.append((args[-1], await is_committed(self.url, args[-1])))

    def heard_events(self) -> list[tuple[str, bool]]:
        """Return what was heard: the event, whether it was committed by then."""
        return self.heard


def client(url: str) -> httpx.AsyncClient:
    """Return a client with patience."""
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=60)
