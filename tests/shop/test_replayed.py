"""Every captured answer is replayed to the verb it answers, by a proxy between shop and sandbox.

Nothing is rejected that was postponed, nothing is called an outage that is a refusal, and every
alarm names WeChat's code and Request-ID. A file more is a test more.
"""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from checkout.channels import NoBillYet, demo_settings
from checkout.models import Order, Payment, Refund
from kit.books import compare, next_noon
from kit.buyers import give_back
from kit.logs import Diary
from kit.running import BuyerClient, RunningShop
from kit.waiting import until
from sandbox.protocols import _v2_xml as xml
from shop.settings import ROOT

from tests.shop.proxy import Proxy, proxy_to, request_id

FOLDERS = ("tests/wechat/captured", "tests/wechat/captured/v2", "tests/huifu/captured")
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).glob("*.json"))]
#: what a captured answer means -> the verbs of tests below; other calls are replayed to prepay
VERBS = ("query", "close", "refund", "refund_query", "bill")
Captured = dict[str, Any]


def read(path: Path) -> Captured:
    captured: Captured = json.loads(path.read_text("utf-8"))
    return captured


def channel_of(captured: Captured) -> str:
    first = captured["call"].partition(" ")[0]
    return {"v2": "wechat_v2", "huifu": "huifu"}.get(first, "wechat")


def verb_of(captured: Captured) -> str:
    """Return the verb, without its channel; what is no verb of ours is replayed to prepay."""
    verb = captured["call"].rpartition(" ")[2]
    return verb if verb in VERBS else "prepay"


def answering(verb: str, *, but: tuple[str, ...] = ()) -> Any:
    """Parametrize with the files of a verb that are answers, not notifications."""
    files = [
        path
        for path in FILES
        for captured in [read(path)]
        if verb_of(captured) == verb and "form" not in captured and captured["means"] not in but
    ]
    assert files
    return pytest.mark.parametrize("path", files, ids=lambda p: f"{p.parent.name}-{p.stem}")


@pytest.fixture
async def proxy(sandbox_url: str) -> AsyncIterator[Proxy]:
    async with proxy_to(sandbox_url) as proxy:
        yield proxy


@pytest.fixture
def more_settings(proxy: Proxy) -> Any:
    return lambda credentials: {**demo_settings(credentials), "SHOP_SANDBOX_URL": proxy.url}


def code_of(captured: Captured) -> str:
    """Return the code that the captured answer says."""
    if "xml" in captured:
        fields = xml.parse(captured["xml"].encode())
        return fields.get("err_code") or fields["return_code"]
    body = captured.get("body", {})
    return str(body.get("code") or body.get("resp_code") or "")


def fails(captured: Captured) -> bool:
    """Tell whether it is a system error with a code: the second time, an alarm."""
    return captured["means"] == "unknown" and bool(code_of(captured))


def check_alarms(diary: Diary, captured: Captured, *events: str) -> None:
    """Check that these alarms were raised, and that each names code, Request-ID and the number."""
    assert sorted(set(diary.alarms)) == sorted(events)
    for event in events:
        for fields in diary.fields(event):
            assert fields["number"]
            assert fields["code"] == code_of(captured)
            if channel_of(captured) == "wechat":
                assert fields["wechat_request_id"] == request_id(captured)
            if "request_id_number" in captured:
                assert fields["advice"].startswith(captured["request_id_number"])


def replay(proxy: Proxy, captured: Captured) -> None:
    prefix = {"wechat_v2": "v2 ", "huifu": "huifu "}.get(channel_of(captured), "")
    proxy.replay(captured, prefix + verb_of(captured))


async def start(buyer: BuyerClient, order_no: str, captured: Captured) -> Any:
    wish = {"scene": "miniprogram", "channel": channel_of(captured)}
    return await buyer.post(f"/api/orders/{order_no}/payments", wish)


async def begun(
    running: RunningShop, captured: Captured
) -> tuple[BuyerClient, str, dict[str, Any]]:
    """Bring a buyer to the open cashier of the channel."""
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    started = await start(buyer, order_no, captured)
    assert started.status_code == 201, started.text
    return buyer, order_no, started.json()


async def paid(running: RunningShop, captured: Captured) -> str:
    """Let a buyer pay; return the number of the order."""
    buyer, order_no, started = await begun(running, captured)
    await buyer.pay(started["invoke"])

    async def is_paid() -> bool:
        return (await Order.get()).state == "PAID"

    await until(is_paid)
    return order_no


@answering("prepay")
async def test_a_prepay_is_answered_by_what_wechat_meant(
    running: RunningShop, proxy: Proxy, diary: Diary, path: Path
) -> None:
    captured = read(path)
    means = captured["means"]
    code = code_of(captured)
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    replay(proxy, captured)
    answers = [await start(buyer, order_no, captured) for _ in range(2)]
    outcomes = [(answer.status_code, answer.json()["code"]) for answer in answers]
    assert len(proxy.replaced) == 2
    if means in ("refused", "openid mismatch", "unknown number"):
        assert outcomes == [(502, "WECHAT_REFUSED")] * 2
        check_alarms(diary, captured, "prepay refused")
    elif means == "later":
        assert outcomes == [(429, "TOO_MANY_REQUESTS")] * 2
        check_alarms(diary, captured)
    elif means in ("paid", "closed", "same number other parameters"):
        assert outcomes == [(409, "PAYMENT_IN_PROGRESS")] * 2
        huifu = channel_of(captured) == "huifu"
        check_alarms(diary, captured, *[] if huifu else ["WeChat refuses a number of ours"])
    elif fails(captured):
        assert outcomes == [(503, "OUTCOME_UNKNOWN"), (502, "WECHAT_REFUSED")]
        check_alarms(diary, captured, "prepay refused")
    else:
        assert means in ("unknown", "not explained")
        assert outcomes == [(503, "OUTCOME_UNKNOWN")] * 2
        check_alarms(diary, captured)
    refusal = answers[1].json()
    if refusal["code"] == "WECHAT_REFUSED":
        assert refusal["wechat_code"] == code
        is_v3 = channel_of(captured) == "wechat"
        assert refusal.get("wechat_request_id") == (request_id(captured) if is_v3 else None)
    payment = await Payment.get()
    assert payment.state == "NEW", "watched, under the same number"
    assert payment.due_at is not None
    proxy.mend()
    mended = await start(buyer, order_no, captured)
    assert mended.status_code == 200, mended.text
    assert mended.json()["out_trade_no"] == payment.number


async def test_an_order_that_huifu_postpones_is_not_refused(
    running: RunningShop, proxy: Proxy
) -> None:
    later = {"resp_code": "30000000", "resp_desc": "系统异常，请稍后重试"}
    captured = {"call": "huifu prepay", "status": 200, "means": "later", "body": later}
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    replay(proxy, captured)
    answer = await start(buyer, order_no, captured)
    assert (answer.status_code, answer.json()["code"]) == (429, "TOO_MANY_REQUESTS")
    proxy.mend()
    assert (await start(buyer, order_no, captured)).status_code == 200


@answering("query", but=("paid", "refused by the bank"))
async def test_a_query_without_a_result_moves_nothing(
    running: RunningShop, proxy: Proxy, diary: Diary, path: Path
) -> None:
    captured = read(path)
    buyer, order_no, started = await begun(running, captured)
    replay(proxy, captured)
    await running.sweeps(2, 40)
    assert proxy.replaced
    assert (await Payment.get()).state == "OPEN"
    check_alarms(diary, captured, *["query failed"] if captured["means"] == "refused" else [])
    proxy.mend()
    await buyer.pay(started["invoke"])
    await running.sweeps(1, 700)
    assert await buyer.state(order_no) == "PAID"


@answering("close")
async def test_a_close_that_is_not_proved_closes_nothing(
    running: RunningShop, proxy: Proxy, diary: Diary, path: Path
) -> None:
    captured = read(path)
    buyer, order_no, _ = await begun(running, captured)
    replay(proxy, captured)
    await running.advance(301)
    answer = await buyer.post(f"/api/orders/{order_no}/cancel")
    await running.sweeps(2, 61)
    assert proxy.replaced
    check_alarms(diary, captured)
    if captured["status"] == 204:
        assert (await Payment.get()).state == "CLOSED"
        return
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    assert (await Payment.get()).state == "OPEN"
    proxy.mend()
    await running.sweeps(3, 61)
    assert ((await Payment.get()).state, (await Order.get()).state) == ("CLOSED", "CLOSED")


@answering("refund")
async def test_a_refund_that_is_postponed_waits_and_one_that_is_refused_is_named(
    running: RunningShop, proxy: Proxy, diary: Diary, path: Path
) -> None:
    captured = read(path)
    order_no = await paid(running, captured)
    replay(proxy, captured)
    answer = await give_back(running, order_no, 100)
    assert (answer.status_code, answer.json()["state"]) == (202, "PENDING")
    refund = await Refund.get()
    assert refund.trouble.startswith(code_of(captured))
    is_no = captured["means"] in ("refused", "unknown number")
    assert (refund.refused_at is not None) is is_no
    if is_no:
        check_alarms(diary, captured, "refund refused")
        return
    await running.sweeps(6, 120)
    after = await Refund.get()
    assert (after.state, after.refused_at) == ("PENDING", None)
    assert len(proxy.replaced) > 1, "it is tried again"
    funds = code_of(captured) in ("NOT_ENOUGH", "NOTENOUGH", "90000000", "23000003")
    events = ["refund waits"] if funds else ["refund unknown"] if fails(captured) else []
    check_alarms(diary, captured, *events)
    proxy.mend()
    await running.sweeps(6, 120)
    done = await Refund.get()
    assert (done.state, done.out_refund_no) == ("SUCCESS", refund.out_refund_no)
    assert done.request == refund.request


V2 = "<xml><return_code>SUCCESS</return_code><return_msg>OK</return_msg><result_code>FAIL"
V2 += "</result_code><err_code>{}</err_code><err_code_des>{}</err_code_des></xml>"
#: channel -> the answers to a refund that mean "later, with the same number"
POSTPONED: dict[str, list[Captured]] = {
    "refund": [
        {"status": status, "body": {"code": code, "message": message}}
        for status, code, message in (
            (400, "INVALID_REQUEST", "订单处理中，暂时无法退款，请稍后再试"),
            (403, "NOT_ENOUGH", "基本账户余额不足，请充值后重新发起"),
            (429, "FREQUENCY_LIMITED", "频率超限"),
            (429, "RATELIMIT_EXCEEDED", "频率超限"),
            (400, "INVALID_REQUEST", "系统繁忙，请稍后重试"),
            (500, "SYSTEM_ERROR", "系统错误"),
            (502, "BANK_ERROR", "银行系统异常"),
        )
    ],
    "v2 refund": [
        {"status": 200, "xml": V2.format(code, message)}
        for code, message in (
            ("FREQUENCY_LIMITED", "频率限制"),
            ("ORDER_NOT_READY", "订单处理中，暂时无法退款，请稍后再试"),
            ("INVALID_REQ_TOO_MUCH", "无效请求过多"),
            ("BIZERR_NEED_RETRY", "退款业务流程错误，需要商户触发重试来解决"),
            ("SYSTEMERROR", "接口返回错误"),
            ("NOTENOUGH", "余额不足"),
        )
    ],
    "huifu refund": [
        {"status": 200, "body": {"resp_code": code, "resp_desc": message}}
        for code, message in (
            ("90000000", "业务执行失败，可用余额不足"),
            ("23000003", "余额不足"),
            ("10000001", "原交易没有处理完成"),
            ("30000000", "系统异常，请稍后重试"),
            ("98888888", "系统错误"),
        )
    ],
}


@pytest.mark.parametrize("call", POSTPONED)
async def test_later_is_not_no_in_any_channel(
    running: RunningShop, proxy: Proxy, call: str
) -> None:
    """One refund hears every postponement of its channel, and is made in the end."""
    order_no = await paid(running, {"call": call})
    proxy.replay({"means": "later", "call": call} | POSTPONED[call][0])
    await give_back(running, order_no, 100)
    first = await Refund.get()
    for answer in POSTPONED[call]:
        proxy.replay({"means": "later", "call": call} | answer)
        proxy.replaced.clear()
        while not proxy.replaced:
            await running.sweeps(1, 301)
        refund = await Refund.get()
        assert (refund.state, refund.refused_at) == ("PENDING", None), answer
        assert refund.trouble.startswith(code_of({"call": call} | answer))
    proxy.mend()
    while (await Refund.get()).state in ("PENDING", "PROCESSING"):
        await running.sweeps(1, 301)
    done = await Refund.get()
    assert (done.state, done.out_refund_no) == ("SUCCESS", first.out_refund_no)
    assert done.request == first.request
    [(out_refund_no, fen)] = [
        (made["out_refund_no"], made["refund"])
        for made in (await running.at_wechat((await Payment.get()).number))["refunds"]
    ]
    assert (out_refund_no, fen) == (first.out_refund_no, 100)


@answering("refund_query")
async def test_a_refund_that_a_query_does_not_know_is_not_given_up_while_it_is_under_way(
    running: RunningShop, proxy: Proxy, path: Path
) -> None:
    captured = read(path)
    order_no = await paid(running, captured)
    await running.control("faults", notifications="drop")
    await give_back(running, order_no, 100)
    replay(proxy, captured)
    await running.sweeps(4, 130)
    assert proxy.replaced
    assert (await Refund.get()).state == "PROCESSING"
    proxy.mend()
    await running.sweeps(2, 4000)
    assert (await Refund.get()).state == "SUCCESS"


@answering("bill")
async def test_a_bill_that_is_not_ready_is_not_an_empty_one(
    running: RunningShop, proxy: Proxy, path: Path
) -> None:
    captured = read(path)
    day = await next_noon(running)
    channel = running.shop.checkout.channels[channel_of(captured)]
    replay(proxy, captured)
    if captured["means"] == "later":
        with pytest.raises(NoBillYet):
            await anext(channel.bill(day), None)
    else:
        assert await anext(channel.bill(day), None) is None
    assert proxy.replaced


async def test_an_answer_that_nobody_signed_well_is_named_at_every_verb(
    running: RunningShop, proxy: Proxy, diary: Diary
) -> None:
    """The public key is wrong: no call works, and none of them is an outage."""
    captured = {"call": "prepay", "status": 200, "means": "x", "body": {"prepay_id": "wx1"}}
    proxy.credentials = {
        **proxy.credentials,
        "wechat_private_key_pem": proxy.credentials["merchant_private_key_pem"],
    }
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    for verb in ("prepay", "query", "close"):
        proxy.replay(captured, verb)
        if verb == "prepay":
            answer = await start(buyer, order_no, captured)
            assert (answer.status_code, answer.json()["code"]) == (502, "WECHAT_UNPROVED")
            assert answer.json()["wechat_request_id"] == request_id(captured)
        elif verb == "query":
            await running.sweeps(1, 6)
        else:
            assert (await buyer.post(f"/api/orders/{order_no}/cancel")).status_code == 202
    event = "an answer's signature does not hold: wrong public key?"
    assert diary.alarms == [event] * 3
    assert {fields["wechat_request_id"] for fields in diary.fields(event)} == {request_id(captured)}
    assert (await Payment.get()).state == "NEW"


async def test_the_books_agree_through_a_proxy_that_passes_everything_on(
    running: RunningShop, proxy: Proxy
) -> None:
    """The proxy itself falsifies nothing."""
    order_no = await paid(running, {"call": "prepay"})
    await give_back(running, order_no, 100)
    await running.sweeps(2, 61)
    assert (await compare(running, await next_noon(running)))[0] == []
    assert proxy.replaced == []
