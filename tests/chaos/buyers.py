"""The people of a storm: buyers who never give up, and an operator who refunds."""

import asyncio
import pkgutil
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import httpx
from checkout import channels
from kit.running import ADMIN_TOKEN

from tests.chaos.fleet import Fleet

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
SKUS = ("longjing", "dahongpao", "puer", "cup", "sample")
SCENES = {"miniprogram": 50, "h5": 15, "native": 20, "app": 15}
LASTING = ("miniprogram", "native", "app")  # what they open can be paid long after
CHANNELS = [m.name for m in pkgutil.iter_modules(channels.__path__) if m.name[0] != "_"]
#: how many of fifty buyers want what
WISHES = {
    "pay": 16,
    "coupon": 4,
    "switch": 5,  # begins here, goes on there: the first must be closed before
    "fail_then_pay": 3,
    "again": 3,  # asks again on another device, then pays what came first
    "both": 4,  # begins here, pays there, then pays here too
    "late": 4,  # cancels, then pays
    "unheard": 3,  # the same, and no notification ever tells of it
    "cancel": 4,
    "leave": 4,
}
ANSWERS = ("500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key")
ENDED = ("ORDER_PAID", "ORDER_CLOSED", "ORDER_EXPIRED")
LEAST = 2  # fen: a notification that lies by one still names an amount, as WeChat's always do
#: whose notifications are repeated for a day: Huifu tells four times within minutes, which here are
#: seconds; what no shop heard by then, only its statement tells
TELLS_FOR_LONG = "wechat"
OPERATED = 0.35  # of those who have paid get something back


def wishes() -> list[str]:
    """Deal the wishes out evenly, so that a short storm has some of each."""
    places = [((n + 0.5) / count, wish) for wish, count in WISHES.items() for n in range(count)]
    return [wish for _, wish in sorted(places)]


DECK = wishes()


@dataclass
class Buyer:
    """One person with one wish; every call is repeated until somebody answers it."""

    fleet: Fleet
    http: httpx.AsyncClient
    luck: random.Random
    n: int
    carts: Sequence[Sequence[str]] = ()
    channels: Sequence[str] = ()

    async def live(self) -> None:
        """Log in, order, and do what this person wants."""
        wish = DECK[self.n % len(DECK)]
        scene, other = self.luck.choices(list(SCENES), list(SCENES.values()), k=2)
        await self._login()
        order_no = (await self._order())["order_no"]
        match wish:
            case "leave":
                return
            case "both":
                await self._pay_both(order_no)
            case "late" | "unheard":
                await self._pay_late(order_no, unheard=wish == "unheard")
            case "cancel":
                await self._start(order_no, scene)
                await self._call("POST", f"/api/orders/{order_no}/cancel", {})
            case _:
                await self._pay_once(wish, order_no, scene, other)

    async def _pay_once(self, wish: str, order_no: str, scene: str, other: str) -> None:
        started = await self._start(order_no, scene)
        if wish == "switch":
            started = await self._start(order_no, other) or started
        if started is None:
            return
        if wish == "fail_then_pay":
            await self._pay(started, outcome=self.luck.choice(["fail", "cancel", "typing"]))
        if wish == "again":
            await self._start(order_no, started["scene"])
        coupon = {"coupon_fen": 1} if wish == "coupon" else {}
        await self._pay(started, **coupon)
        if self.luck.random() < OPERATED and await self._comes_to(order_no, "PAID"):
            await self._operator(order_no)

    async def _pay_both(self, order_no: str) -> None:
        """Pay what came second, then what was closed for it."""
        scene, other = self.luck.sample(LASTING, 2)
        first = await self._start(order_no, scene, by_default=True)
        second = first and await self._start(order_no, other, by_default=True)
        if not first or not second or first["out_trade_no"] == second["out_trade_no"]:
            return
        await self._pay(second)
        if await self._comes_to(order_no, "PAID"):
            await self._pay(first, force=True)

    async def _pay_late(self, order_no: str, *, unheard: bool = False) -> None:
        """Cancel, and pay as soon as the order is closed."""
        started = await self._start(order_no, self.luck.choice(LASTING), by_default=True)
        if started is None:
            return
        await self._call("POST", f"/api/orders/{order_no}/cancel", {})
        if not await self._comes_to(order_no, "CLOSED"):
            return
        if not unheard:
            await self._pay(started, force=True)
            return
        async with self.fleet.weather(notifications="drop"):
            await self._pay(started, force=True)

    async def _comes_to(self, order_no: str, state: str) -> bool:
        """Wait on the page of the order, which asks WeChat now and then."""
        for _ in range(60):
            answer = await self._call("GET", f"/api/orders/{order_no}?refresh=1")
            if answer.json()["state"] == state:
                return True
            await asyncio.sleep(0.1)
        return False

    async def _login(self) -> None:
        self.openid = f"oBuyer{self.n:06}"
        while True:
            code = await self.fleet.control(
                "login-code", appid=self.fleet.miniprogram, openid=self.openid
            )
            answer = await self._call("POST", "/api/sessions/miniprogram", code, {})
            if answer.status_code == 200:
                self.headers = {"Authorization": f"Bearer {answer.json()['token']}"}
                return

    async def _order(self) -> dict[str, Any]:
        many = self.luck.choice(self.carts) if self.carts else None
        skus = many or self.luck.sample(SKUS, self.luck.choice([1, 1, 2]))
        items = [{"sku": sku, "quantity": self.luck.randint(2, 4)} for sku in skus]
        key = {"Idempotency-Key": f"storm-{self.n}", **self.headers}
        sent = 0
        order = dict[str, Any]()
        while sent <= self.n % 2:  # every other one taps twice: that is one order
            answer = await self._call("POST", "/api/orders", {"items": items}, key)
            if answer.status_code in (200, 201):
                sent += 1
                order = answer.json()
        return order

    async def _start(
        self, order_no: str, scene: str = "miniprogram", *, by_default: bool = False
    ) -> dict[str, Any] | None:
        """Start to pay, by any channel or by the one that serves when nobody names one."""
        path = f"/api/orders/{order_no}/payments"
        channel = None if by_default else self.luck.choice([None, *self.channels])
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
                await self.fleet.control(control, **{name: started[name]}, **more)
                return
        await self.fleet.control("pay", **started["invoke"], openid=self.openid, **more)

    async def _operator(self, order_no: str) -> None:
        """Refund some of it, by the shop or in the merchant platform."""
        order = (await self._call("GET", f"/api/orders/{order_no}")).json()
        payment = self.luck.choice([p for p in order["payments"] if p["state"] == "PAID"])
        number = payment["out_trade_no"]
        if self.luck.random() < 0.2 and payment["channel"].startswith(TELLS_FOR_LONG):
            await self._refund_in_platform(number)
            return
        path = f"/api/admin/orders/{order_no}/refunds"
        for n in range(self.luck.randint(1, 3)):
            body = {"refund_fen": self.luck.choice([LEAST, 100, 2_000]), "reason": "storm"}
            body["out_trade_no"] = number
            key = {"Idempotency-Key": f"r{n}", **ADMIN}
            await self._call("POST", path, body, key)

    async def _refund_in_platform(self, number: str) -> None:
        """Let WeChat tell of it, sooner or later: nothing but its notification does."""
        menu: dict[str, Any] = {
            "notifications": self.luck.choice(["send", "duplicate", "reverse", 20])
        }
        if self.luck.random() < 0.5:  # and then does not answer the query that must confirm it
            menu["answers"] = {"refund_query": self.luck.choice(ANSWERS)}
        async with self.fleet.weather(**menu):
            body = {"out_trade_no": number, "refund": LEAST}
            await self.fleet.sandbox.post("/_sandbox/refund", json=body)
            await self.fleet.control("clock", advance_seconds=4)
            await asyncio.sleep(0.2)

    async def _call(
        self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Ask any instance; again while none answers, or nobody knows the outcome."""
        headers = self.headers if headers is None else headers
        problem = ""
        for _ in range(400):
            shop = self.luck.choice(self.fleet.shops)
            try:
                answer = await self.http.request(
                    method, shop.url + path, json=body, headers=headers
                )
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
                continue
            self.fleet.answers[answer.status_code] += 1
            if answer.status_code < 500:
                return answer
            problem = answer.text
            await asyncio.sleep(0.05)
        raise AssertionError(f"{method} {path} was never answered: {problem}")
