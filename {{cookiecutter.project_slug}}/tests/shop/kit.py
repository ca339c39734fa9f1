"""Play WeChat against the shop: notifications signed and sealed with the sandbox's own keys."""

import asyncio
import base64
import json
import re
import secrets
import sys
import time
import uuid
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import date, timedelta
from itertools import count
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from accounts.models import Identity
from checkout import channels
from checkout.bill import BEIJING, Bill, Count
from checkout.clock import Clock
from checkout.models import Notification, Order, Payment, Share, Transition
from tests.sandbox.kit import load_key
from tests.shop.conftest import ADMIN_TOKEN, BuyerClient, Stage

PATH = "/notify/wechat/payment"
ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
JSON = {"Content-Type": "application/json"}


class WeChat:
    """Makes notifications: true ones, and correctly signed wrong ones."""

    def __init__(self, stage: Stage) -> None:
        self.stage, self.known = stage, stage.known

    async def trade(self, out_trade_no: str, **changes: Any) -> dict[str, Any]:
        """Build what WeChat says of a paid number of ours; a change to None removes the field."""
        share = await Share.get(out_trade_no=out_trade_no)
        payment = await Payment.get(id=share.payment_id)
        found = {
            **payment.parties,
            "out_trade_no": out_trade_no,
            "transaction_id": f"4200{secrets.randbelow(10**20):020}",
            "trade_type": "JSAPI",
            "trade_state": "SUCCESS",
            "trade_state_desc": "支付成功",
            "bank_type": "OTHERS",
            "success_time": "2026-01-02T03:04:05+08:00",
            "payer": {"openid": payment.payer},
        }
        if "sp_mchid" in payment.parties:
            found["payer"] = {"sp_openid": payment.payer or "oSomebody"}
        total = share.total_fen
        found["amount"] = {"total": total, "payer_total": total, "currency": "CNY"}
        found["amount"] |= changes.pop("amount", {})
        return {k: v for k, v in (found | changes).items() if v is not None}

    def seal(self, trade: dict[str, Any], *, key: str = "", **envelope: Any) -> bytes:
        """Encrypt a trade into the body of a notification."""
        nonce, kind = secrets.token_hex(6), envelope.pop("original_type", "transaction")
        cipher = AESGCM((key or self.known["apiv3_key"]).encode())
        sealed = cipher.encrypt(nonce.encode(), json.dumps(trade).encode(), b"transaction")
        resource = {
            "algorithm": "AEAD_AES_256_GCM",
            "ciphertext": base64.b64encode(sealed).decode(),
            "nonce": nonce,
            "associated_data": "transaction",
            "original_type": kind,
        }
        body = {
            "id": str(uuid.uuid4()),
            "create_time": "2026-01-02T03:04:06+08:00",
            "resource_type": "encrypt-resource",
            "event_type": "TRANSACTION.SUCCESS",
            "summary": "支付成功",
            "resource": resource,
        }
        return json.dumps(body | envelope).encode()

    def headers(self, body: bytes, *, age: int = 0, pem: str = "", **changes: Any) -> Any:
        """Sign a body; `changes` replaces headers afterwards, None removes one."""
        timestamp, nonce = str(int(time.time()) - age), secrets.token_hex(16)
        key = load_key(pem or self.known["wechat_private_key_pem"])
        text = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signature = base64.b64encode(key.sign(text, padding.PKCS1v15(), hashes.SHA256())).decode()
        found = {
            "Wechatpay-Timestamp": timestamp,
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Signature": signature,
            "Wechatpay-Serial": self.known["public_key_id"],
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
            "Content-Type": "application/json",
        }
        found |= {f"Wechatpay-{name.title()}": value for name, value in changes.items()}
        return {name: value for name, value in found.items() if value is not None}

    async def send(self, body: bytes, **signing: Any) -> httpx.Response:
        """Deliver a body with a fresh signature."""
        headers = self.headers(body, **signing)
        return await self.stage.http.post(PATH, content=body, headers=headers)

    async def notify(self, trade: dict[str, Any], **sealing: Any) -> httpx.Response:
        """Seal and deliver a trade."""
        return await self.send(self.seal(trade, **sealing))


async def paying(stage: Stage, **order: Any) -> tuple[BuyerClient, dict[str, Any], dict[str, Any]]:
    """Bring a buyer to the open cashier: the buyer, the order, the payment that was started."""
    buyer = await stage.buyer()
    placed = await buyer.order(**order)
    started = await buyer.start(placed["order_no"])
    assert started.status_code == 201, started.text
    return buyer, placed, started.json()


async def bought(stage: Stage) -> tuple[BuyerClient, str, str]:
    """Pay an order: the buyer, its number, the payment's number."""
    buyer, order, started = await paying(stage)
    await buyer.pay(started["invoke"])
    await until(lambda: Order.exists(order_no=order["order_no"], state="PAID"))
    return buyer, order["order_no"], started["out_trade_no"]


async def guest(stage: Stage) -> BuyerClient:
    """Begin a session without an openid."""
    answer = await stage.http.post("/api/sessions/guest", json={})
    return BuyerClient(stage, {"Authorization": f"Bearer {answer.json()['token']}"}, "")


async def also_official(stage: Stage, buyer: BuyerClient) -> None:
    """Let the same person be known by the official account too, so that both scenes are open."""
    appid = stage.app("official_account")["appid"]
    await stage.control("oauth-code", appid=appid, openid="oBuyerH5")
    me = (await buyer.get("/api/me")).json()["buyer"]
    await Identity.create(buyer_id=me, kind="official_account", appid=appid, openid="oBuyerH5")


async def calls(stage: Stage, part: str) -> list[dict[str, Any]]:
    """Return what the sandbox was asked whose address ends with `part` (before its query)."""
    entries = (await stage.sandbox.get("/_sandbox/log")).json()["entries"]
    return [e for e in entries if e["url"].partition("?")[0].endswith(part)]


async def moves(number: str) -> list[tuple[str, str]]:
    """Return the history of one order or payment."""
    rows = await Transition.filter(number=number).order_by("id")
    return [(row.from_state, row.to_state) for row in rows]


async def outcomes(out_trade_no: str = "") -> list[tuple[str, str]]:
    """Return what became of the notifications, about one number or all."""
    rows = Notification.filter(out_trade_no=out_trade_no) if out_trade_no else Notification.all()
    return [(row.outcome, row.reason) for row in await rows.order_by("id")]


async def until(condition: Callable[[], Awaitable[object]], seconds: float = 5) -> None:
    """Wait for something that happens in the background."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.005)


def partner(known: dict[str, Any], *, sub_app: bool = False) -> dict[str, str]:
    """Return the settings of a shop that is a service provider's; its mini program may be the sub
    merchant's own."""
    sp, sub = known["sp"], known["sub"][0]
    own = {app["kind"].upper(): app for app in sp["apps"]}
    subs = {app["kind"].upper(): app for app in sub["apps"]}
    mini = subs["MINIPROGRAM"] if sub_app else own["MINIPROGRAM"]
    return {
        "SHOP_MCHID": sp["mchid"],
        "SHOP_MERCHANT_SERIAL": sp["merchant_serial"],
        "SHOP_MERCHANT_KEY": sp["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": sp["apiv3_key"],
        "SHOP_MINIPROGRAM_APPID": mini["appid"],
        "SHOP_MINIPROGRAM_SECRET": mini["secret"],
        "SHOP_OFFICIAL_ACCOUNT_APPID": own["OFFICIAL_ACCOUNT"]["appid"],
        "SHOP_OFFICIAL_ACCOUNT_SECRET": own["OFFICIAL_ACCOUNT"]["secret"],
        "SHOP_APP_APPID": own["APP"]["appid"],
        "SHOP_SUB_MCHID": sub["mchid"],
        "SHOP_SUB_APPID": mini["appid"] if sub_app else "",
        "SHOP_OTHER_MERCHANTS": "",
    }


async def give_back(stage: Stage, order_no: str, fen: int, **more: Any) -> httpx.Response:
    """Ask for a refund as the operator does."""
    key = {"Idempotency-Key": more.pop("key", secrets.token_hex(8))}
    body = {"refund_fen": fen, "reason": "少发一件"} | more
    path = f"/api/admin/orders/{order_no}/refunds"
    return await stage.http.post(path, json=body, headers=ADMIN | key)


def today(stage: Stage) -> date:
    """Return the day it is in Beijing."""
    return stage.shop.clock.now().astimezone(BEIJING).date()


async def next_noon(stage: Stage) -> date:
    """Let the day end, and the next one reach noon; return the day that is over."""
    now = stage.shop.clock.now().astimezone(BEIJING)
    noon = (now + timedelta(days=1)).replace(hour=12, minute=0, second=0)
    await stage.advance(int((noon - now).total_seconds()))
    return now.date()


async def compare(stage: Stage, day: date) -> tuple[list[tuple[str, str]], Count]:
    """Compare a day: kind and number of each difference, and the counts of the last bill."""
    differences: list[tuple[str, str]] = []
    for books in stage.shop.checkout.channels.books().values():
        bill = Bill(books, day, "S", stage.shop.clock)
        differences += [(d.kind, d.number) async for d in bill.differences(lambda rows: None)]
    return differences, bill.count


@contextmanager
def exercise() -> Iterator[None]:
    """Lay exercise/voucher.py beside the channels: it is one, with a bank that knows nothing."""
    folders = channels.__path__
    channels.__path__ = [*folders, str(Path(__file__).with_name("exercise"))]
    sys.modules.pop("checkout.channels.voucher", None)
    try:
        yield
    finally:
        channels.__path__ = folders
        sys.modules.pop("checkout.channels.voucher", None)


PARTIES = {"mchid": "1900000001", "appid": "wx0000000000000001"}
_numbers = count(1)


async def new_order(state: str = "OPEN", **more: Any) -> Order:
    """Write an order of 100 fen straight into the table."""
    n, now = next(_numbers), Clock().now()
    row = {"order_no": f"{n:012}", "buyer": "buyer", "state": state, "total_fen": 100}
    row |= {"idempotency_key": str(n), "request_hash": ""}
    return await Order.create(**row | more, created_at=now, expires_at=now + timedelta(minutes=30))


async def new_payment(order: Order, state: str = "NEW", *, live: bool = False) -> Payment:
    """Write a payment of an order, with its one share, straight into the tables."""
    number, now = f"S{next(_numbers):012}", Clock().now()
    payment = await Payment.create(
        order_id=order.id,
        number=number,
        channel="wechat",
        scene="jsapi",
        product="jsapi",
        payer="o",
        total_fen=order.total_fen,
        state=state,
        live=order.id if live else None,
        parties=PARTIES,
        request="",
        prepay={},
        request_id="-",
        created_at=now,
        expires_at=order.expires_at,
    )
    await Share.create(
        payment_id=payment.id,
        out_trade_no=number,
        merchant="",
        channel="wechat",
        parties={"mchid": PARTIES["mchid"]},
        total_fen=order.total_fen,
    )
    return payment


class Browser:
    """A browser inside WeChat: it keeps cookies and follows no redirect by itself."""

    def __init__(self, stage: Stage, openid: str) -> None:
        self.stage, self.openid = stage, openid
        self.http = httpx.AsyncClient(base_url=stage.origin, trust_env=False, timeout=30)

    async def start(self, return_to: str = "/") -> str:
        """Begin a login; return the address of the callback that WeChat redirects to."""
        answer = await self.http.get("/oauth/start", params={"return_to": return_to})
        assert answer.status_code == 302
        state = parse_qs(urlsplit(answer.headers["location"]).query)["state"][0]
        return f"/oauth/callback?code={await self.code()}&state={state}"

    async def code(self, **more: Any) -> str:
        appid = self.stage.app("official_account")["appid"]
        made = await self.stage.control("oauth-code", appid=appid, openid=self.openid, **more)
        return str(made["code"])

    async def me(self) -> httpx.Response:
        return await self.http.get("/api/me")


def check_failure(answer: httpx.Response, status: int | None = None) -> dict[str, Any]:
    """Check that an error is one of ours and leaks nothing."""
    assert 400 <= answer.status_code < 500 if status is None else answer.status_code == status
    failure: dict[str, Any] = answer.json()
    assert {"code", "message", "request_id"} <= set(failure)
    assert answer.headers["X-Request-ID"] == failure["request_id"]
    assert not re.search(r"Traceback|File \"|site-packages|sqlite|/shop/", answer.text)
    return failure


async def document(stage: Stage) -> dict[str, Any]:
    openapi: dict[str, Any] = (await stage.http.get("/openapi.json")).json()
    return openapi


def fits(value: Any, schema: dict[str, Any], shapes: dict[str, Any]) -> bool:
    """Check a value against the part of JSON Schema that the document uses."""
    if "$ref" in schema:
        return fits(value, shapes[schema["$ref"].rpartition("/")[2]], shapes)
    if "anyOf" in schema:
        return any(fits(value, part, shapes) for part in schema["anyOf"])
    if schema.get("type") == "object" and "properties" in schema:
        properties = schema["properties"]
        return set(schema.get("required", [])) <= set(value) <= set(properties) and all(
            fits(part, properties[name], shapes) for name, part in value.items()
        )
    if schema.get("type") == "array":
        return isinstance(value, list) and all(fits(v, schema["items"], shapes) for v in value)
    types = {"string": str, "integer": int, "null": type(None), "object": dict}
    return isinstance(value, types[schema["type"]])
