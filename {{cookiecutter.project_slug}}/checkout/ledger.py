"""Record what happened 记账: the states, their only moves, and the only writer of a state.

Everything that proves money came, a notification or a query, passes `record`; everything that
proves money went back passes `record_refund`. One fact is one transaction: what was proved, the
moves it caused, their history and the event for the owner are committed together or not at all.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any, Literal, NamedTuple, Protocol

from tortoise.exceptions import IntegrityError

from checkout import log, sql
from checkout.channels import RefundTrade, Trade, TradeShare
from checkout.clock import Clock
from checkout.events import Events
from checkout.models import Notification, Order, Payment, Refund, Share, Transition
from checkout.sql import PaymentRows, RefundRows, compare_and_set
from checkout.work import AfterCommit, Overtaken, Work, again, transaction
from checkout.writes import Writes

#: from -> to; anything else is refused and logged
PAYMENT = {
    "NEW": {"OPEN", "PAID", "CLOSED", "HELD"},
    "OPEN": {"PAID", "CLOSED", "HELD"},
    "CLOSED": {"PAID"},  # late money is still money
    "HELD": {"PAID", "CLOSED"},  # CLOSED by a person only
    "PAID": set[str](),
}
ORDER = {
    "OPEN": {"PAID", "CLOSING"},
    "CLOSING": {"CLOSED", "PAID"},
    "CLOSED": set[str](),
    "PAID": {"REFUNDED"},
    "REFUNDED": set[str](),
}
REFUND = {
    "PENDING": {"PROCESSING", "REJECTED"},
    "PROCESSING": {"SUCCESS", "CLOSED", "ABNORMAL"},
    "ABNORMAL": {"SUCCESS", "CLOSED"},
    "SUCCESS": set[str](),
    "CLOSED": set[str](),
    "REJECTED": {"PROCESSING", "SUCCESS"},  # signed truth is stronger than our conclusion
}
#: outcomes of a notification that nothing changes any more
FINAL = ("APPLIED", "DUPLICATE", "REFUSED", "IGNORED")
#: refund states whose money is still under way, and those that hold nothing of the cap
UNDER_WAY = ("PENDING", "PROCESSING", "ABNORMAL")
LET_GO = ("CLOSED", "REJECTED")
MOST_REFUNDS = 50  # of one share, by WeChat's rule
AFTER_CLOSING = timedelta(minutes=10)  # then a closed payment is looked at once more
FIRST_LOOK = timedelta(seconds=5)
REFUND_LOOK = timedelta(seconds=60)


class Outcome(NamedTuple):
    """What became of something proved: one of FINAL, or UNMATCHED, UNDECRYPTABLE; and why."""

    name: str
    reason: str = ""


class Source(Protocol):
    """Where a proof came from: our own query, or a notification that is stored with its outcome."""

    @property
    def channel(self) -> str:
        """Return the notification's channel; "" for a query."""
        ...

    @property
    def key(self) -> str:
        """Return what makes the notification unique; "" for a query."""
        ...

    def store(self, outcome: Outcome, number: str, row: Notification | None, writes: Writes) -> str:
        """Add the outcome to what is written; return the cause for the history.

        `row` is the notification when it is stored already.
        """
        ...


@dataclass(frozen=True)
class Query:
    """A source that stores nothing: the signed answer to our own question."""

    cause: str
    channel: str = ""
    key: str = ""

    def store(self, outcome: Outcome, number: str, row: Notification | None, writes: Writes) -> str:
        """Return the cause."""
        return self.cause


class Decision(NamedTuple):
    """What a proof means for our rows: its outcome, and where the payment moves, if it does."""

    outcome: Outcome
    state: Literal["PAID", "CLOSED", "HELD"] | None = None


def mismatch(payment: Payment, shares: Sequence[Share], trade: Trade) -> str:
    """Return the first thing in a Trade that is not what we sent, or ""."""
    theirs = {share.out_trade_no: share for share in trade.shares}
    if len(trade.shares) != len(shares) or theirs.keys() != {s.out_trade_no for s in shares}:
        return "sub_orders"
    if trade.number != payment.number:
        return "number"
    if len({share.state for share in trade.shares}) > 1:
        return "sub_orders disagree"
    if trade.shares[0].state != "PAID":
        return ""
    for name, sent in payment.parties.items():
        if trade.parties.get(name) != sent:
            return name
    pairs = [(share, theirs[share.out_trade_no]) for share in shares]
    return next(filter(None, (_share_mismatch(*pair) for pair in pairs)), "")


def _share_mismatch(share: Share, theirs: TradeShare) -> str:
    for name, sent in share.parties.items():
        if theirs.parties.get(name) != sent:
            return name
    if theirs.total_fen != share.total_fen:
        return "amount"
    if theirs.currency != "CNY":
        return "currency"
    return "" if theirs.transaction_id else "transaction_id"


def decide(rows: PaymentRows, trade: Trade, *, by_query: bool) -> Decision:
    """Judge a proved Trade against our rows; nothing is read or written here."""
    payment = rows.payment
    shares = rows.shares
    if reason := mismatch(payment, shares, trade):
        holds = by_query and {share.state for share in trade.shares} != {"OPEN"}
        return refusal(payment, reason, holds=holds)
    state = trade.shares[0].state
    if state == "PAID" and payment.state != "PAID":
        return Decision(Outcome("APPLIED"), "PAID")
    if state == "PAID":
        theirs = {share.out_trade_no: share.transaction_id for share in trade.shares}
        if all(share.transaction_id == theirs[share.out_trade_no] for share in shares):
            return Decision(Outcome("DUPLICATE"))
        return refusal(payment, "second transaction", holds=False)
    if not by_query:
        return refusal(payment, "trade_state", holds=False)
    closes = state == "CLOSED" and payment.state in ("NEW", "OPEN")
    return Decision(Outcome("APPLIED"), "CLOSED" if closes else None)


def refusal(payment: Payment, reason: str, *, holds: bool) -> Decision:
    """Refuse a proof that does not fit; only a query's holds the payment for a person."""
    held = holds and "HELD" in PAYMENT[payment.state]
    return Decision(Outcome("REFUSED", reason), "HELD" if held else None)


def refund_mismatch(refund: Refund, share: Share, trade: RefundTrade) -> str:
    """Return the first thing in a RefundTrade that is not what we sent, or ""."""
    if trade.out_trade_no != share.out_trade_no:
        return "out_trade_no"
    if trade.transaction_id and trade.transaction_id != share.transaction_id:
        return "transaction_id"
    for name, theirs in trade.parties.items():  # an answer names none, a notification the mchid
        if share.parties.get(name) != theirs:
            return name
    if trade.refund_fen != refund.refund_fen or trade.total_fen not in (None, share.total_fen):
        return "amount"
    return "" if refund.refund_id in (None, trade.refund_id) else "refund_id"


class Ledger:
    """Move payments, orders and refunds: each move once, with its history and its event."""

    def __init__(self, clock: Clock, events: Events, work: Work) -> None:
        self._clock = clock
        self._events = events
        self._work = work

    # -- payments

    async def record(self, books: Sequence[str], trade: Trade, source: Source) -> Outcome:
        """Let a proved Trade move the payment that it names, and its order, once.

        `books` are the channels whose numbers it may name.
        """
        record = partial(self._record, books, trade, source)
        for _ in range(2):  # a copy was faster: the second time it is seen
            with suppress(IntegrityError):
                return await again(record)
        # then (channel, transaction_id), which is unique, belongs to another payment
        return await again(partial(record, is_known=True))

    async def _record(
        self, books: Sequence[str], trade: Trade, source: Source, *, is_known: bool = False
    ) -> Outcome:
        rows = await _named_by(trade, source)
        if rows is None or rows.payment.channel not in books:
            log.alarm("unmatched", number=trade.number, word=trade.word)
            return await self._unmatched(source, trade.shares[0].out_trade_no)
        if settled := _settled(rows.notification):
            return settled
        by_query = not source.channel
        decision = decide(rows, trade, by_query=by_query)
        if is_known:
            decision = refusal(rows.payment, "transaction_id is known", holds=by_query)
        if decision.outcome.name == "REFUSED":
            _alarm_refused(rows, trade, decision.outcome.reason)
        if not by_query or decision.state is not None:
            await self._carry_out(rows, trade, source, decision)
        return decision.outcome

    async def _carry_out(
        self, rows: PaymentRows, trade: Trade, source: Source, decision: Decision
    ) -> None:
        """Commit the outcome together with the moves that it causes."""
        writes = Writes()
        number = rows.shares[0].out_trade_no
        cause = source.store(decision.outcome, number, rows.notification, writes)
        if decision.state == "CLOSED":
            await self._carry_out_close(rows, cause)
            return
        if decision.state == "PAID":
            self._pay(rows, trade, cause, writes)
        elif decision.state == "HELD":
            reason = f"{cause}: {decision.outcome.reason}"
            self._add_move(rows.payment, "HELD", reason, writes, due_at=None)
        await writes.commit()

    async def _carry_out_close(self, rows: PaymentRows, cause: str) -> None:
        """Close what a query's answer closes; a notification closes nothing."""
        async with transaction() as after:
            await self._close(rows.payment, rows.order, cause, after)

    def _pay(self, rows: PaymentRows, trade: Trade, cause: str, writes: Writes) -> None:
        """Move payment, shares and order; money that the order does not need goes back."""
        payment, shares, order, _ = rows
        paid_at = trade.paid_at or self._clock.now()
        surplus = "PAID" not in ORDER[order.state]
        history = [self._line(payment, "PAID", cause, writes.after)]
        paid = {} if surplus else {"order_no": order.order_no}  # one line in the log for both
        _log_move(payment, "PAID", cause, writes.after, **paid)
        writes.move(payment, "PAID", live=None, paid_at=paid_at, surplus=surplus, due_at=None)
        _pay_shares(shares, trade, writes, surplus=surplus)
        if surplus:
            self._give_back(payment, shares, writes)
        else:
            history.append(self._line(order, "PAID", cause, writes.after))
            paid_fen = _paid_fen(trade)
            writes.move(order, "PAID", paid_at=paid_at, paid_fen=paid_fen, due_at=None)
        writes.insert_all(Transition, *history)
        if not surplus:
            writes.insert(self._events.event("on_paid", order, writes.after))
        if order.payments_made > 1:  # another one may be live still: the sweep closes it now
            writes.after.call(partial(self._make_others_due, order.id))

    def _make_others_due(self, order_id: int) -> None:
        due = sql.OTHERS_ARE_DUE.run(order_id=order_id, due_at=self._clock.now())
        self._work.start(due)

    def _give_back(self, payment: Payment, shares: Sequence[Share], writes: Writes) -> None:
        """Write the refunds of surplus money down with the payment; the sweep sends them."""
        log.alarm("paid twice or too late", number=payment.number)
        now = self._clock.now()
        for share in shares:
            refund = Refund(
                order_id=payment.order_id,
                share_id=share.id,
                channel=share.channel,
                out_refund_no=f"{share.out_trade_no}S",
                refund_fen=share.total_fen,
                reserved_fen=share.total_fen,
                reason="重复或超时支付，自动退款",
                origin="surplus",
                state="PENDING",
                request="",
                created_at=now,
                due_at=now,
            )
            writes.insert(refund)

    async def open_payment(self, payment: Payment, prepay: dict[str, str]) -> None:
        """Note that WeChat accepted the prepay; a repeat under the same number renews it.

        Afterwards `payment` is what the table says, whoever was faster.
        """
        now = self._clock.now()
        opened = await sql.OPEN_PAYMENT.run(
            id=payment.id, prepay=prepay, prepaid_at=now, due_at=now + FIRST_LOOK
        )
        if not opened:
            await payment.refresh_from_db()
            return
        payment.state = "OPEN"
        payment.prepay = prepay
        payment.prepaid_at = now

    async def close_payment(self, out_trade_no: str, cause: str, *, held: bool = False) -> None:
        """Move a payment that cannot be paid any more to CLOSED, and its CLOSING order after it.

        `held` is a person's word about a HELD payment; no answer of WeChat's closes one.
        """

        async def close() -> None:
            rows = await sql.payment_rows(out_trade_no)
            if rows is None or rows.payment.state not in (("HELD",) if held else ("NEW", "OPEN")):
                return
            async with transaction() as after:
                await self._close(rows.payment, rows.order, cause, after)

        await again(close)

    async def _close(self, payment: Payment, order: Order, cause: str, after: AfterCommit) -> None:
        again_at = self._clock.now() + AFTER_CLOSING
        await self._move(payment, "CLOSED", cause, after, live=None, due_at=again_at, looks=0)
        if order.state == "CLOSING":
            await self._close_order(order, cause, after)

    # -- orders

    async def start_closing(self, order_no: str, cause: str) -> Order:
        """Move an OPEN order to CLOSING: it takes no new payments, the sweep closes the live one.

        One without a payment that may succeed is CLOSED at once. Returns the order as it is.
        """

        async def start() -> Order:
            order = await Order.get(order_no=order_no)
            if order.state not in ("OPEN", "CLOSING"):
                return order
            async with transaction() as after:
                now = self._clock.now()
                # payments before their order, as in _pay: two that meet wait, neither deadlocks
                if order.state == "OPEN":
                    await sql.LIVE_IS_DUE.run(order_id=order.id, due_at=now)
                    await self._move(order, "CLOSING", cause, after, due_at=now)
                await self._close_order(order, cause, after)
            return order

        return await again(start)

    async def _close_order(self, order: Order, cause: str, after: AfterCommit) -> None:
        """Move a CLOSING order to CLOSED when every payment of it is confirmed CLOSED."""
        if not await sql.CLOSE_ORDER.run(id=order.id):
            return
        history = self._line(order, "CLOSED", cause, after)
        _log_move(order, "CLOSED", cause, after)
        order.state = "CLOSED"
        await sql.add(Transition, history)
        await self._events.write("on_closed", order, after)

    # -- refunds

    async def reserve(
        self, refund: Refund, share: Share, *, surplus: bool, takes_turn: bool
    ) -> None:
        """Insert a refund and reserve its money, in the open transaction; raise Overtaken if not.

        `takes_turn`: it is sent now. A surplus share's money never was the order's.
        Raises IntegrityError when the number or the idempotency key is taken.
        """
        reserved = await sql.RESERVE.run(
            id=share.id,
            reserved_fen=refund.reserved_fen,
            refunds_made=share.refunds_made,
            refunds_made__next=share.refunds_made + 1,
            refund_sent_at=refund.created_at if takes_turn else share.refund_sent_at,
        )
        if not reserved:
            raise Overtaken(f"share {share.out_trade_no} moved on")
        if not surplus and refund.state in UNDER_WAY:
            fen = refund.refund_fen
            await sql.ADD_TO_ORDER.run(id=refund.order_id, refunding_fen=fen, refunded_fen=0)
        await sql.insert(refund)

    async def record_refund(
        self, channel: str, trade: RefundTrade, source: Source, *, adopts: bool = False
    ) -> Outcome:
        """Let a proved RefundTrade move its refund, at most once.

        `adopts`: a number that we do not know was made in the merchant platform, and is written
        in the same transaction. Otherwise it is UNMATCHED.
        """
        return await again(lambda: self._record_refund(channel, trade, source, adopts))

    async def _record_refund(
        self, channel: str, trade: RefundTrade, source: Source, adopts: bool
    ) -> Outcome:
        rows = await sql.refund_rows(channel, trade.out_refund_no, source.channel, source.key)
        is_new = rows is None and adopts
        if is_new:
            rows = await self._adopted(trade, source)
        if rows is None:
            return await self._unmatched(source, trade.out_trade_no, "unknown refund")
        if settled := _settled(rows.notification):
            return settled
        outcome = _refund_outcome(rows, trade)
        if outcome.name == "REFUSED":
            log.alarm(
                "refund's truth refused",
                number=trade.out_refund_no,
                reason=outcome.reason,
                word=trade.word,
                fen=trade.refund_fen,
                expected_fen=rows.refund.refund_fen,
            )
        if not source.channel and outcome.name != "APPLIED":
            return outcome
        async with transaction() as after:
            cause = await stored(source, outcome, trade.out_trade_no, rows.notification)
            if outcome.name == "APPLIED":
                if is_new:
                    surplus = rows.payment.surplus
                    await self.reserve(rows.refund, rows.share, surplus=surplus, takes_turn=True)
                await self._move_refund(rows, trade, cause, after)
        return outcome

    async def _adopted(self, trade: RefundTrade, source: Source) -> RefundRows | None:
        """Build the rows of a refund of the merchant platform; None when it does not fit."""
        rows = await sql.payment_rows(trade.out_trade_no, source.channel, source.key)
        if rows is None or rows.payment.state != "PAID":
            return None
        share = next(s for s in rows.shares if s.out_trade_no == trade.out_trade_no)
        reserved = 0 if trade.state == "CLOSED" else trade.refund_fen  # it failed there
        if reserved > share.total_fen - share.reserved_fen:
            log.alarm("refund made elsewhere does not fit", number=trade.out_refund_no)
            return None
        refund = Refund(
            order_id=rows.order.id,
            share_id=share.id,
            channel=share.channel,
            out_refund_no=trade.out_refund_no,
            refund_fen=trade.refund_fen,
            reserved_fen=reserved,
            reason="",
            origin="merchant_platform",
            state="PENDING",
            request=trade.request,
            created_at=self._clock.now(),
        )
        return RefundRows(refund, share, rows.payment, rows.order, rows.notification)

    async def _move_refund(
        self, rows: RefundRows, trade: RefundTrade, cause: str, after: AfterCommit
    ) -> None:
        """Move to PROCESSING and beyond; whoever moves first, moves all."""
        refund = rows.refund
        now = self._clock.now()
        steps = ["PROCESSING"] if refund.state in ("PENDING", "REJECTED") else []
        steps += [trade.state] if trade.state != "PROCESSING" else []
        # a day's bill is compared by it. One that was sent twice, because an answer was lost, was
        # accepted before its end; one made elsewhere may tell only its end, maybe of another day
        accepted_at = trade.accepted_at or refund.accepted_at or refund.sent_at
        if accepted_at and trade.refunded_at:
            accepted_at = min(accepted_at, trade.refunded_at)
        await self._book(rows, steps[-1])
        for step in steps:
            await self._move(
                refund,
                step,
                cause,
                after,
                refund_id=trade.refund_id,
                accepted_at=accepted_at,
                refunded_at=trade.refunded_at if step == "SUCCESS" else None,
                reserved_fen=refund.reserved_fen,
                due_at=now + REFUND_LOOK if step in ("PROCESSING", "ABNORMAL") else None,
                trouble="",
                looks=0,
            )
        if refund.state == "SUCCESS":
            await self._refunded(rows, cause, after)
        elif refund.state != "PROCESSING":  # CLOSED and ABNORMAL need a person
            log.alarm("refund failed", number=refund.out_refund_no, state=refund.state, why=cause)

    async def record_unconfirmed(self, source: Source, out_trade_no: str) -> Outcome:
        """Store a refund's notification that no query has confirmed yet; the sweep asks again."""
        return await again(lambda: self._unmatched(source, out_trade_no, "not confirmed"))

    async def reject(self, channel: str, out_refund_no: str, cause: str) -> None:
        """Give a PENDING refund up that WeChat refused for good; its reservation is let go."""

        async def reject() -> None:
            rows = await sql.refund_rows(channel, out_refund_no)
            if rows is None or rows.refund.state != "PENDING":
                return
            code, _, request_id = rows.refund.trouble.partition(" ")
            log.alarm(
                "refund failed",
                number=out_refund_no,
                state="REJECTED",
                why=cause,
                code=code,
                wechat_request_id=request_id,
            )
            async with transaction() as after:
                await self._book(rows, "REJECTED")
                await self._move(
                    rows.refund,
                    "REJECTED",
                    cause,
                    after,
                    reserved_fen=rows.refund.reserved_fen,
                    due_at=None,
                    trouble=cause[:255],
                )

        await again(reject)

    async def _book(self, rows: RefundRows, state: str) -> None:
        """Change the sums of share and order as a refund moves to `state`: before its own row.

        A REJECTED refund that turns out to be done reserves again, as far as there is room.
        """
        refund = rows.refund
        share = rows.share
        payment = rows.payment
        fen = refund.refund_fen
        room = share.total_fen - share.reserved_fen
        reserved = 0 if state in LET_GO else min(fen, room + refund.reserved_fen)
        if reserved < fen and state not in LET_GO:
            log.alarm("refunds exceed what was paid", number=refund.out_refund_no)
        refunded = fen if state == "SUCCESS" else 0
        change = reserved - refund.reserved_fen
        if (change or refunded) and not await sql.ADD_TO_SHARE.run(
            id=share.id, reserved_fen=change, refunded_fen=refunded
        ):
            raise Overtaken(f"share {share.out_trade_no} moved on")
        under_way = ((state in UNDER_WAY) - (refund.state in UNDER_WAY)) * fen
        if not payment.surplus and (under_way or refunded):
            await sql.ADD_TO_ORDER.run(
                id=refund.order_id, refunding_fen=under_way, refunded_fen=refunded
            )
        refund.reserved_fen = reserved

    async def _refunded(self, rows: RefundRows, cause: str, after: AfterCommit) -> None:
        """Tell the owner; an order of which nothing is left is REFUNDED."""
        refund = rows.refund
        order = rows.order
        if rows.payment.surplus:
            return
        if await sql.REFUND_ORDER.run(id=order.id):
            await sql.add(Transition, self._line(order, "REFUNDED", cause, after))
            _log_move(order, "REFUNDED", cause, after)
            order.state = "REFUNDED"
        await self._events.write("on_refunded", order, after, refund)

    # -- what all of them share

    async def _move(
        self,
        row: Order | Payment | Refund,
        state: str,
        cause: str,
        after: AfterCommit,
        **values: object,
    ) -> None:
        """Compare and set with one line of history, in the open transaction."""
        history = self._line(row, state, cause, after)
        _log_move(row, state, cause, after)
        await compare_and_set(row, state, **values)
        await sql.add(Transition, history)

    def _add_move(
        self,
        row: Order | Payment | Refund,
        state: str,
        cause: str,
        writes: Writes,
        **values: object,
    ) -> None:
        """Compare and set with one line of history, together with what else is written."""
        history = self._line(row, state, cause, writes.after)
        _log_move(row, state, cause, writes.after)
        writes.move(row, state, **values)
        writes.insert_all(Transition, history)

    def _line(
        self, row: Order | Payment | Refund, state: str, cause: str, after: AfterCommit
    ) -> dict[str, Any]:
        """Return the row of history of a move; a move that no table names is a mistake of ours."""
        subject, number, allowed = _about(row)
        if state not in allowed[row.state]:
            log.alarm("move refused", number=number, from_state=row.state, to_state=state)
            raise AssertionError(f"{subject} {number}: {row.state} does not move to {state}")
        after.call(partial(self._events.moved, subject, state))
        return {
            "subject": subject,
            "number": number,
            "from_state": row.state,
            "to_state": state,
            "cause": cause[:255],
            "at": self._clock.now(),
        }

    async def _unmatched(
        self, source: Source, out_trade_no: str, reason: str = "unknown number"
    ) -> Outcome:
        """Store a notification that names nobody's number; the sweep tries it again for a day."""
        outcome = Outcome("UNMATCHED", reason)
        if not source.channel:
            return outcome
        row = await Notification.get_or_none(channel=source.channel, key=source.key)
        if settled := _settled(row):
            return settled
        await stored(source, outcome, out_trade_no, row)
        return outcome


def _log_move(
    row: Order | Payment | Refund, state: str, cause: str, after: AfterCommit, **more: str
) -> None:
    """Log a move once it is committed; a payment's with the id of the request that began it."""
    _, number, _ = _about(row)
    begun = {"prepay_request_id": row.request_id} if isinstance(row, Payment) else {}
    fields = {"number": number, "to_state": state, "cause": cause, **begun, **more}
    after.call(partial(log.info, "moved", **fields))


def _about(row: Order | Payment | Refund) -> tuple[str, str, dict[str, set[str]]]:
    if isinstance(row, Order):
        return "order", row.order_no, ORDER
    if isinstance(row, Payment):
        return "payment", row.number, PAYMENT
    return "refund", row.out_refund_no, REFUND


def _settled(row: Notification | None) -> Outcome | None:
    return Outcome(row.outcome, row.reason) if row and row.outcome in FINAL else None


async def stored(source: Source, outcome: Outcome, number: str, row: Notification | None) -> str:
    """Store an outcome, in the open transaction if there is one; return the cause.

    Raises Overtaken when a copy was faster: the unit runs again and sees its outcome.
    """
    writes = Writes()
    cause = source.store(outcome, number, row, writes)
    try:
        await writes.send()
    except IntegrityError as error:
        raise Overtaken("a copy was faster") from error
    return cause


async def _named_by(trade: Trade, source: Source) -> PaymentRows | None:
    """Find the payment by any share's number."""
    for share in trade.shares:
        if rows := await sql.payment_rows(share.out_trade_no, source.channel, source.key):
            return rows
    return None


def _alarm_refused(rows: PaymentRows, trade: Trade, reason: str) -> None:
    log.alarm(
        "trade refused",
        number=rows.payment.number,
        reason=reason,
        word=trade.word,
        fen=sum(share.total_fen or 0 for share in trade.shares),
        expected_fen=rows.payment.total_fen,
    )


def _pay_shares(shares: Sequence[Share], trade: Trade, writes: Writes, *, surplus: bool) -> None:
    """Give each share its transaction_id; surplus money is reserved for its refund at once."""
    theirs = {share.out_trade_no: share.transaction_id for share in trade.shares}
    for share in shares:
        writes.run(
            sql.PAID_SHARE,
            id=share.id,
            transaction_id=theirs[share.out_trade_no],
            reserved_fen=share.total_fen if surplus else share.reserved_fen,
            refunds_made=1 if surplus else share.refunds_made,
        )


def _paid_fen(trade: Trade) -> int:
    """Add up what the buyer paid after coupons; where that is not said, the price."""
    return sum(
        share.total_fen or 0 if share.payer_total_fen is None else share.payer_total_fen
        for share in trade.shares
    )


def _refund_outcome(rows: RefundRows, trade: RefundTrade) -> Outcome:
    """Judge a proved RefundTrade against our rows; nothing is read or written here."""
    refund = rows.refund
    if reason := refund_mismatch(refund, rows.share, trade):
        return Outcome("REFUSED", reason)
    if refund.state == "REJECTED" and trade.state == "CLOSED":
        return Outcome("DUPLICATE")  # either way nothing went back
    if refund.state in ("PENDING", "REJECTED") or trade.state in REFUND[refund.state]:
        return Outcome("APPLIED")
    if refund.state == trade.state or trade.state == "PROCESSING":  # old news
        return Outcome("DUPLICATE")
    return Outcome("REFUSED", f"it is {refund.state} here")
