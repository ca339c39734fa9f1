"""Limits: who asks too often gets 429 and is told when to come back; nobody else notices."""

import time
from typing import Any

import pytest
from checkout.buckets import MOST_KEYS, Buckets
from checkout.models import Order
from kit.answers import check_failure
from kit.books import calls
from kit.buyers import ADMIN, also_official, guest
from kit.running import RunningShop
from shop.web import limits
from shop.web.errors import TooOften
from shop.web.limits import BY_ADDRESS, NEW_PAYMENTS, ORDERS, STARTS, Limits, network


class Seconds:
    """A clock that stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = 1000.0

    def __call__(self) -> float:
        return self.at


def test_a_bucket_gives_its_burst_and_then_one_token_in_each_pause() -> None:
    now = Seconds()
    buckets = Buckets(burst=3, per_minute=30, now=now)
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2]
    assert buckets.take("b") == 0
    now.at += 1.5
    assert buckets.wait("a") == 0.5
    now.at += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 2]
    now.at += 3600
    assert [buckets.take("a") for _ in range(4)] == [0, 0, 0, 2]


def test_looking_takes_no_token_and_a_refusal_costs_none() -> None:
    now = Seconds()
    buckets = Buckets(burst=1, per_minute=60, now=now)
    assert [buckets.wait("a"), buckets.wait("a"), buckets.take("a")] == [0, 0, 0]
    assert [buckets.take("a") for _ in range(100)] == [1] * 100
    now.at += 1
    assert buckets.take("a") == 0


def test_who_asked_again_is_not_the_one_who_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("checkout.buckets.MOST_KEYS", 2)
    buckets = Buckets(burst=9, per_minute=1, now=Seconds())
    for key in ("a", "b", "a", "c"):
        buckets.take(key)
    assert list(buckets._full_at) == ["a", "c"]


def test_who_was_idle_long_enough_is_forgotten() -> None:
    now = Seconds()
    buckets = Buckets(burst=1, per_minute=60, now=now)
    for n in range(10):
        buckets.take(str(n))
    now.at += 1
    buckets.take("another")
    assert list(buckets._full_at) == ["another"]


def test_the_memory_of_buckets_is_bounded_and_who_was_idle_longest_is_forgotten() -> None:
    buckets = Buckets(burst=1, per_minute=1, now=Seconds())
    for n in range(MOST_KEYS + 10):
        assert buckets.take(str(n)) == 0
    assert len(buckets._full_at) == MOST_KEYS
    assert buckets.take(str(MOST_KEYS)) == 60
    assert buckets.take("0") == 0


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ("203.0.113.1", "203.0.113.2", False),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
    ],
)
def test_an_ipv6_customer_is_one_address(first: str, second: str, same: bool) -> None:
    assert (network(first) == network(second)) is same


@pytest.fixture
def still(running: RunningShop) -> Seconds:
    """Let the clock of the shop's limits stand still."""
    now = Seconds()
    running.shop.limits = Limits(running.shop.settings.checkout.order_ttl, now)
    return now


def refused(answer: Any) -> int:
    """Return Retry-After of a 429 in our shape."""
    assert check_failure(answer, 429)["code"] == "TOO_MANY_REQUESTS"
    return int(answer.headers["Retry-After"])


def exhaust(running: RunningShop, method: str, path: str, address: str = "127.0.0.1") -> None:
    """Spend all that an address may do at once."""
    for _ in range(BY_ADDRESS[method, path].burst):
        running.shop.limits.check_address(method, path, address)
    with pytest.raises(TooOften):
        running.shop.limits.check_address(method, path, address)


@pytest.mark.parametrize(("method", "path"), BY_ADDRESS)
async def test_an_address_that_asks_too_often_before_it_logs_in_is_429(
    running: RunningShop, still: Seconds, method: str, path: str
) -> None:
    exhaust(running, method, path)
    query = "?data=weixin://x" if path == "/qr.svg" else ""
    body = {"json": {"code": "x"} if "mini" in path else {}} if method == "POST" else {}
    before = len(await calls(running, "/sns/jscode2session"))
    seconds = refused(await running.http.request(method, path + query, **body))
    assert 1 <= seconds <= 60
    assert len(await calls(running, "/sns/jscode2session")) == before
    still.at += seconds
    assert (await running.http.request(method, path + query, **body)).status_code != 429


async def test_one_address_at_its_limit_does_not_disturb_another(
    running: RunningShop, still: Seconds
) -> None:
    exhaust(running, "POST", "/api/sessions/guest", "203.0.113.77")
    assert (await running.http.post("/api/sessions/guest", json={})).status_code == 200


class TestBehindAProxy:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_PROXIES_COUNT": "1"}

    async def test_the_address_is_the_one_that_the_proxy_saw(
        self, running: RunningShop, still: Seconds
    ) -> None:
        exhaust(running, "POST", "/api/sessions/guest", "203.0.113.77")
        forged = {"X-Forwarded-For": "198.51.100.9, 203.0.113.77"}
        refused(await running.http.post("/api/sessions/guest", json={}, headers=forged))
        other = {"X-Forwarded-For": "203.0.113.77, 198.51.100.9"}
        answer = await running.http.post("/api/sessions/guest", json={}, headers=other)
        assert answer.status_code == 200


async def test_a_school_behind_one_address_logs_in_and_buys(
    running: RunningShop, still: Seconds
) -> None:
    for (method, path), limit in BY_ADDRESS.items():
        if path != "/qr.svg":
            assert limit.burst >= 2000, path
        for _ in range(limit.burst):
            running.shop.limits.check_address(method, path, "203.0.113.1")


async def test_who_is_logged_in_is_counted_by_buyer_and_not_by_address(
    running: RunningShop, still: Seconds
) -> None:
    for method, path in BY_ADDRESS:
        exhaust(running, method, path)
    assert (await running.http.get("/api/products")).status_code == 200
    assert (await running.http.get("/api/admin/orders", headers=ADMIN)).status_code == 200
    assert (await running.http.post("/notify/wechat/payment", content=b"{}")).status_code == 401


async def test_a_buyer_who_orders_too_often_is_429_and_another_is_not(
    running: RunningShop, still: Seconds
) -> None:
    busy, other = await running.buyer("oBusy"), await running.buyer("oOther")
    me = (await busy.get("/api/me")).json()["buyer"]
    for _ in range(ORDERS.burst):
        running.shop.limits.check_order(me)
    body = {"items": [{"sku": "sample", "quantity": 1}]}
    refused(await busy.post("/api/orders", body, **{"Idempotency-Key": "k"}))
    assert await Order.all().count() == 0
    await other.order()
    still.at += 60 / ORDERS.per_minute
    assert (await busy.post("/api/orders", body, **{"Idempotency-Key": "k"})).status_code == 201


async def test_the_open_orders_of_a_buyer_are_capped_whatever_the_pace(
    running: RunningShop, still: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_OPEN_ORDERS", limits.UNCOUNTED + 2)
    buyer, other = await running.buyer("oOne"), await running.buyer("oTwo")
    placed = [(await buyer.order())["order_no"] for _ in range(limits.UNCOUNTED + 2)]
    body = {"items": [{"sku": "sample", "quantity": 1}]}
    assert refused(await buyer.post("/api/orders", body, **{"Idempotency-Key": "more"})) == 60
    repeated = await buyer.post("/api/orders", body, **{"Idempotency-Key": "more"})
    refused(repeated)
    await other.order()
    assert (await buyer.post(f"/api/orders/{placed[0]}/cancel")).status_code == 200
    assert (await buyer.post("/api/orders", body, **{"Idempotency-Key": "more"})).status_code == 201


async def test_an_order_that_is_there_is_shown_although_the_cap_is_reached(
    running: RunningShop, still: Seconds, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(limits, "MOST_OPEN_ORDERS", 0)
    buyer = await running.buyer()
    body = {"items": [{"sku": "sample", "quantity": 1}]}
    for _ in range(limits.UNCOUNTED):
        await buyer.order()
    refused(await buyer.post("/api/orders", body, **{"Idempotency-Key": "k"}))
    running.shop.limits = Limits(1800, still)  # as after a restart
    assert (await buyer.post("/api/orders", body, **{"Idempotency-Key": "k"})).status_code == 201
    while not running.shop.limits._uncounted.take((await buyer.get("/api/me")).json()["buyer"]):
        pass
    assert (await buyer.post("/api/orders", body, **{"Idempotency-Key": "k"})).status_code == 200


async def test_switching_scenes_is_limited_for_each_order_and_the_live_payment_stays(
    running: RunningShop, still: Seconds
) -> None:
    buyer = await running.buyer()
    await also_official(running, buyer)
    order, another = await buyer.order(), await buyer.order()
    scenes = ["miniprogram", "native"]
    for n in range(NEW_PAYMENTS.burst):
        started = await buyer.start(order["order_no"], scenes[n % 2])
        assert started.status_code == 201, started.text
    refused(await buyer.start(order["order_no"], scenes[0]))
    assert len(await calls(running, "/close")) == NEW_PAYMENTS.burst - 1
    assert (await buyer.start(another["order_no"])).status_code == 201
    still.at += 60 / NEW_PAYMENTS.per_minute
    assert (await buyer.start(order["order_no"], scenes[0])).status_code == 201


async def test_the_live_payment_again_costs_no_switch_but_is_not_free_for_ever(
    running: RunningShop, still: Seconds
) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    assert (await buyer.start(order["order_no"])).status_code == 201
    for _ in range(STARTS.burst - 1):
        assert (await buyer.start(order["order_no"])).status_code == 200
    refused(await buyer.start(order["order_no"]))


async def test_a_stranger_who_knows_an_orders_number_does_not_use_up_its_starts(
    running: RunningShop, still: Seconds
) -> None:
    buyer = await running.buyer("oOne")
    stranger = await guest(running)
    order = await buyer.order()
    for _ in range(NEW_PAYMENTS.burst):
        assert (await stranger.start(order["order_no"])).status_code == 404
    refused(await stranger.start(order["order_no"]))
    assert (await buyer.start(order["order_no"])).status_code == 201


def test_a_check_costs_microseconds() -> None:
    some = Limits(1800)
    began = time.process_time()
    for n in range(1000):
        some.check_address("POST", "/api/orders", "203.0.113.1")
        some.check_order(f"buyer {n}")
    assert time.process_time() - began < 0.1
