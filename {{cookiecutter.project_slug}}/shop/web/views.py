"""Show orders, payments and refunds: one entry for each share of a payment."""

from collections.abc import Collection, Sequence

from checkout import sql
from checkout.errors import NotFound
from checkout.models import Order, OrderItem, Payment, Refund, Share
from shop.web.shapes import AdminRefund, ItemView, OrderView, PaymentView, RefundView


async def own_order(order_no: str, buyer: str) -> tuple[Order, list[OrderItem]]:
    """Read an order that the buyer placed or claimed. Raises NotFound for any other."""
    rows = await sql.order_of(order_no, buyer)
    if rows is None:
        raise NotFound("no such order")
    return rows


async def order_view(order: Order, items: Sequence[OrderItem]) -> OrderView:
    """Show one order whole: two more statements."""
    shares = await sql.shares_of(order.id)
    return view(order, items, shares, await sql.refunds_of(order.id))


async def order_views(orders: Sequence[Order]) -> list[OrderView]:
    """Show several orders whole: four more statements, however many orders."""
    if not orders:
        return []
    ids = [order.id for order in orders]
    items = await OrderItem.filter(order_id__in=ids).order_by("id")
    payments = {payment.id: payment for payment in await Payment.filter(order_id__in=ids)}
    pairs = [(payments[share.payment_id], share) for share in await shares_of(payments)]
    refunds = await Refund.filter(order_id__in=ids).order_by("id")
    return [
        view(
            order,
            [item for item in items if item.order_id == order.id],
            [pair for pair in pairs if pair[0].order_id == order.id],
            [refund for refund in refunds if refund.order_id == order.id],
        )
        for order in orders
    ]


async def shares_of(payment_ids: Collection[int]) -> list[Share]:
    """Read the shares of several payments; a join would lead SQLite through all shares."""
    if not payment_ids:
        return []
    return await Share.filter(payment_id__in=list(payment_ids)).order_by("id")


def view(
    order: Order,
    items: Sequence[OrderItem],
    shares: Sequence[tuple[Payment, Share]],
    refunds: Sequence[Refund],
) -> OrderView:
    """Show an order with what belongs to it."""
    return OrderView(
        order_no=order.order_no,
        state=order.state,
        total_fen=order.total_fen,
        paid_fen=order.paid_fen,
        refunded_fen=order.refunded_fen,
        refunding_fen=order.refunding_fen,
        items=[ItemView(i.sku, i.name, i.quantity, i.price_fen) for i in items],
        created_at=order.created_at,
        expires_at=order.expires_at,
        paid_at=order.paid_at,
        payments=[payment_view(payment, share) for payment, share in shares],
        refunds=[refund_view(refund) for refund in refunds],
    )


def payment_view(payment: Payment, share: Share) -> PaymentView:
    """Show a share of a payment to its buyer: the state is the payment's."""
    return PaymentView(
        out_trade_no=share.out_trade_no,
        channel=payment.channel,
        scene=payment.scene,
        state=payment.state,
        transaction_id=share.transaction_id,
        paid_at=payment.paid_at,
    )


def refund_view(refund: Refund) -> RefundView:
    """Show a refund to its buyer."""
    return RefundView(
        out_refund_no=refund.out_refund_no,
        refund_fen=refund.refund_fen,
        state=refund.state,
        created_at=refund.created_at,
    )


def admin_refund(refund: Refund, share: Share, order: Order) -> AdminRefund:
    """Show a refund to an operator."""
    return AdminRefund(
        out_refund_no=refund.out_refund_no,
        out_trade_no=share.out_trade_no,
        order_no=order.order_no,
        refund_fen=refund.refund_fen,
        state=refund.state,
        origin=refund.origin,
        reason=refund.reason,
        trouble=refund.trouble,
        refund_id=refund.refund_id,
        created_at=refund.created_at,
        refunded_at=refund.refunded_at,
    )
