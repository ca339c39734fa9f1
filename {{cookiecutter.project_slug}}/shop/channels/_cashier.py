"""What opens WeChat's cashier 调起, and what WeChat says of a payment, in our words."""

import secrets
from collections.abc import Mapping
from typing import Any, Literal
from urllib.parse import quote

from shop import channels as ch
from shop.clock import Clock
from shop.models import Order, Payment
from wechat import fields, invoke
from wechat.keys import Merchant
from wechat.payment import Transaction

STATES: Mapping[str, Literal["PAID", "CLOSED"]] = {
    "SUCCESS": "PAID",
    "REFUND": "PAID",  # refunded in part or whole: it was paid
    "CLOSED": "CLOSED",
    "REVOKED": "CLOSED",
}
#: the app that shows the cashier, by the name that its appid has in the order
CASHIERS = ("sub_appid", "combine_appid", "sp_appid", "appid")


def opens(payment: Payment, order: Order, merchant: Merchant, shop_url: str) -> dict[str, Any]:
    """Sign what the bridge, wx.requestPayment or the App SDK takes; or give the link, the code."""
    prepay = payment.prepay
    if "code_url" in prepay:
        return {"code_url": prepay["code_url"]}
    if "h5_url" in prepay:
        return {"h5_url": with_way_back(prepay["h5_url"], order, shop_url)}
    appid = next(payment.parties[name] for name in CASHIERS if name in payment.parties)
    sign = invoke.app if payment.product == "app" else invoke.bridge
    now, nonce = int(Clock.real()), secrets.token_hex(16)
    return {"invoke": sign(merchant, appid, prepay["prepay_id"], timestamp=now, nonce=nonce)}


def with_way_back(link: str, order: Order, shop_url: str) -> str:
    """Tell WeChat's H5 page where to send the buyer back to; coming back proves nothing."""
    back = quote(f"{shop_url}/?order={order.order_no}&back=1", safe="")
    return f"{link}&redirect_url={back}"


def scene_info(product: str, draft: ch.Draft, store: str = "") -> dict[str, Any] | None:
    """Say where the buyer is, for the products that ask; `store` is where the amount was typed."""
    if product == "h5":
        return fields.scene(draft.client_ip, h5=True)
    if product == "scannedpos":
        return fields.scene(draft.client_ip, store_info={"out_id": store})
    return None


def trade(transaction: Transaction, parties: Mapping[str, str] | None = None) -> ch.Trade:
    """Translate their order object; any state we do not know leaves the payment open."""
    return ch.Trade(
        out_trade_no=transaction.out_trade_no,
        state=STATES.get(transaction.trade_state, "OPEN"),
        said=transaction.trade_state,
        parties=parties or transaction.parties,
        transaction_id=transaction.transaction_id,
        total_fen=transaction.total_fen,
        currency=transaction.currency,
        paid_at=transaction.success_time,
    )
