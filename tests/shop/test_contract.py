"""The HTTP contract: every route is documented, answers have the documented shape."""

import re
from pathlib import Path
from typing import Any

import pytest
from checkout.models import Payment
from kit.answers import document, fits
from kit.buyers import ADMIN, paying
from kit.running import RunningShop
from kit.wechat import WeChat
from shop.web import pages
from shop.web.server import server_of
from tortoise.connection import get_connection

from shop import routes

ROUTES = {
    "POST /api/sessions/miniprogram",
    "POST /api/sessions/guest",
    "POST /api/sessions/end",
    "GET /api/me",
    "GET /api/products",
    "POST /api/orders",
    "GET /api/orders",
    "GET /api/orders/{order_no}",
    "POST /api/orders/{order_no}/payments",
    "POST /api/orders/{order_no}/cancel",
    "POST /api/orders/{order_no}/handover",
    "POST /api/handover",
    "POST /api/collect",
    "GET /api/shop",
    "GET /api/admin/orders",
    "GET /api/admin/payments",
    "GET /api/admin/notifications",
    "GET /api/admin/refunds",
    "GET /api/admin/differences",
    "POST /api/admin/orders/{order_no}/refunds",
    "POST /api/admin/payments/{out_trade_no}/close",
    "POST /api/admin/notifications/{number}/replay",
    "POST /api/admin/payments/{out_trade_no}/query",
}
PAGES = {
    "GET /oauth/start",
    "GET /oauth/callback",
    "POST /notify/wechat/payment",
    "POST /notify/wechat/refund",
    "POST /notify/wechat/combine",
    "GET /healthz",
    "GET /readyz",
    "GET /metrics",
    "GET /MP_verify_{token}.txt",
}
ORDER = {
    "order_no", "state", "total_fen", "paid_fen", "refunded_fen", "refunding_fen", "items",
    "created_at", "expires_at", "paid_at", "payments", "refunds",
}  # fmt: skip


async def test_every_route_of_the_contract_is_documented_and_nothing_else(
    running: RunningShop,
) -> None:
    paths = (await document(running))["paths"]
    assert {f"{verb.upper()} {path}" for path, verbs in paths.items() for verb in verbs} == (
        ROUTES | PAGES
    )


async def test_no_route_is_missing_in_the_document(running: RunningShop) -> None:
    paths = set((await document(running))["paths"]) | {
        "/openapi.json",
        "/docs",
        "/docs/page.css",
        "/docs/page.js",
        "/",
        "/h5/{name}",
        "/qr.svg",
        "/picture.svg",
        "/favicon.ico",
    }
    paths |= {"/{name}"}  # as Sanic writes the MP_verify file
    app = server_of(running.shop, name="routes-of-the-shop")
    owners = f"{app.name}.{routes.blueprint.name}."  # shop/routes.py is documented by its owner
    ours = [route.path for route in app.router.routes if not route.name.startswith(owners)]
    served = {re.sub(r"<(\w+):[^>]*>", r"{\1}", path) for path in ours}
    assert {f"/{path}" for path in served} <= paths


async def test_the_document_is_openapi(running: RunningShop) -> None:
    openapi = await document(running)
    assert openapi["openapi"] == "3.1.0"
    text = str(openapi)
    shapes = openapi["components"]["schemas"]
    assert set(re.findall(r"#/components/schemas/(\w+)", text)) == set(shapes)
    calls = [
        (path, verb, c) for path, verbs in openapi["paths"].items() for verb, c in verbs.items()
    ]
    assert len({call["operationId"] for _, _, call in calls}) == len(calls)
    for path, verb, call in calls:
        assert call["summary"]
        assert set(call["responses"]) > {"default"}
        assert all(answer["description"] for answer in call["responses"].values())
        inside = {p["name"] for p in call["parameters"] if p["in"] == "path"}
        assert inside == set(re.findall(r"{(\w+)}", path))
        assert {s for need in call["security"] for s in need} <= set(
            openapi["components"]["securitySchemes"]
        )
        assert "requestBody" not in call or verb == "post"


async def test_answers_to_posts_fit_the_document(running: RunningShop) -> None:
    openapi = await document(running)
    _, _, held = await paying(running)
    await Payment.all().update(state="HELD")
    buyer, paid, started = await paying(running)
    await WeChat(running).notify(await WeChat(running).trade(started["out_trade_no"]))
    appid = running.app("miniprogram")["appid"]
    code = (await running.control("login-code", appid=appid, openid="oBuyer"))["code"]
    fresh = await buyer.order()
    number = started["out_trade_no"]
    handed = await buyer.post(f"/api/orders/{fresh['order_no']}/handover")
    token = handed.json()["token"]
    item = {"sku": "cup", "quantity": 1}
    key = {"Idempotency-Key": "k", **buyer.headers}
    refund = {"refund_fen": 1, "reason": "r"}
    admin = {"Idempotency-Key": "k", **ADMIN}
    posts: list[tuple[str, dict[str, str], Any, dict[str, str], int]] = [
        ("/api/sessions/miniprogram", {}, {"code": code}, {}, 200),
        ("/api/sessions/guest", {}, None, {}, 200),
        ("/api/sessions/end", {}, None, {}, 204),
        ("/api/orders", {}, {"items": [item]}, key, 201),
        ("/api/orders", {}, {"items": [item]}, key, 200),
        ("/api/orders/{order_no}/payments", fresh, {"scene": "miniprogram"}, buyer.headers, 201),
        ("/api/orders/{order_no}/payments", fresh, {"scene": "miniprogram"}, buyer.headers, 200),
        ("/api/orders/{order_no}/payments", fresh, {"scene": "h5"}, buyer.headers, 201),
        ("/api/orders/{order_no}/payments", fresh, {"scene": "native"}, buyer.headers, 201),
        ("/api/handover", {}, {"token": token}, buyer.headers, 200),
        ("/api/orders/{order_no}/handover", fresh, None, buyer.headers, 200),
        ("/api/orders/{order_no}/cancel", fresh, None, buyer.headers, 200),
        ("/api/admin/orders/{order_no}/refunds", paid, refund, admin, 202),
        ("/api/admin/orders/{order_no}/refunds", paid, refund, admin, 200),
        ("/api/admin/payments/{out_trade_no}/close", held, {"reason": "refunded"}, ADMIN, 200),
        ("/api/admin/notifications/{number}/replay", {"number": "1"}, None, ADMIN, 200),
        ("/api/admin/payments/{out_trade_no}/query", {"out_trade_no": number}, None, ADMIN, 200),
    ]
    wanted = {r.split()[1] for r in ROUTES if r.startswith("POST")}
    assert {path for path, *_ in posts} == wanted - {"/api/collect"}  # test_collect.py
    for path, parts, body, headers, status in posts:
        answer = await running.http.post(path.format(**parts), json=body, headers=headers)
        assert answer.status_code == status, (path, answer.text)
        documented = openapi["paths"][path]["post"]["responses"][str(status)]
        if status == 204:
            assert (answer.content, "content" in documented) == (b"", False)
            continue
        schema = documented["content"]["application/json"]["schema"]
        assert fits(answer.json(), schema, openapi["components"]["schemas"]), (path, answer.text)


async def test_answers_fit_the_document(running: RunningShop) -> None:
    buyer, order, _ = await paying(running)
    openapi = await document(running)
    shapes = openapi["components"]["schemas"]
    reads = {
        "/api/me": buyer.headers,
        "/api/products": {},
        "/api/orders": buyer.headers,
        "/api/orders/{order_no}": buyer.headers,
        "/api/admin/orders": ADMIN,
        "/api/admin/payments": ADMIN,
        "/api/admin/refunds": ADMIN,
        "/api/admin/differences": ADMIN,
        "/api/admin/notifications": ADMIN,
    }
    for path, headers in reads.items():
        answer = await running.http.get(path.format(order_no=order["order_no"]), headers=headers)
        schema = openapi["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
        assert fits(answer.json(), schema["schema"], shapes), (path, answer.text)
    failed = await running.http.get("/api/me")
    assert fits(failed.json(), shapes["Failure"], shapes)


async def test_an_order_has_the_fields_of_the_contract(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    assert set(order) == ORDER
    assert order["items"] == [
        {"sku": "longjing", "name": order["items"][0]["name"], "quantity": 1, "price_fen": 9900}
    ]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", order["created_at"])
    seen = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    assert list(seen["payments"][0]) == [
        "out_trade_no", "channel", "scene", "state", "transaction_id", "paid_at"
    ]  # fmt: skip
    assert set(started) == {"out_trade_no", "scene", "invoke"}
    assert list(started["invoke"]) == [
        "appId", "timeStamp", "nonceStr", "package", "signType", "paySign"
    ]  # fmt: skip
    assert all(isinstance(value, str) for value in started["invoke"].values())
    assert started["out_trade_no"].startswith("S")


async def test_the_docs_page_needs_no_other_server(running: RunningShop) -> None:
    page = (await running.http.get("/docs")).text
    for path in ("/docs", "/docs/page.css", "/docs/page.js"):
        text = (await running.http.get(path)).text
        assert re.findall(r"(?:src|href|url\(|@import)[=\s\"']*(?:https?:)?//", text) == []
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/docs/page.js" defer>']
    for route in ROUTES | PAGES:
        assert route.split()[1] in page


async def test_ready_means_migrated_and_alive_means_alive(running: RunningShop) -> None:
    assert (await running.http.get("/healthz")).status_code == 200
    ready = await running.http.get("/readyz")
    assert (ready.status_code, ready.json()["migrations"]) == (200, "ok")
    await get_connection("default").execute_query("DELETE FROM tortoise_migrations")
    ready = await running.http.get("/readyz")
    assert ready.status_code == 503
    ours = [name for name in ready.json()["migrations"] if not name.startswith("shop.")]
    assert ours == ["checkout.0001_initial", "checkout.0002_refund_cap", "accounts.0001_initial"]


async def test_a_verify_file_dropped_into_pages_is_served_at_the_root(
    running: RunningShop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pages, "PAGES", tmp_path)
    (tmp_path / "MP_verify_AbCdEf1234567890.txt").write_text("AbCdEf1234567890")
    answer = await running.http.get("/MP_verify_AbCdEf1234567890.txt")
    assert (answer.status_code, answer.text) == (200, "AbCdEf1234567890")
    assert answer.headers["content-type"].startswith("text/plain")
    assert (await running.http.get("/MP_verify_other.txt")).status_code == 404
