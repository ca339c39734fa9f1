"""For the operator: what is in the books, replay a notification, ask WeChat again."""

from typing import Any

from tortoise.queryset import QuerySet

from shop import errors
from shop.models import Notification, Order, Payment
from shop.web.api import Answer, Api, Call
from shop.web.shapes import (
    AdminNotification,
    AdminNotifications,
    AdminPayment,
    AdminPayments,
    Nothing,
    Orders,
    Outcome,
    PaymentView,
)
from shop.web.views import payment_view, views

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
    """Ask WeChat about one payment and record the answer."""
    payment = await Payment.get_or_none(out_trade_no=out_trade_no)
    if payment is None:
        raise errors.NotFound("no such payment")
    await call.shop.truth.ask(payment, "admin")
    return Answer(200, payment_view(payment))


async def _page(
    call: Call[Nothing], rows: QuerySet[Any], column: str
) -> tuple[list[Any], str | None]:
    """Return one page and the id that `?after=` takes for the next."""
    if wanted := call.argument(column):
        rows = rows.filter(**{column: wanted})
    if after := call.argument("after"):
        if not after.isdecimal() or len(after) > 18:
            raise errors.BadRequest("must be the `next` of a page", field="after")
        rows = rows.filter(id__lt=int(after))
    found = await rows.order_by("-id").limit(PAGE + 1)
    return found[:PAGE], str(found[PAGE - 1].id) if len(found) > PAGE else None
