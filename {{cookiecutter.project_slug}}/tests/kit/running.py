"""A running shop with its sandbox, its settings, and a buyer who is logged in."""

import json
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx

from shop.shop import Shop

ADMIN_TOKEN = "admin-token-of-the-tests-0123456789abcdef"


MoreSettings = dict[str, str] | Callable[[dict[str, Any]], dict[str, str]]


def http_client(url: str, *, timeout: float) -> httpx.AsyncClient:
    """Return a client for plain HTTP; reading the certificates of the world takes 20 ms."""
    return httpx.AsyncClient(base_url=url, trust_env=False, timeout=timeout, verify=False)


@dataclass
class RunningShop:
    """A running shop, its sandbox, and clients for both."""

    shop: Shop
    http: httpx.AsyncClient
    sandbox: httpx.AsyncClient
    credentials: dict[str, Any]

    @property
    def origin(self) -> str:
        return self.shop.settings.public_url

    def app(self, kind: str) -> dict[str, Any]:
        """Return the app of this kind that the shop is set up with."""
        merchants = (self.credentials, self.credentials["sp"], *self.credentials["sub"])
        ours = self.shop.settings.login.apps[kind].appid
        apps = [app for merchant in merchants for app in merchant["apps"]]
        return next(app for app in apps if app["appid"] == ours)

    async def control(self, name: str, **body: Any) -> dict[str, Any]:
        """Call /_sandbox/<name>; it must answer 200."""
        answer = await self.sandbox.post(f"/_sandbox/{name}", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def advance(self, seconds: int) -> None:
        """Move the virtual clock, and let the shop see it."""
        await self.control("clock", advance_seconds=seconds)
        await self.shop.synchronise()

    async def at_wechat(self, out_trade_no: str) -> dict[str, Any]:
        """Return what the sandbox knows of one of our numbers."""
        orders = (await self.sandbox.get("/_sandbox/orders")).json()["orders"]
        return next(order for order in orders if order["out_trade_no"] == out_trade_no)

    async def sweeps(self, times: int, seconds: int) -> None:
        """Let time pass, and look again at everything that is due; so many times."""
        for _ in range(times):
            await self.advance(seconds)
            await self.shop.checkout.sweep_once()

    async def buyer(self, openid: str = "oBuyer", kind: str = "miniprogram") -> "BuyerClient":
        """Log in with a code of the mini program."""
        code = await self.control("login-code", appid=self.app(kind)["appid"], openid=openid)
        answer = await self.http.post("/api/sessions/miniprogram", json={"code": code["code"]})
        assert answer.status_code == 200, answer.text
        return BuyerClient(self, {"Authorization": f"Bearer {answer.json()['token']}"}, openid)


@dataclass
class BuyerClient:
    """One logged-in person."""

    running: RunningShop
    headers: dict[str, str]
    openid: str

    async def post(self, path: str, body: Any = None, **headers: str) -> httpx.Response:
        return await self.running.http.post(
            path, json={} if body is None else body, headers={**self.headers, **headers}
        )

    async def get(self, path: str) -> httpx.Response:
        return await self.running.http.get(path, headers=self.headers)

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

    async def start(self, order_no: str, scene: str = "miniprogram", **more: str) -> httpx.Response:
        return await self.post(f"/api/orders/{order_no}/payments", {"scene": scene, **more})

    async def pay(self, invoke: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Tap pay (or what `outcome` says) in the cashier that `invoke` opens."""
        return await self.running.control("pay", **{**invoke, "openid": self.openid, **more})

    async def state(self, order_no: str) -> str:
        return (await self.get(f"/api/orders/{order_no}")).json()["state"]


def merchant_settings(credentials: dict[str, Any]) -> dict[str, str]:
    """Return the settings that the sandbox's merchant has from WeChat: its keys, its apps."""
    apps = {app["kind"].upper(): app for app in credentials["apps"]}
    return {
        "SHOP_MCHID": credentials["mchid"],
        "SHOP_MERCHANT_SERIAL": credentials["merchant_serial"],
        "SHOP_MERCHANT_KEY": credentials["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": credentials["apiv3_key"],
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": credentials["public_key_id"],
        "SHOP_WECHATPAY_PUBLIC_KEY": credentials["public_key_pem"],
        "SHOP_MINIPROGRAM_APPID": apps["MINIPROGRAM"]["appid"],
        "SHOP_MINIPROGRAM_SECRET": apps["MINIPROGRAM"]["secret"],
        "SHOP_OFFICIAL_ACCOUNT_APPID": apps["OFFICIAL_ACCOUNT"]["appid"],
        "SHOP_OFFICIAL_ACCOUNT_SECRET": apps["OFFICIAL_ACCOUNT"]["secret"],
        "SHOP_APP_APPID": apps["APP"]["appid"],
    }


def settings(
    credentials: dict[str, Any], sandbox_url: str, public_url: str, database_url: str
) -> dict[str, str]:
    """Return the environment of a shop whose WeChat is the sandbox."""
    others = [
        {
            "mchid": other["mchid"],
            "serial": other["merchant_serial"],
            "apiv3_key": other["apiv3_key"],
            "key": other["merchant_private_key_pem"],
        }
        for other in credentials["others"]
    ]
    return {
        "SHOP_DATABASE_URL": database_url,
        "SHOP_PUBLIC_URL": public_url,
        "SHOP_SANDBOX_URL": sandbox_url,
        "SHOP_SECRET_KEY": "secret-key-of-the-tests-0123456789abcdef",
        "SHOP_ADMIN_TOKEN": ADMIN_TOKEN,
        **merchant_settings(credentials),
        "SHOP_OTHER_MERCHANTS": json.dumps(others),
        "SHOP_DEV_CLIENT_IP": "203.0.113.10",
    }


def partner(credentials: dict[str, Any], *, sub_app: bool = False) -> dict[str, str]:
    """Return the settings of a shop that is a service provider's; its mini program may be the sub
    merchant's own."""
    sp = credentials["sp"]
    sub = credentials["sub"][0]
    own = {app["kind"].upper(): app for app in sp["apps"]}
    subs = {app["kind"].upper(): app for app in sub["apps"]}
    mini = subs["MINIPROGRAM"] if sub_app else own["MINIPROGRAM"]
    return {
        "SHOP_MCHID": sp["mchid"],
        "SHOP_MERCHANT_SERIAL": sp["merchant_serial"],
        "SHOP_MERCHANT_KEY": sp["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": sp["apiv3_key"],
        "SHOP_MINIPROGRAM_APPID": mini["appid"],
        "SHOP_MINIPROGRAM_SECRET": mini["secret"],
        "SHOP_OFFICIAL_ACCOUNT_APPID": own["OFFICIAL_ACCOUNT"]["appid"],
        "SHOP_OFFICIAL_ACCOUNT_SECRET": own["OFFICIAL_ACCOUNT"]["secret"],
        "SHOP_APP_APPID": own["APP"]["appid"],
        "SHOP_SUB_MCHID": sub["mchid"],
        "SHOP_SUB_APPID": mini["appid"] if sub_app else "",
        "SHOP_OTHER_MERCHANTS": "",
    }
