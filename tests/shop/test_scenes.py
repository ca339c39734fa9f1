"""H5, Native and App: each is paid end to end, and closes the payment of another scene first."""

import asyncio
import dataclasses
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from checkout import channels
from checkout.clock import Clock
from checkout.config import ConfigError, Env
from checkout.models import Order, Payment
from kit import owner
from kit.books import calls, history
from kit.buyers import also_official, guest
from kit.databases import EVERY_DATABASE
from kit.running import RunningShop
from kit.waiting import until
from shop.settings import load
from shop.web.api import plain_address

ALL = ("miniprogram", "jsapi", "h5", "native", "app")


async def pay(running: RunningShop, started: dict[str, object], **more: object) -> str:
    """Let the sandbox open whatever the shop gave, and pay."""
    for name, control in (("h5_url", "h5"), ("code_url", "scan")):
        if name in started:
            answer = await running.control(control, **{name: started[name], **more})
            return str(answer["err_msg"])
    return (await running.control("pay", **{**started["invoke"], **more}))["err_msg"]  # type: ignore[dict-item]


@pytest.mark.parametrize(
    ("scene", "opens", "trade_type"),
    [("h5", "h5_url", "MWEB"), ("native", "code_url", "NATIVE"), ("app", "invoke", "APP")],
)
@EVERY_DATABASE
async def test_a_guest_pays_each_scene_end_to_end(
    running: RunningShop, scene: str, opens: str, trade_type: str
) -> None:
    buyer = await guest(running)
    order = await buyer.order()
    answer = await buyer.start(order["order_no"], scene)
    assert answer.status_code == 201, answer.text
    started = answer.json()
    assert set(started) == {"out_trade_no", "scene", opens}
    assert await pay(running, started) in ("ok", "app:0")

    async def paid() -> bool:
        return await buyer.state(order["order_no"]) == "PAID"

    await until(paid)
    query = await calls(running, f"/out-trade-no/{started['out_trade_no']}")
    assert query == []  # the notification was enough
    shown = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    assert [p["scene"] for p in shown["payments"]] == [scene]
    assert (await running.at_wechat(started["out_trade_no"]))["trade_state"] == "SUCCESS"
    await running.shop.checkout.payments.ask(await Payment.get(), "test")
    assert trade_type in (await calls(running, started["out_trade_no"]))[-1]["response_body"]


async def test_an_app_gets_the_seven_fields_as_strings(running: RunningShop) -> None:
    buyer = await guest(running)
    started = (await buyer.start((await buyer.order())["order_no"], "app")).json()
    assert list(started["invoke"]) == [
        "appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign"
    ]  # fmt: skip
    assert all(isinstance(value, str) for value in started["invoke"].values())
    assert started["invoke"]["appId"] == running.app("app")["appid"]


async def test_an_h5_link_lives_five_minutes_and_is_then_renewed_under_its_number(
    running: RunningShop,
) -> None:
    buyer = await guest(running)
    order = await buyer.order()
    first = (await buyer.start(order["order_no"], "h5")).json()
    again = await buyer.start(order["order_no"], "h5")
    assert (again.status_code, again.json()) == (200, first)
    await running.advance(301)
    assert await pay(running, first) == "fail"
    renewed = (await buyer.start(order["order_no"], "h5")).json()
    assert renewed["out_trade_no"] == first["out_trade_no"]
    assert renewed["h5_url"] != first["h5_url"]
    assert len({e["request_body"] for e in await calls(running, "/h5")}) == 1
    assert await pay(running, renewed) == "ok"


class TestCode:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_ORDER_TTL": str(6 * 3600)}

    async def test_a_code_lives_two_hours(self, running: RunningShop) -> None:
        buyer = await guest(running)
        order = await buyer.order()
        first = (await buyer.start(order["order_no"], "native")).json()
        await running.advance(2 * 3600 - 1)
        assert (await buyer.start(order["order_no"], "native")).json() == first
        await running.advance(2)
        renewed = (await buyer.start(order["order_no"], "native")).json()
        assert renewed["out_trade_no"] == first["out_trade_no"]
        assert renewed["code_url"] != first["code_url"]
        assert await pay(running, first) == "fail"
        assert await pay(running, renewed) == "ok"


async def test_an_h5_link_brings_the_buyer_back_to_the_order(running: RunningShop) -> None:
    buyer = await guest(running)
    order = await buyer.order()
    url = (await buyer.start(order["order_no"], "h5")).json()["h5_url"]
    [back] = parse_qs(urlsplit(url).query)["redirect_url"]
    assert back == f"{running.origin}/?order={order['order_no']}&back=1"
    assert "redirect_url=http%3A%2F%2F127.0.0.1%3A" in url
    page = await running.sandbox.get(url, headers={"referer": f"{running.origin}/"})
    assert "打开微信并支付" in page.text


@pytest.mark.parametrize("second", ["native", "h5", "app"])
@EVERY_DATABASE
async def test_another_scene_closes_the_first_before_the_second_exists(
    running: RunningShop, second: str
) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    first = (await buyer.start(order["order_no"])).json()
    after = (await buyer.start(order["order_no"], second)).json()
    assert (await running.at_wechat(first["out_trade_no"]))["trade_state"] == "CLOSED"
    entries = (await running.sandbox.get("/_sandbox/log")).json()["entries"]
    urls = [e["url"] for e in entries if e["url"].startswith("/v3/")]
    assert [url.rpartition("/")[2] for url in urls] == ["jsapi", "close", second]
    assert await history(first["out_trade_no"]) == [("OPEN", "CLOSED")]
    assert (await buyer.pay(first["invoke"]))["err_msg"].startswith("requestPayment:fail")
    assert await pay(running, after) in ("ok", "app:0")


async def test_while_the_password_is_typed_the_first_stays_usable(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    first = (await buyer.start(order["order_no"])).json()
    await buyer.pay(first["invoke"], outcome="typing")
    refused = await buyer.start(order["order_no"], "native")
    assert (refused.status_code, refused.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
    assert "retry-after" in refused.headers
    assert await calls(running, "/native") == []
    assert (await buyer.pay(first["invoke"]))["err_msg"] == "requestPayment:ok"


class TestAddress:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_PROXIES_COUNT": "1", "SHOP_DEV_CLIENT_IP": ""}

    async def test_the_buyers_address_comes_from_the_proxy_we_trust(
        self, running: RunningShop
    ) -> None:
        buyer = await guest(running)
        order = await buyer.order()
        path = f"/api/orders/{order['order_no']}/payments"
        forwarded = "6.6.6.6, 203.0.113.7"  # the left one is the buyer's own word
        answer = await buyer.post(path, {"scene": "h5"}, **{"X-Forwarded-For": forwarded})
        assert answer.status_code == 201, answer.text
        assert '"payer_client_ip":"203.0.113.7"' in (await Payment.get()).request

    async def test_another_address_is_another_h5_payment(self, running: RunningShop) -> None:
        buyer = await guest(running)
        path = f"/api/orders/{(await buyer.order())['order_no']}/payments"
        numbers = []
        for address in ("203.0.113.7", "203.0.113.7", "2001:db8::1"):
            answer = await buyer.post(path, {"scene": "h5"}, **{"X-Forwarded-For": address})
            numbers.append(answer.json()["out_trade_no"])
        assert numbers[0] == numbers[1] != numbers[2]
        assert (await running.at_wechat(numbers[0]))["trade_state"] == "CLOSED"

    async def test_an_address_that_wechat_refuses_is_its_refusal(
        self, running: RunningShop
    ) -> None:
        buyer = await guest(running)
        answer = await buyer.start((await buyer.order())["order_no"], "h5")
        assert (answer.status_code, answer.json()["wechat_code"]) == (502, "PARAM_ERROR")


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("203.0.113.7", "203.0.113.7"),
        ("::ffff:203.0.113.7", "203.0.113.7"),
        ("fe80::1%eth0", "fe80::1"),
        ("[2001:db8::1]", "2001:db8::1"),
        ("unknown", "127.0.0.1"),
        ("", "127.0.0.1"),
    ],
)
def test_addresses_are_written_as_wechat_takes_them(text: str, plain: str) -> None:
    assert plain_address(text) == plain


class TestOff:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_SCENES": "miniprogram, native"}

    async def test_settings_choose_which_scenes_are_on(self, running: RunningShop) -> None:
        buyer = await running.buyer()
        order = await buyer.order()
        for scene in ALL:
            answer = await buyer.start(order["order_no"], scene)
            on = scene in ("miniprogram", "native")
            assert answer.status_code == (201 if on else 409), (scene, answer.text)
            assert on or answer.json()["code"] == "SCENE_OFF"


async def test_a_scene_that_does_not_exist_is_named_at_the_start() -> None:
    env = Env({"SHOP_SCENES": "native,cash"})
    async with httpx.AsyncClient() as http:
        channels.load(env, load(env).checkout, http, Clock())
    with pytest.raises(ConfigError, match="SHOP_SCENES: names a scene that is not there"):
        env.check()


def test_the_demos_address_is_for_the_sandbox_only() -> None:
    env = Env({"SHOP_DEV_CLIENT_IP": "203.0.113.10"})
    load(env)
    with pytest.raises(ConfigError, match="SHOP_DEV_CLIENT_IP"):
        env.check()


async def test_two_scenes_at_once_leave_one_live_payment(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    answers = await asyncio.gather(*(buyer.start(order["order_no"], s) for s in ALL[::2] * 3))
    assert all(a.status_code in (200, 201, 409) for a in answers), [a.text for a in answers]
    live = await Payment.filter(state__in=("NEW", "OPEN"))
    assert len(live) == 1
    theirs = (await running.sandbox.get("/_sandbox/orders")).json()["orders"]
    assert [o["out_trade_no"] for o in theirs if o["trade_state"] == "NOTPAY"] == [live[0].number]
    assert (await Order.get()).state == "OPEN"


@pytest.fixture
def virtual_cup(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the cup be a virtual product."""
    products = [
        dataclasses.replace(product, kind="virtual" if product.sku == "cup" else product.kind)
        for product in owner.PRODUCTS
    ]
    monkeypatch.setattr(owner, "PRODUCTS", tuple(products))


async def test_a_product_of_a_kind_that_is_not_there_is_not_sold(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    products = [dataclasses.replace(product, kind="vitual") for product in owner.PRODUCTS]
    monkeypatch.setattr(owner, "PRODUCTS", tuple(products))
    body = {"items": [{"sku": "cup", "quantity": 1}]}
    buyer = await running.buyer()
    refused = await buyer.post("/api/orders", body, **{"Idempotency-Key": "vitual"})
    assert (refused.status_code, refused.json()["field"]) == (400, "items[0].kind")


@pytest.mark.parametrize("skus", [("cup",), ("puer", "cup")])
async def test_virtual_goods_are_not_paid_in_a_mini_program(
    running: RunningShop, virtual_cup: None, skus: tuple[str, ...]
) -> None:
    buyer = await running.buyer()
    order = await buyer.cart(*skus)
    refused = await buyer.start(order["order_no"])
    assert (refused.status_code, refused.json()["code"]) == (409, "VIRTUAL_GOODS")
    assert await calls(running, "/jsapi") == []
    assert not await Payment.exists()
    assert await buyer.state(order["order_no"]) == "OPEN"


async def test_virtual_goods_are_paid_in_every_other_scene(
    running: RunningShop, virtual_cup: None
) -> None:
    buyer = await running.buyer()
    await also_official(running, buyer)
    for scene in ALL[1:]:
        order = await buyer.order("cup")
        answer = await buyer.start(order["order_no"], scene)
        assert answer.status_code == 201, (scene, answer.text)
    other = await buyer.order("puer")
    assert (await buyer.start(other["order_no"])).status_code == 201  # physical, mini program


async def test_two_scenes_that_are_bound_to_nobody_are_still_two_payments(
    running: RunningShop,
) -> None:
    buyer = await guest(running)
    order_no = (await buyer.order())["order_no"]
    native = (await buyer.start(order_no, "native")).json()
    app = await buyer.start(order_no, "app")
    assert app.status_code == 201, app.text
    assert app.json()["out_trade_no"] != native["out_trade_no"]
    assert (await running.at_wechat(native["out_trade_no"]))["trade_state"] == "CLOSED"


async def test_a_refresh_finds_what_was_paid_in_the_scene_before_the_switch(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    number = (await buyer.order())["order_no"]
    first = (await buyer.start(number)).json()
    assert (await buyer.start(number, "native")).status_code == 201
    await running.control("faults", notifications="drop")
    await buyer.pay(first["invoke"], force=True)
    await running.advance(4)
    shown = (await buyer.get(f"/api/orders/{number}?refresh=1")).json()
    assert shown["state"] == "PAID"
