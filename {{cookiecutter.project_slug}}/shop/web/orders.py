"""Products, orders and their payments."""

from typing import Any

from tortoise.expressions import Q

from shop import errors
from shop.catalogue import products
from shop.checkout import Buyer
from shop.models import Order
from shop.ordering import Line
from shop.web.api import Answer, Api, Call
from shop.web.shapes import (
    NewOrder,
    NewPayment,
    Nothing,
    Orders,
    OrderView,
    Products,
    ProductView,
    Started,
)
from shop.web.views import views

api = Api()
PAGE = 20


@api("GET", "/api/products", gives={200: Products}, who="anyone")
async def list_products(call: Call[Nothing]) -> Answer:
    """List what is for sale."""
    views = [ProductView(p.sku, p.name, p.price_fen) for p in (await products()).values()]
    return Answer(200, Products(views))


@api("POST", "/api/orders", takes=NewOrder, gives={201: OrderView, 200: OrderView}, keyed=True)
async def place_order(call: Call[NewOrder]) -> Answer:
    """Place an order; the same key and body again answer 200 with the same order."""
    key = call.idempotency_key()
    lines = [Line(item.sku, item.quantity) for item in call.body.items]
    order, new = await call.shop.ordering.place(call.buyer_id, lines, key)
    return Answer(201 if new else 200, (await views([order]))[0])


@api("GET", "/api/orders", gives={200: Orders})
async def list_orders(call: Call[Nothing]) -> Answer:
    """List the buyer's own orders, newest first; `?after=` takes `next` of the page before."""
    mine = Order.filter(_of(call))
    if after := call.argument("after"):
        mine = mine.filter(id__lt=(await own_order(call, after)).id)
    page = await mine.order_by("-id").limit(PAGE + 1)
    more = page[PAGE - 1].order_no if len(page) > PAGE else None
    return Answer(200, Orders(await views(page[:PAGE]), more))


@api("GET", "/api/orders/{order_no}", gives={200: OrderView})
async def get_order(call: Call[Nothing], order_no: str) -> Answer:
    """Show one order; with `?refresh=1` ask WeChat first, at most once in three seconds."""
    order = await own_order(call, order_no)
    if call.argument("refresh") == "1":
        await call.shop.checkout.refresh(order)
        await order.refresh_from_db()
    return Answer(200, (await views([order]))[0])


@api(
    "POST",
    "/api/orders/{order_no}/payments",
    takes=NewPayment,
    gives={201: Started, 200: Started},
)
async def start_payment(call: Call[NewPayment], order_no: str) -> Answer:
    """Start to pay, or go on with the payment that is live."""
    order = await own_order(call, order_no)
    buyer = Buyer(call.buyer_id, call.client_ip())
    payment, opens, new = await call.shop.checkout.start_payment(
        order, buyer, call.body.scene, call.body.channel
    )
    return Answer(201 if new else 200, Started(payment.out_trade_no, payment.scene, **opens))


@api("POST", "/api/orders/{order_no}/cancel", gives={200: OrderView, 202: OrderView})
async def cancel_order(call: Call[Nothing], order_no: str) -> Answer:
    """Cancel; 202 CLOSING when WeChat does not let go of the payment yet."""
    order = await call.shop.checkout.cancel(await own_order(call, order_no))
    return Answer(200 if order.state == "CLOSED" else 202, (await views([order]))[0])


async def own_order(call: Call[Any], order_no: str) -> Order:
    """Return an order that the buyer placed or claimed. Raises NotFound for any other."""
    order = await Order.get_or_none(_of(call), order_no=order_no)
    if order is None:
        raise errors.NotFound("no such order")
    return order


def _of(call: Call[Any]) -> Q:
    return Q(buyer_id=call.buyer_id) | Q(claimed_by=call.buyer_id)
