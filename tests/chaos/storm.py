"""A storm: buyers, faults, a clock that runs, and SIGKILL; afterwards the books must be right."""

import asyncio
import random
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
from checkout.models import Event, Notification, Order, Payment, Refund, Transition
from shop.settings import ROOT
from tortoise.models import Model
from tortoise.queryset import QuerySet

from tests.chaos.buyers import ANSWERS, CHANNELS, Buyer
from tests.chaos.fleet import Fleet, Instance
from tests.chaos.judge import judge
from tests.chaos.points import POINTS

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
#: of all answers at most so many may be failures: WeChat's faults, passed on as 502 and 503
MOST_FAILED = 0.2
#: after the first few, so many kills must have hit one more point, until every point was hit
FIRST_KILLS = 10
KILLS_OF_A_POINT = 4


@dataclass
class Storm:
    """What happens is decided by the seed; `orders` and `kills` are reached, both."""

    fleet: Fleet
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
        await asyncio.gather(*map(self.fleet.start, self.fleet.shops))
        async with asyncio.TaskGroup() as helpers:
            helpers.create_task(self._faults())
            helpers.create_task(self._clock())
            for shop in self.fleet.shops:
                helpers.create_task(self._killer(shop))
            await self._buyers()
            self.over.set()
        say(f"calm after {self.begun} orders, {self.fleet.kills} kills: {dict(self.deaths)}")
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
            while self.begun < self.orders or self.fleet.kills < self.kills:
                await slots.acquire()
                buyers.create_task(self._live(http, self.begun, slots))
                self.begun += 1
                if self.begun % 100 == 0:
                    say(f"{self.begun} orders, {self.fleet.kills} kills")

    async def _live(self, http: httpx.AsyncClient, n: int, slots: asyncio.Semaphore) -> None:
        self.living += 1
        try:
            luck = random.Random(f"{self.seed}-{n}")
            await Buyer(self.fleet, http, luck, n, channels=CHANNELS).live()
        finally:
            self.living -= 1
            slots.release()

    # -- kills

    async def _killer(self, shop: Instance) -> None:
        """Kill at a random moment, or let it die at a random point; start it again at once.

        The kills are spread over the orders, and all of them meet buyers who are under way.
        """
        luck = random.Random(f"{self.seed}-{self.fleet.shops.index(shop)}")
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
            point = self._point(luck) if self._may_arm() else ""
            await self.fleet.start(shop, point)

    def _is_kill_due(self) -> bool:
        in_time = self.begun * self.kills >= self.fleet.kills * self.orders
        return self.fleet.kills < self.kills and self.living > 0 and in_time

    def _may_arm(self) -> bool:
        """Tell whether the next death may come at a point: then it comes soon."""
        behind = (self.begun + self.orders / self.kills) * self.kills
        return self.fleet.kills < self.kills and behind >= self.fleet.kills * self.orders

    def _point(self, luck: random.Random) -> str:
        """Choose where to die next, at first where nobody has died yet."""
        fresh = [name for name in POINTS if not self.deaths[name]]
        if fresh:
            return f"{luck.choice(fresh)}:1"
        return f"{luck.choice(list(POINTS))}:{luck.randint(1, 6)}"

    def _count(self, where: str) -> None:
        self.fleet.kills += self.living > 0
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
            async with self.fleet.weather(**menu):
                pass
            await asyncio.sleep(0.4)

    async def _clock(self) -> None:
        while not self.over.is_set():
            await self.fleet.control("clock", advance_seconds=self.luck.randint(1, 6))
            await asyncio.sleep(0.1)

    async def _calm(self) -> list[str]:
        """End all faults, keep every shop up, and let the time pass in which all must end.

        Nothing helps but time: WeChat repeats what it has told, the shops look again.
        """
        await self.fleet.control("faults")
        for shop in self.fleet.shops:
            shop.kill()
            await asyncio.sleep(0.05)
            await self.fleet.start(shop)
        await self._pass(BOUND)
        await quiet(self.fleet, seconds=10)
        late = [f"{count} {name} ended too late" for name, count in (await bounded()).items()]
        for _ in range(0, LONGEST, 900):
            if not await unfinished():
                break
            await self._pass(900)
        return late

    async def _pass(self, seconds: int) -> None:
        """Let time pass, but not while the shops are busy with what is due: this is not a race."""
        for _ in range(0, seconds, STEP):
            now = (await self.fleet.control("clock", advance_seconds=STEP))["now"]
            await asyncio.sleep(0.1)
            for _ in range(100):
                if not await due(datetime.fromisoformat(now)):
                    break
                await asyncio.sleep(0.05)

    # -- afterwards

    def missed_kills(self) -> list[str]:
        """Return what is missing of the kills: their number, and the places."""
        places = self.deaths.keys() & POINTS.keys()
        least = min(len(POINTS), max(0, self.kills - FIRST_KILLS) // KILLS_OF_A_POINT)
        wrong = []
        if self.fleet.kills < self.kills:
            wrong.append(f"only {self.fleet.kills} kills among living buyers")
        if len(places) < least:
            wrong.append(f"only {len(places)} points were hit, not {least}")
        return wrong


async def missed(orders: int) -> list[str]:
    """Return which quotas were missed: a storm that cannot fail proves nothing."""
    counts = await outcomes()
    say(f"{counts}")
    return [
        f"only {counts[name]} orders {name}, not {least}"
        for name, share in QUOTAS.items()
        if counts[name] < (least := max(1, int(orders * share)))
    ]


def failures(answers: Mapping[int, int]) -> list[str]:
    """Return what WeChat's faults do not explain: they make few answers 502 or 503, and none 500."""
    failed = sum(count for status, count in answers.items() if status >= 500)
    wrong = [f"{answers[500]} answers were 500"] if answers.get(500) else []
    if failed > MOST_FAILED * sum(answers.values()):
        wrong.append(f"{failed} of {sum(answers.values())} answers were failures")
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


async def quiet(fleet: Fleet, *, seconds: float) -> None:
    """Wait until the sweep has nothing left that is open; the clock moves meanwhile."""
    for _ in range(int(seconds / 0.1)):
        if not await unfinished():
            return
        await fleet.control("clock", advance_seconds=1)
        await asyncio.sleep(0.1)


def say(text: str) -> None:
    """Show progress on standard error."""
    sys.stderr.write(f"{datetime.now(UTC):%H:%M:%S} {text}\n")


async def storm(fleet: Fleet, *, seed: int, orders: int, kills: int) -> list[str]:
    """Let one storm happen in a fleet whose database is open; return what is wrong afterwards."""
    storm = Storm(fleet, seed, orders, kills)
    wrong = await storm.rage()
    wrong += [f"{count} {name} are not finished" for name, count in (await unfinished()).items()]
    if (placed := await Order.all().count()) != storm.begun:
        wrong.append(f"{placed} orders of {storm.begun} buyers: a repeat is not an order")
    wrong += storm.missed_kills() + await missed(orders) + failures(fleet.answers)
    say(f"answers {dict(sorted(fleet.answers.items()))}")
    return wrong + await judge(fleet) + await bills(fleet)


async def bills(fleet: Fleet) -> list[str]:
    """Compare every day that the storm has touched with its bill."""
    first = await Order.all().order_by("created_at").first()
    if first is None:
        return []
    now = datetime.fromisoformat((await fleet.sandbox.get("/_sandbox/clock")).json()["now"])
    noon = (now + timedelta(days=1)).replace(hour=12)
    await fleet.control("clock", advance_seconds=int((noon - now).total_seconds()))
    day = first.created_at.astimezone(now.tzinfo).date()
    wrong = list[str]()
    while day <= now.date():
        code, out = await _bill(fleet, str(day))
        wrong += [f"bill of {day}: exit {code} {out}"] if code else []
        day += timedelta(days=1)
    return wrong


async def _bill(fleet: Fleet, day: str) -> tuple[int, str]:
    command = [sys.executable, "-m", "shop", "bill", "--date", day]
    process = await asyncio.create_subprocess_exec(
        *command,
        cwd=ROOT,
        env=fleet.environment(fleet.shops[0]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    out, _ = await process.communicate()
    return process.returncode or 0, out.decode()[-2000:]
