"""The amount widget 金额控件: the buyer types what to pay."""

from checkout.errors import SceneOff
from checkout.orders import Item
from shop import money
from shop.web.api import Api, Call, JsonAnswer
from shop.web.orders import start
from shop.web.shapes import Collected, NewCollect

api = Api("collect")


@api("POST", "/api/collect", takes=NewCollect, gives={201: Collected, 200: Collected}, keyed=True)
async def collect(call: Call[NewCollect]) -> JsonAnswer:
    """Order the amount that the buyer typed, and start to pay it; service providers only."""
    key = call.idempotency_key()
    body = call.body
    fen = money.fen(body.amount_yuan, call.shop.settings.collect_fen, field="amount_yuan")
    if body.scene not in call.shop.checkout.payments.widget_scenes():
        raise SceneOff("amounts are collected in service-provider mode only")

    call.shop.limits.check_order(call.buyer_id)

    async def price() -> list[Item]:
        await call.shop.limits.check_open_orders(call.buyer_id)
        return [Item(sku="collect", name="付款 Payment", quantity=1, price_fen=fen)]

    asked = [fen, body.scene, body.widget]
    order, _, is_new = await call.shop.checkout.place(
        call.buyer_id, key, asked, price, widget=body.widget
    )
    started = await start(call, order.order_no, body.scene)
    collected = Collected(order.order_no, started.out_trade_no, started.opens["invoke"])
    return JsonAnswer(201 if is_new else 200, collected)
