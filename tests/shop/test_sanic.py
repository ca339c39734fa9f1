"""Who knows Sanic is at home: its command serves the shop, its blueprints are the routes."""

import asyncio
import os
import signal
import socket
import sys
from dataclasses import replace

import httpx
import pytest
from checkout.config import ConfigError, Env
from checkout.events import Hooks
from kit.running import RunningShop, settings
from sanic import Blueprint
from shop.app import build
from shop.settings import ROOT
from shop.web.server import server_of

from shop import routes


async def until_ready(http: httpx.AsyncClient, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(60):
        while process.returncode is None:
            try:
                if (await http.get("/readyz")).status_code == 200:
                    return
            except httpx.TransportError:
                await asyncio.sleep(0.05)
    raise AssertionError("the server ended")


async def on_paid(*_: object) -> None:
    """Do as an owner's function does."""


def forgotten(*_: object) -> None:
    """Do the same without async."""


@pytest.mark.parametrize("name", ["on_paid", "on_closed", "on_refunded"])
def test_an_owner_s_function_without_async_is_refused_before_anything_is_shipped_twice(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hooks = replace(Hooks(on_paid=on_paid), **{name: forgotten})
    monkeypatch.setattr("shop.app.HOOKS", hooks)
    with pytest.raises(ConfigError, match=r"shop/on_paid.py: write `async def forgotten`"):
        build(Env({}), hooks=hooks)


def test_a_catalogue_without_async_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"shop/catalogue.py: write `async def forgotten`"):
        build(Env({}), products=forgotten)


@pytest.mark.parametrize(
    "command",
    [
        ["sanic", "shop.app:create_app", "--factory", "--single-process", "--port"],
        ["shop", "serve", "--port"],
    ],
)
async def test_both_commands_serve_the_shop_and_stop_in_order(
    running: RunningShop, database_url: str, command: list[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    url = f"http://127.0.0.1:{port}"
    sandbox = str(running.sandbox.base_url).rstrip("/")
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *command,
        str(port),
        cwd=ROOT,
        env=os.environ | settings(running.credentials, sandbox, url, database_url),
    )
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            await until_ready(http, process)
            guest = await http.post("/api/sessions/guest", json={})
            bearer = {"Authorization": f"Bearer {guest.json()['token']}"}
            assert (await http.get("/my/deliveries", headers=bearer)).json() == {"deliveries": []}
            assert (await http.get("/api/products")).status_code == 200
    finally:
        process.send_signal(signal.SIGTERM)
    assert await asyncio.wait_for(process.wait(), 30) == 0


async def test_routes_are_blueprints_and_the_owners_is_one_of_them(running: RunningShop) -> None:
    app = server_of(running.shop, sweep=False, name="blueprints")
    assert app.ctx.shop is running.shop
    assert app.blueprints["own"] is routes.blueprint
    assert all(isinstance(blueprint, Blueprint) for blueprint in app.blueprints.values())
    assert {"orders", "collect", "login", "admin", "notify", "health"} <= app.blueprints.keys()
