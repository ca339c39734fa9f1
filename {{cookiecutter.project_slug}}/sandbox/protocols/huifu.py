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
from ..refund_error import RefundError
from ..refunds import give_back
from ..wire import RefusalError
from ..world import Order, Purchase, Refund, World
from ._huifu_keys import HUIFU_ID, Keys, keys
from ._huifu_notify import bank_message, tell, tell_refund
from ._huifu_statements import download, statement
from ._huifu_wire import Data, GatewayError, Handler, finished, serve, yuan

TRADE_TYPES = {
    "T_JSAPI": "jsapi",
    "T_MINIAPP": "jsapi",
    "A_NATIVE": "alipay",
    "U_NATIVE": "unionpay",
}
CLOSABLE_AFTER = 60
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


def attach(app: Sanic[Any, Any], world: World) -> None:
    """Add the gateway's paths, and its keys to the credentials."""
    made, trade = keys(), "trade/payment"
    calls: list[tuple[str, str, Handler]] = [
        (f"/v4/{trade}/create", "prepay", create),
        (f"/v4/{trade}/scanpay/query", "query", query_of_v4),
        (f"/v4/{trade}/scanpay/refund", "refund", refund),
        (f"/v4/{trade}/scanpay/refundquery", "refund_query", refund_query),
        (f"/v2/{trade}/scanpay/close", "close", close),
        (f"/v2/{trade}/scanpay/closequery", "query", close_query),
        ("/v2/trade/check/filequery", "bill", statement),
    ]
    for version in ("v2", "v3"):
        calls += [
            (f"/{version}/{trade}/jspay", "prepay", create),
            (f"/{version}/{trade}/scanpay/query", "query", query),
            (f"/{version}/{trade}/scanpay/refund", "refund", refund),
            (f"/{version}/{trade}/scanpay/refundquery", "refund_query", refund_query),
        ]
    for path, name, handler in calls:
        view = partial(serve, world, name, handler)
        app.add_route(view, path, methods=["POST"], name=path.strip("/").replace("/", "_"))
    app.add_route(partial(download, world), "/huifu/statement", name="huifu_statement")
    world.credentials["huifu"] = made.shown()


def create(world: World, asked: Data, host: str) -> Data:
    """Answer jspay (聚合正扫): pay_info or qr_code, resp_code 00000100, trans_stat P."""
    _check(asked, "goods_desc", "trade_type", "trans_amt")
    product = TRADE_TYPES.get(asked["trade_type"])
    if product is None:
        raise GatewayError("22000004", "trade_type not open")
    number = HUIFU_ID, asked["req_seq_id"]
    if number in world.orders:
        raise GatewayError("20000000", "duplicate req_seq_id")
    total, now = _fen(asked["trans_amt"]), world.clock.now()
    appid, openid = _payer(world, asked, product)
    made = keys()
    purchase = Purchase(
        HUIFU_ID,
        asked["req_seq_id"],
        product,
        {"notify_url": asked.get("notify_url", ""), "huifu": asked},
        *(appid, openid, now, _until(asked, now)),
        check=partial(_check_invoke, made),
        tell=partial(tell, made),
    )
    body = {
        "out_trade_no": asked["req_seq_id"],
        "description": asked["goods_desc"],
        "amount": {"total": total},
    }
    order = Order(len(world.orders) + 1, purchase, body, {"mchid": HUIFU_ID})
    order.provider_id = f"0029000{secrets.randbelow(10**20):020}"
    purchase.orders, world.orders[number] = [order], order
    return _said(order, now) | _opens(world, made, purchase, now)


def query(world: World, asked: Data, host: str) -> Data:
    """Answer scanpay/query by date and number, with the org_ names of this generation."""
    order = _found(world, asked)
    said = _said(order, world.clock.now()) | {"resp_desc": "查询成功"}
    names = ("req_date", "req_seq_id", "hf_seq_id")
    return {**said, **{f"org_{name}": said[name] for name in names}}


def query_of_v4(world: World, asked: Data, host: str) -> Data:
    """Answer the newest query: neither question nor answer says org_."""
    names = ("req_date", "req_seq_id", "hf_seq_id")
    order = _found(world, {f"org_{name}": asked.get(name) for name in names})
    return _said(order, world.clock.now())


def close(world: World, asked: Data, host: str) -> Data:
    """Answer scanpay/close: not in the first minute, not what is final, no UnionPay code ever."""
    _check(asked)
    order, now = _found(world, asked), world.clock.now()
    if order.purchase.product == "unionpay":
        raise GatewayError("23000004", "银联二维码不支持关单")
    if order.purchase.paid or order.purchase.closed:
        raise GatewayError("23000000", "the trade is final")
    if now < order.purchase.created_at + CLOSABLE_AFTER:
        raise GatewayError("20000001", "not before one minute")
    if order.purchase.typing:
        return {"resp_code": "00000100", "trans_stat": "P", "org_trans_stat": "P"}
    order.purchase.closed = True
    return {"resp_code": "00000000", "trans_stat": "S", "org_trans_stat": "F"}


def close_query(world: World, asked: Data, host: str) -> Data:
    """Answer scanpay/closequery by the original number."""
    order = _found(world, asked)
    return {"resp_code": "00000000", "trans_stat": "S" if order.purchase.closed else "P"}


def refund(world: World, asked: Data, host: str) -> Data:
    """Answer scanpay/refund: trans_stat P, then a notification."""
    _check(asked, "ord_amt", "org_req_date")
    order = _found(world, asked)
    amount = {"refund": _fen(asked["ord_amt"]), "total": order.total, "currency": "CNY"}
    body = {"out_trade_no": order.out_trade_no, "out_refund_no": asked["req_seq_id"]}
    whole = {**body, "amount": amount, "huifu": asked, "notify_url": asked.get("notify_url", "")}
    try:
        order, made = give_back(world, HUIFU_ID, whole, partial(tell_refund, keys()))
    except RefusalError as error:
        raise GatewayError(*_refusal(error)) from error
    if made.outcome == "ABNORMAL":
        made.outcome = "CLOSED"  # Huifu knows success and failure alone
    return _refund(order, made, world.clock.now())


def _refusal(error: RefusalError) -> tuple[str, str]:
    """Name why a refund is not accepted; the fault menu may ask for a code itself."""
    reason = error.reason if isinstance(error, RefundError) else ""
    if reason in POSTPONED:
        return reason, POSTPONED[reason]
    code = OF_REFUNDS.get(reason, "90000000")
    tells_own = code in ("10000001", "30000000")
    return code, POSTPONED[code] if tells_own else error.message


def refund_query(world: World, asked: Data, host: str) -> Data:
    """Answer scanpay/refundquery: located by the refund's own date and number."""
    number = asked.get("org_req_seq_id", "")
    known = world.refunds.get((HUIFU_ID, number))
    if known is None or known[1].body["huifu"]["req_date"] != asked.get("org_req_date"):
        raise GatewayError("23000001", "no such refund")
    said = _refund(*known, world.clock.now())
    names = ("req_date", "req_seq_id", "hf_seq_id")
    return {**said, **{f"org_{name}": said[name] for name in names}}


def _payer(world: World, asked: Data, product: str) -> tuple[str, str]:
    """Read wx_data, in v4 method_expand: openid, or sub_appid with sub_openid; never neither."""
    if product != "jsapi":
        return "", ""
    try:
        given = json.loads(asked.get("method_expand") or asked.get("wx_data", ""))
    except ValueError:
        raise GatewayError("10000000", "wx_data") from None
    appid, openid = given.get("sub_appid", ""), given.get("sub_openid", "")
    if given.get("openid"):
        return appid, given["openid"]
    if not appid or not openid or world.app(appid) is None:
        raise GatewayError("10000000", "wx_data: openid, or sub_appid and sub_openid")
    if not world.knows(appid, openid):
        raise GatewayError("90000000", "sub_openid does not belong to sub_appid")
    return appid, openid


def _opens(world: World, made: Keys, purchase: Purchase, now: float) -> Data:
    if purchase.product != "jsapi":
        host = {"alipay": "qr.alipay.com", "unionpay": "qr.95516.com"}[purchase.product]
        purchase.code_url = f"https://{host}/bax{secrets.token_hex(11)}"
        world.prepays[purchase.code_url] = purchase, now
        return {"qr_code": purchase.code_url}
    prepay_id = f"wx{datetime.fromtimestamp(now, BEIJING):%Y%m%d%H%M%S}{secrets.token_hex(9)}00"
    world.prepays[prepay_id] = purchase, now
    return {"pay_info": made.pay_info(purchase.appid, prepay_id, int(now))}


def _check_invoke(made: Keys, form: Any) -> str:
    return "" if made.is_ours(form) else "支付验证签名失败: pay_info was changed on the way"


def _found(world: World, asked: Data) -> Order:
    if not (asked.get("org_hf_seq_id") or asked.get("org_req_seq_id")):
        raise GatewayError("21000000", "org_hf_seq_id or org_req_seq_id is missing")
    for order in world.orders.values():
        if order.mchid != HUIFU_ID:
            continue
        same_day = order.purchase.body["huifu"]["req_date"] == asked.get("org_req_date")
        if same_day and order.out_trade_no == asked.get("org_req_seq_id"):
            return order
        if order.provider_id == asked.get("org_hf_seq_id"):
            return order
    raise GatewayError("23000001", "no such trade")


def _said(order: Order, now: float) -> Data:
    asked, state = order.purchase.body["huifu"], order.state(now)
    stat = {"SUCCESS": "S", "REFUND": "S", "CLOSED": "F"}.get(state, "P")
    said = {
        "resp_code": "00000100" if stat == "P" else "00000000",
        "resp_desc": "accepted",
        "req_date": asked["req_date"],
        "req_seq_id": asked["req_seq_id"],
        "hf_seq_id": order.provider_id,
        "huifu_id": HUIFU_ID,
        "trade_type": asked["trade_type"],
        "trans_amt": yuan(order.total),
        "trans_stat": stat,
    }
    if order.transactions:
        paid = order.transactions[-1]
        said |= {"out_trans_id": paid.transaction_id, **finished(paid.paid_at)}
        said["bank_message"] = "成功"
    if stat == "F":
        said["bank_message"] = "订单已关闭"
    return said


def _refund(order: Order, made: Refund, now: float) -> Data:
    stat = {"SUCCESS": "S", "CLOSED": "F"}.get(made.status(now), "P")
    return {
        "resp_code": "00000000" if stat != "P" else "00000100",
        "resp_desc": "accepted",
        "req_date": made.body["huifu"]["req_date"],
        "req_seq_id": made.out_refund_no,
        "hf_seq_id": made.refund_id,
        "huifu_id": HUIFU_ID,
        "ord_amt": yuan(made.refund),
        "trans_stat": stat,
        **(finished(made.finished_at) if stat != "P" else {}),
        **({"bank_message": bank_message(stat)} if stat != "P" else {}),
    }


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
