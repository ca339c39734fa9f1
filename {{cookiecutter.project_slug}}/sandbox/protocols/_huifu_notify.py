"""What Huifu tells a merchant: a form, signed over the raw resp_data, twice for each payment."""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlencode

from ..models import Notification, Order, Purchase, Refund
from ..payment import DeclinedError
from ..sealing import sign
from ..state import State
from ._huifu_keys import HUIFU_ID, Keys
from ._huifu_wire import Data, compact, day_of, finished, yuan

MEDIA = "application/x-www-form-urlencoded; charset=UTF-8"
REPEATS = (15, 60, 300)  # seconds; Huifu says how often, three times, but not when
STATES = {"SUCCESS": "S", "CLOSED": "F"}


class HuifuApi:
    """The API of an order that was made by jspay or create."""

    def __init__(self, state: State, keys: Keys) -> None:
        self._state = state
        self._keys = keys

    def check_invoke(self, purchase: Purchase, form: Mapping[str, Any]) -> None:
        """Raise DeclinedError unless pay_info came back as it was signed."""
        if not self._keys.is_ours(form):
            raise DeclinedError("支付验证签名失败: pay_info was changed on the way")

    def notify_payment(self, purchase: Purchase) -> Notification:
        """Send both notifications of a payment: the channel's (1) and the accounting's (2)."""
        fault = self._state.faults.for_notification()
        order = purchase.orders[0]
        paid = order.transactions[-1]
        request = purchase.body["huifu"]
        data = {
            "resp_code": "00000000",
            "resp_desc": "交易成功",
            "huifu_id": HUIFU_ID,
            "req_seq_id": order.out_trade_no,
            "req_date": request["req_date"],
            "trans_type": request["trade_type"],
            "hf_seq_id": order.provider_id,
            "out_trans_id": paid.transaction_id,
            "trans_amt": yuan(order.total + fault.delta_fen),
            **finished(paid.paid_at),
            "trans_stat": "S",
        }
        url = purchase.body["notify_url"]
        of_channel = self._notification(purchase, url, {**data, "notify_type": "1"})
        of_accounting = self._notification(purchase, url, {**data, "notify_type": "2"})
        self._state.outbox.dispatch(of_channel, fault)
        self._state.outbox.dispatch(of_accounting, fault)
        return of_channel

    def notify_refund(self, order: Order, refund: Refund) -> None:
        """Send the end of a refund; the payment is named by date and number, not by hf_seq_id.

        One that was asked for is told where the request said, one of the console at its address.
        """
        was_asked = "huifu" in refund.body
        url = refund.body["notify_url"] if was_asked else order.refund_notify_url(refund)
        if not url:
            return
        trans_stat = STATES[refund.outcome]
        data = {
            "resp_code": "00000000",
            "resp_desc": "交易成功",
            "huifu_id": HUIFU_ID,
            "req_seq_id": refund.out_refund_no,
            "req_date": refund_day(refund),
            "trans_type": "TRANS_REFUND",
            "hf_seq_id": refund.refund_id,
            "ord_amt": yuan(refund.refund),
            "actual_ref_amt": yuan(refund.refund),
            "total_ref_amt": yuan(sum(other.refund for other in order.refunds)),
            "ref_cut": str(len(order.refunds)),
            "trans_stat": trans_stat,
            **finished(refund.finished_at),
            "org_req_seq_id": order.out_trade_no,
            "org_req_date": order.purchase.body["huifu"]["req_date"],
            "org_ord_amt": yuan(order.total),
            "bank_message": bank_message(trans_stat),
            "notify_type": "1",
        }
        notification = self._notification(refund, url, data)
        self._state.outbox.dispatch(notification, self._state.faults.for_notification())
        self._state.notifications[refund.out_refund_no] = notification

    def _notification(self, about: Purchase | Refund, url: str, data: Data) -> Notification:
        resp_data = compact(data)
        receipt = f"RECV_ORD_ID_{data['req_seq_id']}".encode()

        def write(signature: str) -> bytes:
            key = self._keys.gateway if signature == "good" else self._keys.merchant
            form = {
                "resp_code": "10000",
                "resp_desc": "success",
                "resp_data": resp_data,
                "sign": sign(key, resp_data.encode()),
            }
            return urlencode(form).encode()

        def accepts(status: int, body: bytes) -> bool:
            return status == 200 and body == receipt

        return Notification(
            about=about, url=url, media=MEDIA, write=write, accepts=accepts, ladder=REPEATS
        )


def refund_day(refund: Refund) -> str:
    """Return the day that a refund was sent on; one of the console has the day it was made on."""
    request = refund.body.get("huifu")
    return str(request["req_date"]) if request else day_of(refund.accepted_at)[:8]


def bank_message(trans_stat: str) -> str:
    """Give the bank's reason of how a refund ended."""
    return "成功" if trans_stat == "S" else "收款账户状态异常，退款失败"
