"""The amount widget 金额控件: the buyer types an amount, and pays it."""

from shop import errors, money
from shop.checkout import Buyer
from shop.web.api import Answer, Api, Call
from shop.web.shapes import Collected, NewCollect

api = Api()


@api(
    "POST",
    "/api/collect",
    takes=NewCollect,
    gives={201: Collected, 200: Collected},
    keyed=True,
)
async def collect(call: Call[NewCollect]) -> Answer:
    """Order an amount that the buyer typed, and start to pay it; service providers only."""
    key, asked, checkout = call.idempotency_key(), call.body, call.shop.checkout
    fen = money.fen(asked.amount_yuan, call.shop.settings.collect_fen, field="amount_yuan")
    if not checkout.has_widget(asked.scene):
        raise errors.SceneOff("amounts are collected in service-provider mode only")
    order, new = await call.shop.ordering.collect(
        call.buyer_id, fen, asked.scene, asked.widget, key
    )
    buyer = Buyer(call.buyer_id, call.client_ip())
    payment, opens, _ = await checkout.start_payment(order, buyer, asked.scene)
    answer = Collected(order.order_no, payment.out_trade_no, **opens)
    return Answer(201 if new else 200, answer)
