"""Record what happened 记账: a payment's truth moves it and its order, once.

Everything that proves money came, a notification or a query, passes `record`; refund_ledger.py
is the same for money that goes back, moves.py writes the states for both.
"""

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


def mismatch(payment: Payment, trade: Trade) -> str:
    """Return the first thing in a paid Trade that is not what we sent, or ""."""
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
    found = Payment.filter(order_id=order_id, state__in=("NEW", "OPEN"))
    return Payment.filter(id__in=await found.values_list("id", flat=True))


class Ledger:
    """Move payments and orders: each move once, with its history and its event."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._moves = Moves(clock)

    async def record(self, channel: str, trade: Trade, source: Source) -> Verdict:
        """Let a proved Trade move its payment, at most once."""
        payment = await Payment.get_or_none(out_trade_no=trade.out_trade_no, channel=channel)
        if payment is None:
            log.alarm("unmatched", number=trade.out_trade_no, cause=source.cause)
            return await source.conclude(Verdict("UNMATCHED", "unknown number"), trade)
        origin = {"number": payment.out_trade_no, "prepay_request_id": payment.request_id}
        log.info("trade", said=trade.said, cause=source.cause, **origin)
        if trade.state == "PAID":
            if wrong := mismatch(payment, trade):
                return await self._refuse(payment, trade, source, wrong)
            return await self._pay(payment, trade, source)
        if source.inbox:
            return await self._refuse(payment, trade, source, "trade_state")
        if trade.state == "CLOSED":
            await self.close_payment(payment, source.cause)
        return Verdict("APPLIED")

    async def _pay(self, payment: Payment, trade: Trade, source: Source) -> Verdict:
        while payment.state != "PAID":
            try:
                if await self._pay_once(payment, trade, source):
                    return Verdict("APPLIED")
            except IntegrityError:
                return await self._refuse(payment, trade, source, "transaction_id is known")
            await payment.refresh_from_db()  # moved by somebody between our read and our write
        if trade.transaction_id == payment.transaction_id:
            return await source.conclude(Verdict("DUPLICATE"), trade)
        return await self._refuse(payment, trade, source, "second transaction")

    async def _pay_once(self, payment: Payment, trade: Trade, source: Source) -> bool:
        paid_at = trade.paid_at or self._clock.now()
        proof = {"transaction_id": trade.transaction_id, "paid_at": paid_at, "due_at": None}
        async with transaction():
            if not await self._moves.move(payment, "PAID", source.cause, live=None, **proof):
                return False
            await self._pay_order(payment, source.cause, paid_at)
            await source.conclude(Verdict("APPLIED"), trade)
        # another payment of this order may be live still: the sweep closes it now
        await (await _open_payments(payment.order_id)).update(due_at=self._clock.now())
        return True

    async def _pay_order(self, payment: Payment, cause: str, paid_at: datetime) -> None:
        order = await Order.get(id=payment.order_id)
        while "PAID" in ORDER[order.state]:
            if await self._moves.move(order, "PAID", cause, paid_at=paid_at, due_at=None):
                await self._moves.event(order, "on_paid")
                return
            await order.refresh_from_db()
        await self._give_back(payment, order)

    async def _give_back(self, payment: Payment, order: Order) -> None:
        """Write the refund of surplus money down with the payment; the sweep sends it."""
        log.alarm("paid twice or too late", number=payment.out_trade_no, order_no=order.order_no)
        all_of_it = {"surplus": True, "reserved_fen": payment.total_fen, "refunds_made": 1}
        await Payment.filter(id=payment.id).update(**all_of_it)
        now, reason = self._clock.now(), "重复或超时支付，自动退款"
        dates = {"created_at": now, "due_at": now}
        await new_refund(
            payment,
            payment.total_fen,
            out_refund_no=f"{payment.out_trade_no}S",
            reason=reason,
            origin="surplus",
            **dates,
        ).save()

    async def _refuse(self, payment: Payment, trade: Trade, source: Source, reason: str) -> Verdict:
        """Refuse a truth that does not fit our row: only a query's holds the payment."""
        fen = {"fen": trade.total_fen, "expected_fen": payment.total_fen}
        log.alarm(
            "trade refused", number=payment.out_trade_no, reason=reason, said=trade.said, **fen
        )
        if source.inbox is None and "HELD" in PAYMENT[payment.state]:
            async with transaction():
                await self._moves.move(payment, "HELD", f"{source.cause}: {reason}", due_at=None)
        return await source.conclude(Verdict("REFUSED", reason), trade)

    async def open_payment(
        self, payment: Payment, prepay: dict[str, str], *, due_at: datetime
    ) -> None:
        """Note that WeChat accepted the prepay; a repeat under the same number renews it."""
        values = {"prepay": prepay, "prepaid_at": self._clock.now(), "due_at": due_at}
        async with transaction():
            moved = payment.state == "NEW" and await self._moves.move(
                payment, "OPEN", "prepay", **values
            )
            if not moved:
                await Payment.filter(id=payment.id, state="OPEN").update(**values)
        await payment.refresh_from_db()

    async def close_payment(self, payment: Payment, cause: str, *, held: bool = False) -> None:
        """Move a payment that cannot be paid any more to CLOSED, and its CLOSING order after it.

        `held` is a person's word about a HELD payment; no answer of WeChat's closes one.
        """
        if payment.state == "CLOSED" or held is not (payment.state == "HELD"):
            return
        again = self._clock.now() + AFTER_CLOSING
        async with transaction():
            await self._moves.move(payment, "CLOSED", cause, live=None, due_at=again, looks=0)
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
