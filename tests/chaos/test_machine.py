"""Random walks: notify, query, close, pay, refund, clock, faults in any order; the books stay right."""

import asyncio
import os
import secrets
import shutil
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from checkout import ledger
from checkout.models import Payment, Share, Transition
from hypothesis import HealthCheck, Phase, settings, stateful
from hypothesis import strategies as st
from kit.databases import Server
from kit.running import ADMIN_TOKEN, RunningShop
from sandbox.keys import Keys

from shop import database
from tests.chaos.books import Books
from tests.chaos.judge import LIVE, judge
from tests.chaos.storm import unfinished

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
NEXT = {"order": ledger.ORDER, "payment": ledger.PAYMENT, "refund": ledger.REFUND}
FAULTS = ["500", "429", "202", "reset_before", "reset_after", "signtest", "wrong_key"]
CALLS = ["prepay", "query", "close", "refund", "refund_query"]
which = st.integers(0, 3)


class Walk(stateful.RuleBasedStateMachine):
    """One walk; the test says where fresh databases come from."""

    fresh: Callable[[], str]
    keys: Keys

    def __init__(self) -> None:
        super().__init__()
        url = type(self).fresh()
        self.runner = asyncio.Runner()
        self.books = Books(url, self.keys)
        self.run(self.books.open())
        self.orders: list[str] = []
        self.invokes: list[dict[str, Any]] = []

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    @property
    def running(self) -> RunningShop:
        return self.books.running

    @stateful.precondition(lambda self: len(self.orders) < 3)
    @stateful.rule()
    def order(self) -> None:
        self.orders.append(self.run(self.books.buyer.order())["order_no"])

    @stateful.precondition(lambda self: self.orders)
    @stateful.rule(n=which)
    def start(self, n: int) -> None:
        answer = self.run(self.books.buyer.start(self.orders[n % len(self.orders)]))
        if answer.status_code in (200, 201):
            self.invokes.append(answer.json()["invoke"])

    @stateful.precondition(lambda self: self.invokes)
    @stateful.rule(
        n=which, how=st.sampled_from(["ok", "ok", "typing", "cancel"]), force=st.booleans()
    )
    def pay(self, n: int, how: str, force: bool) -> None:
        invoke = self.invokes[n % len(self.invokes)]
        payment = self._unpaid(invoke) if force and how == "ok" else None
        if payment is not None and payment.due_at is None:  # only a notification can tell of it
            self.run(self.running.control("faults", notifications="send"))
        more = {"force": True} if payment is not None else {}
        self.run(self.books.buyer.pay(invoke, outcome=how, **more))

    @stateful.precondition(lambda self: self.orders)
    @stateful.rule(n=which)
    def pay_late(self, n: int) -> None:
        """Start, cancel, and pay all the same; no notification ever tells of it."""
        order_no = self.orders[n % len(self.orders)]
        answer = self.run(self.books.buyer.start(order_no))
        self.run(self.books.buyer.post(f"/api/orders/{order_no}/cancel"))
        if answer.status_code in (200, 201) and self._unpaid(answer.json()["invoke"]):
            self.run(self.running.control("faults", notifications="drop"))
            self.run(self.books.buyer.pay(answer.json()["invoke"], force=True))

    def _unpaid(self, invoke: dict[str, Any]) -> Payment | None:
        """Return the payment that may be forced: never one number twice, a person must decide."""
        prepay_id = invoke["package"].removeprefix("prepay_id=")
        payments = {p.prepay.get("prepay_id"): p for p in self.run(_all(Payment))}
        payment = payments.get(prepay_id)
        return None if payment is None or payment.number in self._paid_there() else payment

    def _paid_there(self) -> set[str]:
        rows = self.run(self.books.sandbox.get("/_sandbox/orders")).json()["orders"]
        return {row["out_trade_no"] for row in rows if row["transaction_id"]}

    @stateful.precondition(lambda self: self.orders)
    @stateful.rule(n=which)
    def cancel(self, n: int) -> None:
        path = f"/api/orders/{self.orders[n % len(self.orders)]}/cancel"
        self.run(self.books.buyer.post(path))

    @stateful.precondition(lambda self: self.invokes)
    @stateful.rule(n=which, fen=st.sampled_from([1, 100, 9_800, 9_900]))
    def refund(self, n: int, fen: int) -> None:
        path = f"/api/admin/orders/{self.orders[n % len(self.orders)]}/refunds"
        key = {"Idempotency-Key": secrets.token_hex(4)}
        body = {"refund_fen": fen, "reason": "walk"}
        self.run(self.running.http.post(path, json=body, headers=ADMIN | key))

    @stateful.precondition(lambda self: self.invokes)
    @stateful.rule(n=which)
    def query(self, n: int) -> None:
        """Ask WeChat about a payment, and let it send its notification again."""
        numbers = [share.out_trade_no for share in self.run(_all(Share))]
        number = numbers[n % len(numbers)]
        path = f"/api/admin/payments/{number}/query"
        self.run(self.running.http.post(path, json={}, headers=ADMIN))
        again = {"out_trade_no": number}
        self.run(self.books.sandbox.post("/_sandbox/notify", json=again))

    @stateful.precondition(lambda self: self.invokes)
    @stateful.rule(n=which)
    def refund_in_platform(self, n: int) -> None:
        """Give a part back in the merchant platform; only a notification tells of it."""
        needed = [p.number for p in self.run(_all(Payment)) if p.state == "PAID" and not p.surplus]
        if needed:
            body = {"out_trade_no": needed[n % len(needed)], "refund": 200}
            self.run(self.running.control("faults", notifications="send"))
            self.run(self.books.sandbox.post("/_sandbox/refund", json=body))
            self.run(self.running.advance(4))

    @stateful.rule(seconds=st.sampled_from([1, 5, 61, 301, 1_800]))
    def clock(self, seconds: int) -> None:
        self.run(self.running.advance(seconds))

    @stateful.rule(twice=st.booleans())
    def sweep(self, twice: bool) -> None:
        """Sweep, or let two instances sweep at once."""
        self.run(_together(*[self.running.shop.checkout.sweep_once() for _ in range(1 + twice)]))

    @stateful.rule(
        call=st.sampled_from(CALLS), fault=st.sampled_from(FAULTS), drop=st.booleans(),
        times=st.integers(1, 3),
    )  # fmt: skip
    def fault(self, call: str, fault: str, drop: bool, times: int) -> None:
        menu = {"answers": {call: fault}, "notifications": "drop" if drop else "send"}
        self.run(self.running.control("faults", **menu, times=times))

    @stateful.invariant()
    def every_move_is_in_the_table(self) -> None:
        for row in self.run(_all(Transition)):
            assert row.to_state in NEXT[row.subject][row.from_state]

    @stateful.invariant()
    def no_more_is_reserved_than_was_paid_and_one_payment_is_live(self) -> None:
        for share in self.run(_all(Share)):
            assert 0 <= share.refunded_fen <= share.reserved_fen <= share.total_fen
        live = [p.order_id for p in self.run(_all(Payment)) if p.state in LIVE]
        assert len(live) == len(set(live))

    def teardown(self) -> None:
        try:
            self.run(self._end())
        finally:
            self.run(self.books.close())
            self.runner.close()

    async def _end(self) -> None:
        """Let all faults end and the time pass in which everything must; then judge."""
        await self.running.control("faults")
        for invoke in self.invokes:  # nobody types a password for ever
            await self.books.buyer.pay(invoke, outcome="cancel")
        for _ in range(24):
            await self.running.advance(150)
            await self.running.shop.checkout.work.drain(seconds=5)
            await self.running.shop.checkout.sweep_once()
        for _ in range(40):
            if not await unfinished():
                break
            await self.running.advance(900)
            await self.running.shop.checkout.work.drain(seconds=5)
            await self.running.shop.checkout.sweep_once()
        assert await unfinished() == {}
        assert await judge(self.books) == []


async def _all(table: Any) -> Any:
    return await table.all()


async def _together(*work: Coroutine[Any, Any, Any]) -> None:
    await asyncio.gather(*work)


@contextmanager
def fresh_databases(kind: str, folder: Path) -> Iterator[Callable[[], str]]:
    """Give a function that gives the URL of a migrated database without rows."""
    if kind == "sqlite":
        asyncio.run(database.migrate(f"sqlite://{folder}/empty.db"))
        yield lambda: f"sqlite://{shutil.copy(folder / 'empty.db', folder / 'shop.db')}"
        return
    server = Server(kind)
    asyncio.run(server.run(f"CREATE DATABASE {server.database}"))
    asyncio.run(database.migrate(server.database_url))

    def emptied() -> str:
        asyncio.run(server.empty())
        return server.database_url

    yield emptied
    asyncio.run(server.run(f"DROP DATABASE {server.database}"))


@pytest.mark.thorough
@pytest.mark.parametrize(("kind", "walks"), [("sqlite", 12), ("postgres", 4)])
def test_no_walk_makes_the_books_wrong(kind: str, walks: int, keys: Keys, tmp_path: Path) -> None:
    """The same walks every time; SHOP_TEST_WALKS=20 takes twenty times as many, at random."""
    more = int(os.environ.get("SHOP_TEST_WALKS", "0"))
    with fresh_databases(kind, tmp_path) as fresh:
        Walk.fresh = staticmethod(fresh)
        Walk.keys = keys
        stateful.run_state_machine_as_test(
            Walk,
            settings=settings(
                max_examples=walks * max(more, 1),
                derandomize=not more,
                stateful_step_count=25,
                deadline=None,
                phases=(Phase.generate,),  # to shrink takes longer than to read the walk
                suppress_health_check=list(HealthCheck),
            ),
        )
