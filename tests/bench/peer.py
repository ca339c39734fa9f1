"""The smallest app of another make that does the same: FastAPI, uvicorn, wechatpayv3.

It knows no sessions and no orders and writes nothing down.
"""

import json
import os
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from wechatpayv3.async_ import AsyncWeChatPay, WeChatPayType

env = json.loads(os.environ["PEER"])
known = env["known"]
sdk = AsyncWeChatPay(
    wechatpay_type=WeChatPayType.MINIPROG,
    mchid=known["mchid"],
    private_key=known["merchant_private_key_pem"],
    cert_serial_no=known["merchant_serial"],
    appid=env["appid"],
    apiv3_key=known["apiv3_key"],
    notify_url=f"http://127.0.0.1:{env['port']}/notify",
    public_key=known["public_key_pem"],
    public_key_id=known["public_key_id"],
)
sdk._core._gate_way = env["sandbox"]
paid: set[str] = set()


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    async with sdk:
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/pay")
async def pay() -> Any:
    number = f"B{secrets.token_hex(12)}"
    payer = {"openid": env["openid"]}
    code, answer = await sdk.pay("一盒茶", number, {"total": 9900}, payer)
    if code != 200:
        return Response(answer, 502)
    signed = [env["appid"], str(int(time.time())), secrets.token_hex(16)]
    signed.append(f"prepay_id={json.loads(answer)['prepay_id']}")
    names = ("appId", "timeStamp", "nonceStr", "package")
    invoke = dict(zip(names, signed, strict=True))
    return {"out_trade_no": number, "invoke": {**invoke, "paySign": sdk.sign(signed)}}


@app.post("/notify")
async def notify(request: Request) -> Response:
    result = sdk.callback(request.headers, await request.body())
    if not result:
        return Response(status_code=401)
    paid.add(result["resource"]["out_trade_no"])
    return Response(status_code=204)


@app.get("/healthz")
async def health() -> str:
    return "ok"


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=env["port"], log_level="error", access_log=False)
