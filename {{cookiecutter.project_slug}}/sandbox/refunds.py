"""Refunds 退款: accept by WeChat's limits, finish some seconds later, tell the merchant.

docs/merchant/apis/refund/refunds/create.html; accepted is not refunded.
"""

import re
import secrets
from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Any

from . import fields
from .checks import check_notify_url
from .clock import BEIJING, rfc3339
from .faults import NOT_ACCEPTED
from .refund_error import RefundError
from .schema import read_body
from .wire import (
    MISSING_SUB_MCHID,
    Answer,
    Call,
    RefusalError,
    json_answer,
)
from .world import Order, Refund, Transaction, World

MOST = 50
SPACING = 60
LONGEST = 365 * 24 * 3600
TAKES = 3  # seconds until the money is back
Tell = Callable[[World, Order, Refund], None]


def create(world: World, call: Call) -> Answer:
    """Answer POST /v3/refund/domestic/refunds (申请退款): 200, the refund object."""
    body = read_body(call.body, fields.REFUND)
    _check_values(body)
    _check_sub_mchid(world, call.mchid, body.get("sub_mchid"), "body")
    return json_answer(200, refund_object(*give_back(world, call.mchid, body), world.clock.now()))


def give_back(
    world: World, mchid: str, body: dict[str, Any], tell: Tell | None = None
) -> tuple[Order, Refund]:
    """Accept a refund by all limits, or find the one that this number already made.

    `tell` announces its end, by default as APIv3 does. Raises RefusalError.
    """
    known = world.refunds.get((mchid, body["out_refund_no"]))
    if known is None:
        order, paid = _paid(world, mchid, body)
        _check_limits(world, order, paid, body)
        return order, _accept(world, order, paid, body["out_refund_no"], body, tell or _notify)
    if known[1].body != body:
        raise RefundError("differs")
    return known


def query(world: World, call: Call) -> Answer:
    """Answer GET /v3/refund/domestic/refunds/{out_refund_no} (查询单笔退款): 200 or 404."""
    fields.OUT_REFUND_NO.check("/uri_template/out_refund_no", call.path["out_refund_no"])
    sub_mchid = call.query.get("sub_mchid")
    _check_sub_mchid(world, call.mchid, sub_mchid, "query")
    known = world.refunds.get((call.mchid, call.path["out_refund_no"]))
    if known is None or known[0].parties.get("sub_mchid") != sub_mchid:
        raise RefusalError(404, "RESOURCE_NOT_EXISTS", "退款单不存在")
    return json_answer(200, refund_object(*known, world.clock.now()))


def refund_in_platform(world: World, order: Order, fen: int) -> Refund:
    """Refund as a person does in the merchant platform; raises RefusalError above what is left.

    The address configured there is that of the payment's notifications, with /refund at its end.
    """
    paid = order.transactions[-1]
    _check_left(world, order, paid, fen)
    number = f"5030{secrets.randbelow(10**24):024}"
    amount = {"refund": fen, "total": order.total, "currency": "CNY"}
    tell = order.purchase.tell_refund or _notify
    return _accept(world, order, paid, number, {"amount": amount}, tell)


def address(order: Order, refund: Refund) -> str:
    """Return where the end of a refund is told, by default at the platform's address."""
    own = str(order.purchase.body["notify_url"])
    return refund.body.get("notify_url") or re.sub("/(payment|combine)$", "", own) + "/refund"


def refund_object(order: Order, refund: Refund, now: float) -> dict[str, Any]:
    """Build the answer of create and query."""
    paid = payment_of(order, refund)
    status, amount = refund.status(now), _amount(order, paid, refund)
    settled = {"settlement_refund": amount["payer_refund"], "settlement_total": paid.payer_total}
    discount = {"discount_refund": refund.refund - amount["payer_refund"], "currency": "CNY"}
    found = {
        **_numbers(order, refund),
        "channel": "ORIGINAL",
        "user_received_account": "支付用户零钱",
        "create_time": rfc3339(refund.accepted_at),
        "status": status,
        "funds_account": refund.body.get("funds_account", "UNSETTLED"),
        "amount": {**amount, "from": [], **settled, **discount},
    }
    return found | _promotion(paid, refund, amount) | _success_time(refund, status)


def split(order: Order, refund: Refund) -> dict[str, int]:
    """Split a refund as its payment was: total, refund, payer_total, payer_refund, in fen."""
    return _amount(order, payment_of(order, refund), refund)


def _promotion(paid: Transaction, refund: Refund, amount: dict[str, int]) -> dict[str, Any]:
    """Tell of the coupon's part of a refund, nothing when the payment had no coupon."""
    if not paid.coupon_fen:
        return {}
    coupon = {"promotion_id": paid.coupon_id, "scope": "GLOBAL", "type": "NOCASH"}
    back = {"amount": paid.coupon_fen, "refund_amount": refund.refund - amount["payer_refund"]}
    return {"promotion_detail": [coupon | back]}


def _notify(world: World, order: Order, refund: Refund) -> None:
    """Send REFUND.SUCCESS, .CLOSED or .ABNORMAL."""
    paid, url = payment_of(order, refund), address(order, refund)
    merchant, sub = world.keys.merchant(order.mchid), order.parties.get("sub_mchid")
    assert merchant is not None
    whose = {"sp_mchid": order.mchid, "sub_mchid": sub} if sub else {"mchid": order.mchid}
    payload = {
        **whose,
        **_numbers(order, refund),
        "refund_status": refund.outcome,
        "user_received_account": "支付用户零钱",
        "amount": _amount(order, paid, refund),
        **_success_time(refund, refund.outcome),
    }
    made = world.outbox.announce(refund, merchant, url, f"REFUND.{refund.outcome}", payload)
    world.notifications[refund.out_refund_no] = made


def _accept(
    world: World, order: Order, paid: Transaction, number: str, body: dict[str, Any], tell: Tell
) -> Refund:
    fault = world.faults.take("refunds")
    if fault in NOT_ACCEPTED:
        raise RefundError(fault)
    now = world.clock.now()
    refund_id = f"5030{datetime.fromtimestamp(now, BEIJING):%Y%m%d}{secrets.randbelow(10**16):016}"
    fen = body["amount"]["refund"]
    refund = Refund(
        number, refund_id, paid.transaction_id, fen, now, now + TAKES, fault.upper(), body
    )
    order.refunds.append(refund)
    world.refunds[order.mchid, number] = order, refund
    world.outbox.at(refund.finished_at, partial(tell, world, order, refund))
    return refund


def _check_values(body: dict[str, Any]) -> None:
    rules = fields.REFUND.fields
    if ("transaction_id" in body) == ("out_trade_no" in body):
        issue = "transaction_id和out_trade_no必须二选一"
        raise rules["out_trade_no"].refuse("/body/out_trade_no", body.get("out_trade_no"), issue)
    check_notify_url(body, rules["notify_url"])
    amount = body["amount"]
    if "from" in amount and sum(part["amount"] for part in amount["from"]) != amount["refund"]:
        raise _invalid("出资账户金额之和与退款金额不一致")


def _check_sub_mchid(world: World, mchid: str, sub_mchid: str | None, where: str) -> None:
    """A service provider names its sub merchant, and nobody else does."""
    merchant = world.keys.merchant(mchid)
    is_provider = merchant is not None and bool(merchant.subs)
    rule = fields.REFUND.fields["sub_mchid"]
    if is_provider and sub_mchid is None:
        issue = "服务商模式必须传入sub_mchid"
        raise rule.refuse(f"/{where}/sub_mchid", None, issue, MISSING_SUB_MCHID)
    if not is_provider and sub_mchid is not None:
        raise rule.refuse(f"/{where}/sub_mchid", sub_mchid, "不是服务商，不能传此参数")


def _paid(world: World, mchid: str, body: dict[str, Any]) -> tuple[Order, Transaction]:
    """Find the payment by either of its numbers."""
    for order in world.orders.values():
        if (order.mchid, order.parties.get("sub_mchid")) != (mchid, body.get("sub_mchid")):
            continue
        if order.out_trade_no == body.get("out_trade_no") and not order.transactions:
            raise RefundError("unpaid")
        for paid in order.transactions:
            if body.get("transaction_id") == paid.transaction_id or (
                body.get("out_trade_no") == order.out_trade_no
            ):
                return order, paid
    raise RefundError("unknown_order")


def _check_limits(world: World, order: Order, paid: Transaction, body: dict[str, Any]) -> None:
    now, before = world.clock.now(), _refunds(order, paid)
    if body["amount"]["total"] != order.total:
        raise RefundError("differs")
    if now - paid.paid_at > LONGEST:
        raise RefundError("overdue")
    _check_left(world, order, paid, body["amount"]["refund"])
    if len(before) >= MOST:
        raise RefundError("too_many")
    if before and now - before[-1].accepted_at < SPACING:
        raise RefundError("too_soon")


def _check_left(world: World, order: Order, paid: Transaction, fen: int) -> None:
    now = world.clock.now()
    gone = sum(r.refund for r in _refunds(order, paid) if r.status(now) != "CLOSED")
    if gone == order.total:
        raise RefundError("nothing_left")
    if fen > order.total - gone:
        raise RefundError("exceeds")


def _refunds(order: Order, paid: Transaction) -> list[Refund]:
    return [r for r in order.refunds if r.transaction_id == paid.transaction_id]


def payment_of(order: Order, refund: Refund) -> Transaction:
    """Find the payment that a refund gives back."""
    return next(t for t in order.transactions if t.transaction_id == refund.transaction_id)


def _numbers(order: Order, refund: Refund) -> dict[str, str]:
    return {
        "transaction_id": refund.transaction_id,
        "out_trade_no": order.out_trade_no,
        "refund_id": refund.refund_id,
        "out_refund_no": refund.out_refund_no,
    }


def _amount(order: Order, paid: Transaction, refund: Refund) -> dict[str, int]:
    """Share what goes back between buyer and coupon as the payment was."""
    payer = refund.refund * paid.payer_total // order.total
    sums = {"total": order.total, "refund": refund.refund}
    return sums | {"payer_total": paid.payer_total, "payer_refund": payer}


def _success_time(refund: Refund, status: str) -> dict[str, str]:
    return {"success_time": rfc3339(refund.finished_at)} if status == "SUCCESS" else {}


def _invalid(message: str) -> RefusalError:
    return RefusalError(400, "INVALID_REQUEST", message)
