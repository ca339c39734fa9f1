"""Bad input on every route: a 4xx that says what is wrong, never a 500, nothing leaked."""

import asyncio
import base64

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kit.answers import check_failure
from kit.buyers import ADMIN, JSON
from kit.running import ADMIN_TOKEN, BuyerClient, RunningShop

ORDER = b'{"items":[{"sku":"sample","quantity":%s}]}'
RAW = {  # what is sent, and the status that answers it
    "a bearer of no bytes we know": (b"GET /api/me", b"Authorization: Bearer \xff\xfe", 401),
    "a cookie of no bytes we know": (b"GET /api/me", b"Cookie: shop_session=\xff\xfe", 401),
    "an admin token of strange bytes": (b"GET /api/admin/orders", b"Authorization: Bearer \xff", 401),
    "an OAuth cookie of strange bytes": (b"GET /oauth/callback?code=1", b"Cookie: shop_oauth=\xff", 401),
    "a path of strange bytes": (b"GET /api/products/\xff", b"", 400),
    "a path out of the folder": (b"GET /h5/..%2f..%2f.env", b"", 404),
    "an unknown path": (b"GET /nope", b"", 404),
    "a method not offered": (b"PUT /api/products", b"", 405),
    "a header too long": (b"GET /api/me", b"X: " + b"a" * 20000, 413),
    "a length below zero": (b"POST /api/orders", b"Content-Length: -5", 400),
    "chunks of nonsense": (b"POST /api/orders", b"Transfer-Encoding: chunked\r\n\r\nzz", 400),
    "a nested token": (b"GET /api/me", b"Authorization: Bearer " + base64.b64encode(b"[" * 3000), 401),
}  # fmt: skip
BODIES = {
    "empty": (b"", 415, ""),
    "not JSON": (b"{", 400, ""),
    "not UTF-8": (b'"\xff"', 400, ""),
    "an array": (b"[]", 400, ""),
    "nested deep": (b'{"items":' + b"[" * 60000, 400, "items[0]"),
    "no items": (b'{"items":[]}', 400, "items"),
    "missing": (b"{}", 400, "items"),
    "unknown": (b'{"items":[{"sku":"sample","quantity":1}],"price":1}', 400, "price"),
    "a price": (b'{"items":[{"sku":"sample","quantity":1,"price_fen":1}]}', 400, "items[0].price_fen"),
    "a string": (ORDER % b'"1"', 400, "items[0].quantity"),
    "a float": (ORDER % b"1.0", 400, "items[0].quantity"),
    "an exponent": (ORDER % b"1e2", 400, "items[0].quantity"),
    "a bool": (ORDER % b"true", 400, "items[0].quantity"),
    "null": (ORDER % b"null", 400, "items[0].quantity"),
    "NaN": (ORDER % b"NaN", 400, ""),
    "zero": (ORDER % b"0", 400, "items[0].quantity"),
    "negative": (ORDER % b"-1", 400, "items[0].quantity"),
    "huge": (ORDER % (b"9" * 400), 400, "items[0].quantity"),
    "an unknown sku": (b'{"items":[{"sku":"gold","quantity":1}]}', 400, "items[0].sku"),
    "64 KiB and one": (b" " * 65537, 413, ""),
    "3 MiB": (b" " * (3 << 20), 413, ""),
}  # fmt: skip


@pytest.mark.parametrize("case", RAW)
async def test_what_no_honest_client_sends_is_refused(running: RunningShop, case: str) -> None:
    line, header, status = RAW[case]
    _, _, port = running.origin.rpartition(":")
    reader, writer = await asyncio.open_connection("127.0.0.1", int(port))
    head = b"%s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%s\r\n\r\n"
    writer.write(head % (line, header or b"A: b"))
    answer = await asyncio.wait_for(reader.read(), 5)
    writer.close()
    await writer.wait_closed()
    assert int(answer.split(b" ", 2)[1]) == status
    assert b"Traceback" not in answer


@pytest.mark.parametrize("case", BODIES)
async def test_a_bad_order_is_refused_and_the_field_is_named(
    running: RunningShop, case: str
) -> None:
    buyer = await running.buyer()
    body, status, field = BODIES[case]
    headers = {**buyer.headers, **JSON, "Idempotency-Key": "k"}
    if not body:
        del headers["Content-Type"]
    failure = check_failure(
        await running.http.post("/api/orders", content=body, headers=headers), status
    )
    assert failure.get("field", "") == field
    assert (await buyer.get("/api/orders")).json() == {"orders": [], "next": None}


@pytest.mark.parametrize(
    "path",
    ["/api/orders", "/api/sessions/miniprogram", "/api/sessions/guest", "/api/orders/1/payments"],
)
async def test_a_body_that_is_not_declared_json_is_415(running: RunningShop, path: str) -> None:
    buyer = await running.buyer()
    headers = {**buyer.headers, "Content-Type": "text/plain"}
    failure = check_failure(await running.http.post(path, content=b"{}", headers=headers), 415)
    assert failure["code"] == "UNSUPPORTED_MEDIA_TYPE"


async def test_any_bytes_on_any_post_route_are_answered_below_500(running: RunningShop) -> None:
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    paths = [
        "/api/orders",
        "/api/sessions/miniprogram",
        "/api/sessions/guest",
        f"/api/orders/{order_no}/payments",
        "/api/admin/notifications/1/replay",
        "/notify/wechat/payment",
    ]
    loop = asyncio.get_running_loop()

    async def send(path: str, body: bytes) -> int:
        headers = {**buyer.headers, **JSON, "Idempotency-Key": "k"}
        return (await running.http.post(path, content=body, headers=headers)).status_code

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=8,
    ).map(lambda value: repr(value).encode("utf-8", "replace"))

    @settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(path=st.sampled_from(paths), body=st.binary(max_size=200) | json_values)
    def attack(path: str, body: bytes) -> None:
        status = asyncio.run_coroutine_threadsafe(send(path, body), loop).result(10)
        assert status < 500

    await asyncio.to_thread(attack)


@pytest.mark.parametrize("number", ["a" * 65, "..", "%ff", "9" * 64])
async def test_strange_numbers_are_404_everywhere(running: RunningShop, number: str) -> None:
    buyer = await running.buyer()
    for path in (f"/api/orders/{number}", f"/api/orders/{number}?refresh=1"):
        assert (await buyer.get(path)).status_code == 404
    for path in ("payments", "cancel"):
        body = {"scene": "miniprogram"} if path == "payments" else {}
        answer = await buyer.post(f"/api/orders/{number}/{path}", body)
        assert answer.status_code == 404
    for path in (f"payments/{number}/query", f"notifications/{number}/replay"):
        answer = await running.http.post(f"/api/admin/{path}", headers=ADMIN)
        assert answer.status_code == 404


async def test_another_buyers_order_is_404_everywhere(running: RunningShop) -> None:
    order_no = (await (await running.buyer("oOne")).order())["order_no"]
    other: BuyerClient = await running.buyer("oTwo")
    assert (await other.get(f"/api/orders/{order_no}")).status_code == 404
    assert (await other.start(order_no)).status_code == 404
    assert (await other.post(f"/api/orders/{order_no}/cancel")).status_code == 404
    assert (await other.get(f"/api/orders?after={order_no}")).status_code == 404


@pytest.mark.parametrize("key", [None, "", "a b", "x" * 65, "键"])
async def test_an_order_needs_a_plain_idempotency_key(
    running: RunningShop, key: str | None
) -> None:
    buyer = await running.buyer()
    headers = {**buyer.headers, **JSON}
    if key is not None:
        headers["Idempotency-Key"] = key.encode()  # type: ignore[assignment]
    answer = await running.http.post("/api/orders", content=ORDER % b"1", headers=headers)
    assert check_failure(answer, 400)["code"] == "IDEMPOTENCY_KEY_REQUIRED"


async def test_the_same_key_gives_the_same_order_and_another_body_is_refused(
    running: RunningShop,
) -> None:
    first, second = await running.buyer("oOne"), await running.buyer("oTwo")
    body = {"items": [{"sku": "cup", "quantity": 2}]}
    key = {"Idempotency-Key": "same"}
    answers = await asyncio.gather(*(first.post("/api/orders", body, **key) for _ in range(8)))
    assert sorted(a.status_code for a in answers) == [200] * 7 + [201]
    assert len({a.json()["order_no"] for a in answers}) == 1
    changed = {"items": [{"sku": "cup", "quantity": 3}]}
    failure = check_failure(await first.post("/api/orders", changed, **key), 409)
    assert failure["code"] == "IDEMPOTENCY_KEY_REUSED"
    assert (await second.post("/api/orders", body, **key)).status_code == 201


async def test_orders_come_in_pages_newest_first(running: RunningShop) -> None:
    buyer = await running.buyer()
    placed = [(await buyer.order())["order_no"] for _ in range(23)]
    first = (await buyer.get("/api/orders")).json()
    second = (await buyer.get(f"/api/orders?after={first['next']}")).json()
    seen = [order["order_no"] for order in first["orders"] + second["orders"]]
    assert seen == placed[::-1]
    assert second["next"] is None


async def test_admin_routes_need_the_token(running: RunningShop) -> None:
    for path in ("orders", "payments", "notifications"):
        assert (await running.http.get(f"/api/admin/{path}")).status_code == 401
        wrong = {"Authorization": f"Bearer {ADMIN_TOKEN}x"}
        assert (await running.http.get(f"/api/admin/{path}", headers=wrong)).status_code == 401
        assert (await running.http.get(f"/api/admin/{path}", headers=ADMIN)).status_code == 200
        bad = await running.http.get(f"/api/admin/{path}?after=x'y", headers=ADMIN)
        assert check_failure(bad, 400)["field"] == "after"


class TestWithoutAdminToken:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_ADMIN_TOKEN": ""}

    async def test_admin_routes_are_not_there(self, running: RunningShop) -> None:
        assert (await running.http.get("/api/admin/orders", headers=ADMIN)).status_code == 404
