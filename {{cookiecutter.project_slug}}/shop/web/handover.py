"""Hand an order over 交接: an App or a browser gives it to the mini program."""

from shop.web.api import Answer, Api, Call
from shop.web.orders import own_order
from shop.web.shapes import HandedOver, Nothing, OrderView, Token
from shop.web.views import views

api = Api()


@api("POST", "/api/orders/{order_no}/handover", gives={200: HandedOver})
async def hand_over(call: Call[Nothing], order_no: str) -> Answer:
    """Make a token that claims this order, and the mini program's page to open with it."""
    token, path = await call.shop.handover.issue(await own_order(call, order_no))
    return Answer(200, HandedOver(token, path))


@api("POST", "/api/handover", takes=Token, gives={200: OrderView})
async def claim(call: Call[Token]) -> Answer:
    """Claim the order of a token: single use, ten minutes; an order's number claims nothing."""
    order = await call.shop.handover.claim(call.body.token, call.buyer_id)
    return Answer(200, (await views([order]))[0])
