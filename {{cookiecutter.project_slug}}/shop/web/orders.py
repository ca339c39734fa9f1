"""ProductsView, orders and their payments."""

from typing import Any

from checkout.errors import BadRequest
from checkout.models import Order
from checkout.orders import Item
from checkout.payments import Started
from shop.goods import Catalogue
from shop.settings import FORMER_CHANNELS
from shop.web.api import Api, Call, JsonAnswer
from shop.web.shapes import (
    HandedOver,
    NewOrder,
    NewOrderItem,
    NewPayment,
    Nothing,
    OrderPage,
    OrderView,
    ProductsView,
    ProductView,
    StartedView,
    Token,
)
from shop.web.views import order_view, order_views, own_order, view

api = Api("orders")
PAGE = 20
MAX_ID = 2**63 - 1
HANDOVER_PATH = "pages/order/order?number={order_no}&handover={token}"


@api("GET", "/api/products", gives={200: ProductsView}, who="anyone")
async def list_products(call: Call[Nothing]) -> JsonAnswer:
    """List what is for sale."""
    views = [
        ProductView(
            sku=product.sku,
            name=product.name,
            price_fen=product.price_fen,
            kind=product.kind,
            image=product.image,
        )
        for product in (await call.shop.products()).values()
    ]
    return JsonAnswer(200, ProductsView(views))


@api("POST", "/api/orders", takes=NewOrder, gives={201: OrderView, 200: OrderView}, keyed=True)
async def place_order(call: Call[NewOrder]) -> JsonAnswer:
    """Place an order; the same key and body again answer 200 with the same order."""
    key = call.idempotency_key()
    lines = call.body.items
    call.shop.limits.check_order(call.buyer_id)

    async def price() -> list[Item]:
        await call.shop.limits.check_open_orders(call.buyer_id)
        return await priced(lines, call.shop.products)

    asked = [[line.sku, line.quantity] for line in lines]
    order, items, is_new = await call.shop.checkout.place(call.buyer_id, key, asked, price)
    if is_new:
        return JsonAnswer(201, view(order, items, shares=[], refunds=[]))
    return JsonAnswer(200, await order_view(order, items))


async def priced(lines: list[NewOrderItem], products: Catalogue) -> list[Item]:
    """Return what was asked for at the catalogue's prices. Raises BadRequest."""
    catalogue = await products()
    for n, line in enumerate(lines):
        if line.sku not in catalogue:
            raise BadRequest("no such product", field=f"items[{n}].sku")
    return [
        Item(
            sku=line.sku,
            name=catalogue[line.sku].name,
            quantity=line.quantity,
            price_fen=catalogue[line.sku].price_fen,
            merchant=catalogue[line.sku].merchant,
            kind=catalogue[line.sku].kind,
        )
        for line in lines
    ]


@api("GET", "/api/orders", gives={200: OrderPage})
async def list_orders(call: Call[Nothing]) -> JsonAnswer:
    """List the buyer's own orders, newest first; `?after=` takes `next` of the page before."""
    before = MAX_ID
    if after := call.argument("after"):
        before = (await own_order(after, call.buyer_id))[0].id
    page = await _own_orders(call.buyer_id, before)
    more = page[PAGE - 1].order_no if len(page) > PAGE else None
    return JsonAnswer(200, OrderPage(await order_views(page[:PAGE]), more))


async def _own_orders(buyer_id: str, before: int) -> list[Order]:
    """Read a page and one more: an index serves who placed, another who claimed, none both."""
    orders: dict[int, Order] = {}
    for own in (Order.filter(buyer=buyer_id), Order.filter(claimed_by=buyer_id)):
        rows = await own.filter(id__lt=before).order_by("-id").limit(PAGE + 1)
        orders.update((order.id, order) for order in rows)
    return [orders[order_id] for order_id in sorted(orders, reverse=True)[: PAGE + 1]]


@api("GET", "/api/orders/{order_no}", gives={200: OrderView})
async def get_order(call: Call[Nothing], order_no: str) -> JsonAnswer:
    """Show one order; with `?refresh=1` ask WeChat first, at most once in three seconds."""
    order, items = await own_order(order_no, call.buyer_id)
    if call.argument("refresh") == "1":
        await call.shop.checkout.refresh(order)
        await order.refresh_from_db()
    return JsonAnswer(200, await order_view(order, items))


@api(
    "POST",
    "/api/orders/{order_no}/payments",
    takes=NewPayment,
    gives={201: StartedView, 200: StartedView},
)
async def start_payment(call: Call[NewPayment], order_no: str) -> JsonAnswer:
    """Start to pay, or go on with the payment that is live."""
    wanted = call.body.channel
    channel = FORMER_CHANNELS.get(wanted, wanted) if wanted else None
    started = await start(call, order_no, call.body.scene, channel)
    body = StartedView(started.out_trade_no, started.scene, **started.opens)
    return JsonAnswer(201 if started.is_new else 200, body)


async def start(call: Call[Any], order_no: str, scene: str, channel: str | None = None) -> Started:
    """Start to pay as the buyer who calls; what is not the live payment again is counted."""
    limits = call.shop.limits
    limits.check_start(call.buyer_id, order_no)
    started = None
    try:
        started = await call.shop.checkout.start_payment(
            order_no, call.buyer_id, await call.payer(), scene, channel
        )
    finally:
        if started is None or started.is_new:
            limits.count_new_payment(call.buyer_id, order_no)
    return started


@api("POST", "/api/orders/{order_no}/cancel", gives={200: OrderView, 202: OrderView})
async def cancel_order(call: Call[Nothing], order_no: str) -> JsonAnswer:
    """Cancel; 202 CLOSING when WeChat does not let go of the payment yet."""
    _, items = await own_order(order_no, call.buyer_id)
    order = await call.shop.checkout.cancel(order_no)
    return JsonAnswer(200 if order.state == "CLOSED" else 202, await order_view(order, items))


@api("POST", "/api/orders/{order_no}/handover", gives={200: HandedOver})
async def hand_over(call: Call[Nothing], order_no: str) -> JsonAnswer:
    """Make a token that claims this order 交接, and the mini program's page to open with it."""
    order, _ = await own_order(order_no, call.buyer_id)
    token = await call.shop.checkout.orders.hand_over(order)
    return JsonAnswer(200, HandedOver(token, HANDOVER_PATH.format(order_no=order_no, token=token)))


@api("POST", "/api/handover", takes=Token, gives={200: OrderView})
async def claim(call: Call[Token]) -> JsonAnswer:
    """Claim the order of a token: single use, ten minutes; an order's number claims nothing."""
    order = await call.shop.checkout.orders.claim(call.body.token, call.buyer_id)
    return JsonAnswer(200, (await order_views([order]))[0])
