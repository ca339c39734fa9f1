"""A storm: buyers, faults, a clock that runs, and SIGKILL; afterwards the books must be right."""

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx

from checkout.models import Event, Notification, Order, Payment, Refund
from tests.chaos.buyers import CHANNELS, Buyer
from tests.chaos.points import POINTS
from tests.chaos.town import Instance, Town

AT_ONCE = 24
BOUND = 30 * 60 + 15 * 60 + 60  # an order's life and the time to end it, seconds
ANSWERS = ("500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key")
CALLS = ("prepay", "query", "close", "refund", "refund_query", "any")
MENUS: list[dict[str, list[Any]]] = [
    {"notifications": ["drop", "duplicate", "reverse", 5, 20]},
    {"notification_signature": ["signtest", "unknown_serial", "wrong_key", "stale"]},
    {"notification_amount_delta_fen": [1, -1]},
    {"refunds": ["abnormal", "closed", "not_enough"]},
    {"signing": ["certificate", "mixed", "public_key"]},
    {"rotate_certificates": [True]},
]


@dataclass
class Storm:
    """What happens is decided by the seed."""

    town: Town
    seed: int
    orders: int
    kills: int

    def __post_init__(self) -> None:
        self.luck = random.Random(self.seed)
        self.enough, self.over = asyncio.Event(), asyncio.Event()

    async def rage(self) -> None:
        """Let all buyers live while shops die; then calm down until nothing is open."""
        await asyncio.gather(*map(self.town.start, self.town.shops))
        helpers = [asyncio.create_task(self._faults()), asyncio.create_task(self._clock())]
        helpers += [asyncio.create_task(self._killer(shop)) for shop in self.town.shops]
        await self._buyers()
        await self.enough.wait()
        self.over.set()
        await asyncio.gather(*helpers)
        await self._calm()

    async def _buyers(self) -> None:
        gate = asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE * 2, max_keepalive_connections=0)
        async with httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as http:

            async def one(n: int) -> None:
                async with gate:
                    luck = random.Random(f"{self.seed}-{n}")
                    await Buyer(self.town, http, luck, n, channels=CHANNELS).live()
                if n % 100 == 99:
                    say(f"{n + 1} orders, {self.town.kills} kills")

            await asyncio.gather(*map(one, range(self.orders)))

    async def _killer(self, shop: Instance) -> None:
        """Kill at a random moment or at a random point, and start again at once."""
        luck = random.Random(f"{self.seed}-{shop.port}")
        while not self.over.is_set():
            point = ""
            if luck.random() < 0.5:
                point = f"{luck.choice(list(POINTS))}:{luck.randint(1, 8)}"
            if not shop.alive:
                await self.town.start(shop, point)
            await self._wait_for_death(shop, luck.uniform(0.1, 1.2))
            if self.town.kills >= self.kills:
                self.enough.set()
                if shop.alive:
                    await self.over.wait()
                    return
            else:
                shop.kill()
                self.town.kills += 1
            await asyncio.sleep(luck.uniform(0, 0.1))

    async def _wait_for_death(self, shop: Instance, seconds: float) -> None:
        for _ in range(int(seconds / 0.02)):
            if not shop.alive:
                return
            await asyncio.sleep(0.02)

    async def _faults(self) -> None:
        while not self.over.is_set():
            menu: dict[str, Any] = {"times": self.luck.randint(1, 6)}
            for choice in self.luck.sample(MENUS, 2):
                menu |= {name: self.luck.choice(values) for name, values in choice.items()}
            menu["answers"] = {
                self.luck.choice(CALLS): self.luck.choice(ANSWERS)
                for _ in range(self.luck.randint(0, 2))
            }
            await self.town.control("faults")
            await self.town.control("faults", **menu)
            await asyncio.sleep(0.4)

    async def _clock(self) -> None:
        while not self.over.is_set():
            await self.town.control("clock", advance_seconds=self.luck.randint(1, 6))
            await asyncio.sleep(0.1)

    async def _calm(self) -> None:
        """End all faults, keep every shop up, and let the time pass in which all must end."""
        await self.town.control("faults")
        for shop in self.town.shops:
            shop.kill()
            await asyncio.sleep(0.05)
            await self.town.start(shop)
        say(f"calm after {self.town.kills} kills")
        await tell_again(self.town)
        for _ in range(BOUND // 300 + 3):
            await self.town.control("clock", advance_seconds=300)
            await asyncio.sleep(0.3)
        await quiet(seconds=30)


async def tell_again(town: Town) -> None:
    """Notify once more of what no query finds: refunds made elsewhere, money for closed orders."""
    async for row in _sandbox_orders(town):
        number = row["out_trade_no"]
        if row["transaction_id"] and await Payment.exists(out_trade_no=number, state="CLOSED"):
            await town.sandbox.post("/_sandbox/notify", json={"out_trade_no": number})
        for refund in row["refunds"]:
            if not await Refund.exists(out_refund_no=refund["out_refund_no"]):
                again = {"out_refund_no": refund["out_refund_no"]}
                await town.sandbox.post("/_sandbox/notify", json=again)


async def quiet(*, seconds: float) -> None:
    """Wait, in real time, until the sweep has nothing left that is due."""
    for _ in range(int(seconds / 0.1)):
        if not await unfinished():
            return
        await asyncio.sleep(0.1)


async def unfinished() -> dict[str, int]:
    """Count what must not stay open."""
    rows = {
        "orders": Order.filter(state__in=("OPEN", "CLOSING")),
        "payments": Payment.filter(state__in=("NEW", "OPEN")),
        "refunds": Refund.filter(state__in=("PENDING", "PROCESSING")),
        "events": Event.filter(due_at__not_isnull=True),
        "notifications": Notification.filter(outcome="RECEIVED"),
    }
    return {name: count for name, found in rows.items() if (count := await found.count())}


async def judge(town: Town) -> list[str]:
    """Compare the books with the truth; return what is wrong, one sentence each."""
    wrong = [f"{count} {name} are not finished" for name, count in (await unfinished()).items()]
    rows = [row async for row in _sandbox_orders(town)]
    truth = {row["out_trade_no"]: row for row in rows if row["transaction_id"]}
    payments = {p.out_trade_no: p for p in await Payment.all().prefetch_related("refunds", "order")}
    for number, row in truth.items():
        payment = payments.get(number)
        if payment is None or payment.state != "PAID":
            wrong.append(f"{number}: paid there, {payment.state if payment else 'unknown'} here")
        elif payment.transaction_id != row["transaction_id"]:
            wrong.append(f"{number}: another transaction")
        else:
            wrong += _refunds(payment, row)
    for number, payment in payments.items():
        if payment.state == "PAID" and number not in truth:
            wrong.append(f"{number}: PAID here, not paid there")
    return wrong + await _orders() + await _events(town)


def _refunds(payment: Payment, row: dict[str, Any]) -> list[str]:
    there = {r["out_refund_no"]: (r["refund"], r["status"]) for r in row["refunds"]}
    accepted = [r for r in payment.refunds if r.state not in ("PENDING", "REJECTED")]
    here = {r.out_refund_no: (r.refund_fen, r.state) for r in accepted}
    wrong = [f"{payment.out_trade_no}: refunds {here} here, {there} there"] if here != there else []
    holding = sum(r.refund_fen for r in accepted if r.state != "CLOSED")
    if (payment.reserved_fen, payment.refunded_fen) != (
        holding,
        sum(r.refund_fen for r in accepted if r.state == "SUCCESS"),
    ):
        wrong.append(f"{payment.out_trade_no}: the sums do not fit its refunds")
    surplus = [r for r in payment.refunds if r.out_refund_no == payment.out_trade_no + "S"]
    if payment.surplus is not bool(surplus):
        wrong.append(f"{payment.out_trade_no}: surplus without its refund, or the reverse")
    return wrong


async def _orders() -> list[str]:
    wrong = []
    for order in await Order.all().prefetch_related("payments"):
        paid = [p for p in order.payments if p.state == "PAID" and not p.surplus]
        fen = order.total_fen if order.state in ("PAID", "REFUNDED") else 0
        wholes = {p.combine_out_trade_no for p in paid}
        if sum(p.total_fen for p in paid) != fen or len(wholes) > 1:
            wrong.append(f"{order.order_no} is {order.state} with {len(paid)} payments")
        for whole in {p.combine_out_trade_no for p in order.payments}:
            states = {p.state for p in order.payments if p.combine_out_trade_no == whole}
            if len(states) > 1:
                wrong.append(f"{whole}: its parts are {states}")
    return wrong


async def _events(town: Town) -> list[str]:
    told, written = Counter(town.events()), await Event.all().prefetch_related("order")
    wrong = [f"{e.event_id} was never told" for e in written if not told[e.event_id]]
    kinds = Counter((e.order.order_no, e.kind) for e in written if e.kind != "on_refunded")
    for order in await Order.all():
        paid = order.state in ("PAID", "REFUNDED")
        if kinds[order.order_no, "on_paid"] != paid:
            wrong.append(f"{order.order_no} is {order.state}: on_paid is wrong")
        if kinds[order.order_no, "on_closed"] != (order.state == "CLOSED"):
            wrong.append(f"{order.order_no} is {order.state}: on_closed is wrong")
    return wrong


async def _sandbox_orders(town: Town) -> Any:
    after = 0
    while after is not None:
        page = (await town.sandbox.get(f"/_sandbox/orders?after={after}")).json()
        for row in page["orders"]:
            yield row
        after = page["next"]


def say(text: str) -> None:
    """Show progress on standard error."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


async def storm(town: Town, *, seed: int, orders: int, kills: int) -> list[str]:
    """Let one storm happen in a town whose database is open, and judge it."""
    await Storm(town, seed, orders, kills).rage()
    return await judge(town) + await bills(town)


async def bills(town: Town) -> list[str]:
    """Compare every day that the storm has touched with its bill."""
    first = (await Order.all().order_by("created_at").first()) or None
    if first is None:
        return []
    now = datetime.fromisoformat((await town.sandbox.get("/_sandbox/clock")).json()["now"])
    noon = (now + timedelta(days=1)).replace(hour=12)
    await town.control("clock", advance_seconds=int((noon - now).total_seconds()))
    day, wrong = first.created_at.astimezone(now.tzinfo).date(), list[str]()
    while day <= now.date():
        code, out = await _bill(town, str(day))
        wrong += [f"bill of {day}: exit {code} {out}"] if code else []
        day += timedelta(days=1)
    return wrong


async def _bill(town: Town, day: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "shop", "bill", "--date", day]
    process = await asyncio.create_subprocess_exec(
        *command,
        env=town.environment(town.shops[0]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()
