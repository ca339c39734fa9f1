"""The order objects of queries and notifications: what is only known once paid is absent."""

from typing import Any

from .clock import rfc3339
from .keys import stable_openid
from .world import Order, Purchase, Transaction

STATE_DESCRIPTIONS = {
    "SUCCESS": "支付成功",
    "REFUND": "转入退款",
    "NOTPAY": "订单未支付",
    "CLOSED": "订单已关闭",
}
TRADE_TYPES = {
    "jsapi": "JSAPI",
    "scannedpos": "JSAPI",
    "h5": "MWEB",
    "native": "NATIVE",
    "app": "APP",
}


def order_object(order: Order, now: float, paid: Transaction | None = None) -> dict[str, Any]:
    """Build the object of an order of its own, with the names of its parties."""
    state = order.state(now)
    paid = paid or (order.transactions[-1] if order.transactions else None)
    amount = {"total": order.total, "currency": "CNY"}
    found = {
        **order.parties,
        "out_trade_no": order.out_trade_no,
        "trade_state": state,
        "trade_state_desc": STATE_DESCRIPTIONS[state],
        "amount": amount,
        **_device(order.body),
    }
    if paid:
        amount |= {"payer_total": paid.payer_total, "payer_currency": "CNY"}
        found |= {"payer": _payer(order, paid), **_paid_fields(order, paid)}
    return found


def combined_object(purchase: Purchase, now: float) -> dict[str, Any]:
    """Build the object of a combined order: every sub order, with amounts of other names."""
    body = purchase.body
    found: dict[str, Any] = {
        "combine_appid": purchase.appid,
        "combine_mchid": purchase.mchid,
        "combine_out_trade_no": purchase.number,
        "sub_orders": [_sub_order(order, now) for order in purchase.orders],
        **_device(body),
    }
    if purchase.paid:
        found["combine_payer_info"] = {"openid": purchase.orders[0].transactions[-1].openid}
    return found


def _sub_order(order: Order, now: float) -> dict[str, Any]:
    amount = {"total_amount": order.total, "currency": "CNY"}
    names = ("mchid", "sub_mchid", "sub_appid")
    found = {
        **{name: order.body[name] for name in names if name in order.body},
        "out_trade_no": order.out_trade_no,
        "trade_state": order.state(now),
        "amount": amount,
    }
    if order.transactions:
        paid = order.transactions[-1]
        amount |= {"payer_amount": paid.payer_total, "payer_currency": "CNY"}
        found |= _paid_fields(order, paid)
    return found


def _device(body: dict[str, Any]) -> dict[str, Any]:
    scene = body.get("scene_info", {})
    return {"scene_info": {"device_id": scene["device_id"]}} if "device_id" in scene else {}


def _payer(order: Order, paid: Transaction) -> dict[str, str]:
    parties = order.parties
    if "sp_appid" not in parties:
        return {"openid": paid.openid}
    if "sub_openid" not in order.body.get("payer", {}):
        return {"sp_openid": paid.openid}
    return {"sp_openid": stable_openid(parties["sp_appid"], paid.openid), "sub_openid": paid.openid}


def _paid_fields(order: Order, paid: Transaction) -> dict[str, Any]:
    found: dict[str, Any] = {
        "transaction_id": paid.transaction_id,
        "trade_type": TRADE_TYPES[order.purchase.product],
        "bank_type": "OTHERS",
        "success_time": rfc3339(paid.paid_at),
    }
    if "attach" in order.body:
        found["attach"] = order.body["attach"]
    if paid.coupon_fen:
        coupon = {"coupon_id": paid.coupon_id, "name": "沙箱代金券"}
        kind = {"scope": "GLOBAL", "type": "NOCASH", "currency": "CNY"}
        found["promotion_detail"] = [coupon | kind | {"amount": paid.coupon_fen}]
    return found
