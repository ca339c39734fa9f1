"""The objects of queries, answers and notifications: what is only known once paid is absent."""

from typing import Any

from .clock import rfc3339
from .keys import stable_openid
from .models import Order, Purchase, Refund, Transaction

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
SUB_ORDER_PARTIES = ("mchid", "sub_mchid", "sub_appid")
RECEIVED_BY = "支付用户零钱"


# -- orders


def order_object(order: Order, now: float, paid: Transaction | None = None) -> dict[str, Any]:
    """Build the object of an order of its own; `paid` is its last transaction unless named."""
    trade_state = order.trade_state(now)
    if paid is None and order.transactions:
        paid = order.transactions[-1]
    amount = {"total": order.total, "currency": "CNY"}
    fields = {
        **order.parties,
        "out_trade_no": order.out_trade_no,
        "trade_state": trade_state,
        "trade_state_desc": STATE_DESCRIPTIONS[trade_state],
        "amount": amount,
        **_scene(order.body),
    }
    if paid:
        amount |= {"payer_total": paid.payer_total, "payer_currency": "CNY"}
        fields |= {"payer": _payer(order, paid), **_paid_fields(order, paid)}
    return fields


def combined_object(purchase: Purchase, now: float) -> dict[str, Any]:
    """Build the object of a combined order: every sub order, with amounts of other names."""
    fields: dict[str, Any] = {
        "combine_appid": purchase.appid,
        "combine_mchid": purchase.mchid,
        "combine_out_trade_no": purchase.number,
        "sub_orders": [_sub_order(order, now) for order in purchase.orders],
        **_scene(purchase.body),
    }
    if purchase.paid:
        fields["combine_payer_info"] = {"openid": purchase.orders[0].transactions[-1].openid}
    return fields


def _sub_order(order: Order, now: float) -> dict[str, Any]:
    amount = {"total_amount": order.total, "currency": "CNY"}
    fields = {name: order.body[name] for name in SUB_ORDER_PARTIES if name in order.body}
    fields |= {
        "out_trade_no": order.out_trade_no,
        "trade_state": order.trade_state(now),
        "amount": amount,
    }
    if order.transactions:
        paid = order.transactions[-1]
        amount |= {"payer_amount": paid.payer_total, "payer_currency": "CNY"}
        fields |= _paid_fields(order, paid)
    return fields


def _scene(body: dict[str, Any]) -> dict[str, Any]:
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
    fields: dict[str, Any] = {
        "transaction_id": paid.transaction_id,
        "trade_type": TRADE_TYPES[order.purchase.product],
        "bank_type": "OTHERS",
        "success_time": rfc3339(paid.paid_at),
    }
    if "attach" in order.body:
        fields["attach"] = order.body["attach"]
    if paid.coupon_fen:
        fields["promotion_detail"] = [
            {
                "coupon_id": paid.coupon_id,
                "name": "沙箱代金券",
                "scope": "GLOBAL",
                "type": "NOCASH",
                "currency": "CNY",
                "amount": paid.coupon_fen,
            }
        ]
    return fields


# -- refunds


def refund_object(order: Order, refund: Refund, now: float) -> dict[str, Any]:
    """Build the answer of creating and of querying a refund."""
    paid = order.transaction_of(refund)
    status = refund.status(now)
    shares = split(order, refund)
    fields = {
        **_refund_numbers(order, refund),
        "channel": "ORIGINAL",
        "user_received_account": RECEIVED_BY,
        "create_time": rfc3339(refund.accepted_at),
        "status": status,
        "funds_account": refund.body.get("funds_account", "UNSETTLED"),
        "amount": {
            **shares,
            "from": [],
            "settlement_refund": shares["payer_refund"],
            "settlement_total": paid.payer_total,
            "discount_refund": refund.refund - shares["payer_refund"],
            "currency": "CNY",
        },
    }
    if paid.coupon_fen:
        fields["promotion_detail"] = [
            {
                "promotion_id": paid.coupon_id,
                "scope": "GLOBAL",
                "type": "NOCASH",
                "amount": paid.coupon_fen,
                "refund_amount": refund.refund - shares["payer_refund"],
            }
        ]
    return fields | _success_time(refund, status)


def refund_notification(order: Order, refund: Refund) -> dict[str, Any]:
    """Build what is sealed in a notification of a refund."""
    sub_mchid = order.parties.get("sub_mchid")
    parties = {"mchid": order.mchid}
    if sub_mchid:
        parties = {"sp_mchid": order.mchid, "sub_mchid": sub_mchid}
    return {
        **parties,
        **_refund_numbers(order, refund),
        "refund_status": refund.outcome,
        "user_received_account": RECEIVED_BY,
        "amount": split(order, refund),
        **_success_time(refund, refund.outcome),
    }


def split(order: Order, refund: Refund) -> dict[str, int]:
    """Split a refund between buyer and coupon as its payment was, in fen."""
    paid = order.transaction_of(refund)
    return {
        "total": order.total,
        "refund": refund.refund,
        "payer_total": paid.payer_total,
        "payer_refund": refund.refund * paid.payer_total // order.total,
    }


def _refund_numbers(order: Order, refund: Refund) -> dict[str, str]:
    return {
        "transaction_id": refund.transaction_id,
        "out_trade_no": order.out_trade_no,
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
    }


def _success_time(refund: Refund, status: str) -> dict[str, str]:
    return {"success_time": rfc3339(refund.finished_at)} if status == "SUCCESS" else {}
