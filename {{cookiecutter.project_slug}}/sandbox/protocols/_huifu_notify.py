"""What Huifu tells a merchant: a form, signed over the raw resp_data, twice for each payment."""

from urllib.parse import urlencode

from ..notifications import Notification
from ..sealing import sign
from ..world import Order, Purchase, Refund, World
from ._huifu_keys import HUIFU_ID, Keys
from ._huifu_wire import Data, compact, finished, yuan

MEDIA = "application/x-www-form-urlencoded; charset=UTF-8"
REPEATS = (15, 60, 300)  # Huifu says how often, three times, but not when
STATES = {"SUCCESS": "S", "CLOSED": "F"}


def tell(made: Keys, world: World, purchase: Purchase) -> Notification:
    """Send both notifications of a payment: the channel's (1) and the accounting's (2)."""
    order, fault = purchase.orders[0], world.faults.for_notification()
    paid, asked = order.transactions[-1], purchase.body["huifu"]
    data = {
        "resp_code": "00000000",
        "resp_desc": "交易成功",
        "huifu_id": HUIFU_ID,
        "req_seq_id": order.out_trade_no,
        "req_date": asked["req_date"],
        "trans_type": asked["trade_type"],
        "hf_seq_id": order.provider_id,
        "out_trans_id": paid.transaction_id,
        "trans_amt": yuan(order.total + fault.delta_fen),
        **finished(paid.paid_at),
        "trans_stat": "S",
    }
    sent = [_send(made, purchase, purchase.body["notify_url"], data, kind) for kind in ("1", "2")]
    for one in sent:
        world.outbox.dispatch(one, fault)
    return sent[0]


def tell_refund(made: Keys, world: World, order: Order, refund: Refund) -> None:
    """Send the end of a refund; the payment is named by date and number, not by hf_seq_id."""
    if not (url := refund.body.get("notify_url")):
        return
    data = {
        "resp_code": "00000000",
        "resp_desc": "交易成功",
        "huifu_id": HUIFU_ID,
        "req_seq_id": refund.out_refund_no,
        "req_date": refund.body["huifu"]["req_date"],
        "trans_type": "TRANS_REFUND",
        "hf_seq_id": refund.refund_id,
        "ord_amt": yuan(refund.refund),
        "actual_ref_amt": yuan(refund.refund),
        "total_ref_amt": yuan(sum(one.refund for one in order.refunds)),
        "ref_cut": str(len(order.refunds)),
        "trans_stat": STATES[refund.outcome],
        **finished(refund.finished_at),
        "org_req_seq_id": order.out_trade_no,
        "org_req_date": order.purchase.body["huifu"]["req_date"],
        "org_ord_amt": yuan(order.total),
    }
    data |= {"bank_message": bank_message(data["trans_stat"])}
    told = _send(made, refund, url, data, "1")
    world.outbox.dispatch(told, world.faults.for_notification())
    world.notifications[refund.out_refund_no] = told


def bank_message(trans_stat: str) -> str:
    """Give the bank's reason of how a refund ended."""
    return "成功" if trans_stat == "S" else "收款账户状态异常，退款失败"


def _send(
    made: Keys, about: Purchase | Refund, url: str, data: Data, notify_type: str
) -> Notification:
    resp_data = compact({**data, "notify_type": notify_type})
    expected = f"RECV_ORD_ID_{data['req_seq_id']}".encode()

    def write(signature: str) -> bytes:
        key = made.gateway if signature == "good" else made.merchant
        form = {"resp_code": "10000", "resp_desc": "success", "resp_data": resp_data}
        return urlencode({**form, "sign": sign(key, resp_data.encode())}).encode()

    def accepted(status: int, body: bytes) -> bool:
        return status == 200 and body == expected

    return Notification(about, url, b"", False, MEDIA, write, accepted, REPEATS)
