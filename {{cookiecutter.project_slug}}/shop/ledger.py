"""Record what happened 记账: a payment's truth moves it and its order, once.

Everything that proves money came, a notification or a query, passes `record`; refund_ledger.py
is the same for money that goes back, moves.py writes the states for both.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from tortoise.exceptions import IntegrityError
from tortoise.queryset import QuerySet

from shop import log
from shop.channels import Trade
from shop.clock import Clock
from shop.models import Order, Payment
from shop.moves import ORDER, PAYMENT, Moves
from shop.refund_ledger import new_refund
from shop.source import Source, Verdict
from shop.work import transaction

AFTER_CLOSING = timedelta(minutes=10)  # then a closed payment is looked at once more


def mismatch(payments: Sequence[Payment], trades: Sequence[Trade]) -> str:
    """Return the first thing in what was said of payments that is not what we sent, or ""."""
    said = {trade.out_trade_no: trade for trade in trades}
    if len(trades) != len(payments) or said.keys() != {one.out_trade_no for one in payments}:
        return "sub_orders"
    if len({trade.state for trade in trades}) > 1:
        return "sub_orders disagree"
    pairs = [(payment, said[payment.out_trade_no]) for payment in payments]
    return next(filter(None, (_different(*pair) for pair in pairs)), "")


def _different(payment: Payment, trade: Trade) -> str:
    if trade.state != "PAID":
        return ""
    for name, sent in payment.parties.items():
        if trade.parties.get(name) != sent:
            return name
    if trade.total_fen != payment.total_fen:
        return "amount"
    if trade.currency != "CNY":
        return "currency"
    return "" if trade.transaction_id else "transaction_id"


async def _open_payments(order_id: int) -> QuerySet[Payment]:
    """Return the order's open payments by id: MySQL would lock its index on order_id as well."""
    found = Payment.filter(order_id=order_id, state__in=("NEW", "OPEN"), part=1)
    return Payment.filter(id__in=await found.values_list("id", flat=True))


class _Overtaken(Exception):
    """Raised to roll back when somebody moved a payment between our read and our write."""


class Ledger:
    """Move payments and orders: each move once, with its history and its event."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moves = Moves(clock)

    async def record(
        self, channels: Sequence[str], trades: Sequence[Trade], source: Source
    ) -> Verdict:
        """Let proved Trades move the payments they name, all of a combined order or none, once."""
        numbers = [trade.out_trade_no for trade in trades]
        known = await Payment.filter(out_trade_no__in=numbers, channel__in=channels).first()
        if known is None:
            log.alarm("unmatched", number=numbers[0], cause=source.cause)
            return await source.conclude(Verdict("UNMATCHED", "unknown number"), trades[0])
        payments, said = await known.parts(), trades[0].said
        origin = {"number": known.combine_out_trade_no, "prepay_request_id": known.request_id}
        log.info("trade", said=said, cause=source.cause, **origin)
        if wrong := mismatch(payments, trades):
            return await self._refuse(payments, trades, source, wrong)
        if trades[0].state == "PAID":
            return await self._pay(payments, trades, source)
        if source.inbox:
            return await self._refuse(payments, trades, source, "trade_state")
        if trades[0].state == "CLOSED":
            await self.close_payment(known, source.cause)
        return Verdict("APPLIED")

    async def _pay(
        self, payments: Sequence[Payment], trades: Sequence[Trade], source: Source
    ) -> Verdict:
        proofs = {trade.out_trade_no: trade for trade in trades}
        while unpaid := [payment for payment in payments if payment.state != "PAID"]:
            try:
                await self._pay_once(unpaid, proofs, source)
                return Verdict("APPLIED")
            except IntegrityError:
                return await self._refuse(payments, trades, source, "transaction_id is known")
            except _Overtaken:
                payments = await payments[0].parts()
        if all(one.transaction_id == proofs[one.out_trade_no].transaction_id for one in payments):
            return await source.conclude(Verdict("DUPLICATE"), trades[0])
        return await self._refuse(payments, trades, source, "second transaction")

    async def _pay_once(
        self, payments: Sequence[Payment], proofs: Mapping[str, Trade], source: Source
    ) -> None:
        now, first = self._clock.now(), proofs[payments[0].out_trade_no]
        paid_at = first.paid_at or now
        async with transaction():
            for payment in payments:
                number = proofs[payment.out_trade_no].transaction_id
                proof = {"transaction_id": number, "paid_at": paid_at, "due_at": None}
                if not await self._moves.move(payment, "PAID", source.cause, live=None, **proof):
                    raise _Overtaken
            await self._pay_order(payments, source.cause, paid_at)
            await source.conclude(Verdict("APPLIED"), first)
        # another payment of this order may be live still: the sweep closes it now
        await (await _open_payments(payments[0].order_id)).update(due_at=now)

    async def _pay_order(self, payments: Sequence[Payment], cause: str, paid_at: datetime) -> None:
        order = await Order.get(id=payments[0].order_id)
        while "PAID" in ORDER[order.state]:
            if await self._moves.move(order, "PAID", cause, paid_at=paid_at, due_at=None):
                await self._moves.event(order, "on_paid")
                return
            await order.refresh_from_db()
        for payment in payments:
            await self._give_back(payment, order)

    async def _give_back(self, payment: Payment, order: Order) -> None:
        """Write the refund of surplus money down with the payment; the sweep sends it."""
        log.alarm("paid twice or too late", number=payment.out_trade_no, order_no=order.order_no)
        all_of_it = {"surplus": True, "reserved_fen": payment.total_fen, "refunds_made": 1}
        await Payment.filter(id=payment.id).update(**all_of_it)
        now, reason = self._clock.now(), "重复或超时支付，自动退款"
        number, dates = f"{payment.out_trade_no}S", {"created_at": now, "due_at": now}
        origin = {"out_refund_no": number, "reason": reason, "origin": "surplus"}
        await new_refund(payment, payment.total_fen, **origin, **dates).save()

    async def _refuse(
        self, payments: Sequence[Payment], trades: Sequence[Trade], source: Source, reason: str
    ) -> Verdict:
        """Refuse a truth that does not fit our rows: only a query's holds them."""
        fen = {"fen": sum(one.total_fen or 0 for one in trades)}
        fen["expected_fen"] = sum(one.total_fen for one in payments)
        number, states = payments[0].out_trade_no, {trade.state for trade in trades}
        log.alarm("trade refused", number=number, reason=reason, said=trades[0].said, **fen)
        if source.inbox is None and states != {"OPEN"}:
            cause = f"{source.cause}: {reason}"
            async with transaction():
                for payment in payments:
                    if "HELD" in PAYMENT[payment.state]:
                        await self._moves.move(payment, "HELD", cause, due_at=None)
        return await source.conclude(Verdict("REFUSED", reason), trades[0])

    async def open_payment(
        self, payment: Payment, prepay: dict[str, str], *, due_at: datetime
    ) -> None:
        """Note that WeChat accepted the prepay; a repeat under the same number renews it."""
        values = {"prepay": prepay, "prepaid_at": self._clock.now(), "due_at": due_at}
        async with transaction():
            for part in await payment.parts():
                mine = values if part.part == 1 else {}
                moved = part.state == "NEW" and await self._moves.move(
                    part, "OPEN", "prepay", **mine
                )
                if mine and not moved:
                    await Payment.filter(id=part.id, state="OPEN").update(**mine)
        await payment.refresh_from_db()

    async def close_payment(self, payment: Payment, cause: str, *, held: bool = False) -> None:
        """Move a payment that cannot be paid any more to CLOSED, and its CLOSING order after it.

        All parts of a combined one go together. `held` is a person's word about a HELD payment;
        no answer of WeChat's closes one.
        """
        again, now = self._clock.now() + AFTER_CLOSING, await payment.parts()
        async with transaction():
            for part in [one for one in now if held is (one.state == "HELD")]:
                due_at = again if part.part == 1 else None
                if part.state != "CLOSED":
                    await self._moves.move(part, "CLOSED", cause, live=None, due_at=due_at, looks=0)
        await payment.refresh_from_db()
        await self.close_order(await Order.get(id=payment.order_id), cause)

    async def start_closing(self, order: Order, cause: str) -> None:
        """Move an OPEN order to CLOSING: it takes no new payments, the sweep closes the old."""
        now, live = self._clock.now(), await _open_payments(order.id)
        async with transaction():
            # payments before their order, as in _pay_once: two that meet wait, neither deadlocks
            await live.update(due_at=now, looks=0)
            await self._moves.move(order, "CLOSING", cause, due_at=now)
        await order.refresh_from_db()

    async def close_order(self, order: Order, cause: str) -> None:
        """Move a CLOSING order to CLOSED when every payment of it is confirmed CLOSED."""
        if order.state != "CLOSING":
            return
        if await Payment.filter(order_id=order.id).exclude(state="CLOSED").exists():
            return  # a CLOSING order gets no new payment, so this look holds for the move below
        async with transaction():
            if await self._moves.move(order, "CLOSED", cause, due_at=None):
                await self._moves.event(order, "on_closed")
        await order.refresh_from_db()
