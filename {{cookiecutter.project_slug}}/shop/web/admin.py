"""For the operator: what is in the books, give money back, ask WeChat again."""

from datetime import date
from typing import Any

from tortoise.queryset import QuerySet

from shop import errors
from shop.models import BillDifference, Notification, Order, Payment, Refund
from shop.web.api import Answer, Api, Call
from shop.web.shapes import (
    AdminNotification,
    AdminNotifications,
    AdminPayment,
    AdminPayments,
    AdminRefund,
    AdminRefunds,
    Difference,
    Differences,
    NewRefund,
    Nothing,
    Orders,
    Outcome,
    PaymentView,
    Reason,
)
from shop.web.views import admin_refund, payment_view, views

api = Api()
PAGE = 50


@api("GET", "/api/admin/orders", gives={200: Orders}, who="admin")
async def all_orders(call: Call[Nothing]) -> Answer:
    """List orders, newest first; `?state=` narrows."""
    rows, more = await _page(call, Order.all(), "state")
    return Answer(200, Orders(await views(rows), more))


@api("GET", "/api/admin/payments", gives={200: AdminPayments}, who="admin")
async def all_payments(call: Call[Nothing]) -> Answer:
    """List payments, newest first; `?state=HELD` are those that wait for a person."""
    rows, more = await _page(call, Payment.all().prefetch_related("order"), "state")
    found = [
        AdminPayment(
            p.out_trade_no,
            p.order.order_no,
            p.channel,
            p.scene,
            p.state,
            p.total_fen,
            p.transaction_id,
            p.created_at,
            p.paid_at,
        )
        for p in rows
    ]
    return Answer(200, AdminPayments(found, more))


@api("GET", "/api/admin/notifications", gives={200: AdminNotifications}, who="admin")
async def all_notifications(call: Call[Nothing]) -> Answer:
    """List notifications, newest first; `?outcome=` narrows."""
    rows, more = await _page(call, Notification.all(), "outcome")
    found = [
        AdminNotification(
            n.id, n.channel, n.kind, n.key, n.outcome, n.reason, n.out_trade_no, n.received_at
        )
        for n in rows
    ]
    return Answer(200, AdminNotifications(found, more))


@api("GET", "/api/admin/refunds", gives={200: AdminRefunds}, who="admin")
async def all_refunds(call: Call[Nothing]) -> Answer:
    """List refunds, newest first; `?state=ABNORMAL` are those that wait for a person."""
    rows, more = await _page(call, Refund.all().prefetch_related("order", "payment"), "state")
    return Answer(200, AdminRefunds([admin_refund(row) for row in rows], more))


@api("GET", "/api/admin/differences", gives={200: Differences}, who="admin")
async def all_differences(call: Call[Nothing]) -> Answer:
    """List what `python -m shop bill` found, newest first; `?date=2026-01-31` narrows."""
    rows, more = await _page(call, BillDifference.all(), "date")
    found = [
        Difference(d.channel, d.date, d.kind, d.number, d.here, d.there, d.found_at) for d in rows
    ]
    return Answer(200, Differences(found, more))


@api(
    "POST",
    "/api/admin/orders/{order_no}/refunds",
    takes=NewRefund,
    gives={202: AdminRefund, 200: AdminRefund},
    who="admin",
    keyed=True,
)
async def refund_order(call: Call[NewRefund], order_no: str) -> Answer:
    """Give money back; the same key and body again answer 200 with the same refund."""
    key, asked = call.idempotency_key(), call.body
    order = await Order.get_or_none(order_no=order_no)
    if order is None:
        raise errors.NotFound("no such order")
    refund, new = await call.shop.refunds.start(
        order, asked.refund_fen, asked.reason, key, asked.out_trade_no
    )
    await refund.fetch_related("order", "payment")
    return Answer(202 if new else 200, admin_refund(refund))


@api("POST", "/api/admin/notifications/{number}/replay", gives={200: Outcome}, who="admin")
async def replay_notification(call: Call[Nothing], number: str) -> Answer:
    """Let the ledger decide again about a stored notification."""
    row = (
        await Notification.get_or_none(id=int(number))
        if number.isdecimal() and len(number) < 19
        else None
    )
    if row is None:
        raise errors.NotFound("no such notification")
    verdict = await call.shop.inbox.finish(row)
    return Answer(200, Outcome(verdict.outcome, verdict.reason))


@api("POST", "/api/admin/payments/{out_trade_no}/query", gives={200: PaymentView}, who="admin")
async def query_payment(call: Call[Nothing], out_trade_no: str) -> Answer:
    """Ask WeChat about one payment and its refunds, and record the answers."""
    payment = await _payment(out_trade_no)
    await call.shop.truth.ask(payment, "admin")
    for refund in await Refund.filter(payment_id=payment.id, state__in=("PROCESSING", "ABNORMAL")):
        await call.shop.refunds.ask(refund, "admin")
    return Answer(200, payment_view(payment))


@api(
    "POST",
    "/api/admin/payments/{out_trade_no}/close",
    takes=Reason,
    gives={200: PaymentView},
    who="admin",
)
async def close_held_payment(call: Call[Reason], out_trade_no: str) -> Answer:
    """Close a HELD payment, for the history with a reason; ask WeChat first."""
    payment = await _payment(out_trade_no)
    await call.shop.truth.ask(payment, "admin")
    if payment.state != "HELD":
        raise errors.BadRequest(f"the payment is {payment.state}, not HELD", field="out_trade_no")
    await call.shop.ledger.close_payment(payment, f"admin: {call.body.reason}", held=True)
    return Answer(200, payment_view(payment))


async def _payment(out_trade_no: str) -> Payment:
    payment = await Payment.get_or_none(out_trade_no=out_trade_no)
    if payment is None:
        raise errors.NotFound("no such payment")
    return payment


async def _page(
    call: Call[Nothing], rows: QuerySet[Any], column: str
) -> tuple[list[Any], str | None]:
    """Return one page and the id that `?after=` takes for the next."""
    if wanted := call.argument(column):
        rows = rows.filter(**{column: _day(wanted) if column == "date" else wanted})
    if after := call.argument("after"):
        if not after.isdecimal() or len(after) > 18:
            raise errors.BadRequest("must be the `next` of a page", field="after")
        rows = rows.filter(id__lt=int(after))
    found = await rows.order_by("-id").limit(PAGE + 1)
    return found[:PAGE], str(found[PAGE - 1].id) if len(found) > PAGE else None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise errors.BadRequest("a day like 2026-01-31", field="date") from None
