"""Show orders and payments to their buyer."""

from collections.abc import Sequence

from shop.models import Order, Payment
from shop.web.shapes import ItemView, OrderView, PaymentView


async def views(orders: Sequence[Order]) -> list[OrderView]:
    """Show orders with their items and payments: two queries, however many orders."""
    await Order.fetch_for_list(list(orders), "items", "payments")
    return [view(order) for order in orders]


def view(order: Order) -> OrderView:
    """Show an order whose items and payments are fetched."""
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
        refunds=[],
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
