"""Build every object of the shop once. Read this first; web/server.py hangs the routes on them.

A request goes web/ → checkout/ → a channel → wechat/; a notification comes web/notify →
checkout/notifications → a channel → the ledger.
"""

import inspect
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import httpx
from httpx_aiohttp import AiohttpTransport
from sanic import Sanic

from accounts.login import Login
from accounts.sessions import Sessions
from checkout import channels
from checkout.clock import Clock
from checkout.config import ConfigError, Env
from checkout.engine import Checkout
from checkout.events import Hooks
from shop import catalogue, log, on_paid, settings
from shop.goods import Catalogue
from shop.metrics import Metrics
from shop.shop import Shop
from shop.web.limits import Limits
from shop.web.server import server_of

HOOKS = Hooks(
    on_paid=on_paid.on_paid,
    on_closed=on_paid.on_closed,
    on_refunded=on_paid.on_refunded,
)


def create_app(*, sweep: bool = True) -> Sanic[Any, Any]:
    """Return the shop as a Sanic app, by the settings of the environment and `.env`.

    The sanic command takes it: `sanic shop.app:create_app --factory --single-process`. Raises
    ConfigError naming what is wrong.
    """
    log.configure()
    return server_of(build(settings.environment()), sweep=sweep)


def build(env: Env, products: Catalogue = catalogue.products, hooks: Hooks = HOOKS) -> Shop:
    """Read the settings and build the shop around the owner's catalogue and functions.

    Raises ConfigError naming what is wrong.
    """
    if hooks is HOOKS:  # the owner's, no test's
        _check_owned(products, hooks)
    read = settings.load(env)
    clock = Clock()
    http = _http(clock, in_sandbox=bool(read.sandbox_url))
    built = channels.load(env, read.checkout, http, clock)
    metrics = Metrics(clock)
    log.hide(env.secrets)
    env.check()
    return Shop(
        settings=read,
        clock=clock,
        http=http,
        checkout=Checkout(
            read.checkout,
            built,
            replace(hooks, on_notification=metrics.notified, on_move=metrics.moved),
            clock,
        ),
        login=Login(read.login, http, clock.now),
        sessions=Sessions(read.secret_key),
        metrics=metrics,
        limits=Limits(read.checkout.order_ttl),
        products=products,
    )


def _check_owned(products: Catalogue, hooks: Hooks) -> None:
    """Refuse an owner's function without async: it would run, fail, and run again and again."""
    owned: dict[str, list[Callable[..., object]]] = {"shop/catalogue.py": [products]}
    owned["shop/on_paid.py"] = [hooks.on_paid, hooks.on_closed, hooks.on_refunded]
    for file, functions in owned.items():
        for function in functions:
            if inspect.isfunction(function) and not inspect.iscoroutinefunction(function):
                name = function.__name__
                raise ConfigError(f"{file}: write `async def {name}`, not `def {name}` 少了 async")


def _http(clock: Clock, *, in_sandbox: bool) -> httpx.AsyncClient:
    """Return the one HTTP client: its pool survives cancelled requests, its hooks watch clocks."""

    async def compare(answer: httpx.Response) -> None:
        timestamp = answer.headers.get("Wechatpay-Timestamp", "")
        if timestamp.isdecimal() and len(timestamp) < 12:
            clock.skew_seconds = int(timestamp) - clock.real()

    async def follow(answer: httpx.Response) -> None:
        offset = answer.headers.get("X-Sandbox-Offset", "")
        if offset.lstrip("-").isdigit():
            clock.offset_seconds = int(offset)

    return httpx.AsyncClient(
        transport=AiohttpTransport(trust_env=False, limits=httpx.Limits(max_connections=200)),
        trust_env=False,
        timeout=httpx.Timeout(10, connect=5),
        event_hooks={"response": [compare, follow] if in_sandbox else [compare]},
    )
