"""A fresh sandbox for every test, on a free port of the test's own loop, and a merchant for it."""

import asyncio
import itertools
from collections.abc import AsyncIterator, Awaitable, Callable

import httpx
import pytest
from sandbox.testing import serve
from sanic import Sanic

from tests.sandbox.merchant import Merchant, Shop

_names = itertools.count(1)


@pytest.fixture
async def shop() -> AsyncIterator[Shop]:
    shop = Shop()
    app = Sanic(f"notified-{next(_names)}", configure_logging=False)
    app.config.TOUCHUP = False
    app.add_route(shop.notify, "/notify", methods=["POST"])
    async with serve(app) as url:
        shop.url = f"{url}/notify"
        yield shop


@pytest.fixture
async def merchant(sandbox_url: str, shop: Shop) -> AsyncIterator[Merchant]:
    """A merchant whose buyer oBuyer has logged in to the mini program."""
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, verify=False) as http:
        merchant = Merchant(http, (await http.get("/_sandbox/credentials")).json(), shop)
        await merchant.control("login-code", appid=merchant.mini["appid"], openid="oBuyer")
        yield merchant


@pytest.fixture
def until() -> Callable[[Callable[[], Awaitable[bool] | bool]], Awaitable[None]]:
    """Wait, at most two seconds, for something the sandbox does in the background."""

    async def wait(condition: Callable[[], Awaitable[bool] | bool]) -> None:
        async with asyncio.timeout(2):
            while True:
                held = condition()
                if held if isinstance(held, bool) else await held:
                    return
                await asyncio.sleep(0.005)

    return wait
