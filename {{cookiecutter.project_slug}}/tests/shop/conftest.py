"""A fresh sandbox and a fresh shop for every test, both on real sockets of the test's own loop."""

import itertools
import secrets
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from sandbox.keys import Keys, make_keys
from shop import database
from shop.app import Shop, build
from shop.settings import Env
from shop.web.server import create_app
from tests.sandbox.kit import sandbox_server, serve

ADMIN_TOKEN = "admin-token-of-the-tests-0123456789abcdef"
_names = itertools.count(1)


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
        return next(app for app in self.known["apps"] if app["kind"] == kind)

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

    async def start(self, order_no: str, scene: str = "miniprogram") -> httpx.Response:
        return await self.post(f"/api/orders/{order_no}/payments", {"scene": scene})

    async def pay(self, invoke: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Tap pay (or what `outcome` says) in the cashier that `invoke` opens."""
        return await self.stage.control("pay", **{**invoke, "openid": self.openid, **more})

    async def state(self, order_no: str) -> str:
        return (await self.get(f"/api/orders/{order_no}")).json()["state"]


@pytest.fixture(scope="session")
def keys() -> Keys:
    return make_keys()


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    return f"sqlite://{tmp_path}/shop.db"


@pytest.fixture
async def sandbox_url(keys: Keys) -> AsyncIterator[str]:
    async with sandbox_server(keys) as url:
        yield url


@pytest.fixture
async def stage(sandbox_url: str, database_url: str) -> AsyncIterator[Stage]:
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False, timeout=20) as sandbox:
        known = (await sandbox.get("/_sandbox/credentials")).json()
        await database.migrate(database_url)
        listener = socket.create_server(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        shop = build(Env(settings(known, sandbox_url, url, database_url)))
        server = create_app(shop, sweep=False, name=f"shop-{next(_names)}")
        async with (
            serve(server, listener),
            httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http,
        ):
            yield Stage(shop, http, sandbox, known)


def settings(
    known: dict[str, Any], sandbox_url: str, public_url: str, database_url: str
) -> dict[str, str]:
    """Return the environment of a shop whose WeChat is the sandbox."""
    apps = {app["kind"].upper(): app for app in known["apps"]}
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
    }
