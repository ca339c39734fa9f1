"""Plays a channel's other side by the sandbox's controls, for tests/channels/test_channels.py.

A channel gets the contract test by being there. It needs a file here, named like it, with a class
`Kit`: in which scene it starts, how its buyer pays, how its faults are named.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from urllib.parse import urlsplit

import httpx

from kit.running import BuyerClient, RunningShop

FAULTS: Mapping[str, Mapping[str, Any]] = {
    "notification lost": {"notifications": "drop"},
    "notification forged": {"notification_signature": "wrong_key"},
    "prepay later": {"answers": {"prepay": "429"}},
    "prepay refused": {"answers": {"prepay": "refuse"}},
    "prepay lost on the way": {"answers": {"prepay": "reset_before"}},
    "answer of prepay lost": {"answers": {"prepay": "reset_after"}},
    "refund later": {"refunds": "not_enough"},
}
#: what the sandbox falsifies in WeChat's bill -> the kind of difference
FALSE_BILLS: Mapping[str, str] = {
    "missing_row": "missing_there",
    "extra_row": "missing_here",
    "wrong_amount": "amount",
    "wrong_state": "state",
    "missing_refund": "refund_missing_there",
    "extra_refund": "refund_missing_here",
    "wrong_refund_amount": "refund_amount",
}


class Sandboxed:
    """The other side of one channel; what a channel does differently, its `Kit` says."""

    #: the scene in which a payment is started
    scene = "miniprogram"
    #: a scene whose payments cannot be closed, if there is one
    scene_without_close = ""
    #: where prepay goes, the end of its address
    prepay = ""
    #: how many notifications tell of one payment
    tells = 1
    #: how a buyer is told "come back later", status and code
    later: tuple[int, str] = (429, "TOO_MANY_REQUESTS")
    #: whether the answer of a prepay is given again when its request is repeated
    answers_again = True
    #: how the other side is told to misbehave
    faults: ClassVar[Mapping[str, Mapping[str, Any]]] = FAULTS
    #: the other side's bill with one false line -> the kind of the difference that is found
    false_bills: ClassVar[Mapping[str, str]] = {}

    def __init__(self, name: str, running: RunningShop) -> None:
        self.name = name
        self.running = running

    async def buyer(self) -> BuyerClient:
        """Return somebody who can pay in the scene."""
        return await self.running.buyer()

    async def start(self, buyer: BuyerClient, order_no: str, scene: str = "") -> httpx.Response:
        """Ask for a payment by this channel."""
        wish = {"scene": scene or self.scene, "channel": self.name}
        return await buyer.post(f"/api/orders/{order_no}/payments", wish)

    async def pay(self, buyer: BuyerClient, started: Mapping[str, Any]) -> bool:
        """Let the buyer pay with what `start` answered; tell whether it could be paid."""
        form = started.get("invoke") or {k: v for k, v in started.items() if k == "code_url"}
        control = "pay" if "invoke" in started else "scan"
        answer = await self.running.control(control, **form)
        return re.fullmatch(r"(\w+:)?ok", answer["err_msg"]) is not None

    async def fault(self, name: str) -> None:
        """Let the other side misbehave, until `mend`."""
        await self.running.control("faults", **self.faults[name])

    async def falsify(self, name: str) -> None:
        """Let the other side's bill have a false line."""
        await self.running.control("faults", bill=name)

    async def mend(self) -> None:
        """Let the other side behave."""
        await self.running.control("faults")

    async def copy(self, number: str) -> None:
        """Let the notification of a payment come again, signed well."""
        await self.running.control("notify", out_trade_no=number)

    async def state(self, number: str) -> str:
        """Return what the other side says of a number: PAID, CLOSED, OPEN or UNKNOWN."""
        states = {"SUCCESS": "PAID", "REFUND": "PAID", "CLOSED": "CLOSED"}
        order = await self._order(number)
        return states.get(order["trade_state"], "OPEN") if order else "UNKNOWN"

    async def refunds(self, number: str) -> list[tuple[str, int]]:
        """Return number and fen of each refund that the other side made of a payment."""
        refunds = (await self._order(number)).get("refunds", [])
        return [(r["out_refund_no"], r["refund"]) for r in refunds if r["status"] == "SUCCESS"]

    async def prepays(self) -> list[str]:
        """Return what was sent as prepay, in order, without what is signed afresh each time."""
        bodies = [c["request_body"] for c in await self._crossed("request", self.prepay)]
        return [self.lasting(body) for body in bodies]

    def lasting(self, body: str) -> str:
        """Take from a request what is signed afresh."""
        return body

    async def answered(self) -> list[int]:
        """Return the statuses with which our side answered this channel's notifications."""
        paths = self.running.shop.checkout.channels[self.name].notifications
        entries = [c for path in paths for c in await self._crossed("notification", path)]
        return [c["status"] for c in entries if c["status"] is not None]

    async def _order(self, number: str) -> dict[str, Any]:
        orders = (await self.running.sandbox.get("/_sandbox/orders")).json()["orders"]
        return next((order for order in orders if order["out_trade_no"] == number), {})

    async def _crossed(self, kind: str, part: str) -> Sequence[dict[str, Any]]:
        entries = (await self.running.sandbox.get("/_sandbox/log")).json()["entries"]
        return [e for e in entries if e["kind"] == kind and urlsplit(e["url"]).path.endswith(part)]
