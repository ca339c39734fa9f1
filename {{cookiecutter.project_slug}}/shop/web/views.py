"""Show orders, payments and refunds."""

from collections.abc import Sequence

from shop.models import Order, Payment, Refund
from shop.web.shapes import AdminRefund, ItemView, OrderView, PaymentView, RefundView


async def views(orders: Sequence[Order]) -> list[OrderView]:
    """Show orders whole: three more queries, however many orders."""
    await Order.fetch_for_list(list(orders), "items", "payments", "refunds")
    return [view(order) for order in orders]


def view(order: Order) -> OrderView:
    """Show an order whose items, payments and refunds are fetched."""
    return OrderView(
        order_no=order.order_no,
        state=order.state,
        total_fen=order.total_fen,
        refunded_fen=order.refunded_fen,
        refunding_fen=order.refunding_fen,
        items=[ItemView(i.sku, i.name, i.quantity, i.price_fen) for i in order.items],
        created_at=order.created_at,
        expires_at=order.expires_at,
        paid_at=order.paid_at,
        payments=[payment_view(payment) for payment in order.payments],
        refunds=[refund_view(refund) for refund in order.refunds],
    )


def payment_view(payment: Payment) -> PaymentView:
    """Show a payment to its buyer."""
    return PaymentView(
        payment.out_trade_no,
        payment.channel,
        payment.scene,
        payment.state,
        payment.transaction_id,
        payment.paid_at,
    )


def refund_view(refund: Refund) -> RefundView:
    """Show a refund to its buyer."""
    return RefundView(refund.out_refund_no, refund.refund_fen, refund.state, refund.created_at)


def admin_refund(refund: Refund) -> AdminRefund:
    """Show a refund, whose payment and order are fetched, to an operator."""
    return AdminRefund(
        refund.out_refund_no,
        refund.payment.out_trade_no,
        refund.order.order_no,
        refund.refund_fen,
        refund.state,
        refund.origin,
        refund.reason,
        refund.trouble,
        refund.refund_id,
        refund.created_at,
        refund.refunded_at,
    )
