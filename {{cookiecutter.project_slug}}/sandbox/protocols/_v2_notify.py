"""What APIv2 tells a merchant: payments with a sign, refunds sealed with the key and unsigned."""

import secrets

from ..notifications import Notification
from ..objects import TRADE_TYPES
from ..refunds import address, payment_of, split
from ..world import Order, Purchase, Refund, Transaction, World
from . import _v2_xml as v2_xml
from ._v2_wire import Fields, local

STATES = {"SUCCESS": "SUCCESS", "CLOSED": "REFUNDCLOSE", "ABNORMAL": "CHANGE"}


def paid_fields(order: Order) -> Fields:
    """Say what is known of a payment."""
    paid = order.transactions[-1]
    return {
        "openid": paid.openid,
        "is_subscribe": "N",
        "trade_type": TRADE_TYPES[order.purchase.product],
        "bank_type": "OTHERS",
        "total_fee": str(order.total),
        "fee_type": "CNY",
        "cash_fee": str(paid.payer_total),
        "transaction_id": paid.transaction_id,
        "time_end": local(paid.paid_at, "%Y%m%d%H%M%S"),
    } | _coupon(paid)


def refund_fields(order: Order, made: Refund) -> Fields:
    """Say what is known of a refund, split as its payment was."""
    paid, amount = payment_of(order, made), split(order, made)
    coupon_fen = made.refund - amount["payer_refund"]
    split_fields = {
        "transaction_id": made.transaction_id,
        "out_trade_no": order.out_trade_no,
        "out_refund_no": made.out_refund_no,
        "refund_id": made.refund_id,
        "refund_fee": str(made.refund),
        "total_fee": str(order.total),
        "fee_type": "CNY",
        "cash_fee": str(amount["payer_total"]),
        "cash_refund_fee": str(amount["payer_refund"]),
    }
    if not paid.coupon_fen:
        return split_fields
    return split_fields | {
        "settlement_total_fee": str(amount["payer_total"]),
        "settlement_refund_fee": str(amount["payer_refund"]),
        "coupon_refund_fee": str(coupon_fen),
        "coupon_refund_count": "1",
        "coupon_type_0": "NO_CASH",
        "coupon_refund_id_0": paid.coupon_id,
        "coupon_refund_fee_0": str(coupon_fen),
    }


def _coupon(paid: Transaction) -> Fields:
    if not paid.coupon_fen:
        return {}
    return {
        "settlement_total_fee": str(paid.payer_total),
        "coupon_fee": str(paid.coupon_fen),
        "coupon_count": "1",
        "coupon_type_0": "NO_CASH",
        "coupon_id_0": paid.coupon_id,
        "coupon_fee_0": str(paid.coupon_fen),
    }


def tell(world: World, purchase: Purchase, sign_type: str) -> Notification:
    """Send what a successful orderquery says; only SUCCESS in the answer's XML counts."""
    order, fault = purchase.orders[0], world.faults.for_notification()
    said = {
        "return_code": "SUCCESS",
        "result_code": "SUCCESS",
        **_parties(order),
        **paid_fields(order),
    }
    said |= {"out_trade_no": order.out_trade_no, "nonce_str": secrets.token_hex(16)}
    said["total_fee"] = str(int(said["total_fee"]) + fault.delta_fen)
    if "attach" in order.body:
        said["attach"] = order.body["attach"]

    def write(signature: str) -> bytes:
        key = world.keys.apiv2_key if signature == "good" else "wrong" * 6 + "wr"
        return v2_xml.build({**said, "sign": v2_xml.sign(said, key, sign_type)})

    url = str(purchase.body["notify_url"])
    made = Notification(purchase, url, b"", False, "text/xml", write, _accepted)
    world.outbox.dispatch(made, fault)
    return made


def tell_refund(world: World, order: Order, made: Refund) -> None:
    """Send the end of a refund: sealed with the key, signed by nobody."""
    inner = refund_fields(order, made) | {
        "refund_status": STATES[made.outcome],
        "refund_recv_accout": "支付用户零钱",
        "refund_account": "REFUND_SOURCE_UNSETTLED_FUNDS",
        "refund_request_source": "API" if made.body.get("out_refund_no") else "VENDOR_PLATFORM",
    }
    if made.outcome == "SUCCESS":
        inner["success_time"] = local(made.finished_at, "%Y-%m-%d %H:%M:%S")
    sealed = v2_xml.seal(world.keys.apiv2_key, v2_xml.build(inner, "root"))
    said = {"return_code": "SUCCESS", **_parties(order), "nonce_str": secrets.token_hex(16)}
    body, url = v2_xml.build({**said, "req_info": sealed}), address(order, made)
    told = Notification(made, url, body, False, "text/xml", lambda _: body, _accepted)
    world.outbox.dispatch(told, world.faults.for_notification())
    world.notifications[made.out_refund_no] = told


def _parties(order: Order) -> Fields:
    return {"appid": order.parties["appid"], "mch_id": order.parties["mchid"]}


def _accepted(status: int, body: bytes) -> bool:
    try:
        return status == 200 and v2_xml.parse(body).get("return_code") == "SUCCESS"
    except v2_xml.BadXmlError:
        return False
