"""What APIv2 tells a merchant: payments with a sign, refunds sealed with the key and unsigned.

pay.weixin.qq.com/wiki/doc/api/jsapi.php?chapter=9_7 and chapter=9_16.
"""

import secrets
from collections.abc import Mapping
from typing import Any

from ..models import Notification, Order, Purchase, Refund, Transaction
from ..objects import RECEIVED_BY, TRADE_TYPES, split
from ..payment import DeclinedError
from ..state import State
from . import _v2_xml as v2_xml
from ._v2_wire import Fields, local

REFUND_STATES = {"SUCCESS": "SUCCESS", "CLOSED": "REFUNDCLOSE", "ABNORMAL": "CHANGE"}
WRONG_KEY = "wrong" * 6 + "wr"


class ApiV2:
    """The API of an order that was made by /pay/unifiedorder, signed with `sign_type`."""

    def __init__(self, state: State, sign_type: str) -> None:
        self._state = state
        self._sign_type = sign_type

    def check_invoke(self, purchase: Purchase, form: Mapping[str, Any]) -> None:
        """Raise DeclinedError unless the key signed this; here signType is signed, too."""
        if "prepayId" in form:
            self._check_app(form)
            return
        if form.get("signType") != self._sign_type:
            raise DeclinedError(
                f"signType is {form.get('signType')}, the order was signed with {self._sign_type}"
            )
        names = ("appId", "timeStamp", "nonceStr", "package", "signType")
        signed = {name: str(form.get(name, "")) for name in names}
        if form.get("paySign") != self._sign(signed):
            raise DeclinedError("支付验证签名失败")

    def notify_payment(self, purchase: Purchase) -> Notification:
        """Send what a successful orderquery answers; only SUCCESS in the answer's XML counts."""
        fault = self._state.faults.for_notification()
        order = purchase.orders[0]
        fields = {
            "return_code": "SUCCESS",
            "result_code": "SUCCESS",
            **_parties(order),
            **paid_fields(order),
            "total_fee": str(order.total + fault.delta_fen),
            "out_trade_no": order.out_trade_no,
            "nonce_str": secrets.token_hex(16),
        }
        if "attach" in order.body:
            fields["attach"] = order.body["attach"]

        def write(signature: str) -> bytes:
            key = self._state.keys.apiv2_key if signature == "good" else WRONG_KEY
            return v2_xml.build({**fields, "sign": v2_xml.sign(fields, key, self._sign_type)})

        notification = Notification(
            about=purchase,
            url=str(purchase.body["notify_url"]),
            media="text/xml",
            write=write,
            accepts=_is_success,
        )
        self._state.outbox.dispatch(notification, fault)
        return notification

    def notify_refund(self, order: Order, refund: Refund) -> None:
        """Send the end of a refund: sealed with the key, signed by nobody."""
        req_info = v2_xml.build(_refund_info(order, refund), "root")
        fields = {
            "return_code": "SUCCESS",
            **_parties(order),
            "nonce_str": secrets.token_hex(16),
            "req_info": v2_xml.seal(self._state.keys.apiv2_key, req_info),
        }
        body = v2_xml.build(fields)
        notification = Notification(
            about=refund,
            url=order.refund_notify_url(refund),
            media="text/xml",
            write=lambda _: body,
            accepts=_is_success,
        )
        self._state.outbox.dispatch(notification, self._state.faults.for_notification())
        self._state.notifications[refund.out_refund_no] = notification

    def _check_app(self, form: Mapping[str, Any]) -> None:
        """Check what an App hands on: its names are signed in lower case."""
        signed = {
            "appid": form["appId"],
            "partnerid": form["partnerId"],
            "prepayid": form["prepayId"],
            "package": form["packageValue"],
            "noncestr": form["nonceStr"],
            "timestamp": form["timeStamp"],
        }
        if form["sign"] != self._sign(signed):
            raise DeclinedError(f"支付验证签名失败: {v2_xml.text_to_sign(signed, '***')}")

    def _sign(self, fields: Mapping[str, str]) -> str:
        return v2_xml.sign(fields, self._state.keys.apiv2_key, self._sign_type)


def paid_fields(order: Order) -> Fields:
    """Write what is known of a payment."""
    paid = order.transactions[-1]
    fields = {
        "openid": paid.openid,
        "is_subscribe": "N",
        "trade_type": TRADE_TYPES[order.purchase.product],
        "bank_type": "OTHERS",
        "total_fee": str(order.total),
        "fee_type": "CNY",
        "cash_fee": str(paid.payer_total),
        "transaction_id": paid.transaction_id,
        "time_end": local(paid.paid_at, "%Y%m%d%H%M%S"),
    }
    return fields | _coupon(paid)


def refund_fields(order: Order, refund: Refund) -> Fields:
    """Write what is known of a refund, split as its payment was."""
    paid = order.transaction_of(refund)
    shares = split(order, refund)
    fields = {
        "transaction_id": refund.transaction_id,
        "out_trade_no": order.out_trade_no,
        "out_refund_no": refund.out_refund_no,
        "refund_id": refund.refund_id,
        "refund_fee": str(refund.refund),
        "total_fee": str(order.total),
        "fee_type": "CNY",
        "cash_fee": str(shares["payer_total"]),
        "cash_refund_fee": str(shares["payer_refund"]),
    }
    if not paid.coupon_fen:
        return fields
    coupon_refund_fee = str(refund.refund - shares["payer_refund"])
    return fields | {
        "settlement_total_fee": str(shares["payer_total"]),
        "settlement_refund_fee": str(shares["payer_refund"]),
        "coupon_refund_fee": coupon_refund_fee,
        "coupon_refund_count": "1",
        "coupon_type_0": "NO_CASH",
        "coupon_refund_id_0": paid.coupon_id,
        "coupon_refund_fee_0": coupon_refund_fee,
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


def _refund_info(order: Order, refund: Refund) -> Fields:
    is_ours = bool(refund.body.get("out_refund_no"))
    fields = refund_fields(order, refund) | {
        "refund_status": REFUND_STATES[refund.outcome],
        "refund_recv_accout": RECEIVED_BY,  # so it is spelled
        "refund_account": "REFUND_SOURCE_UNSETTLED_FUNDS",
        "refund_request_source": "API" if is_ours else "VENDOR_PLATFORM",
    }
    if refund.outcome == "SUCCESS":
        fields["success_time"] = local(refund.finished_at, "%Y-%m-%d %H:%M:%S")
    return fields


def _parties(order: Order) -> Fields:
    return {"appid": order.parties["appid"], "mch_id": order.parties["mchid"]}


def _is_success(status: int, body: bytes) -> bool:
    try:
        return status == 200 and v2_xml.parse(body).get("return_code") == "SUCCESS"
    except v2_xml.BadXmlError:
        return False
