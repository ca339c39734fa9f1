"""The peer: what a good developer writes in an afternoon with FastAPI, wechatpayv3 and Tortoise.

It knows no sessions, repeats nothing and sweeps nothing. Under `/` it writes the same rows as the
shop, each fact in one transaction; under `/fewer` half of them.
"""

import json
import os
import secrets
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from tortoise import Tortoise, fields
from tortoise.exceptions import IntegrityError
from tortoise.models import Model
from tortoise.transactions import in_transaction
from wechatpayv3.async_ import AsyncWeChatPay, WeChatPayType

from bench import credentials

PORT = int(sys.argv[1]) if len(sys.argv) > 1 else 0


class Order(Model):
    """What is bought."""

    id = fields.BigIntField(primary_key=True)
    number = fields.CharField(32, unique=True)
    state = fields.CharField(8)
    total_fen = fields.BigIntField()
    created_at = fields.DatetimeField()
    paid_at = fields.DatetimeField(null=True)


class Payment(Model):
    """One attempt to pay an order."""

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField("models.Order", db_index=True)
    out_trade_no = fields.CharField(32, unique=True)
    state = fields.CharField(8)
    total_fen = fields.BigIntField()
    request = fields.TextField()
    prepay_id = fields.CharField(64, null=True)
    transaction_id = fields.CharField(32, null=True, unique=True)
    created_at = fields.DatetimeField()
    paid_at = fields.DatetimeField(null=True)


class Notification(Model):
    """What WeChat sent; its id keeps copies out."""

    id = fields.BigIntField(primary_key=True)
    event_id = fields.CharField(64, unique=True)
    body = fields.TextField()
    received_at = fields.DatetimeField()


class Transition(Model):
    """One line of history."""

    id = fields.BigIntField(primary_key=True)
    number = fields.CharField(32)
    from_state = fields.CharField(8)
    to_state = fields.CharField(8)
    at = fields.DatetimeField()


class Event(Model):
    """What is to be done after a payment."""

    id = fields.BigIntField(primary_key=True)
    order: fields.ForeignKeyRelation[Order] = fields.ForeignKeyField("models.Order", db_index=True)
    kind = fields.CharField(16)
    is_done = fields.BooleanField()


def _sdk() -> AsyncWeChatPay:
    keys = credentials.of_environment()
    sdk = AsyncWeChatPay(
        wechatpay_type=WeChatPayType.MINIPROG,
        mchid=keys["mchid"],
        private_key=keys["merchant_private_key_pem"],
        cert_serial_no=keys["merchant_serial"],
        appid=keys["appid"],
        apiv3_key=keys["apiv3_key"],
        notify_url=f"http://127.0.0.1:{PORT}/notify",
        public_key=keys["public_key_pem"],
        public_key_id=keys["public_key_id"],
    )
    sdk._core._gate_way = os.environ["BENCH_UPSTREAM"]
    return sdk


sdk = _sdk()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    url = os.environ["BENCH_DATABASE_URL"]
    await Tortoise.init(db_url=url, modules={"models": ["__main__"]}, _enable_global_fallback=True)
    await Tortoise.generate_schemas()
    async with sdk:
        yield
    await Tortoise.close_connections()


app = FastAPI(lifespan=lifespan)


@app.post("/orders")
async def place() -> Any:
    order = await Order.create(
        number=secrets.token_hex(10),
        state="OPEN",
        total_fen=9900,
        created_at=datetime.now(UTC),
    )
    return {"order_no": order.number}


@app.post("/orders/{number}/pay")
async def pay(number: str) -> Any:
    """Write the payment down, call WeChat, write the answer down."""
    order = await Order.get(number=number)
    out_trade_no = f"B{secrets.token_hex(12)}"
    payer = {"openid": "oNobody"}
    amount = {"total": order.total_fen}
    payment = await Payment.create(
        order=order,
        out_trade_no=out_trade_no,
        state="NEW",
        total_fen=order.total_fen,
        request=json.dumps({"payer": payer, "amount": amount}),
        created_at=datetime.now(UTC),
    )
    code, answer = await sdk.pay("一盒茶", out_trade_no, amount, payer)
    if code != 200:
        return Response(answer, 502)
    payment.prepay_id = json.loads(answer)["prepay_id"]
    payment.state = "OPEN"
    await payment.save(update_fields=["prepay_id", "state"])
    return {"out_trade_no": out_trade_no, "invoke": _invoke(payment.prepay_id)}


@app.post("/fewer/orders/{number}/pay")
async def pay_with_fewer(number: str) -> Any:
    """Call WeChat, then write one row."""
    order = await Order.get(number=number)
    out_trade_no = f"B{secrets.token_hex(12)}"
    payer = {"openid": "oNobody"}
    amount = {"total": order.total_fen}
    code, answer = await sdk.pay("一盒茶", out_trade_no, amount, payer)
    if code != 200:
        return Response(answer, 502)
    prepay_id = json.loads(answer)["prepay_id"]
    await Payment.create(
        order=order,
        out_trade_no=out_trade_no,
        state="OPEN",
        total_fen=order.total_fen,
        request="",
        prepay_id=prepay_id,
        created_at=datetime.now(UTC),
    )
    return {"out_trade_no": out_trade_no, "invoke": _invoke(prepay_id)}


def _invoke(prepay_id: str) -> dict[str, str]:
    signed = [
        sdk._appid,
        str(int(time.time())),
        secrets.token_hex(16),
        f"prepay_id={prepay_id}",
    ]
    names = ("appId", "timeStamp", "nonceStr", "package")
    return {**dict(zip(names, signed, strict=True)), "paySign": sdk.sign(signed)}


@app.post("/notify")
async def notify(request: Request) -> Response:
    """Record notification, payment, order, history and event in one transaction."""
    body = await request.body()
    result = sdk.callback(request.headers, body)
    if not result:
        return Response(status_code=401)
    trade = result["resource"]
    now = datetime.now(UTC)
    try:
        async with in_transaction():
            await Notification.create(event_id=result["id"], body=body.decode(), received_at=now)
            payment = await Payment.get(out_trade_no=trade["out_trade_no"])
            if payment.state == "PAID" or payment.total_fen != trade["amount"]["total"]:
                return Response(status_code=204)
            order = await Order.get(id=payment.order_id)  # type: ignore[attr-defined]
            await _pay(payment, order, trade, now)
            await Transition.create(
                number=payment.out_trade_no, from_state="OPEN", to_state="PAID", at=now
            )
            await Event.create(order=order, kind="on_paid", is_done=False)
    except IntegrityError:
        pass  # a copy
    return Response(status_code=204)


@app.post("/fewer/notify")
async def notify_with_fewer(request: Request) -> Response:
    """Record payment and order in one transaction."""
    result = sdk.callback(request.headers, await request.body())
    if not result:
        return Response(status_code=401)
    trade = result["resource"]
    async with in_transaction():
        payment = await Payment.get(out_trade_no=trade["out_trade_no"])
        if payment.state != "PAID" and payment.total_fen == trade["amount"]["total"]:
            order = await Order.get(id=payment.order_id)  # type: ignore[attr-defined]
            await _pay(payment, order, trade, datetime.now(UTC))
    return Response(status_code=204)


async def _pay(payment: Payment, order: Order, trade: dict[str, Any], now: datetime) -> None:
    payment.state = "PAID"
    payment.paid_at = now
    payment.transaction_id = trade["transaction_id"]
    await payment.save(update_fields=["state", "paid_at", "transaction_id"])
    order.state = "PAID"
    order.paid_at = now
    await order.save(update_fields=["state", "paid_at"])


@app.get("/healthz")
async def health() -> str:
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=PORT, log_level="error", access_log=False)
