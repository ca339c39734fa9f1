"""Money rule 10 in the ledger alone: the cap holds, only the table's moves happen, sums add up."""

import asyncio
from itertools import count
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tortoise.exceptions import IntegrityError, OperationalError

from checkout import channels as ch
from checkout import errors
from checkout.channels import Channels, RefundTrade
from checkout.clock import Clock
from checkout.ledger import Ledger, Outcome, Query
from checkout.models import Event, Order, Payment, Refund, Share, Transition
from checkout.notifications import Arrival
from checkout.refunds import Refunds
from checkout.work import Overtaken, again, transaction
from kit.books import history
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.rows import new_order, new_payment, overtaking

MOVES = {
    ("PENDING", "PROCESSING"), ("PENDING", "REJECTED"), ("PROCESSING", "SUCCESS"),
    ("PROCESSING", "CLOSED"), ("PROCESSING", "ABNORMAL"), ("ABNORMAL", "SUCCESS"),
    ("ABNORMAL", "CLOSED"), ("REJECTED", "PROCESSING"), ("REJECTED", "SUCCESS"),
}  # fmt: skip
STATES = ("PENDING", "PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL", "REJECTED")
WORDS = ("PROCESSING", "SUCCESS", "CLOSED", "ABNORMAL")
keys = count(1)


class Silent:
    """A channel that never answers."""

    name = books = "wechat"
    rank = 0

    def prepare_refund(self, refund: Refund, share: Share, payment: Payment) -> str:
        return f"{refund.out_refund_no} {refund.refund_fen}"

    async def refund(self, refund: Refund, share: Share) -> RefundTrade:
        raise ch.Unknown("no answer")

    async def query_refund(self, *_: object) -> RefundTrade:
        raise ch.Unknown("no answer")


@pytest.fixture
def refunds(ledger: Ledger) -> Refunds:
    channels: Any = [Silent()]
    nobody: Any = None
    return Refunds(Channels(channels), ledger, nobody, Clock())


async def paid(total_fen: int = 100, *, surplus: bool = False) -> Share:
    """Write a paid payment; return its share."""
    order = await new_order("PAID", total_fen=total_fen)
    payment = await new_payment(order, "PAID")
    await Payment.filter(id=payment.id).update(surplus=surplus)
    share = await Share.get(payment_id=payment.id).select_related("payment")
    await Share.filter(id=share.id).update(transaction_id=f"4200{share.id}")
    return await Share.get(id=share.id).select_related("payment")


async def begin(ledger: Ledger, share: Share, fen: int) -> Refund | None:
    """Reserve a refund of ours; None when the share has no room for it."""

    async def once() -> Refund | None:
        now = Clock().now()
        fresh = await Share.get(id=share.id)
        if fresh.reserved_fen + fen > fresh.total_fen:
            return None
        refund = Refund(
            order_id=share.payment.order_id, share_id=share.id, channel="wechat",
            out_refund_no=f"{share.out_trade_no}R{fresh.refunds_made + 1:02}", refund_fen=fen,
            reserved_fen=fen, reason="r", origin="admin", state="PENDING", request="",
            idempotency_key=str(next(keys)), created_at=now, due_at=now,
        )  # fmt: skip
        async with transaction():
            surplus = share.payment.surplus
            await ledger.reserve(refund, fresh, surplus=surplus, takes_turn=False)
        return refund

    return await again(once)


async def begun(ledger: Ledger, share: Share, fen: int) -> Refund:
    """Reserve a refund for which there is room."""
    refund = await begin(ledger, share, fen)
    assert refund is not None
    return refund


async def hear(
    ledger: Ledger,
    refund: Refund,
    share: Share,
    word: Any,
    *,
    by: str = "query",
    adopts: bool = False,
    **changes: Any,
) -> Outcome:
    """Let the ledger hear of a refund, by a query or by a notification."""
    fitting = {
        "out_refund_no": refund.out_refund_no, "refund_id": f"503{refund.out_refund_no}",
        "out_trade_no": share.out_trade_no, "transaction_id": share.transaction_id,
        "state": word, "word": word, "refund_fen": refund.refund_fen,
        "total_fen": share.total_fen, "parties": {},
    }  # fmt: skip
    trade: Any = fitting | changes
    query = Query("query, test")
    now = Clock().now()
    arrival = Arrival("wechat", "refund", f"key{next(keys)}", {}, b"", now)
    source = query if by == "query" else arrival
    return await ledger.record_refund("wechat", RefundTrade(**trade), source, adopts=adopts)


async def bring(ledger: Ledger, refund: Refund, share: Share, state: str) -> None:
    """Bring a refund that was just begun to a state."""
    if state == "REJECTED":
        await ledger.reject("wechat", refund.out_refund_no, "test")
    elif state != "PENDING":
        await hear(ledger, refund, share, state)
    assert (await Refund.get(id=refund.id)).state == state


async def check_sums(share: Share) -> None:
    """Compare the sums of share and order with their refunds."""
    share = await Share.get(id=share.id).select_related("payment")
    order = await Order.get(id=share.payment.order_id)
    rows = await Refund.filter(share_id=share.id)
    back = sum(r.refund_fen for r in rows if r.state == "SUCCESS")
    refunding = sum(r.refund_fen for r in rows if r.state in ("PENDING", "PROCESSING", "ABNORMAL"))
    assert share.reserved_fen == sum(r.reserved_fen for r in rows) <= share.total_fen
    assert share.refunded_fen == back
    rejected = await Transition.filter(subject="refund", to_state="REJECTED")
    turned_up = {line.number for line in rejected}
    for refund in rows:
        holds = 0 if refund.state in ("CLOSED", "REJECTED") else refund.refund_fen
        assert refund.reserved_fen == holds or (
            refund.out_refund_no in turned_up and refund.reserved_fen < holds
        )
    events = await Event.filter(order_id=order.id, kind="on_refunded").count()
    if share.payment.surplus:
        assert (order.refunded_fen, order.refunding_fen, events) == (0, 0, 0)
        return
    assert (order.refunded_fen, order.refunding_fen) == (back, refunding)
    assert back > order.total_fen or (order.state == "REFUNDED") is (back == order.total_fen)
    assert events == sum(row.state == "SUCCESS" for row in rows)


@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("after", STATES)
async def test_a_refund_moves_as_the_table_says_and_not_otherwise(
    ledger: Ledger, before: str, after: str
) -> None:
    refund = await begun(ledger, await paid(), 1)
    await Refund.filter(id=refund.id).update(state=before)
    await refund.refresh_from_db()
    try:
        async with transaction() as commit:
            await ledger._move(refund, after, "test", commit)
        moved = True
    except AssertionError:
        moved = False
    await refund.refresh_from_db()
    assert moved is ((before, after) in MOVES)
    assert refund.state == (after if moved else before)
    assert await Transition.filter(number=refund.out_refund_no).count() == moved


@EVERY_DATABASE
async def test_a_move_from_a_state_that_is_gone_changes_nothing(ledger: Ledger) -> None:
    share = await paid()
    stale = await begun(ledger, share, 30)
    await bring(ledger, stale, share, "SUCCESS")
    with pytest.raises(Overtaken):
        async with transaction() as commit:
            await ledger._move(stale, "REJECTED", "test", commit)
    await check_sums(share)


#: what a proof does, by the state it meets; everything else is applied
OLD_NEWS = {
    ("PROCESSING", "PROCESSING"), ("ABNORMAL", "PROCESSING"), ("ABNORMAL", "ABNORMAL"),
    ("SUCCESS", "PROCESSING"), ("SUCCESS", "SUCCESS"), ("CLOSED", "PROCESSING"),
    ("CLOSED", "CLOSED"), ("REJECTED", "CLOSED"),
}  # fmt: skip
CONTRADICTIONS = {
    ("SUCCESS", "CLOSED"), ("SUCCESS", "ABNORMAL"), ("CLOSED", "SUCCESS"), ("CLOSED", "ABNORMAL"),
}  # fmt: skip


@pytest.mark.parametrize("by", ["query", "notification"])
@pytest.mark.parametrize("before", STATES)
@pytest.mark.parametrize("word", WORDS)
async def test_a_proof_moves_a_refund_is_old_news_or_is_refused(
    ledger: Ledger, diary: Diary, before: str, word: str, by: str
) -> None:
    share = await paid()
    refund = await begun(ledger, share, 30)
    await bring(ledger, refund, share, before)
    outcome = await hear(ledger, refund, share, word, by=by)
    pair = (before, word)
    after = before if pair in OLD_NEWS | CONTRADICTIONS else word
    assert (await Refund.get(id=refund.id)).state == after
    names = {True: "DUPLICATE", False: "REFUSED"}
    expected = names[pair in OLD_NEWS] if pair in OLD_NEWS | CONTRADICTIONS else "APPLIED"
    assert outcome.name == expected
    assert ("refund's truth refused" in diary.alarms) is (pair in CONTRADICTIONS)
    await check_sums(share)


@EVERY_DATABASE
async def test_two_hundred_refunds_at_once_take_no_more_than_was_paid_and_no_more_than_fifty(
    refunds: Refunds,
) -> None:
    small, large = await paid(1_000), await paid(90)

    async def wanted(share: Share, fen: int) -> bool:
        """Call again with the same key while the books are too busy."""
        order = await Order.get(id=share.payment.order_id)
        key = str(next(keys))
        while True:
            try:
                return (await refunds.start(order.order_no, fen, "r", key)).is_new
            except errors.CallAgain:
                continue
            except (errors.RefundLimit, errors.RefundExceeds):
                return False

    tries = [wanted(small, 1) for _ in range(200)] + [wanted(large, 7) for _ in range(40)]
    won = await asyncio.gather(*tries)
    assert (sum(won[:200]), sum(won[200:])) == (50, 12)
    await check_sums(small)
    await check_sums(large)
    rows = await Refund.filter(share_id=small.id)
    numbers = {f"{small.out_trade_no}R{n:02}" for n in range(1, 51)}
    assert {refund.out_refund_no for refund in rows} == numbers
    assert {refund.request for refund in rows} == {f"{number} 1" for number in numbers}
    assert [refund.sent_at is not None for refund in rows].count(True) == 1


@EVERY_DATABASE
async def test_the_database_itself_refuses_to_reserve_more_than_was_paid(ledger: Ledger) -> None:
    share = await paid(100)
    for fen in (101, -1):
        with pytest.raises((IntegrityError, OperationalError)):
            await Share.filter(id=share.id).update(reserved_fen=fen)


async def test_only_a_paid_payment_is_refunded(refunds: Refunds) -> None:
    for state in ("NEW", "OPEN", "CLOSED", "HELD"):
        order = await new_order()
        payment = await new_payment(order, state)
        with pytest.raises(errors.RefundExceeds):
            await refunds.start(order.order_no, 1, "r", str(next(keys)))
        with pytest.raises(errors.BadRequest):
            await refunds.start(order.order_no, 1, "r", str(next(keys)), payment.number)
    assert not await Refund.exists()


@pytest.mark.parametrize("by", ["query", "notification"])
@pytest.mark.parametrize(
    ("reason", "wrong"),
    [
        ("amount", {"refund_fen": 29}), ("amount", {"total_fen": 101}),
        ("transaction_id", {"transaction_id": "4200other"}),
        ("out_trade_no", {"out_trade_no": "Sother"}),
        ("mchid", {"parties": {"mchid": "1900000002"}}), ("refund_id", {"refund_id": "504"}),
    ],
)  # fmt: skip
async def test_a_proof_that_does_not_fit_moves_no_refund(
    ledger: Ledger, diary: Diary, reason: str, wrong: dict[str, Any], by: str
) -> None:
    share = await paid()
    refund = await begun(ledger, share, 30)
    await hear(ledger, refund, share, "PROCESSING")
    outcome = await hear(ledger, refund, share, "SUCCESS", by=by, **wrong)
    assert (outcome.name, outcome.reason) == ("REFUSED", reason)
    assert (await Refund.get(id=refund.id)).state == "PROCESSING"
    assert "refund's truth refused" in diary.alarms
    await check_sums(share)


@EVERY_DATABASE
async def test_a_rejected_refund_that_turns_up_is_booked_again(
    ledger: Ledger, diary: Diary
) -> None:
    share = await paid()
    refund = await begun(ledger, share, 30)
    await bring(ledger, refund, share, "REJECTED")
    assert (await Share.get(id=share.id)).reserved_fen == 0
    assert (await hear(ledger, refund, share, "SUCCESS", by="notification")).name == "APPLIED"
    assert await history(refund.out_refund_no) == [
        ("PENDING", "REJECTED"),
        ("REJECTED", "PROCESSING"),
        ("PROCESSING", "SUCCESS"),
    ]
    stored = await Share.get(id=share.id)
    assert (stored.reserved_fen, stored.refunded_fen) == (30, 30)
    assert "refunds exceed what was paid" not in diary.alarms
    assert await begin(ledger, share, 71) is None
    await check_sums(share)


@EVERY_DATABASE
async def test_a_rejected_refund_that_turns_up_and_no_longer_fits_is_booked_with_an_alarm(
    ledger: Ledger, diary: Diary
) -> None:
    share = await paid()
    first = await begun(ledger, share, 60)
    await bring(ledger, first, share, "REJECTED")
    await bring(ledger, await begun(ledger, share, 70), share, "SUCCESS")
    assert (await hear(ledger, first, share, "SUCCESS")).name == "APPLIED"
    stored = await Share.get(id=share.id)
    assert (stored.reserved_fen, stored.refunded_fen) == (100, 130)
    assert "refunds exceed what was paid" in diary.alarms
    await check_sums(share)


async def step(ledger: Ledger, share: Share, verb: str, fen: int, which: int) -> None:
    """Take one step with one of the refunds there are."""
    if verb == "reserve":
        await begin(ledger, share, fen)
        return
    if verb == "platform":
        made = Refund(out_refund_no=f"P{next(keys)}", refund_fen=fen)
        word = WORDS[which % 4]
        by = ("query", "notification")[fen % 2]
        await hear(ledger, made, share, word, by=by, adopts=True)
        return
    rows = await Refund.filter(share_id=share.id).order_by("id")
    if not rows:
        return
    refund = rows[which % len(rows)]
    if verb == "reject":
        await ledger.reject("wechat", refund.out_refund_no, "test")
    else:
        await hear(ledger, refund, share, verb, by=("query", "notification")[fen % 2])


@EVERY_DATABASE
@pytest.mark.parametrize("by", ["query", "notification"])
async def test_room_that_is_taken_while_a_rejected_refund_turns_up_is_counted_anew(
    ledger: Ledger, diary: Diary, monkeypatch: pytest.MonkeyPatch, by: str
) -> None:
    share = await paid()
    first = await begun(ledger, share, 60)
    await bring(ledger, first, share, "REJECTED")
    overtaking(monkeypatch, [lambda: begun(ledger, share, 70)])
    assert (await hear(ledger, first, share, "SUCCESS", by=by)).name == "APPLIED"
    stored = await Share.get(id=share.id)
    assert (stored.reserved_fen, stored.refunded_fen) == (100, 60)
    assert "refunds exceed what was paid" in diary.alarms
    await check_sums(share)


@EVERY_DATABASE
@pytest.mark.parametrize("word", WORDS)
async def test_a_refund_that_two_hear_of_at_once_moves_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    share = await paid()
    refund = await begun(ledger, share, 30)
    overtaking(monkeypatch, [lambda: hear(ledger, refund, share, word)])
    assert (await hear(ledger, refund, share, word, by="notification")).name == "DUPLICATE"
    assert len(await history(refund.out_refund_no)) == (1 if word == "PROCESSING" else 2)
    await check_sums(share)


@EVERY_DATABASE
async def test_a_refund_of_the_platform_that_two_tell_at_once_is_written_once(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    share = await paid()
    made = Refund(out_refund_no="P", refund_fen=40)

    async def hear_success() -> Outcome:
        return await hear(ledger, made, share, "SUCCESS", by="notification", adopts=True)

    overtaking(monkeypatch, [hear_success])
    assert (await hear_success()).name == "DUPLICATE"
    assert (await Refund.get()).origin == "merchant_platform"
    await check_sums(share)


VERBS = ["reserve", "platform", "reject", *WORDS]
steps = st.tuples(st.sampled_from(VERBS), st.integers(1, 60), st.integers(0, 5))


@EVERY_DATABASE
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(walk=st.lists(st.tuples(steps, st.none() | steps), max_size=20), surplus=st.booleans())
async def test_no_walk_of_refunds_breaks_the_sums(
    ledger: Ledger,
    walk: list[tuple[tuple[str, int, int], tuple[str, int, int] | None]],
    surplus: bool,
) -> None:
    share = await paid(100, surplus=surplus)
    meanwhile: list[Any] = []
    with pytest.MonkeyPatch.context() as patch:
        overtaking(patch, meanwhile)
        for own, faster in walk:
            if faster is not None:
                meanwhile.append(lambda others=faster: step(ledger, share, *others))
            await step(ledger, share, *own)
            meanwhile.clear()
            await check_sums(share)
    await check_history(share)


async def check_history(share: Share) -> None:
    """Follow the history of each refund; nothing changed without a line."""
    for refund in await Refund.filter(share_id=share.id):
        state = "PENDING"
        for before, after in await history(refund.out_refund_no):
            assert state == before, "each line goes on where the one before ended"
            assert (before, after) in MOVES
            state = after
        assert refund.state == state
