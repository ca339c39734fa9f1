"""A storm can fail: what is broken on purpose is seen by the judge, the quotas or the answers."""

import asyncio
import itertools
import secrets
import shutil
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from checkout import errors, sql
from checkout.events import Events
from checkout.ledger import Ledger
from checkout.models import Order
from checkout.payments import Payments
from kit.running import ADMIN_TOKEN
from sandbox.keys import Keys
from shop.web import server

from tests.chaos.books import Books
from tests.chaos.judge import judge
from tests.chaos.storm import failures, missed, unfinished

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
Patch = pytest.MonkeyPatch
Row = dict[str, Any]


class Story:
    """Five orders: paid, refunded in part, paid twice, paid too late, cancelled."""

    def __init__(self, books: Books) -> None:
        self.books = books
        self.answers: dict[int, int] = {}

    async def happen(self) -> None:
        """Let everything happen, then the time pass in which all must end."""
        await self._paid()
        await self._refunded()
        await self._paid_twice()
        await self._paid_late()
        await self._cancel((await self._started())[0])
        for _ in range(24):
            await self.books.running.advance(150)
            await self.books.running.shop.checkout.work.drain(seconds=30)
            await self.books.running.shop.checkout.sweep_once()

    async def _paid(self) -> str:
        number, started = await self._started()
        if started is not None:
            await self.books.buyer.pay(started["invoke"])
        await self._comes_to(number, "PAID")
        return number

    async def _refunded(self) -> None:
        number = await self._paid()
        body = {"refund_fen": 100, "reason": "story"}
        await self._call(f"/api/admin/orders/{number}/refunds", body, ADMIN)

    async def _paid_twice(self) -> None:
        number, first = await self._started()
        second = await self._start(number, "native")
        if first is None or second is None:
            return
        await self.books.running.control("scan", code_url=second["code_url"])
        await self._comes_to(number, "PAID")
        await self.books.buyer.pay(first["invoke"], force=True)

    async def _paid_late(self) -> None:
        """Pay what was cancelled; no notification tells of it."""
        number, started = await self._started()
        await self._cancel(number)
        await self.books.running.control("faults", notifications="drop")
        if started is not None:
            await self.books.buyer.pay(started["invoke"], force=True)
        await self.books.running.control("faults")

    async def _cancel(self, number: str) -> None:
        await self._call(f"/api/orders/{number}/cancel", {})

    async def _started(self) -> tuple[str, Row | None]:
        cart = {"items": [{"sku": "longjing", "quantity": 1}]}
        number = (await self._call("/api/orders", cart)).json()["order_no"]
        return number, await self._start(number)

    async def _start(self, number: str, scene: str = "miniprogram") -> Row | None:
        answer = await self._call(f"/api/orders/{number}/payments", {"scene": scene})
        return answer.json() if answer.is_success else None

    async def _comes_to(self, number: str, state: str) -> None:
        """Wait for a notification that is on its way."""
        for _ in range(200):
            if await Order.exists(order_no=number, state=state):
                return
            await asyncio.sleep(0.01)

    async def _call(
        self, path: str, body: Row, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """Ask as buyers do: again while nobody knows the outcome."""
        headers = {"Idempotency-Key": secrets.token_hex(8), **(headers or self.books.buyer.headers)}
        for _ in range(5):
            answer = await self.books.running.http.post(path, json=body, headers=headers)
            self.answers[answer.status_code] = self.answers.get(answer.status_code, 0) + 1
            if answer.status_code < 500:
                break
        return answer

    async def wrong(self) -> list[str]:
        """Return what a storm would report."""
        open_rows = [f"{count} {name} not finished" for name, count in (await unfinished()).items()]
        unheard = await missed(5) + failures(self.answers)
        return open_rows + unheard + await judge(self.books)


def nobody_can_ever_pay(patch: Patch) -> str:
    async def go_on(*_: Any, **__: Any) -> Any:
        raise errors.PaymentInProgress("never", retry_after=1)

    patch.setattr(Payments, "_go_on", go_on)
    return "only 0 orders paid, not 2"


def on_paid_is_told_before_the_commit(patch: Patch) -> str:
    carry_out = Ledger._carry_out

    async def early(self: Any, rows: Any, trade: Any, source: Any, decision: Any) -> None:
        if decision.state == "PAID":
            order = rows.order
            await self._events._hooks.on_paid(order, f"{order.order_no}-on_paid")
        await carry_out(self, rows, trade, source, decision)

    patch.setattr(Ledger, "_carry_out", early)
    return "was told before it was committed"


def on_refunded_is_never_sent(patch: Patch) -> str:
    write = Events.write

    async def silent(self: Any, kind: str, order: Order, after: Any, refund: Any = None) -> None:
        if kind != "on_refunded":
            await write(self, kind, order, after, refund)

    patch.setattr(Events, "write", silent)
    return "was not written"


def the_sums_of_an_order_are_never_updated(patch: Patch) -> str:
    class Idle:
        async def run(self, **_: Any) -> int:
            return 1

    patch.setattr(sql, "ADD_TO_ORDER", Idle())
    return "do not fit its shares and refunds"


def closed_payments_are_never_looked_at_again(patch: Patch) -> str:
    move = Ledger._move

    async def forget(self: Any, row: Any, state: str, cause: str, after: Any, **more: Any) -> None:
        if state == "CLOSED" and "live" in more:
            more["due_at"] = None
        await move(self, row, state, cause, after, **more)

    patch.setattr(Ledger, "_move", forget)
    return "paid there, CLOSED here"


def half_of_all_answers_are_500(patch: Patch) -> str:
    finish = server._finish
    n = itertools.count()

    async def fail(shop: Any, request: Any, response: Any) -> None:
        await finish(shop, request, response)
        if request.path.startswith("/api/orders") and next(n) % 2:
            response.status = 500

    patch.setattr(server, "_finish", fail)
    return "answers were 500"


MUTANTS: list[Callable[[Patch], str]] = [
    nobody_can_ever_pay,
    on_paid_is_told_before_the_commit,
    on_refunded_is_never_sent,
    the_sums_of_an_order_are_never_updated,
    closed_payments_are_never_looked_at_again,
    half_of_all_answers_are_500,
]


@pytest.fixture
async def books(tmp_path: Path, migrated_file: Path, keys: Keys) -> AsyncIterator[Books]:
    """Give books that are opened by the test, after it has broken the shop."""
    books = Books(f"sqlite://{shutil.copy(migrated_file, tmp_path)}", keys)
    yield books
    await books.close()


async def what_is_wrong(books: Books) -> list[str]:
    await books.open()
    story = Story(books)
    await story.happen()
    return await story.wrong()


async def test_nothing_is_wrong_with_a_shop_that_is_whole(books: Books) -> None:
    assert await what_is_wrong(books) == []


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.__name__ for mutant in MUTANTS])
async def test_a_shop_that_was_broken_on_purpose_is_found_out(
    books: Books, mutant: Callable[[Patch], str], monkeypatch: Patch
) -> None:
    expected = mutant(monkeypatch)
    assert expected in "\n".join(await what_is_wrong(books))


def test_failures_that_the_faults_do_not_explain_are_wrong() -> None:
    assert failures({200: 90, 503: 10}) == []
    assert failures({200: 60, 503: 40}) == ["40 of 100 answers were failures"]
    assert failures({200: 99, 500: 1}) == ["1 answers were 500"]
