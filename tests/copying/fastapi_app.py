"""A FastAPI app that takes payments with a copy of wechat/ beside it."""

import json
import os
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import httpx
import uvicorn
from fastapi import Body, FastAPI, Request, Response

from .wechat import errors, invoke, keys, login, notify, sign, transactions
from .wechat.client import Client
from .wechat.trust import Trust

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
http = httpx.AsyncClient(trust_env=False)
client = Client(http, merchant, trust, host=env["host"], standby=None)
paid: dict[str, str | None] = {}
Text = Annotated[str, Body(embed=True)]


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    yield
    await http.aclose()


app = FastAPI(lifespan=lifespan)


@app.post("/login")
async def log_in(code: Text) -> Any:
    app_keys = {"appid": env["appid"], "secret": env["secret"]}
    who = await login.code2session(http, **app_keys, code=code, host=env["host"])
    return {"openid": who.openid}


@app.post("/pay")
async def pay(number: Text, openid: Text, request: Request) -> Any:
    parties = {"appid": env["appid"], "mchid": merchant.mchid}
    order = transactions.order(
        "jsapi",
        parties,
        payer={"openid": openid},
        description="一杯茶",
        out_trade_no=number,
        total_fen=1200,
        notify_url=f"{request.base_url}notify",
        time_expire=datetime.now(UTC) + timedelta(minutes=30),
    )
    prepay_id = await transactions.prepay(client, "jsapi", parties, order)
    now = int(time.time())
    nonce = sign.new_nonce()
    return invoke.bridge(merchant, env["appid"], prepay_id, timestamp=now, nonce=nonce)


@app.post("/notify")
async def notified(request: Request) -> Response:
    body = await request.body()
    try:
        await notify.verify(client, request.headers, body)
    except errors.SignatureInvalid as error:
        return Response(error.reason, 401)
    trade = notify.open_payment(merchant.apiv3_key, notify.parse(body))
    paid[trade.out_trade_no] = trade.transaction_id
    return Response(status_code=204)


@app.get("/paid")
async def show_paid() -> Any:
    return paid


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=env["port"], log_level="warning")
