"""Bring a buyer to where a test begins: at the cashier, paid, refunded, logged in by a browser."""

import secrets
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from accounts.models import Identity
from checkout.models import Order
from kit.running import ADMIN_TOKEN, BuyerClient, RunningShop, http_client
from kit.waiting import until

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}


JSON = {"Content-Type": "application/json"}


async def paying(
    running: RunningShop, scene: str = "miniprogram", *, channel: str = "", **order: Any
) -> tuple[BuyerClient, dict[str, Any], dict[str, Any]]:
    """Bring a buyer to the open cashier: the buyer, the order, the payment that was started."""
    buyer = await running.buyer()
    if scene == "jsapi":
        await also_official(running, buyer)
    placed = await buyer.order(**order)
    more = {"channel": channel} if channel else {}
    started = await buyer.start(placed["order_no"], scene, **more)
    assert started.status_code == 201, started.text
    return buyer, placed, started.json()


async def bought(running: RunningShop, channel: str = "") -> tuple[BuyerClient, str, str]:
    """Pay an order: the buyer, its number, the payment's number."""
    buyer, order, started = await paying(running, channel=channel)
    await buyer.pay(started["invoke"])
    await until(lambda: Order.exists(order_no=order["order_no"], state="PAID"))
    return buyer, order["order_no"], started["out_trade_no"]


async def become(buyer: BuyerClient, order_no: str, state: str) -> None:
    """Wait until the buyer is shown this state of the order."""

    async def has() -> bool:
        return await buyer.state(order_no) == state

    await until(has)


async def guest(running: RunningShop) -> BuyerClient:
    """Begin a session without an openid."""
    answer = await running.http.post("/api/sessions/guest", json={})
    return BuyerClient(running, {"Authorization": f"Bearer {answer.json()['token']}"}, "")


async def also_official(running: RunningShop, buyer: BuyerClient) -> None:
    """Let the same person be known by the official account too, so that both scenes are open."""
    appid = running.app("official_account")["appid"]
    await running.control("oauth-code", appid=appid, openid="oBuyerH5")
    me = (await buyer.get("/api/me")).json()["buyer"]
    await Identity.create(buyer_id=me, kind="official_account", appid=appid, openid="oBuyerH5")


async def give_back(running: RunningShop, order_no: str, fen: int, **more: Any) -> httpx.Response:
    """Ask for a refund as the operator does."""
    key = {"Idempotency-Key": more.pop("key", secrets.token_hex(8))}
    body = {"refund_fen": fen, "reason": "少发一件"} | more
    path = f"/api/admin/orders/{order_no}/refunds"
    return await running.http.post(path, json=body, headers=ADMIN | key)


class Browser:
    """A browser inside WeChat: it keeps cookies and follows no redirect by itself."""

    def __init__(self, running: RunningShop, openid: str) -> None:
        self.running = running
        self.openid = openid
        self.http = http_client(running.origin, timeout=30)

    async def start(self, return_to: str = "/") -> str:
        """Begin a login; return the address of the callback that WeChat redirects to."""
        answer = await self.http.get("/oauth/start", params={"return_to": return_to})
        assert answer.status_code == 302
        state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
        return f"/oauth/callback?code={await self.code()}&state={state}"

    async def code(self, **more: Any) -> str:
        appid = self.running.app("official_account")["appid"]
        made = await self.running.control("oauth-code", appid=appid, openid=self.openid, **more)
        return str(made["code"])

    async def me(self) -> httpx.Response:
        return await self.http.get("/api/me")
