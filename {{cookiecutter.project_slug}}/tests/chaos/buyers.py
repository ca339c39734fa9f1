"""The people of a storm: buyers who never give up, and an operator who refunds."""

import asyncio
import pkgutil
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from checkout import channels
from tests.chaos.town import Town
from tests.shop.conftest import ADMIN_TOKEN

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SKUS = ("longjing", "dahongpao", "puer", "cup", "sample")
SCENES = {"miniprogram": 50, "h5": 15, "native": 20, "app": 15}
CHANNELS = [m.name for m in pkgutil.iter_modules(channels.__path__) if m.name[0] != "_"]
WISHES = {
    "pay": 50,
    "coupon": 8,
    "switch": 10,
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
    carts: Sequence[Sequence[str]] = ()
    channels: Sequence[str] = ()

    async def live(self) -> None:
        """Log in, order, and do what this person wants."""
        wish = self.luck.choices(list(WISHES), list(WISHES.values()))[0]
        scene, other = self.luck.choices(list(SCENES), list(SCENES.values()), k=2)
        await self._login()
        order_no = (await self._order())["order_no"]
        if wish == "leave":
            return
        started = await self._start(order_no, scene)
        if wish == "switch":  # begins here, goes on there; the first must be closed before
            started = await self._start(order_no, other) or started
        if wish == "cancel" or started is None:
            await self._call("POST", f"/api/orders/{order_no}/cancel", {})
            return
        await self._play(wish, order_no, started)
        if self.luck.random() < 0.3:
            await self._operator(order_no)

    async def _play(self, wish: str, order_no: str, started: dict[str, Any]) -> None:
        if wish == "late":
            await self._call("POST", f"/api/orders/{order_no}/cancel", {})
            await self._pay(started, force=True)
            return
        if wish == "fail_then_pay":
            await self._pay(started, outcome=self.luck.choice(["fail", "cancel", "typing"]))
        if wish == "twice":  # asks again on another device, then pays what came first
            await self._start(order_no, started["scene"])
        coupon = {"coupon_fen": 1} if wish == "coupon" else {}
        await self._pay(started, **coupon)
        await self._call("GET", f"/api/orders/{order_no}?refresh=1")

    async def _login(self) -> None:
        self.openid = f"oBuyer{self.n:06}"
        while True:
            code = await self.town.control(
                "login-code", appid=self.town.miniprogram, openid=self.openid
            )
            answer = await self._call("POST", "/api/sessions/miniprogram", code, {})
            if answer.status_code == 200:
                self.headers = {"Authorization": f"Bearer {answer.json()['token']}"}
                return

    async def _order(self) -> dict[str, Any]:
        many = self.luck.choice(self.carts) if self.carts else None
        skus = many or self.luck.sample(SKUS, self.luck.choice([1, 1, 2]))
        items = [{"sku": sku, "quantity": self.luck.randint(1, 3)} for sku in skus]
        key = {"Idempotency-Key": f"storm-{self.n}", **self.headers}
        while True:
            answer = await self._call("POST", "/api/orders", {"items": items}, key)
            if answer.status_code in (200, 201):
                order: dict[str, Any] = answer.json()
                return order

    async def _start(self, order_no: str, scene: str = "miniprogram") -> dict[str, Any] | None:
        path, channel = f"/api/orders/{order_no}/payments", self.luck.choice([None, *self.channels])
        for _ in range(40):
            answer = await self._call("POST", path, {"scene": scene, "channel": channel})
            if answer.status_code in (200, 201):
                started: dict[str, Any] = answer.json()
                return started
            if answer.json().get("code") in ENDED:
                return None
            if answer.json().get("code") == "SCENE_OFF":
                channel = None
            await asyncio.sleep(0.1)
        return None

    async def _pay(self, started: dict[str, Any], **more: Any) -> None:
        """Open what the shop gave: a cashier, a link or a code."""
        for name, control in (("h5_url", "h5"), ("code_url", "scan")):
            if name in started:
                await self.town.control(control, **{name: started[name]}, **more)
                return
        await self.town.control("pay", **started["invoke"], openid=self.openid, **more)

    async def _operator(self, order_no: str) -> None:
        """Refund some of it, by the shop or in the merchant platform."""
        answer = await self._call("GET", f"/api/orders/{order_no}")
        payments = [p for p in answer.json().get("payments") or [] if p["state"] == "PAID"]
        if not payments:
            return
        number = self.luck.choice(payments)["out_trade_no"]
        if self.luck.random() < 0.2:
            body = {"out_trade_no": number, "refund": 2}
            await self.town.sandbox.post("/_sandbox/refund", json=body)
            return
        path = f"/api/admin/orders/{order_no}/refunds"
        for n in range(self.luck.randint(1, 3)):
            body = {"refund_fen": self.luck.choice([1, 100, 2_000]), "reason": "storm"}
            body["out_trade_no"] = number
            key = {"Idempotency-Key": f"r{n}", **ADMIN}
            await self._call("POST", path, body, key)

    async def _call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Ask any instance; again while none answers, or nobody knows the outcome."""
        headers = self.headers if headers is None else headers
        said = ""
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
            said = answer.text
            await asyncio.sleep(0.05)
        raise AssertionError(f"{method} {path} was never answered: {said}")
