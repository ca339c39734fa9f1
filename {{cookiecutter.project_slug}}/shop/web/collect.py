"""The amount widget 金额控件: the buyer types what to pay."""

from checkout.errors import SceneOff
from checkout.orders import Item
from checkout.payments import Payer
from shop import money
from shop.web.api import Api, Call, JsonAnswer
from shop.web.shapes import Collected, NewCollect

api = Api()


@api("POST", "/api/collect", takes=NewCollect, gives={201: Collected, 200: Collected}, keyed=True)
async def collect(call: Call[NewCollect]) -> JsonAnswer:
    """Order the amount that the buyer typed, and start to pay it; service providers only."""
    key, body = call.idempotency_key(), call.body
    fen = money.fen(body.amount_yuan, call.shop.settings.collect_fen, field="amount_yuan")
    if not call.shop.checkout.payments.has_widget(body.scene):
        raise SceneOff("amounts are collected in service-provider mode only")

    async def price() -> list[Item]:
        return [Item(sku="collect", name="付款 Payment", quantity=1, price_fen=fen)]

    asked = [fen, body.scene, body.widget]
    order, _, is_new = await call.shop.checkout.place(
        call.buyer_id, key, asked, price, widget=body.widget
    )
    payer = Payer(await call.shop.login.openids(call.buyer_id), call.client_ip())
    started = await call.shop.checkout.start_payment(
        order.order_no, call.buyer_id, payer, body.scene
    )
    collected = Collected(order.order_no, started.out_trade_no, started.opens["invoke"])
    return JsonAnswer(201 if is_new else 200, collected)
