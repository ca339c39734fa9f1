"""A storm: buyers, faults, a clock that runs, and SIGKILL; afterwards the books must be right."""

import asyncio
import random
import sys
from collections import Counter
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from tortoise.models import Model
from tortoise.queryset import QuerySet

from checkout.models import Event, Notification, Order, Payment, Refund, Transition
from tests.chaos.buyers import ANSWERS, CHANNELS, Buyer
from tests.chaos.judge import judge
from tests.chaos.points import POINTS
from tests.chaos.town import Instance, Town

AT_ONCE = 24
BOUND = 30 * 60 + 15 * 60 + 60  # an order's life and the time to end it, seconds
STEP = 60  # seconds of virtual time, in the calm
LONGEST = 12 * 3600  # what has no bound (a refund that WeChat works on) is asked about by then
CALLS = ("prepay", "query", "close", "refund", "refund_query", "any")
MENUS: list[dict[str, list[Any]]] = [
    {"notifications": ["drop", "duplicate", "reverse", 5, 20]},
    {"notification_signature": ["signtest", "unknown_serial", "wrong_key", "stale"]},
    {"notification_amount_delta_fen": [1, -1]},
    {"refunds": ["abnormal", "closed", "not_enough"]},
    {"signing": ["certificate", "mixed", "public_key"]},
    {"rotate_certificates": [True]},
]
#: of all orders at least so many must have come to this, or the storm has proved nothing
QUOTAS = {"paid": 0.4, "refunded": 0.06, "cancelled": 0.1, "late": 0.04, "surplus": 0.02}


@dataclass
class Storm:
    """What happens is decided by the seed; `orders` and `kills` are reached, both."""

    town: Town
    seed: int
    orders: int
    kills: int
    begun: int = 0
    living: int = 0
    deaths: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.luck = random.Random(self.seed)
        self.over = asyncio.Event()

    async def rage(self) -> list[str]:
        """Let all buyers live while shops die, then calm down; return what ended too late."""
        await asyncio.gather(*map(self.town.start, self.town.shops))
        async with asyncio.TaskGroup() as helpers:
            helpers.create_task(self._faults())
            helpers.create_task(self._clock())
            for shop in self.town.shops:
                helpers.create_task(self._killer(shop))
            await self._buyers()
            self.over.set()
        say(f"calm after {self.begun} orders, {self.town.kills} kills: {dict(self.deaths)}")
        return await self._calm()

    # -- buyers

    async def _buyers(self) -> None:
        """Let buyers come until there were enough of them, and enough kills among them."""
        slots = asyncio.Semaphore(AT_ONCE)
        limits = httpx.Limits(max_connections=AT_ONCE * 2, max_keepalive_connections=0)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=30, limits=limits) as http,
            asyncio.TaskGroup() as buyers,
        ):
            while self.begun < self.orders or self.town.kills < self.kills:
                await slots.acquire()
                buyers.create_task(self._live(http, self.begun, slots))
                self.begun += 1
                if self.begun % 100 == 0:
                    say(f"{self.begun} orders, {self.town.kills} kills")

    async def _live(self, http: httpx.AsyncClient, n: int, slots: asyncio.Semaphore) -> None:
        self.living += 1
        try:
            luck = random.Random(f"{self.seed}-{n}")
            await Buyer(self.town, http, luck, n, channels=CHANNELS).live()
        finally:
            self.living -= 1
            slots.release()

    # -- kills

    async def _killer(self, shop: Instance) -> None:
        """Kill at a random moment, or let it die at a random point; start it again at once.

        The kills are spread over the orders, and all of them meet buyers who are under way.
        """
        luck = random.Random(f"{self.seed}-{self.town.shops.index(shop)}")
        point = ""
        while not self.over.is_set():
            await self._wait_for_death(shop, luck.uniform(0.1, 1.2))
            if shop.alive and self._is_kill_due():
                shop.kill()
                self._count("at any moment")
            elif shop.alive:
                continue
            else:
                self._count(point.partition(":")[0])
            await asyncio.sleep(luck.uniform(0, 0.1))
            point = f"{luck.choice(list(POINTS))}:{luck.randint(1, 6)}" if self._may_arm() else ""
            await self.town.start(shop, point)

    def _is_kill_due(self) -> bool:
        in_time = self.begun * self.kills >= self.town.kills * self.orders
        return self.town.kills < self.kills and self.living > 0 and in_time

    def _may_arm(self) -> bool:
        """Tell whether the next death may come at a point: then it comes soon."""
        behind = (self.begun + self.orders / self.kills) * self.kills
        return self.town.kills < self.kills and behind >= self.town.kills * self.orders

    def _count(self, where: str) -> None:
        self.town.kills += self.living > 0
        self.deaths[where] += 1

    async def _wait_for_death(self, shop: Instance, seconds: float) -> None:
        for _ in range(int(seconds / 0.02)):
            if not shop.alive:
                return
            await asyncio.sleep(0.02)

    # -- faults, time

    async def _faults(self) -> None:
        while not self.over.is_set():
            menu: dict[str, Any] = {"times": self.luck.randint(1, 6)}
            for choice in self.luck.sample(MENUS, 2):
                menu |= {name: self.luck.choice(values) for name, values in choice.items()}
            menu["answers"] = {
                self.luck.choice(CALLS): self.luck.choice(ANSWERS)
                for _ in range(self.luck.randint(0, 2))
            }
            async with self.town.weather(**menu):
                pass
            await asyncio.sleep(0.4)

    async def _clock(self) -> None:
        while not self.over.is_set():
            await self.town.control("clock", advance_seconds=self.luck.randint(1, 6))
            await asyncio.sleep(0.1)

    async def _calm(self) -> list[str]:
        """End all faults, keep every shop up, and let the time pass in which all must end.

        Nothing helps but time: WeChat repeats what it has told, the shops look again.
        """
        await self.town.control("faults")
        for shop in self.town.shops:
            shop.kill()
            await asyncio.sleep(0.05)
            await self.town.start(shop)
        await self._pass(BOUND)
        await quiet(seconds=10)
        late = [f"{count} {name} ended too late" for name, count in (await bounded()).items()]
        for _ in range(0, LONGEST, 900):
            if not await unfinished():
                break
            await self._pass(900)
        return late

    async def _pass(self, seconds: int) -> None:
        """Let time pass, but not while the shops are busy with what is due: this is not a race."""
        for _ in range(0, seconds, STEP):
            now = (await self.town.control("clock", advance_seconds=STEP))["now"]
            await asyncio.sleep(0.1)
            for _ in range(100):
                if not await due(datetime.fromisoformat(now)):
                    break
                await asyncio.sleep(0.05)

    # -- afterwards

    async def missed(self) -> list[str]:
        """Return which quotas were missed: a storm that cannot fail proves nothing."""
        counts = await outcomes()
        say(f"{counts}")
        wrong = [
            f"only {counts[name]} orders {name}, not {least}"
            for name, share in QUOTAS.items()
            if counts[name] < (least := max(1, int(self.orders * share)))
        ]
        if self.town.kills < self.kills:
            wrong.append(f"only {self.town.kills} kills among living buyers")
        return wrong


async def outcomes() -> dict[str, int]:
    """Count orders by what became of them; late and surplus money came for closed and paid ones."""
    surplus = Payment.filter(surplus=True)
    cancels = Transition.filter(subject="order", to_state="CLOSING", cause="cancel")
    return {
        "paid": await Order.filter(state__in=("PAID", "REFUNDED")).count(),
        "refunded": await Order.filter(refunded_fen__gt=0).count(),
        "cancelled": await cancels.count(),
        "late": await surplus.filter(order__state="CLOSED").count(),
        "surplus": await surplus.filter(order__state__in=("PAID", "REFUNDED")).count(),
    }


async def bounded() -> dict[str, int]:
    """Count what is open although its time is over (money rule 7)."""
    rows: dict[str, QuerySet[Any]] = {
        "orders": Order.filter(state__in=("OPEN", "CLOSING")),
        "payments": Payment.filter(state__in=("NEW", "OPEN")),
        "refunds": Refund.filter(state="PENDING"),
    }
    return {name: count for name, query in rows.items() if (count := await query.count())}


async def unfinished() -> dict[str, int]:
    """Count what must not stay open."""
    rows: dict[str, QuerySet[Any]] = {
        "refunds under way": Refund.filter(state="PROCESSING"),
        "events": Event.filter(due_at__not_isnull=True),
        "notifications": Notification.filter(due_at__not_isnull=True),
    }
    counts = {name: count for name, query in rows.items() if (count := await query.count())}
    return await bounded() | counts


async def due(now: datetime) -> int:
    """Count what the sweep should have claimed by now."""
    tables: tuple[type[Model], ...] = (Order, Payment, Refund, Event, Notification)
    return sum([await table.filter(due_at__lte=now).count() for table in tables])


async def quiet(*, seconds: float) -> None:
    """Wait, in real time, until the sweep has nothing left that is open."""
    for _ in range(int(seconds / 0.1)):
        if not await unfinished():
            return
        await asyncio.sleep(0.1)


def say(text: str) -> None:
    """Show progress on standard error."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


async def storm(town: Town, *, seed: int, orders: int, kills: int) -> list[str]:
    """Let one storm happen in a town whose database is open; return what is wrong afterwards."""
    storm = Storm(town, seed, orders, kills)
    wrong = await storm.rage()
    wrong += [f"{count} {name} are not finished" for name, count in (await unfinished()).items()]
    return wrong + await storm.missed() + await judge(town) + await bills(town)


async def bills(town: Town) -> list[str]:
    """Compare every day that the storm has touched with its bill."""
    first = await Order.all().order_by("created_at").first()
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
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()[-2000:]
