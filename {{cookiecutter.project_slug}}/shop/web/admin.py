"""For the operator: what is in the books, give money back, ask WeChat again."""

from datetime import date
from typing import Any

from tortoise.queryset import QuerySet

from checkout.errors import BadRequest, NotFound
from checkout.models import BillDifference, Notification, Order, Payment, Refund
from shop.web.api import Api, Call, JsonAnswer
from shop.web.shapes import (
    AdminNotification,
    AdminNotifications,
    AdminPayment,
    AdminPayments,
    AdminRefund,
    AdminRefunds,
    DifferencePage,
    DifferenceView,
    NewRefund,
    Nothing,
    OrderPage,
    OutcomeView,
    PaymentView,
    Reason,
)
from shop.web.views import admin_refund, order_views, payment_view, shares_of

api = Api("admin")
PAGE = 50


@api("GET", "/api/admin/orders", gives={200: OrderPage}, who="admin")
async def all_orders(call: Call[Nothing]) -> JsonAnswer:
    """List orders, newest first; `?state=` narrows."""
    rows, more = await _page(call, Order.all(), "state")
    return JsonAnswer(200, OrderPage(await order_views(rows), more))


@api("GET", "/api/admin/payments", gives={200: AdminPayments}, who="admin")
async def all_payments(call: Call[Nothing]) -> JsonAnswer:
    """List payments, newest first, each of their shares; `?state=HELD` wait for a person."""
    rows, more = await _page(call, Payment.all().select_related("order"), "state")
    shares = await shares_of([row.id for row in rows])
    payments = [
        AdminPayment(
            out_trade_no=share.out_trade_no,
            order_no=payment.order.order_no,
            channel=payment.channel,
            scene=payment.scene,
            state=payment.state,
            total_fen=share.total_fen,
            transaction_id=share.transaction_id,
            created_at=payment.created_at,
            paid_at=payment.paid_at,
        )
        for payment in rows
        for share in shares
        if share.payment_id == payment.id
    ]
    return JsonAnswer(200, AdminPayments(payments, more))


@api("GET", "/api/admin/notifications", gives={200: AdminNotifications}, who="admin")
async def all_notifications(call: Call[Nothing]) -> JsonAnswer:
    """List notifications, newest first; `?outcome=` narrows."""
    rows, more = await _page(call, Notification.all(), "outcome")
    notifications = [
        AdminNotification(
            n.id, n.channel, n.kind, n.key, n.outcome, n.reason, n.out_trade_no, n.received_at
        )
        for n in rows
    ]
    return JsonAnswer(200, AdminNotifications(notifications, more))


@api("GET", "/api/admin/refunds", gives={200: AdminRefunds}, who="admin")
async def all_refunds(call: Call[Nothing]) -> JsonAnswer:
    """List refunds, newest first; `?state=ABNORMAL` are those that wait for a person."""
    refunds = Refund.all().select_related("order", "share")
    rows, more = await _page(call, refunds, "state")
    views = [admin_refund(refund, refund.share, refund.order) for refund in rows]
    return JsonAnswer(200, AdminRefunds(views, more))


@api("GET", "/api/admin/differences", gives={200: DifferencePage}, who="admin")
async def all_differences(call: Call[Nothing]) -> JsonAnswer:
    """List what `python -m shop bill` found, newest first; `?date=2026-01-31` narrows."""
    rows, more = await _page(call, BillDifference.all(), "date")
    differences = [
        DifferenceView(d.channel, d.date, d.kind, d.number, d.here, d.there, d.found_at)
        for d in rows
    ]
    return JsonAnswer(200, DifferencePage(differences, more))


@api(
    "POST",
    "/api/admin/orders/{order_no}/refunds",
    takes=NewRefund,
    gives={202: AdminRefund, 200: AdminRefund},
    who="admin",
    keyed=True,
)
async def refund_order(call: Call[NewRefund], order_no: str) -> JsonAnswer:
    """Give money back; the same key and body again answer 200 with the same refund."""
    key = call.idempotency_key()
    asked = call.body
    refund, share, order, is_new = await call.shop.checkout.refund(
        order_no, asked.refund_fen, asked.reason, key, asked.out_trade_no
    )
    return JsonAnswer(202 if is_new else 200, admin_refund(refund, share, order))


@api("POST", "/api/admin/notifications/{number}/replay", gives={200: OutcomeView}, who="admin")
async def replay_notification(call: Call[Nothing], number: str) -> JsonAnswer:
    """Let the ledger decide again about a stored notification that is open."""
    if not number.isdecimal() or len(number) > 18:
        raise NotFound("no such notification")
    outcome, reason = await call.shop.checkout.replay(int(number))
    return JsonAnswer(200, OutcomeView(outcome, reason))


@api("POST", "/api/admin/payments/{out_trade_no}/query", gives={200: PaymentView}, who="admin")
async def query_payment(call: Call[Nothing], out_trade_no: str) -> JsonAnswer:
    """Ask WeChat about a payment, named by any share, and record the answers."""
    payment, share = await call.shop.checkout.query_payment(out_trade_no)
    return JsonAnswer(200, payment_view(payment, share))


@api(
    "POST",
    "/api/admin/payments/{out_trade_no}/close",
    takes=Reason,
    gives={200: PaymentView},
    who="admin",
)
async def close_held_payment(call: Call[Reason], out_trade_no: str) -> JsonAnswer:
    """Close a HELD payment, for the history with a reason; ask WeChat first."""
    payment, share = await call.shop.checkout.close_held(out_trade_no, call.body.reason)
    return JsonAnswer(200, payment_view(payment, share))


async def _page(
    call: Call[Nothing], rows: QuerySet[Any], argument: str
) -> tuple[list[Any], str | None]:
    """Return one page and the id that `?after=` takes for the next.

    The argument names a column that has an index together with the id.
    """
    if wanted := call.argument(argument):
        rows = rows.filter(**{argument: _day(wanted) if argument == "date" else wanted})
    if after := call.argument("after"):
        if not after.isdecimal() or len(after) > 18:
            raise BadRequest("must be the `next` of a page", field="after")
        rows = rows.filter(id__lt=int(after))
    page = await rows.order_by("-id").limit(PAGE + 1)
    return page[:PAGE], str(page[PAGE - 1].id) if len(page) > PAGE else None


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise BadRequest("a day like 2026-01-31", field="date") from None
