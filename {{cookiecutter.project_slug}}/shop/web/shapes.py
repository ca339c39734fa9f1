"""The JSON of the API: what comes in and what goes out; openapi.json is made from it."""

from datetime import date, datetime
from typing import Annotated, Any

import msgspec

from checkout.channels import known_scenes

Sku = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]
Quantity = Annotated[int, msgspec.Meta(ge=1, le=999)]
Code = Annotated[str, msgspec.Meta(min_length=1, max_length=256)]
Time = Annotated[datetime, msgspec.Meta(tz=True)]  # with its zone, as RFC 3339 wants it
SCENES = list(known_scenes())
Scene = Annotated[
    str, msgspec.Meta(pattern=f"^({'|'.join(SCENES)})$", extra_json_schema={"enum": SCENES})
]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """What a client may send: nothing unknown, nothing of another type."""


class NewOrderItem(Body):
    """One line of a new order."""

    sku: Sku
    quantity: Quantity


class NewOrder(Body):
    """POST /api/orders."""

    items: Annotated[list[NewOrderItem], msgspec.Meta(min_length=1, max_length=50)]


class NewPayment(Body):
    """POST /api/orders/{order_no}/payments."""

    scene: Scene
    channel: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None


class NewCollect(Body):
    """POST /api/collect: yuan as text such as "12.34", never a JSON number 金额控件.

    `widget`: false when the buyer typed into our own field, because the client has no widget.
    """

    amount_yuan: Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
    scene: Scene
    widget: bool = True


class Token(Body):
    """POST /api/handover: what the launch query of the mini program brought."""

    token: Annotated[str, msgspec.Meta(min_length=1, max_length=1024)]


class NewRefund(Body):
    """POST /api/admin/orders/{order_no}/refunds, in fen; the buyer reads `reason`."""

    refund_fen: Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=80, pattern=r"\S")]
    out_trade_no: Annotated[str, msgspec.Meta(min_length=1, max_length=32)] | None = None


class Reason(Body):
    """Why an operator decides what no rule decides."""

    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=200, pattern=r"\S")]


class LoginCode(Body):
    """POST /api/sessions/miniprogram: what wx.login gave."""

    code: Code


class Nothing(Body):
    """An empty object, or no body at all."""


class Session(msgspec.Struct):
    """A token for Authorization: Bearer; `expires_in` in seconds."""

    token: str
    expires_in: int


class IdentityView(msgspec.Struct):
    """One way in which this buyer is known."""

    kind: str


class Me(msgspec.Struct):
    """Who is logged in."""

    buyer: str
    identities: list[IdentityView]


class ProductView(msgspec.Struct):
    """One thing for sale, in fen; `image` is an address, null where a picture is to be drawn."""

    sku: str
    name: str
    price_fen: int
    kind: str
    image: str | None


class ProductsView(msgspec.Struct):
    """Everything for sale."""

    products: list[ProductView]


class CollectView(msgspec.Struct):
    """Where a buyer may type the amount, and from how much to how much, in fen."""

    scenes: list[str]
    min_fen: int
    max_fen: int


class ShopView(msgspec.Struct):
    """What a page asks first; `collect` is null where no amount can be typed."""

    name: str
    logged_in: bool
    collect: CollectView | None


class ItemView(msgspec.Struct):
    """One line of an order, in fen."""

    sku: str
    name: str
    quantity: int
    price_fen: int


class PaymentView(msgspec.Struct):
    """One attempt to pay."""

    out_trade_no: str
    channel: str
    scene: str
    state: str
    transaction_id: str | None
    paid_at: Time | None


class RefundView(msgspec.Struct):
    """One return of money, in fen."""

    out_refund_no: str
    refund_fen: int
    state: str
    created_at: Time


class OrderView(msgspec.Struct):
    """An order, in fen and RFC 3339 times; `paid_fen` is after coupons, null until it is paid."""

    order_no: str
    state: str
    total_fen: int
    paid_fen: int | None
    refunded_fen: int
    refunding_fen: int
    items: list[ItemView]
    created_at: Time
    expires_at: Time
    paid_at: Time | None
    payments: list[PaymentView]
    refunds: list[RefundView]


class OrderPage(msgspec.Struct):
    """A page of orders, newest first; `next` goes into ?after=."""

    orders: list[OrderView]
    next: str | None


class StartedView(msgspec.Struct, omit_defaults=True):
    """A payment and what opens its cashier 调起: one of invoke, h5_url, code_url.

    `app_url` opens the app that scans `code_url`, where there is one (not inside WeChat).
    """

    out_trade_no: str
    scene: str
    invoke: dict[str, Any] | None = None
    h5_url: str | None = None
    code_url: str | None = None
    app_url: str | None = None


class Collected(msgspec.Struct):
    """An order of an amount that the buyer typed, and what opens its cashier."""

    order_no: str
    out_trade_no: str
    invoke: dict[str, Any]


class HandedOver(msgspec.Struct):
    """What claims an order, once, within ten minutes; `path` opens the mini program with it."""

    token: str
    path: str


class Failure(msgspec.Struct, omit_defaults=True):
    """Every error; `field`, `login` and WeChat's own words where they help."""

    code: str
    message: str
    request_id: str
    field: str | None = None
    login: str | None = None
    wechat_code: str | None = None
    wechat_request_id: str | None = None


class AdminPayment(msgspec.Struct):
    """A payment as an operator sees it, in fen."""

    out_trade_no: str
    order_no: str
    channel: str
    scene: str
    state: str
    total_fen: int
    transaction_id: str | None
    created_at: Time
    paid_at: Time | None


class AdminPayments(msgspec.Struct):
    """A page of payments, newest first."""

    payments: list[AdminPayment]
    next: str | None


class AdminRefund(msgspec.Struct):
    """A refund as an operator sees it, in fen; `trouble` is why it still waits."""

    out_refund_no: str
    out_trade_no: str
    order_no: str
    refund_fen: int
    state: str
    origin: str
    reason: str
    trouble: str
    refund_id: str | None
    created_at: Time
    refunded_at: Time | None


class AdminRefunds(msgspec.Struct):
    """A page of refunds, newest first."""

    refunds: list[AdminRefund]
    next: str | None


class DifferenceView(msgspec.Struct):
    """A line where the bill and the books disagree."""

    channel: str
    date: date
    kind: str
    number: str
    here: str
    there: str
    found_at: Time


class DifferencePage(msgspec.Struct):
    """A page of differences, newest first."""

    differences: list[DifferenceView]
    next: str | None


class AdminNotification(msgspec.Struct):
    """A notification as an operator sees it."""

    id: int
    channel: str
    kind: str
    key: str
    outcome: str
    reason: str
    out_trade_no: str
    received_at: Time


class AdminNotifications(msgspec.Struct):
    """A page of notifications, newest first."""

    notifications: list[AdminNotification]
    next: str | None


class OutcomeView(msgspec.Struct):
    """What became of a notification that was replayed."""

    outcome: str
    reason: str
