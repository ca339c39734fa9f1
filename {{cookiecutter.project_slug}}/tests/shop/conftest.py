"""A fresh sandbox and a fresh shop for every test, both on real sockets of the test's own loop."""

import itertools
import json
import logging
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from tortoise.backends.base.executor import EXECUTOR_CACHE
from tortoise.models import Model

import accounts.models
import checkout.models
import shop.models
from checkout.config import Env
from sandbox.keys import Keys, make_keys
from shop import database
from shop.app import Shop, build
from shop.log import LOGGERS
from shop.web.server import server_of
from tests.sandbox.kit import sandbox_server, serve
from tests.shop.databases import Servers

ADMIN_TOKEN = "admin-token-of-the-tests-0123456789abcdef"
_names = itertools.count(1)
MoreSettings = dict[str, str] | Callable[[dict[str, Any]], dict[str, str]]


@dataclass
class Stage:
    """A running shop, its sandbox, and clients for both."""

    shop: Shop
    http: httpx.AsyncClient
    sandbox: httpx.AsyncClient
    known: dict[str, Any]

    @property
    def origin(self) -> str:
        return self.shop.settings.public_url

    def app(self, kind: str) -> dict[str, Any]:
        """Return the app of this kind that the shop is set up with."""
        whose = (self.known, self.known["sp"], *self.known["sub"])
        ours = self.shop.settings.login.apps[kind].appid
        return next(app for one in whose for app in one["apps"] if app["appid"] == ours)

    async def control(self, name: str, **body: Any) -> dict[str, Any]:
        """Call /_sandbox/<name>; it must answer 200."""
        answer = await self.sandbox.post(f"/_sandbox/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def advance(self, seconds: int) -> None:
        """Move the virtual clock, and let the shop see it."""
        await self.control("clock", advance_seconds=seconds)
        await self.shop.synchronise()

    async def truth(self, out_trade_no: str) -> dict[str, Any]:
        """Return what the sandbox knows of one of our numbers."""
        known = (await self.sandbox.get("/_sandbox/orders")).json()["orders"]
        return next(order for order in known if order["out_trade_no"] == out_trade_no)

    async def buyer(self, openid: str = "oBuyer", kind: str = "miniprogram") -> "BuyerClient":
        """Log in with a code of the mini program."""
        code = await self.control("login-code", appid=self.app(kind)["appid"], openid=openid)
        answer = await self.http.post("/api/sessions/miniprogram", json={"code": code["code"]})
        assert answer.status_code == 200, answer.text
        return BuyerClient(self, {"Authorization": f"Bearer {answer.json()['token']}"}, openid)


@dataclass
class BuyerClient:
    """One logged-in person."""

    stage: Stage
    headers: dict[str, str]
    openid: str

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.stage.http.post(
            path, json={} if body is None else body, headers={**self.headers, **headers}
        )

    async def get(self, path: str) -> httpx.Response:
        return await self.stage.http.get(path, headers=self.headers)

    async def order(self, sku: str = "longjing", quantity: int = 1) -> dict[str, Any]:
        """Place an order."""
        body = {"items": [{"sku": sku, "quantity": quantity}]}
        answer = await self.post("/api/orders", body, **{"Idempotency-Key": secrets.token_hex(8)})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def cart(self, *skus: str) -> dict[str, Any]:
        """Place an order of one of each."""
        body = {"items": [{"sku": sku, "quantity": 1} for sku in skus]}
        answer = await self.post("/api/orders", body, **{"Idempotency-Key": secrets.token_hex(8)})
        assert answer.status_code == 201, answer.text
        return answer.json()

    async def start(self, order_no: str, scene: str = "miniprogram") -> httpx.Response:
        return await self.post(f"/api/orders/{order_no}/payments", {"scene": scene})

    async def pay(self, invoke: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Tap pay (or what `outcome` says) in the cashier that `invoke` opens."""
        return await self.stage.control("pay", **{**invoke, "openid": self.openid, **more})

    async def state(self, order_no: str) -> str:
        return (await self.get(f"/api/orders/{order_no}")).json()["state"]


class Diary:
    """What the shop logged."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        self.caplog = caplog
        for name in LOGGERS:
            caplog.set_level(logging.INFO, name)

    def fields(self, event: str) -> list[dict[str, Any]]:
        """Return the fields of every record of an event."""
        records = self.caplog.records
        return [r.fields for r in records if r.name in LOGGERS and r.message == event]

    @property
    def alarms(self) -> list[str]:
        """Return the alarms, in order."""
        records = [r for r in self.caplog.records if r.name in LOGGERS]
        return [r.message for r in records if getattr(r, "fields", {}).get("alarm")]


def is_table(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Model) and value is not Model


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
    modules = (accounts.models, checkout.models, shop.models)
    classes = [value for module in modules for value in vars(module).values() if is_table(value)]
    tables = [model._meta.db_table for model in classes]
    await server.empty(tables)


@pytest.fixture
def diary(caplog: pytest.LogCaptureFixture) -> Diary:
    return Diary(caplog)


@pytest.fixture
def more_settings() -> MoreSettings:
    """Settings that a test file adds or changes by a fixture of its own; perhaps from the keys."""
    return {}


@pytest.fixture
async def sandbox_url(keys: Keys) -> AsyncIterator[str]:
    async with sandbox_server(keys) as url:
        yield url


@pytest.fixture
async def stage(
    sandbox_url: str, database_url: str, more_settings: MoreSettings
) -> AsyncIterator[Stage]:
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=20) as sandbox:
        known = (await sandbox.get("/_sandbox/credentials")).json()
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        more = more_settings(known) if callable(more_settings) else more_settings
        built = build(Env(settings(known, sandbox_url, url, database_url) | more))
        server = server_of(built, sweep=False, name=f"shop-{next(_names)}")
        server.config.LEAVE_SECONDS = 0
        server.config.TOUCHUP = False  # it can be done only once in a process
        async with (
            serve(server, listener),
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            yield Stage(built, http, sandbox, known)


def settings(
    known: dict[str, Any], sandbox_url: str, public_url: str, database_url: str
) -> dict[str, str]:
    """Return the environment of a shop whose WeChat is the sandbox."""
    apps = {app["kind"].upper(): app for app in known["apps"]}
    others = [
        {"mchid": one["mchid"], "serial": one["merchant_serial"], "apiv3_key": one["apiv3_key"]}
        | {"key": one["merchant_private_key_pem"]}
        for one in known["others"]
    ]
    return {
        "SHOP_DATABASE_URL": database_url,
        "SHOP_PUBLIC_URL": public_url,
        "SHOP_SANDBOX_URL": sandbox_url,
        "SHOP_SECRET_KEY": "secret-key-of-the-tests-0123456789abcdef",
        "SHOP_ADMIN_TOKEN": ADMIN_TOKEN,
        "SHOP_MCHID": known["mchid"],
        "SHOP_MERCHANT_SERIAL": known["merchant_serial"],
        "SHOP_MERCHANT_KEY": known["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": known["apiv3_key"],
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": known["public_key_id"],
        "SHOP_WECHATPAY_PUBLIC_KEY": known["public_key_pem"],
        "SHOP_MINIPROGRAM_APPID": apps["MINIPROGRAM"]["appid"],
        "SHOP_MINIPROGRAM_SECRET": apps["MINIPROGRAM"]["secret"],
        "SHOP_OFFICIAL_ACCOUNT_APPID": apps["OFFICIAL_ACCOUNT"]["appid"],
        "SHOP_OFFICIAL_ACCOUNT_SECRET": apps["OFFICIAL_ACCOUNT"]["secret"],
        "SHOP_APP_APPID": apps["APP"]["appid"],
        "SHOP_OTHER_MERCHANTS": json.dumps(others),
        "SHOP_DEV_CLIENT_IP": "203.0.113.10",
    }
