"""The gateway of Huifu 汇付斗拱: jspay, query, close, refund, statements, on the sandbox's orders.

The keys are made when the sandbox starts. Accepted is never paid: trans_stat is P until somebody
pays, and two notifications tell of it.
"""

import json
import re
import secrets
from datetime import datetime
from functools import partial
from typing import Any

from sanic import Sanic

from ..clock import BEIJING
from ..models import Order, Purchase, Refund
from ..orders import new_prepay_id
from ..refund_error import RefundError
from ..refunds import give_back
from ..state import State
from ..wire import RefusalError
from ._huifu_keys import HUIFU_ID, keys
from ._huifu_notify import HuifuApi, bank_message, refund_day
from ._huifu_statements import Statements
from ._huifu_wire import Data, GatewayError, Handler, finished, view, yuan

TRADE_TYPES = {
    "T_JSAPI": "jsapi",
    "T_MINIAPP": "jsapi",
    "A_NATIVE": "alipay",
    "U_NATIVE": "unionpay",
}
CLOSABLE_AFTER = 60  # seconds
CODE_HOSTS = {"alipay": "qr.alipay.com", "unionpay": "qr.95516.com"}
#: what older generations call the numbers that a call is about
ORIGINAL = ("req_date", "req_seq_id", "hf_seq_id")
LIMITS = {"req_seq_id": 128, "goods_desc": 128, "remark": 255, "notify_url": 504}  # UTF-8 bytes
#: refunds that are put off, in Huifu's words
POSTPONED = {
    "90000000": "业务执行失败，可用余额不足",
    "23000003": "余额不足",
    "10000001": "原交易没有处理完成",
    "30000000": "系统异常，请稍后重试",
}
#: the code of a reason why a refund is not accepted, 90000000 for every other
OF_REFUNDS = {
    "exceeds": "23000003",
    "nothing_left": "23000003",
    "unpaid": "10000001",
    "order_not_ready": "10000001",
    "frequency_limited": "30000000",
    "invalid_req_too_much": "30000000",
}


def attach(app: Sanic[Any, Any], state: State) -> None:
    """Add the gateway's paths, and its keys to the credentials."""
    trade = "trade/payment"
    statements = Statements()
    calls: list[tuple[str, str, Handler]] = [
        (f"/v4/{trade}/create", "prepay", create),
        (f"/v4/{trade}/scanpay/query", "query", query_of_v4),
        (f"/v4/{trade}/scanpay/refund", "refund", refund),
        (f"/v4/{trade}/scanpay/refundquery", "refund_query", refund_query),
        (f"/v2/{trade}/scanpay/close", "close", close),
        (f"/v2/{trade}/scanpay/closequery", "query", close_query),
        ("/v2/trade/check/filequery", "bill", statements.apply),
    ]
    for version in ("v2", "v3"):
        calls += [
            (f"/{version}/{trade}/jspay", "prepay", create),
            (f"/{version}/{trade}/scanpay/query", "query", query),
            (f"/{version}/{trade}/scanpay/refund", "refund", refund),
            (f"/{version}/{trade}/scanpay/refundquery", "refund_query", refund_query),
        ]
    for path, name, handler in calls:
        route_name = path.strip("/").replace("/", "_")
        answer = view(state, name, handler)
        app.add_route(answer, path, methods=["POST"], name=route_name, error_format="json")
    download = partial(statements.download, state)
    app.add_route(download, "/huifu/statement", name="huifu_statement")
    state.credentials["huifu"] = keys().shown()
    state.faults.add_refunds(POSTPONED)


def create(state: State, asked: Data, host: str) -> Data:
    """Answer jspay (聚合正扫): pay_info or qr_code, resp_code 00000100, trans_stat P."""
    _check(asked, "goods_desc", "trade_type", "trans_amt")
    product = TRADE_TYPES.get(asked["trade_type"])
    if product is None:
        raise GatewayError("22000004", "trade_type not open")
    if (HUIFU_ID, asked["req_seq_id"]) in state.orders:
        raise GatewayError("20000000", "duplicate req_seq_id")
    order = _order(state, asked, product)
    return _trade(order, state.clock.now()) | _opens(state, order.purchase)


def query(state: State, asked: Data, host: str) -> Data:
    """Answer scanpay/query by date and number, with the org_ names of this generation."""
    trade = _trade(_find(state, asked), state.clock.now())
    return trade | _original(trade) | {"resp_desc": "查询成功"}


def query_of_v4(state: State, asked: Data, host: str) -> Data:
    """Answer the newest query: neither question nor answer says org_."""
    order = _find(state, {f"org_{name}": asked.get(name) for name in ORIGINAL})
    return _trade(order, state.clock.now())


def close(state: State, asked: Data, host: str) -> Data:
    """Answer scanpay/close: not in the first minute, not what is final, no UnionPay code ever."""
    _check(asked)
    purchase = _find(state, asked).purchase
    if purchase.product == "unionpay":
        raise GatewayError("23000004", "银联二维码不支持关单")
    if purchase.paid or purchase.closed:
        raise GatewayError("23000000", "the trade is final")
    if state.clock.now() < purchase.created_at + CLOSABLE_AFTER:
        raise GatewayError("20000001", "not before one minute")
    if purchase.typing:
        stats = {"trans_stat": "P", "org_trans_stat": "P"}
        return {"resp_code": "00000100", **_numbers(asked), **stats}
    purchase.closed = True
    stats = {"trans_stat": "S", "org_trans_stat": "F"}
    return {"resp_code": "00000000", **_numbers(asked), **stats}


def close_query(state: State, asked: Data, host: str) -> Data:
    """Answer scanpay/closequery by the original number."""
    order = _find(state, asked)
    trans_stat = "S" if order.purchase.closed else "P"
    return {"resp_code": "00000000", **_numbers(asked), "trans_stat": trans_stat}


def _numbers(asked: Data) -> Data:
    """Name the call and the payment that the answer to a close is about."""
    names = ("req_date", "req_seq_id", "huifu_id", "org_req_date", "org_req_seq_id")
    return {name: asked[name] for name in names if name in asked}


def refund(state: State, asked: Data, host: str) -> Data:
    """Answer scanpay/refund: trans_stat P, then a notification."""
    _check(asked, "ord_amt", "org_req_date")
    order = _find(state, asked)
    body = {
        "out_trade_no": order.out_trade_no,
        "out_refund_no": asked["req_seq_id"],
        "amount": {"refund": _fen(asked["ord_amt"]), "total": order.total, "currency": "CNY"},
        "notify_url": asked.get("notify_url", ""),
        "huifu": asked,
    }
    try:
        order, given_back = give_back(state, HUIFU_ID, body, order.purchase.api)
    except RefusalError as error:
        code, message = _refusal(error)
        raise GatewayError(code, message) from error
    if given_back.outcome == "ABNORMAL":
        given_back.outcome = "CLOSED"  # Huifu knows success and failure alone
    return _refund(given_back, state.clock.now())


def _refusal(error: RefusalError) -> tuple[str, str]:
    """Name why a refund is not accepted; the fault menu may ask for a code itself."""
    reason = error.reason if isinstance(error, RefundError) else ""
    if reason in POSTPONED:
        return reason, POSTPONED[reason]
    code = OF_REFUNDS.get(reason, "90000000")
    tells_own = code in ("10000001", "30000000")
    return code, POSTPONED[code] if tells_own else error.message


def refund_query(state: State, asked: Data, host: str) -> Data:
    """Answer scanpay/refundquery: located by the refund's own date and number."""
    number = HUIFU_ID, asked.get("org_req_seq_id", "")
    if number not in state.refunds:
        raise GatewayError("23000001", "no such refund")
    _, made = state.refunds[number]
    if refund_day(made) != asked.get("org_req_date"):
        raise GatewayError("23000001", "no such refund")
    answer = _refund(made, state.clock.now())
    return answer | _original(answer)


def _order(state: State, asked: Data, product: str) -> Order:
    """Make the order of a new number."""
    now = state.clock.now()
    total = _fen(asked["trans_amt"])
    appid, openid = _payer(state, asked, product)
    purchase = Purchase(
        api=HuifuApi(state, keys()),
        mchid=HUIFU_ID,
        number=asked["req_seq_id"],
        product=product,
        body={"notify_url": asked.get("notify_url", ""), "huifu": asked},
        appid=appid,
        openid=openid,
        created_at=now,
        expires_at=_until(asked, now),
    )
    body = {
        "out_trade_no": asked["req_seq_id"],
        "description": asked["goods_desc"],
        "amount": {"total": total},
    }
    order = Order(
        n=len(state.orders) + 1,
        purchase=purchase,
        body=body,
        parties={"mchid": HUIFU_ID},
        provider_id=f"0029000{secrets.randbelow(10**20):020}",
    )
    state.add_purchase(purchase, order)
    return order


def _payer(state: State, asked: Data, product: str) -> tuple[str, str]:
    """Read wx_data, in v4 method_expand: openid, or sub_appid with sub_openid; never neither."""
    if product != "jsapi":
        return "", ""
    try:
        payer = json.loads(asked.get("method_expand") or asked.get("wx_data", ""))
    except ValueError:
        raise GatewayError("10000000", "wx_data") from None
    appid = payer.get("sub_appid", "")
    openid = payer.get("sub_openid", "")
    if payer.get("openid"):
        return appid, payer["openid"]
    if not appid or not openid or state.app(appid) is None:
        raise GatewayError("10000000", "wx_data: openid, or sub_appid and sub_openid")
    if not state.has_person(appid, openid):
        raise GatewayError("90000000", "sub_openid does not belong to sub_appid")
    return appid, openid


def _opens(state: State, purchase: Purchase) -> Data:
    """Make what opens the cashier: pay_info for WeChat, a code for everybody else."""
    now = state.clock.now()
    if purchase.product in CODE_HOSTS:
        purchase.code_url = f"https://{CODE_HOSTS[purchase.product]}/bax{secrets.token_hex(11)}"
        state.prepays[purchase.code_url] = purchase, now
        return {"qr_code": purchase.code_url}
    prepay_id = new_prepay_id(state, purchase)
    return {"pay_info": keys().pay_info(purchase.appid, prepay_id, int(now))}


def _find(state: State, asked: Data) -> Order:
    if not (asked.get("org_hf_seq_id") or asked.get("org_req_seq_id")):
        raise GatewayError("21000000", "org_hf_seq_id or org_req_seq_id is missing")
    for order in state.orders.values():
        if order.mchid != HUIFU_ID:
            continue
        same_day = order.purchase.body["huifu"]["req_date"] == asked.get("org_req_date")
        if same_day and order.out_trade_no == asked.get("org_req_seq_id"):
            return order
        if order.provider_id == asked.get("org_hf_seq_id"):
            return order
    raise GatewayError("23000001", "no such trade")


def _original(answer: Data) -> Data:
    """Name the numbers once more as older generations do."""
    return {f"org_{name}": answer[name] for name in ORIGINAL}


def _trade(order: Order, now: float) -> Data:
    """Write what is known of a payment."""
    asked = order.purchase.body["huifu"]
    trans_stat = {"SUCCESS": "S", "REFUND": "S", "CLOSED": "F"}.get(order.trade_state(now), "P")
    trade = {
        "resp_code": "00000100" if trans_stat == "P" else "00000000",
        "resp_desc": "accepted",
        "req_date": asked["req_date"],
        "req_seq_id": asked["req_seq_id"],
        "hf_seq_id": order.provider_id,
        "huifu_id": HUIFU_ID,
        "trade_type": asked["trade_type"],
        "trans_amt": yuan(order.total),
        "trans_stat": trans_stat,
    }
    if order.transactions:
        paid = order.transactions[-1]
        trade |= {"out_trans_id": paid.transaction_id, **finished(paid.paid_at)}
        trade["bank_message"] = "成功"
    if trans_stat == "F":
        trade["bank_message"] = "订单已关闭"
    return trade


def _refund(made: Refund, now: float) -> Data:
    """Write what is known of a refund."""
    trans_stat = {"SUCCESS": "S", "CLOSED": "F"}.get(made.status(now), "P")
    answer = {
        "resp_code": "00000100" if trans_stat == "P" else "00000000",
        "resp_desc": "accepted",
        "req_date": refund_day(made),
        "req_seq_id": made.out_refund_no,
        "hf_seq_id": made.refund_id,
        "huifu_id": HUIFU_ID,
        "ord_amt": yuan(made.refund),
        "trans_stat": trans_stat,
    }
    if trans_stat == "P":
        return answer
    return answer | finished(made.finished_at) | {"bank_message": bank_message(trans_stat)}


def _until(asked: Data, now: float) -> float:
    text = asked.get("time_expire")
    if not text:
        return now + 2 * 3600
    try:
        moment = datetime.strptime(text, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp()
    except ValueError:
        raise GatewayError("10000000", "time_expire") from None
    return max(moment, now + 60)


def _check(asked: Data, *names: str) -> None:
    """Check what every number of the merchant's own is sent with, and what else is needed."""
    names = ("req_date", "req_seq_id", *names)
    for name in names:
        if not asked.get(name):
            raise GatewayError("10000000", f"{name} is missing")
    for name, most in LIMITS.items():
        if len(asked.get(name, "").encode()) > most:
            raise GatewayError("10000000", f"{name} is longer than {most} bytes")
    if not re.fullmatch(r"[0-9]{8}", asked["req_date"]):
        raise GatewayError("10000000", "req_date is yyyyMMdd")
    if "?" in asked.get("notify_url", ""):
        raise GatewayError("10000000", "notify_url has no query")


def _fen(text: str) -> int:
    if not re.fullmatch(r"(0|[1-9][0-9]{0,9})\.[0-9]{2}", text, re.ASCII) or text == "0.00":
        raise GatewayError("10000000", "an amount has two decimals")
    return int(text.replace(".", ""))
