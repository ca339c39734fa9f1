"""In a rush facts that wait for the database are written together, each whole or not at all."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from checkout import writes
from checkout.models import Order, OrderItem, Payment, Share, Transition
from checkout.sql import Statement
from checkout.work import Overtaken
from checkout.writes import TOGETHER, Write, Writes
from kit.buyers import paying
from kit.databases import EACH_SERVER_TOO
from kit.running import RunningShop
from kit.wechat import WeChat
from tortoise.backends.base.client import BaseDBAsyncClient

FACTS = 30
CAUSE = Statement("UPDATE checkout_transition SET cause = :cause WHERE id = :id", Transition)


def line(number: str, at: Any) -> dict[str, Any]:
    names = {"subject": "order", "from_state": "A", "to_state": "B", "cause": "before"}
    return {**names, "number": number, "at": at}


async def rows_of(running: RunningShop, rows: int) -> list[Transition]:
    """Write rows that facts can change."""
    at = running.shop.clock.now()
    return [await Transition.create(**line(f"row{n}", at)) for n in range(rows)]


def fact(running: RunningShop, n: int, row_id: int) -> Writes:
    """Insert a row and change another one."""
    facts = Writes()
    facts.insert_all(Transition, line(f"fact{n}", running.shop.clock.now()))
    facts.run(CAUSE, id=row_id, cause=f"changed by {n}")
    return facts


async def inserted() -> set[str]:
    rows = await Transition.filter(number__startswith="fact").values_list("number", flat=True)
    return {str(number) for number in rows}


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """List how many writes each message had."""
    sizes: list[int] = []
    send = writes._send_to

    async def counting(connection: BaseDBAsyncClient, those: Sequence[Write]) -> None:
        sizes.append(len(those))
        await send(connection, those)

    monkeypatch.setattr(writes, "_send_to", counting)
    return sizes


@EACH_SERVER_TOO
async def test_a_fact_that_meets_no_row_undoes_itself_and_no_other(running: RunningShop) -> None:
    ids = [row.id for row in await rows_of(running, FACTS)]
    missing = {3, 4, 17}
    facts = [fact(running, n, -1 if n in missing else ids[n]) for n in range(FACTS)]
    ends = await asyncio.gather(*[one.commit() for one in facts], return_exceptions=True)
    assert {n for n, end in enumerate(ends) if isinstance(end, Overtaken)} == missing
    assert [end for end in ends if end is not None and not isinstance(end, Overtaken)] == []
    assert await inserted() == {f"fact{n}" for n in range(FACTS)} - {f"fact{n}" for n in missing}
    changed = await Transition.filter(cause__startswith="changed").count()
    assert changed == FACTS - len(missing)


@EACH_SERVER_TOO
async def test_facts_about_one_row_that_wait_together_are_all_written(
    running: RunningShop,
) -> None:
    [row] = await rows_of(running, 1)
    facts = [fact(running, n, row.id) for n in range(FACTS)]
    await asyncio.gather(*[one.commit() for one in facts])
    assert await inserted() == {f"fact{n}" for n in range(FACTS)}


@pytest.mark.parametrize("database_kind", ["postgres", "mysql"], indirect=True)
async def test_what_waits_is_sent_together_and_what_comes_alone_at_once(
    running: RunningShop, sent: list[int]
) -> None:
    ids = [row.id for row in await rows_of(running, FACTS)]
    await fact(running, 0, ids[0]).commit()
    assert sent == [2]
    facts = [fact(running, n, ids[n]) for n in range(1, FACTS)]
    await asyncio.gather(*[one.commit() for one in facts])
    assert max(sent) == 2 * TOGETHER
    assert sum(sent) == 2 * FACTS


@pytest.mark.parametrize("database_kind", ["postgres", "mysql"], indirect=True)
async def test_who_is_cancelled_while_it_waits_keeps_nobody_from_being_written(
    running: RunningShop,
) -> None:
    ids = [row.id for row in await rows_of(running, FACTS)]
    commits = [asyncio.create_task(fact(running, n, ids[n]).commit()) for n in range(FACTS)]
    await asyncio.sleep(0)  # all of them wait
    for task in commits[::5]:
        task.cancel()
    ends = await asyncio.gather(*commits, return_exceptions=True)
    assert [n for n, end in enumerate(ends) if end is not None] == list(range(0, FACTS, 5))
    assert await inserted() >= {f"fact{n}" for n in range(FACTS) if n % 5}
    await fact(running, FACTS, ids[0]).commit()


@EACH_SERVER_TOO
async def test_thirty_orders_at_once_and_their_payments_keep_their_own_lines_and_shares(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    placed = await asyncio.gather(*[buyer.order(quantity=n % 5 + 1) for n in range(FACTS)])
    for n, order in enumerate(placed):
        [item] = await OrderItem.filter(order__order_no=order["order_no"])
        assert item.quantity == n % 5 + 1
    started = await asyncio.gather(*[buyer.start(order["order_no"]) for order in placed])
    for order, answer in zip(placed, started, strict=True):
        [share] = await Share.filter(payment__order__order_no=order["order_no"])
        assert share.out_trade_no == answer.json()["out_trade_no"]
        assert share.total_fen == order["total_fen"]


@EACH_SERVER_TOO
async def test_thirty_notifications_at_once_and_their_copies_move_each_order_once(
    running: RunningShop,
) -> None:
    started = [(await paying(running))[2]["out_trade_no"] for _ in range(FACTS)]
    wechat = WeChat(running)
    trades = [await wechat.trade(number) for number in started]
    answers = await asyncio.gather(*[wechat.notify(trade) for trade in (*trades, *trades)])
    assert {answer.status_code for answer in answers} == {204}
    assert await Payment.filter(state="PAID").count() == FACTS
    assert await Order.filter(state="PAID").count() == FACTS
    moves = await Transition.filter(to_state="PAID").values_list("number", flat=True)
    assert len(moves) == len(set(moves)) == 2 * FACTS


@pytest.mark.parametrize("database_kind", ["postgres", "mysql"], indirect=True)
async def test_a_message_that_was_committed_but_whose_answer_was_lost_counts_once(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    started = [(await paying(running))[2]["out_trade_no"] for _ in range(FACTS)]
    wechat = WeChat(running)
    trades = [await wechat.trade(number) for number in started]
    lost: list[int] = []
    inside = writes._write_together

    async def losing(connection: BaseDBAsyncClient, batch: Sequence[writes.Unwritten]) -> bool:
        await writes._send_to(connection, writes._joined([fact.writes for fact in batch]))
        lost.append(len(batch))
        return await inside(connection, batch)  # what was committed is sent again

    monkeypatch.setattr(writes, "_write_together", losing)
    answers = await asyncio.gather(*[wechat.notify(trade) for trade in trades])
    assert lost
    assert {answer.status_code for answer in answers} == {204}
    assert await Payment.filter(state="PAID").count() == FACTS
    moves = await Transition.filter(to_state="PAID").values_list("number", flat=True)
    assert len(moves) == len(set(moves)) == 2 * FACTS
