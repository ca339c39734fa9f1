"""A Flask app that takes payments with a copy of wechat/ beside it."""

import asyncio
import json
import os
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import httpx
from flask import Flask, request

from .wechat import errors, invoke, keys, login, notify, sign, transactions
from .wechat.client import Client
from .wechat.trust import Trust

T = TypeVar("T")
env = json.loads(os.environ["PAYMENT"])
merchant = keys.Merchant(
    env["mchid"],
    env["merchant_serial"],
    keys.private_key(env["merchant_private_key_pem"]),
    keys.apiv3_key(env["apiv3_key"]),
)
trust = Trust(
    merchant.apiv3_key, public_keys={env["public_key_id"]: keys.public_key(env["public_key_pem"])}
)
app = Flask(__name__)
paid: dict[str, str | None] = {}


def wait(work: Callable[[httpx.AsyncClient, Client], Awaitable[T]]) -> T:
    """Flask's views do not wait by themselves: each one brings a loop and a client."""

    async def inside() -> T:
        async with httpx.AsyncClient(trust_env=False) as http:
            return await work(http, Client(http, merchant, trust, host=env["host"], standby=None))

    return asyncio.run(inside())


@app.post("/login")
def log_in() -> Any:
    code = request.json["code"]
    who = {"appid": env["appid"], "secret": env["secret"], "code": code, "host": env["host"]}
    return {"openid": wait(lambda http, _: login.code2session(http, **who)).openid}


@app.post("/pay")
def pay() -> Any:
    parties = {"appid": env["appid"], "mchid": merchant.mchid}
    order = transactions.order(
        "jsapi",
        parties,
        payer={"openid": request.json["openid"]},
        description="一杯茶",
        out_trade_no=request.json["number"],
        total_fen=1200,
        notify_url=request.host_url + "notify",
        time_expire=datetime.now(UTC) + timedelta(minutes=30),
    )
    prepay_id = wait(lambda _, client: transactions.prepay(client, "jsapi", parties, order))
    now = int(time.time())
    nonce = sign.new_nonce()
    return invoke.bridge(merchant, env["appid"], prepay_id, timestamp=now, nonce=nonce)


@app.post("/notify")
def notified() -> Any:
    headers = dict(request.headers)
    body = request.get_data()
    try:
        wait(lambda _, client: notify.verify(client, headers, body))
    except errors.SignatureInvalid as error:
        return {"code": "FAIL", "message": error.reason}, 401
    trade = notify.open_payment(merchant.apiv3_key, notify.parse(body))
    paid[trade.out_trade_no] = trade.transaction_id
    return "", 204


@app.get("/paid")
def show_paid() -> Any:
    return paid


if __name__ == "__main__":
    app.run("127.0.0.1", env["port"])
