"""The examples of /docs are true: a shop's whole life is walked through, and each answer compared.

UPDATE_EXAMPLES=1 writes the file anew, from what came.
"""

import json
import os
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import msgspec
import pytest
from accounts.models import Identity
from checkout.bill import Bill
from checkout.models import Notification, Order, Payment, Refund
from kit import owner
from kit.answers import document
from kit.books import next_noon
from kit.buyers import ADMIN, Browser, guest, paying
from kit.running import BuyerClient, RunningShop, partner
from kit.waiting import until
from shop.web import pages
from shop.web.docs.examples import FILE, Example, examples
from shop.web.server import APIS

UPDATE = os.environ.get("UPDATE_EXAMPLES") == "1"
SHOWN = ("Idempotency-Key", "Origin")  # of a request; tokens stand for themselves
ANSWERED = ("location", "allow")  # of an answer
SIGNED = re.compile(r"wechatpay-|content-type", re.I)
LINES = 6  # of a long text
ROUTES = {route.handler.__name__: route for api in APIS for route in api.routes}
PROVIDER = {"collect"}
JSON = dict[str, Any]


class Recorder:
    """Calls the shop by operationId, and keeps what went over the wire."""

    def __init__(self, running: RunningShop, paths: Mapping[str, Mapping[str, JSON]]) -> None:
        self.running = running
        self.recorded = dict[str, Example]()
        self.calls = {
            call["operationId"]: (method.upper(), path)
            for path, methods in paths.items()
            for method, call in methods.items()
        }

    async def __call__(
        self,
        name: str,
        who: Mapping[str, str] | None = None,
        *,
        body: Any = None,
        http: httpx.AsyncClient | None = None,
        query: Mapping[str, str] | None = None,
        **parts: str,
    ) -> Any:
        """Make the call; it has to succeed. Return its answer."""
        method, template = self.calls[name]
        path = template.format(**parts) + (f"?{httpx.QueryParams(query)}" if query else "")
        answer = await (http or self.running.http).request(method, path, json=body, headers=who)
        assert answer.status_code < 400, (name, answer.text)
        self.keep(name, answer, parts=parts, query=dict(query or {}), body=body)
        return self.recorded[name].answer

    def keep(self, name: str, answer: httpx.Response, **request: Any) -> None:
        """Keep an example; what every client adds to a request by itself is left out."""
        sent = answer.request.headers
        came = answer.headers
        self.recorded[name] = Example(
            method=answer.request.method,
            path=answer.request.url.raw_path.decode(),
            status=answer.status_code,
            headers={name: sent[name] for name in SHOWN if name in sent},
            answer=content(answer),
            answer_headers={name.title(): came[name] for name in ANSWERED if name in came},
            **request,
        )

    async def fail(self, guest: BuyerClient, order_no: str) -> None:
        """Keep what an error looks like: a guest pays where an openid is needed."""
        answer = await guest.start(order_no, "jsapi")
        assert answer.status_code == 409
        self.keep("errors", answer, body={"scene": "jsapi"})

    async def keep_notification(self, name: str, path: str) -> None:
        """Keep what the sandbox sent to a path of the shop."""
        entry: JSON = {}

        async def came() -> bool:
            log = (await self.running.sandbox.get("/_sandbox/log")).json()["entries"]
            entry.update(next((e for e in log if e["url"].endswith(path)), {}))
            return bool(entry)

        await until(came, seconds=30)
        headers = {n.title(): v for n, v in entry["request_headers"].items() if SIGNED.match(n)}
        body = json.loads(entry["request_body"])
        assert entry["status"] == 204
        self.recorded[name] = Example("POST", path, 204, headers=headers, body=body)


def content(answer: httpx.Response) -> Any:
    """Return the body of an answer: JSON, the first lines of a text, or None."""
    if "json" in answer.headers.get("content-type", ""):
        return answer.json()
    lines = answer.text.splitlines()
    return "\n".join([*lines[:LINES], *["…"] * (len(lines) > LINES)]) or None


def outline(value: Any) -> Any:
    """Return the keys of a JSON value, without what they hold; a list is known by its first."""
    if isinstance(value, dict):
        return {key: outline(part) for key, part in value.items()}
    return [outline(part) for part in value[:1]] if isinstance(value, list) else None


def write(record: Recorder) -> None:
    """Put what was recorded into the file, with the addresses of a real shop."""
    merged = {**examples(), **record.recorded}
    text = json.dumps(msgspec.to_builtins(merged), ensure_ascii=False, indent=1)
    for ours, shown in (
        (record.running.origin, "https://shop.example.com"),
        (str(record.running.sandbox.base_url).rstrip("/"), "https://open.weixin.qq.com"),
    ):
        text = text.replace(ours, shown).replace(quote(ours, safe=""), quote(shown, safe=""))
    FILE.write_text(text + "\n", encoding="utf-8")
    examples.cache_clear()


def compare(record: Recorder, wanted: set[str]) -> None:
    """Assert that these examples are in the file, as they are now; or write them first."""
    recorded = record.recorded
    assert set(recorded) == wanted
    if UPDATE:
        write(record)
    for name, real in recorded.items():
        shown = examples().get(name)
        assert shown, f"{name} has no example: UPDATE_EXAMPLES=1 records it"
        for part in ("status", "method"):
            assert getattr(shown, part) == getattr(real, part), name
        for part in ("parts", "query", "headers", "answer_headers", "body", "answer"):
            assert outline(getattr(shown, part)) == outline(getattr(real, part)), (name, part)


async def settled(condition: Callable[[], Awaitable[object]]) -> None:
    """Wait for something that WeChat tells the shop."""
    await until(condition, seconds=30)


@pytest.fixture
def two_merchants(running: RunningShop, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cup be another merchant's."""
    other = running.credentials["others"][0]["mchid"]
    monkeypatch.setattr(owner, "PRODUCTS", owner.selling_for(other))


def key(text: str) -> dict[str, str]:
    return {"Idempotency-Key": text}


async def log_in(record: Recorder) -> BuyerClient:
    """Log in in every way; return the buyer of the mini program."""
    running = record.running
    appid = running.app("miniprogram")["appid"]
    code = (await running.control("login-code", appid=appid, openid="oBuyer"))["code"]
    session = await record("miniprogram_session", body={"code": code})
    buyer = BuyerClient(running, {"Authorization": f"Bearer {session['token']}"}, "oBuyer")
    await record("guest_session")
    await record("me", buyer.headers)
    browser = Browser(running, "oReader")
    await record("oauth_start", http=browser.http, query={"return_to": "/?order=1"})
    callback = httpx.URL(await browser.start("/?order=1"))
    await record("oauth_callback", http=browser.http, query=dict(callback.params))
    await record("end_session", {"Origin": running.origin}, http=browser.http)
    await browser.http.aclose()
    return buyer


async def buy(record: Recorder, buyer: BuyerClient) -> tuple[str, str]:
    """Order, pay, and get something back; return the numbers of order and payment."""
    items = [{"sku": "longjing", "quantity": 2}]
    placed = await record("place_order", buyer.headers | key("b1c8f3d2e5"), body={"items": items})
    number = placed["order_no"]
    started = await record(
        "start_payment", buyer.headers, body={"scene": "miniprogram"}, order_no=number
    )
    await buyer.pay(started["invoke"])
    await record.keep_notification("notify_wechat_payment", "/notify/wechat/payment")
    await settled(lambda: Order.exists(order_no=number, state="PAID"))
    refund = {"refund_fen": 9900, "reason": "少发一件"}
    await record("refund_order", ADMIN | key("r7a40c96d1"), body=refund, order_no=number)
    await record.running.advance(3600)
    await record.keep_notification("notify_wechat_refund", "/notify/wechat/refund")
    await settled(lambda: Refund.exists(state="SUCCESS"))
    await record("get_order", buyer.headers, query={"refresh": "1"}, order_no=number)
    await record("list_orders", buyer.headers)
    return number, started["out_trade_no"]


async def operate(record: Recorder, out_trade_no: str) -> None:
    """Look at everything as the operator does."""
    for name in ("all_orders", "all_payments", "all_refunds", "all_notifications"):
        await record(name, ADMIN)
    await record("query_payment", ADMIN, out_trade_no=out_trade_no)
    stored = await Notification.all().order_by("id").first()
    assert stored
    await record("replay_notification", ADMIN, number=str(stored.id))


async def change_their_mind(record: Recorder, buyer: BuyerClient) -> None:
    """Hand an order over, cancel it, close a held payment, pay two merchants at once."""
    order = (await buyer.order())["order_no"]
    handed = await record("hand_over", buyer.headers, order_no=order)
    other = await guest(record.running)
    await record("claim", other.headers, body={"token": handed["token"]})
    await record.fail(other, order)
    await record("cancel_order", buyer.headers, order_no=order)
    _, _, held = await paying(record.running)
    number = held["out_trade_no"]
    await Payment.filter(number=number).update(state="HELD")  # a query with a wrong amount does
    reason = {"reason": "核对过，没有付款"}
    await record("close_held_payment", ADMIN, body=reason, out_trade_no=number)
    cart = (await buyer.cart("puer", "cup"))["order_no"]
    await buyer.pay((await buyer.start(cart)).json()["invoke"])
    await record.keep_notification("notify_wechat_combine", "/notify/wechat/combine")


async def balance(record: Recorder) -> None:
    """Compare a day with a bill that lacks a line."""
    running = record.running
    day = await next_noon(running)
    await running.control("faults", bill="missing_row")
    for books in running.shop.checkout.channels.books().values():
        assert [d async for d in Bill(books, day, "S", running.shop.clock).differences(print)]
    await record("all_differences", ADMIN, query={"date": day.isoformat()})


@pytest.mark.usefixtures("two_merchants")
async def test_each_example_is_as_the_shop_answers(
    running: RunningShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = (await document(running))["paths"]
    record = Recorder(running, paths)
    await record("show_shop")
    await record("list_products")
    buyer = await log_in(record)
    assert await Identity.exists(openid="oBuyer")
    _, out_trade_no = await buy(record, buyer)
    await operate(record, out_trade_no)
    await change_their_mind(record, buyer)
    await balance(record)
    await record("healthz")
    await record("readyz")
    await record("metrics", ADMIN)
    monkeypatch.setattr(pages, "PAGES", tmp_path)
    (tmp_path / "MP_verify_AbCdEf1234567890.txt").write_text("AbCdEf1234567890")
    await record("verify_domain", token="AbCdEf1234567890")
    compare(record, set(record.calls) - PROVIDER | {"errors"})


class TestProvider:
    @pytest.fixture
    def more_settings(self) -> Any:
        return partner

    async def test_an_example_of_a_typed_amount_is_as_the_shop_answers(
        self, running: RunningShop
    ) -> None:
        record = Recorder(running, (await document(running))["paths"])
        buyer = await running.buyer()
        body = {"amount_yuan": "12.34", "scene": "miniprogram"}
        await record("collect", buyer.headers | key("c52e0b71fa"), body=body)
        compare(record, PROVIDER)


@pytest.mark.parametrize("name", ROUTES)
def test_each_example_fits_the_shapes_of_its_call(name: str) -> None:
    route = ROUTES[name]
    example = examples()[name]
    gives = route.gives[example.status]
    if gives is None:
        assert example.answer is None
    else:
        again = msgspec.to_builtins(msgspec.convert(example.answer, gives, strict=True))
        assert outline(again) == outline(example.answer)
    if example.body is not None:
        msgspec.convert(example.body, route.takes, strict=True)
    assert example.method == route.method
    assert ("Idempotency-Key" in example.headers) == route.keyed
