"""Service-provider mode 服务商: chosen by settings, with walls between sub merchants."""

from typing import Any

import pytest
from checkout.channels import Channel
from checkout.config import ConfigError, Env
from checkout.models import Order, Payment
from kit import owner
from kit.books import calls, compare, next_noon, outcomes
from kit.buyers import also_official, become, give_back, guest, paying
from kit.databases import EVERY_DATABASE
from kit.running import RunningShop, partner, settings
from kit.waiting import until
from kit.wechat import WeChat
from shop.app import build
from shop.doctor import findings


@pytest.fixture(params=[False, True], ids=["provider's app", "sub merchant's app"])
def sub_app(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


@pytest.fixture
def partner_settings(sub_app: bool) -> Any:
    return lambda credentials: partner(credentials, sub_app=sub_app)


@pytest.fixture
def more_settings(partner_settings: Any) -> Any:
    return partner_settings


def subs(running: RunningShop) -> list[str]:
    return [merchant["mchid"] for merchant in running.credentials["sub"]]


def sells_for(monkeypatch: pytest.MonkeyPatch, merchant: str) -> None:
    """Let the cup belong to another sub merchant."""
    monkeypatch.setattr(owner, "PRODUCTS", owner.selling_for(merchant))


@EVERY_DATABASE
async def test_a_sub_merchants_payment_goes_all_the_way(
    running: RunningShop, sub_app: bool
) -> None:
    buyer, order, started = await paying(running)
    payment = await Payment.get()
    app = running.shop.settings.login.apps["miniprogram"].appid
    assert started["invoke"]["appId"] == app
    assert payment.parties["sub_mchid"] == subs(running)[0]
    assert payment.parties["sp_mchid"] == running.credentials["sp"]["mchid"]
    assert payment.parties.get("sub_appid") == (app if sub_app else None)
    assert ("sub_openid" in payment.request, "sp_openid" in payment.request) == (
        sub_app,
        not sub_app,
    )
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"
    await become(buyer, order["order_no"], "PAID")
    await running.shop.checkout.payments.ask(await Payment.get(), "test")
    assert await outcomes() == [("APPLIED", "")]
    answer = await give_back(running, order["order_no"], 100)
    assert answer.status_code == 202, answer.text
    number = answer.json()["out_refund_no"]
    await running.advance(5)

    async def is_back() -> bool:
        return (await Order.get()).refunded_fen == 100

    await until(is_back)
    assert (
        f"sub_mchid={subs(running)[0]}"
        in ((await calls(running, number)) or [{"url": f"sub_mchid={subs(running)[0]}"}])[0]["url"]
    )
    day = await next_noon(running)
    assert (await compare(running, day))[0] == []


@pytest.mark.parametrize("scene", ["h5", "native", "app", "jsapi"])
async def test_every_scene_has_a_provider(running: RunningShop, scene: str) -> None:
    buyer = await guest(running)
    if scene == "jsapi":
        buyer = await running.buyer()
        await also_official(running, buyer)
    order = await buyer.order()
    answer = await buyer.start(order["order_no"], scene)
    assert answer.status_code == 201, answer.text
    control = {"h5": "h5", "native": "scan"}.get(scene, "pay")
    started = answer.json()
    form = started.get("invoke") or {
        name: started[name] for name in started.keys() & {"h5_url", "code_url"}
    }
    assert (await running.control(control, **form))["err_msg"].endswith(("ok", ":0"))
    await become(buyer, order["order_no"], "PAID")
    assert (await calls(running, f"/partner/transactions/{scene}"))[0]["status"] == 200


async def test_closing_names_both_merchants(running: RunningShop) -> None:
    buyer, order, started = await paying(running)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert answer.json()["state"] == "CLOSED"
    [close] = await calls(running, f"{started['out_trade_no']}/close")
    assert subs(running)[0] in close["request_body"]


@pytest.mark.parametrize(
    ("party", "value"),
    [("sub_mchid", "B"), ("sp_mchid", "9000000000"), ("sp_appid", "wx9"), ("sub_mchid", None)],
)
async def test_sub_merchant_as_payment_never_pays_sub_merchant_bs_order(
    running: RunningShop, party: str, value: str | None
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    number = started["out_trade_no"]
    wechat.credentials = {**wechat.credentials, "apiv3_key": running.credentials["sp"]["apiv3_key"]}
    value = subs(running)[1] if value == "B" else value
    trade = await wechat.trade(number, **{party: value})
    answer = await wechat.notify(trade)
    assert answer.status_code in (204, 500)
    assert (await Payment.get()).state == "OPEN"
    assert (await Order.get()).state == "OPEN"
    assert (await outcomes())[0][0] in ("REFUSED", "UNDECRYPTABLE")


async def test_each_sub_merchants_order_names_its_own(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, sub_app: bool
) -> None:
    """Another sub merchant's order needs the provider's own app: sub_appid is bound to one."""
    a, b = subs(running)
    sells_for(monkeypatch, b)
    buyer = await running.buyer()
    ours, theirs = await buyer.order("puer"), await buyer.order("cup")
    assert (await buyer.start(ours["order_no"])).status_code == 201
    answer = await buyer.start(theirs["order_no"])
    if sub_app:
        assert answer.json()["code"] == "SCENE_OFF"
        answer = await buyer.start(theirs["order_no"], "native")
    assert answer.status_code == 201, answer.text
    rows = await Payment.all().order_by("id")
    assert [row.parties["sub_mchid"] for row in rows] == [a, b]
    assert len({row.number for row in rows}) == 2


def environment(credentials: dict[str, Any], **changes: str) -> Env:
    """Return a service provider's settings, changed."""
    direct = settings(credentials, "http://127.0.0.1:9", "http://127.0.0.1:8", "sqlite://x.db")
    return Env({**direct, **partner(credentials), **changes})


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"SHOP_SUB_MCHID": "", "SHOP_SUB_APPID": "wx9000000000000000"}, "SHOP_SUB_MCHID: missing"),
        ({"SHOP_SUB_MCHID": "SP"}, "SHOP_SUB_MCHID: is SHOP_MCHID itself"),
        ({"SHOP_SUB_MCHID": "1900000109"}, "SHOP_SUB_MCHID: is a real one"),
        ({"SHOP_SUB_MCHID": "9x"}, "SHOP_SUB_MCHID: is not a merchant number"),
        ({"SHOP_SUB_APPID": "mini"}, "SHOP_SUB_APPID: is not an appid"),
        ({"SHOP_SP_APPID": "mini"}, "SHOP_SP_APPID: is not an appid"),
    ],
)
async def test_half_a_service_provider_does_not_start_and_the_doctor_says_why(
    running: RunningShop, changes: dict[str, str], named: str
) -> None:
    changes = {
        k: running.credentials["sp"]["mchid"] if v == "SP" else v for k, v in changes.items()
    }
    with pytest.raises(ConfigError, match=named):
        build(environment(running.credentials, **changes))
    bad = [
        finding
        for finding in await findings(environment(running.credentials, **changes))
        if not finding.ok
    ]
    assert any(f"{finding.what}: {finding.advice}".startswith(named) for finding in bad)


def test_a_provider_whose_apps_are_all_the_sub_merchants_names_its_own(
    running: RunningShop,
) -> None:
    only = {f"SHOP_OFFICIAL_ACCOUNT_{part}": "" for part in ("APPID", "SECRET")}
    mini = running.credentials["sub"][0]["apps"][0]
    only |= {"SHOP_APP_APPID": "", "SHOP_MINIPROGRAM_APPID": mini["appid"]}
    only |= {"SHOP_SUB_APPID": mini["appid"]}
    with pytest.raises(ConfigError, match="SHOP_SP_APPID: missing"):
        build(environment(running.credentials, **only))
    shop = build(environment(running.credentials, **only, SHOP_SP_APPID="wx9000000000000000"))
    channel: Channel = shop.checkout.channels["wechat"]
    assert channel.scenes["miniprogram"] == mini["appid"]


async def test_the_doctor_says_whose_orders_are_placed(running: RunningShop) -> None:
    channels = running.shop.checkout.channels.values()
    good = [finding.what for c in channels for finding in await c.examine() if finding.ok]
    assert f"service provider 服务商 of {subs(running)[0]}" in good
    assert "WeChat Pay accepts our signature, and its own holds" in good
