"""Combined orders 合单: several merchants, one cashier; all parts are paid, or none is."""

import asyncio
from typing import Any

import pytest
from checkout.config import ConfigError, Env
from checkout.models import Event, Order, Payment, Refund, Share
from kit import owner
from kit.books import calls, compare, history, next_noon, outcomes
from kit.buyers import ADMIN, become
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.owner import Product
from kit.running import BuyerClient, RunningShop
from kit.waiting import until
from kit.wechat import WeChat

PATH = "/notify/wechat/combine"


@pytest.fixture(autouse=True)
def two_merchants(running: RunningShop, monkeypatch: pytest.MonkeyPatch) -> str:
    """Let the cup belong to the other merchant; return its number."""
    other = str(running.credentials["others"][0]["mchid"])
    monkeypatch.setattr(owner, "PRODUCTS", owner.selling_for(other))
    return other


Begun = tuple[BuyerClient, dict[str, Any], dict[str, Any], Payment, list[Share]]


async def begun(running: RunningShop, scene: str = "miniprogram") -> Begun:
    """Bring a buyer of two merchants' things to the cashier."""
    buyer = await running.buyer()
    order = await buyer.cart("puer", "cup")
    answer = await buyer.start(order["order_no"], scene)
    assert answer.status_code == 201, answer.text
    return buyer, order, answer.json(), await Payment.get(), await Share.all().order_by("id")


def combined(payment: Payment, shares: list[Share], **changes: Any) -> dict[str, Any]:
    """Build what WeChat says of the paid order."""
    subs = [
        {
            "mchid": share.parties["mchid"],
            "out_trade_no": share.out_trade_no,
            "transaction_id": f"4200{share.out_trade_no[1:]}",
            "trade_type": "JSAPI",
            "trade_state": "SUCCESS",
            "bank_type": "OTHERS",
            "attach": payment.number,
            "success_time": "2026-01-02T03:04:05.120+08:00",
            "amount": {
                "total_amount": share.total_fen,
                "payer_amount": share.total_fen,
                "currency": "CNY",
            },
        }
        for share in shares
    ]
    trade = {**payment.parties, "combine_out_trade_no": payment.number, "sub_orders": subs}
    return {**trade, "combine_payer_info": {"openid": "oBuyer"}, **changes}


async def notify(running: RunningShop, trade: dict[str, Any]) -> int:
    wechat = WeChat(running)
    body = wechat.seal(trade)
    answer = await running.http.post(PATH, content=body, headers=wechat.headers(body))
    return answer.status_code


async def states() -> tuple[str, str]:
    """Return the state of the one payment, and the order's."""
    return (await Payment.get()).state, (await Order.get()).state


@EVERY_DATABASE
@pytest.mark.parametrize("scene", ["miniprogram", "native", "h5", "app"])
async def test_one_payment_pays_two_merchants(
    running: RunningShop, two_merchants: str, scene: str
) -> None:
    buyer, order, started, payment, shares = await begun(running, scene)
    assert [share.parties["mchid"] for share in shares] == [
        running.credentials["mchid"],
        two_merchants,
    ]
    assert [share.total_fen for share in shares] == [6800, 3600]
    number = payment.number.removesuffix("C")
    assert [share.out_trade_no for share in shares] == [f"{number}M1", f"{number}M2"]
    assert (payment.number, payment.channel) == (f"{number}C", "wechat")
    assert started["out_trade_no"] == f"{number}M1"
    [sent] = await calls(running, f"/combine-transactions/{payment.product}")
    assert '"attach"' in sent["request_body"]
    assert '"device_id"' in sent["request_body"]
    form = started.get("invoke") or {
        name: started[name] for name in started.keys() & {"h5_url", "code_url"}
    }
    control = {"native": "scan", "h5": "h5"}.get(scene, "pay")
    assert (await running.control(control, **form))["err_msg"].endswith(("ok", ":0"))
    await become(buyer, order["order_no"], "PAID")
    assert await states() == ("PAID", "PAID")
    assert await outcomes() == [("APPLIED", "")]
    assert await Event.filter(kind="on_paid").count() == 1
    shown = (await buyer.get(f"/api/orders/{order['order_no']}")).json()
    entries = [(entry["out_trade_no"], entry["state"]) for entry in shown["payments"]]
    assert entries == [(f"{number}M1", "PAID"), (f"{number}M2", "PAID")]
    assert len({entry["transaction_id"] for entry in shown["payments"]}) == 2
    assert shown["paid_fen"] == 6800 + 3600


@EVERY_DATABASE
async def test_a_lost_notification_is_found_by_the_sweep_once_for_all_parts(
    running: RunningShop,
) -> None:
    buyer, _, started, payment, _ = await begun(running)
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.advance(6)
    report = await running.shop.checkout.sweep_once()
    assert await states() == ("PAID", "PAID")
    assert report["paid"] == 1
    assert len(await calls(running, payment.number)) == 1


async def missing(trade: dict[str, Any]) -> None:
    del trade["sub_orders"][1]


async def foreign(trade: dict[str, Any]) -> None:
    trade["sub_orders"][1]["out_trade_no"] = "S9999999999"


async def additional(trade: dict[str, Any]) -> None:
    trade["sub_orders"].append({**trade["sub_orders"][0], "out_trade_no": "S9999999999"})


async def cheaper(trade: dict[str, Any]) -> None:
    trade["sub_orders"][1]["amount"]["total_amount"] -= 1


async def moved_money(trade: dict[str, Any]) -> None:
    trade["sub_orders"][0]["amount"]["total_amount"] += 1
    trade["sub_orders"][1]["amount"]["total_amount"] -= 1


async def other_merchant(trade: dict[str, Any]) -> None:
    trade["sub_orders"][1]["mchid"] = trade["sub_orders"][0]["mchid"]


async def other_initiator(trade: dict[str, Any]) -> None:
    trade["combine_mchid"] = "9000000000"


async def other_number(trade: dict[str, Any]) -> None:
    trade["combine_out_trade_no"] += "X"


async def half_paid(trade: dict[str, Any]) -> None:
    trade["sub_orders"][1]["trade_state"] = "NOTPAY"


async def currency(trade: dict[str, Any]) -> None:
    trade["sub_orders"][1]["amount"]["currency"] = "USD"


WRONG = [missing, foreign, additional, cheaper, moved_money, other_merchant, other_initiator]
WRONG += [other_number, half_paid, currency]


@pytest.mark.parametrize("falsify", WRONG)
async def test_a_notification_that_is_not_exactly_ours_never_pays(
    running: RunningShop, diary: Diary, falsify: Any
) -> None:
    _, _, _, payment, shares = await begun(running)
    trade = combined(payment, shares)
    await falsify(trade)
    assert await notify(running, trade) == 204
    assert await states() == ("OPEN", "OPEN")
    assert [outcome for outcome, _ in await outcomes()] == ["REFUSED"]
    assert "trade refused" in diary.alarms
    assert await notify(running, combined(payment, shares)) == 204
    assert await states() == ("PAID", "PAID")


@pytest.mark.parametrize("falsify", WRONG)
async def test_a_query_whose_parts_disagree_holds_the_whole(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch, falsify: Any
) -> None:
    from wechat import combine

    buyer, order, _, payment, shares = await begun(running)
    trade = combined(payment, shares)
    await falsify(trade)

    async def query(*_: Any) -> combine.Combined:
        return combine.Combined.parse(trade)

    with monkeypatch.context() as patch:
        patch.setattr(combine, "query", query)
        await running.shop.checkout.payments.ask(payment, "test")
    assert await states() == ("HELD", "OPEN")
    answer = await buyer.start(order["order_no"])
    assert answer.json()["code"] == "PAYMENT_IN_PROGRESS"
    number = shares[1].out_trade_no  # a person may close it by any part
    path = f"/api/admin/payments/{number}/close"
    closed = await running.http.post(path, json={"reason": "refunded by hand"}, headers=ADMIN)
    assert closed.status_code == 200, closed.text
    assert closed.json()["out_trade_no"] == number
    assert await states() == ("CLOSED", "OPEN")


async def test_cancelling_closes_exactly_all_parts(running: RunningShop) -> None:
    buyer, order, started, payment, shares = await begun(running)
    answer = await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    assert answer.json()["state"] == "CLOSED"
    assert await states() == ("CLOSED", "CLOSED")
    for share in shares:
        assert (await running.at_wechat(share.out_trade_no))["trade_state"] == "CLOSED"
    assert await history(payment.number) == [("OPEN", "CLOSED")]
    assert (await buyer.pay(started["invoke"]))["err_msg"].startswith("requestPayment:fail")


async def test_an_expired_order_is_closed_by_the_sweep(running: RunningShop) -> None:
    await begun(running)
    await running.advance(1800 + 61)
    for _ in range(3):
        await running.shop.checkout.sweep_once()
        await running.advance(6)
    assert await states() == ("CLOSED", "CLOSED")


async def test_another_scene_closes_the_combined_payment_first(running: RunningShop) -> None:
    buyer, order, _, _, shares = await begun(running)
    second = await buyer.start(order["order_no"], "native")
    assert second.status_code == 201, second.text
    for share in shares:
        assert (await running.at_wechat(share.out_trade_no))["trade_state"] == "CLOSED"
    assert len({share.out_trade_no for share in await Share.all()}) == 4
    await running.control("scan", code_url=second.json()["code_url"])
    await become(buyer, order["order_no"], "PAID")


async def test_the_former_name_of_the_channel_is_understood(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.cart("puer", "cup")
    body = {"scene": "miniprogram", "channel": "wechat_combine"}
    answer = await buyer.post(f"/api/orders/{order['order_no']}/payments", body)
    assert answer.status_code == 201, answer.text
    assert (await Payment.get()).channel == "wechat"


@EVERY_DATABASE
async def test_twenty_starts_at_once_are_one_combined_payment(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.cart("puer", "cup")
    answers = await asyncio.gather(*(buyer.start(order["order_no"]) for _ in range(20)))
    assert {a.status_code for a in answers} == {200, 201}, [a.text for a in answers]
    assert (await Payment.all().count(), await Share.all().count()) == (1, 2)
    assert len({a.json()["out_trade_no"] for a in answers}) == 1


@EVERY_DATABASE
async def test_late_money_is_given_back_part_by_part(running: RunningShop) -> None:
    buyer, order, started, _, shares = await begun(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await buyer.pay(started["invoke"], force=True)

    async def written() -> bool:
        return await Refund.filter(origin="surplus").count() == 2

    await until(written)
    await running.shop.checkout.sweep_once()
    await running.advance(5)

    async def back() -> bool:
        await running.shop.checkout.sweep_once()
        return await Refund.filter(state="SUCCESS").count() == 2

    await until(back)
    assert await states() == ("PAID", "CLOSED")
    for share in shares:
        [refund] = (await running.at_wechat(share.out_trade_no))["refunds"]
        assert refund["refund"] == share.total_fen


async def refund(running: RunningShop, order_no: str, key: str, **body: Any) -> Any:
    path = f"/api/admin/orders/{order_no}/refunds"
    body = {"refund_fen": 100, "reason": "少发一件", **body}
    return await running.http.post(path, json=body, headers={**ADMIN, "Idempotency-Key": key})


async def test_each_part_is_refunded_alone_by_its_merchant_and_the_bills_agree(
    running: RunningShop, two_merchants: str
) -> None:
    buyer, order, started, _, shares = await begun(running)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    unclear = await refund(running, order["order_no"], "k1")
    assert (unclear.status_code, unclear.json()["code"]) == (400, "PART_REQUIRED")
    for n, share in enumerate(shares):
        answer = await refund(running, order["order_no"], f"k{n}", out_trade_no=share.out_trade_no)
        assert answer.status_code == 202, answer.text
    too_much = {"refund_fen": 3501, "out_trade_no": shares[1].out_trade_no}
    assert (await refund(running, order["order_no"], "k9", **too_much)).json()["code"] == (
        "REFUND_EXCEEDS"
    )
    await running.advance(5)

    async def back() -> bool:
        return (await Order.get()).refunded_fen == 200

    await until(back)
    sent = await calls(running, "/refunds")
    assert {entry["status"] for entry in sent} == {200}
    signed_by = [entry["request_headers"]["authorization"] for entry in sent]
    assert [two_merchants in header for header in signed_by] == [False, True]
    day = await next_noon(running)
    assert (await compare(running, day))[0] == []
    rest = [(shares[0], 6700), (shares[1], 3500)]
    for n, (share, fen) in enumerate(rest):
        more = {"refund_fen": fen, "out_trade_no": share.out_trade_no}
        assert (await refund(running, order["order_no"], f"rest{n}", **more)).status_code == 202
    await running.advance(70)
    await running.shop.checkout.sweep_once()
    await running.advance(5)

    async def refunded() -> bool:
        return (await Order.get()).state == "REFUNDED"

    await until(refunded)


async def test_one_parts_refund_may_fail_while_the_others_succeeds(running: RunningShop) -> None:
    buyer, order, started, _, shares = await begun(running)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    await running.control("faults", refunds="closed", times=1)
    for n, share in enumerate(shares):
        await refund(running, order["order_no"], f"k{n}", out_trade_no=share.out_trade_no)
    await running.advance(5)

    async def ended() -> bool:
        ends = await Refund.all().order_by("id").values_list("state", flat=True)
        return list(ends) == ["CLOSED", "SUCCESS"]

    await until(ended)
    now = await Order.get()
    assert (now.state, now.refunded_fen, now.refunding_fen) == ("PAID", 100, 0)


async def test_one_merchants_back_off_does_not_hold_the_others_refund(running: RunningShop) -> None:
    buyer, order, started, _, shares = await begun(running)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    await running.control("faults", refunds="not_enough", times=1)
    for n, share in enumerate(shares):
        await refund(running, order["order_no"], f"k{n}", out_trade_no=share.out_trade_no)
    rows = await Refund.all().order_by("id")
    assert [(row.state, row.trouble.partition(" ")[0]) for row in rows] == [
        ("PENDING", "NOT_ENOUGH"),
        ("PROCESSING", ""),
    ]


async def test_a_refund_in_a_merchant_platform_is_adopted_by_its_part(running: RunningShop) -> None:
    buyer, order, started, _, shares = await begun(running)
    await buyer.pay(started["invoke"])
    await become(buyer, order["order_no"], "PAID")
    await running.control("refund", out_trade_no=shares[1].out_trade_no, refund=50)
    await running.advance(5)

    async def adopted() -> bool:
        return (await Order.get()).refunded_fen == 50

    await until(adopted)
    assert (await Refund.get()).origin == "merchant_platform"


async def test_one_merchants_things_are_an_ordinary_order_of_that_merchant(
    running: RunningShop, two_merchants: str
) -> None:
    buyer = await running.buyer()
    order = await buyer.cart("cup")
    started = (await buyer.start(order["order_no"])).json()
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"
    await become(buyer, order["order_no"], "PAID")
    payment = await Payment.get()
    share = await Share.get()
    assert (payment.channel, payment.parties["mchid"]) == ("wechat", two_merchants)
    assert (share.out_trade_no, share.merchant) == (payment.number, two_merchants)


async def test_a_merchant_whose_keys_we_lack_is_not_sold_for(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    cup = Product("cup", "杯", 3600, "9000000000")
    monkeypatch.setattr(owner, "PRODUCTS", (*owner.PRODUCTS[:3], cup))
    buyer = await running.buyer()
    for skus in (("puer", "cup"), ("cup",)):
        order = await buyer.cart(*skus)
        answer = await buyer.start(order["order_no"])
        assert (answer.status_code, answer.json()["code"]) == (409, "SCENE_OFF")


async def test_fifty_merchants_are_served_and_fifty_one_are_too_many(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    channel: Any = running.shop.checkout.channels["wechat"]
    many = [f"90000000{n:02}" for n in range(50)]
    monkeypatch.setattr(channel, "_clients", dict.fromkeys(many, channel._client))
    assert channel.serves("miniprogram", ["", *many[:49]])
    assert not channel.serves("miniprogram", ["", *many])


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("{}x", "is not JSON: line 1, column 3"),
        ("{}", "is not a list"),
        ("[1]", "is not a list"),
        ('[{"mchid": "9000000000"}]', "merchant 1 has no text serial"),
        ('[{"mchid": "9000000000", "serial": "12"}]', "merchant 1, serial: is not a certificate"),
        ("nowhere.json", "the file cannot be read"),
    ],
)
async def test_wrong_keys_of_other_merchants_are_named(
    running: RunningShop, text: str, why: str
) -> None:
    from kit.running import settings
    from shop.app import build

    good = settings(
        running.credentials, "http://127.0.0.1:9", "http://127.0.0.1:8", "sqlite://x.db"
    )
    with pytest.raises(ConfigError, match=f"SHOP_OTHER_MERCHANTS: {why}"):
        build(Env({**good, "SHOP_OTHER_MERCHANTS": text}))
