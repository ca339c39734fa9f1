"""The people of a storm: buyers who never give up, and an operator who refunds."""

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from tests.chaos.town import Town
from tests.shop.conftest import ADMIN_TOKEN

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SKUS = ("longjing", "dahongpao", "puer", "cup", "sample")
WISHES = {
    "pay": 60,
    "coupon": 8,
    "fail_then_pay": 6,
    "twice": 6,
    "late": 6,
    "cancel": 7,
    "leave": 7,
}
ENDED = ("ORDER_PAID", "ORDER_CLOSED", "ORDER_EXPIRED")


@dataclass
class Buyer:
    """One person with one wish; every call is repeated until somebody answers it."""

    town: Town
    http: httpx.AsyncClient
    luck: random.Random
    n: int
    skus: Sequence[str] = SKUS

    async def live(self) -> None:
        """Log in, order, and do what this person wants."""
        wish = self.luck.choices(list(WISHES), list(WISHES.values()))[0]
        await self._login()
        order_no = (await self._order())["order_no"]
        if wish == "leave":
            return
        invoke = await self._start(order_no)
        if wish == "cancel" or invoke is None:
            await self._call("POST", f"/api/orders/{order_no}/cancel", {})
            return
        await self._play(wish, order_no, invoke)
        if self.luck.random() < 0.3:
            await self._operator(order_no)

    async def _play(self, wish: str, order_no: str, invoke: dict[str, Any]) -> None:
        if wish == "late":
            await self._call("POST", f"/api/orders/{order_no}/cancel", {})
            await self._pay(invoke, force=True)
            return
        if wish == "fail_then_pay":
            await self._pay(invoke, outcome=self.luck.choice(["fail", "cancel", "typing"]))
        if wish == "twice":  # asks again on another device, then pays what came first
            await self._start(order_no)
        coupon = {"coupon_fen": 1} if wish == "coupon" else {}
        await self._pay(invoke, **coupon)
        await self._call("GET", f"/api/orders/{order_no}?refresh=1")

    async def _login(self) -> None:
        app = next(app for app in self.town.known["apps"] if app["kind"] == "miniprogram")
        self.openid = f"oBuyer{self.n:06}"
        while True:
            code = await self.town.control("login-code", appid=app["appid"], openid=self.openid)
            answer = await self._call("POST", "/api/sessions/miniprogram", code, {})
            if answer.status_code == 200:
                self.headers = {"Authorization": f"Bearer {answer.json()['token']}"}
                return

    async def _order(self) -> dict[str, Any]:
        items = [{"sku": self.luck.choice(self.skus), "quantity": self.luck.randint(1, 3)}]
        key = {"Idempotency-Key": f"storm-{self.n}", **self.headers}
        while True:
            answer = await self._call("POST", "/api/orders", {"items": items}, key)
            if answer.status_code in (200, 201):
                order: dict[str, Any] = answer.json()
                return order

    async def _start(self, order_no: str) -> dict[str, Any] | None:
        path = f"/api/orders/{order_no}/payments"
        for _ in range(40):
            answer = await self._call("POST", path, {"scene": "miniprogram"})
            if answer.status_code in (200, 201):
                invoke: dict[str, Any] = answer.json()["invoke"]
                return invoke
            if answer.json().get("code") in ENDED:
                return None
            await asyncio.sleep(0.1)
        return None

    async def _pay(self, invoke: dict[str, Any], **more: Any) -> None:
        await self.town.control("pay", **invoke, openid=self.openid, **more)

    async def _operator(self, order_no: str) -> None:
        """Refund some of it, by the shop or in the merchant platform."""
        answer = await self._call("GET", f"/api/orders/{order_no}")
        payments = answer.json().get("payments") or [{}]
        if self.luck.random() < 0.2 and payments[0].get("state") == "PAID":
            body = {"out_trade_no": payments[0]["out_trade_no"], "refund": 2}
            await self.town.sandbox.post("/_sandbox/refund", json=body)
            return
        path = f"/api/admin/orders/{order_no}/refunds"
        for n in range(self.luck.randint(1, 3)):
            body = {"refund_fen": self.luck.choice([1, 100, 2_000]), "reason": "storm"}
            key = {"Idempotency-Key": f"r{n}", **ADMIN}
            await self._call("POST", path, body, key)

    async def _call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Ask any instance; again while none answers, or nobody knows the outcome."""
        headers = self.headers if headers is None else headers
        for _ in range(400):
            shop = self.luck.choice(self.town.shops)
            try:
                answer = await self.http.request(
                    method, shop.url + path, json=body, headers=headers
                )
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
                continue
            if answer.status_code < 500:
                return answer
            await asyncio.sleep(0.05)
        raise AssertionError(f"{method} {path} was never answered")
