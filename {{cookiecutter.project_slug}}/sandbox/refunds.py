"""Refunds 退款: accept by WeChat's limits, finish some seconds later, tell the merchant.

docs/merchant/apis/refund/refunds/create.html; accepted is not refunded.
"""

import secrets
from datetime import datetime
from functools import partial
from typing import Any

from . import fields
from .apiv3 import ApiV3
from .checks import check_notify_url
from .clock import BEIJING
from .faults import OUTCOMES
from .models import Api, Order, Refund, Transaction
from .objects import refund_object
from .refund_error import RefundError
from .schema import read_body
from .state import State
from .wire import MISSING_SUB_MCHID, Answer, Call, RefusalError, json_answer

MOST = 50  # refunds of one payment
SPACING = 60  # seconds between two of them
LONGEST = 365 * 24 * 3600  # seconds after the payment
TAKES = 3  # seconds until the money is back


def create(state: State, call: Call) -> Answer:
    """Answer POST /v3/refund/domestic/refunds (申请退款): 200, the refund object."""
    body = read_body(call.body, fields.REFUND)
    _check_values(body)
    _check_sub_mchid(state, call.mchid, body.get("sub_mchid"), "body")
    order, refund = give_back(state, call.mchid, body, ApiV3(state))
    return json_answer(200, refund_object(order, refund, state.clock.now()))


def query(state: State, call: Call) -> Answer:
    """Answer GET /v3/refund/domestic/refunds/{out_refund_no} (查询单笔退款): 200 or 404."""
    number = call.path["out_refund_no"]
    fields.OUT_REFUND_NO.check("/uri_template/out_refund_no", number)
    sub_mchid = call.query.get("sub_mchid")
    _check_sub_mchid(state, call.mchid, sub_mchid, "query")
    if (call.mchid, number) not in state.refunds:
        raise _unknown_refund()
    order, refund = state.refunds[call.mchid, number]
    if order.parties.get("sub_mchid") != sub_mchid:
        raise _unknown_refund()
    return json_answer(200, refund_object(order, refund, state.clock.now()))


def give_back(state: State, mchid: str, body: dict[str, Any], api: Api) -> tuple[Order, Refund]:
    """Accept a refund by all limits, or find the one that this number already made.

    `api` announces its end. Raises RefundError.
    """
    earlier = state.refunds.get((mchid, body["out_refund_no"]))
    if earlier is None:
        order, paid = _find_payment(state, mchid, body)
        _check_limits(state, order, paid, body)
        return order, _accept(state, order, paid, body, api)
    _, refund = earlier
    if refund.body != body:
        raise RefundError("differs")
    return earlier


def refund_in_platform(state: State, order: Order, fen: int) -> Refund:
    """Refund as a person does in the merchant platform; raises RefundError above what is left.

    The address configured there is that of the payment's notifications, with /refund at its end.
    """
    paid = order.transactions[-1]
    _check_left(state, order, paid, fen)
    body = {"amount": {"refund": fen, "total": order.total, "currency": "CNY"}}
    return _accept(state, order, paid, body, order.purchase.api)


def _accept(
    state: State, order: Order, paid: Transaction, body: dict[str, Any], api: Api
) -> Refund:
    """Take a refund on; one made in the merchant platform gets its number from WeChat."""
    fault = state.faults.take("refunds")
    if fault not in OUTCOMES:
        raise RefundError(fault)
    now = state.clock.now()
    number = body.get("out_refund_no") or f"5030{secrets.randbelow(10**24):024}"
    refund = Refund(
        out_refund_no=number,
        refund_id=_refund_id(now),
        transaction_id=paid.transaction_id,
        refund=body["amount"]["refund"],
        accepted_at=now,
        finished_at=now + TAKES,
        outcome=fault.upper(),
        body=body,
    )
    order.refunds.append(refund)
    state.refunds[order.mchid, number] = order, refund
    state.outbox.at(refund.finished_at, partial(api.notify_refund, order, refund))
    return refund


def _refund_id(now: float) -> str:
    day = datetime.fromtimestamp(now, BEIJING)
    return f"5030{day:%Y%m%d}{secrets.randbelow(10**16):016}"


def _check_values(body: dict[str, Any]) -> None:
    rules = fields.REFUND.fields
    if ("transaction_id" in body) == ("out_trade_no" in body):
        issue = "transaction_id和out_trade_no必须二选一"
        raise rules["out_trade_no"].refuse("/body/out_trade_no", body.get("out_trade_no"), issue)
    check_notify_url(body, rules["notify_url"])
    amount = body["amount"]
    if "from" in amount:
        total = sum(account["amount"] for account in amount["from"])
        if total != amount["refund"]:
            raise RefusalError(400, "INVALID_REQUEST", "出资账户金额之和与退款金额不一致")


def _check_sub_mchid(state: State, mchid: str, sub_mchid: str | None, location: str) -> None:
    """A service provider names its sub merchant, and nobody else does."""
    merchant = state.keys.merchant(mchid)
    is_provider = merchant is not None and bool(merchant.subs)
    rule = fields.REFUND.fields["sub_mchid"]
    if is_provider and sub_mchid is None:
        issue = "服务商模式必须传入sub_mchid"
        raise rule.refuse(f"/{location}/sub_mchid", None, issue, MISSING_SUB_MCHID)
    if not is_provider and sub_mchid is not None:
        raise rule.refuse(f"/{location}/sub_mchid", sub_mchid, "不是服务商，不能传此参数")


def _find_payment(state: State, mchid: str, body: dict[str, Any]) -> tuple[Order, Transaction]:
    """Find the payment by either of its numbers."""
    for order in state.orders.values():
        if (order.mchid, order.parties.get("sub_mchid")) != (mchid, body.get("sub_mchid")):
            continue
        if order.out_trade_no == body.get("out_trade_no"):
            if not order.transactions:
                raise RefundError("unpaid")
            return order, order.transactions[0]
        for paid in order.transactions:
            if paid.transaction_id == body.get("transaction_id"):
                return order, paid
    raise RefundError("unknown_order")


def _check_limits(state: State, order: Order, paid: Transaction, body: dict[str, Any]) -> None:
    now = state.clock.now()
    earlier = order.refunds_of(paid)
    if body["amount"]["total"] != order.total:
        raise RefundError("differs")
    if now - paid.paid_at > LONGEST:
        raise RefundError("overdue")
    _check_left(state, order, paid, body["amount"]["refund"])
    if len(earlier) >= MOST:
        raise RefundError("too_many")
    if earlier and now - earlier[-1].accepted_at < SPACING:
        raise RefundError("too_soon")


def _check_left(state: State, order: Order, paid: Transaction, fen: int) -> None:
    now = state.clock.now()
    refunded = sum(
        refund.refund for refund in order.refunds_of(paid) if refund.status(now) != "CLOSED"
    )
    if refunded == order.total:
        raise RefundError("nothing_left")
    if fen > order.total - refunded:
        raise RefundError("exceeds")


def _unknown_refund() -> RefusalError:
    return RefusalError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
