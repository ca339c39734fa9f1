"""Prepay, query and close; what WeChat may say of a payment and what we refuse to read."""

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kit.protocol import ORDER, PAID, PARTIES
from wechat import transactions
from wechat.errors import MalformedAnswer, OutcomeUnknown, Refused, TryAgain
from wechat.payment import Transaction

NUMBER = "S2026112100000001"


def jsapi_order(**values: Any) -> dict[str, Any]:
    """Build a direct JSAPI order from flat values."""
    parties = {name: values.pop(name) for name in ("appid", "mchid")}
    payer = {"openid": values.pop("openid")}
    return transactions.order("jsapi", parties, payer=payer, **values)


def test_an_order_has_the_fields_of_the_documents_and_beijing_time() -> None:
    assert jsapi_order(**ORDER) == {
        "appid": "wxd678efh567hg6787",
        "mchid": "1900007291",
        "description": "茶",
        "out_trade_no": "S2026112100000001",
        "time_expire": "2026-11-21T12:30:59+08:00",
        "notify_url": "https://shop.example.com/notify/wechat/payment",
        "amount": {"total": 100, "currency": "CNY"},
        "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
    }
    assert jsapi_order(**ORDER, attach="x")["attach"] == "x"


def test_the_time_zone_of_the_machine_does_not_matter() -> None:
    losangeles = ORDER["time_expire"].astimezone(timezone(timedelta(hours=-8)))
    order = jsapi_order(**{**ORDER, "time_expire": losangeles})
    assert order["time_expire"] == "2026-11-21T12:30:59+08:00"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("appid", ""),
        ("appid", "w" * 33),
        ("mchid", " "),
        ("mchid", 1900007291),
        ("openid", "o" * 129),
        ("openid", ""),
        ("description", ""),
        ("description", " " * 127 + "茶"),
        ("description", 5),
        ("out_trade_no", "S1234"),
        ("out_trade_no", "S" * 33),
        ("out_trade_no", "S12345 6"),
        ("out_trade_no", "S12345/6"),
        ("out_trade_no", "订单订单订单"),
        ("out_trade_no", "S123456\n"),
        ("total_fen", 0),
        ("total_fen", -1),
        ("total_fen", True),
        ("total_fen", 1.0),
        ("total_fen", "100"),
        ("notify_url", "shop.example.com/notify"),
        ("notify_url", "ftp://shop.example.com/"),
        ("notify_url", "https://"),
        ("notify_url", "https://shop.example.com/notify?x=1"),
        ("notify_url", "https://shop.example.com/notify?"),
        ("notify_url", "https://shop.example.com/notify#x"),
        ("notify_url", "https://shop.example.com/" + "n" * 231),
        ("time_expire", datetime(2026, 11, 21, 12, 30)),
        ("attach", ""),
        ("attach", " "),
    ],
)
def test_what_wechat_would_refuse_is_refused_by_name(field: str, value: object) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        jsapi_order(**{**ORDER, field: value})


def test_the_longest_values_are_accepted() -> None:
    longest = {
        "description": "茶" * 42 + "a",
        "out_trade_no": "S_-|*" + "9" * 27,
        "attach": "a" * 128,
        "openid": "o" * 128,
        "notify_url": "https://shop.example.com/" + "n" * 230,
    }
    order = jsapi_order(**{**ORDER, **longest})
    assert (order["description"], order["attach"]) == (longest["description"], longest["attach"])


def test_texts_are_cut_to_the_bytes_that_wechat_takes() -> None:
    order = jsapi_order(**{**ORDER, "description": "茶" * 60, "attach": "a" + "店" * 43})
    assert order["description"] == "茶" * 42
    assert order["attach"] == "a" + "店" * 42


async def test_prepay_returns_the_prepay_id_and_sends_stored_bytes_untouched(world: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        seen.append((request.method, request.url.path, request.content))
        return world.answer({"prepay_id": "wx201410272009395522657a690389285100", "new": 1})

    seen: list[Any] = []
    stored = b'{ "stored" : "as it is" }'
    prepay_id = await transactions.prepay(world.client(answer), "jsapi", PARTIES, stored)
    assert prepay_id == "wx201410272009395522657a690389285100"
    assert seen == [("POST", "/v3/pay/transactions/jsapi", stored)]


@pytest.mark.parametrize("content", [{"x": 1}, {"prepay_id": ""}, {"prepay_id": 5}])
async def test_a_prepay_without_prepay_id_is_named(world: Any, content: Any) -> None:
    client = world.client(lambda request: world.answer(content))
    with pytest.raises(MalformedAnswer) as caught:
        await transactions.prepay(client, "jsapi", PARTIES, b"{}")
    assert caught.value.field == "prepay_id"


async def test_numbers_are_percent_encoded_and_signed_as_sent(world: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        targets.append(request.url.raw_path.decode())
        if request.method == "POST":
            return world.answer(b"", 204)
        return world.answer({**PAID, "out_trade_no": "a|b*c-_1"})

    targets: list[str] = []
    client = world.client(answer)
    await transactions.query(client, PARTIES, "a|b*c-_1")
    await transactions.close(client, PARTIES, "a|b*c-_1")
    await transactions.query_by_id(client, PARTIES, PAID["transaction_id"])
    base = "/v3/pay/transactions"
    assert targets == [
        f"{base}/out-trade-no/a%7Cb*c-_1?mchid=1900007291",
        f"{base}/out-trade-no/a%7Cb*c-_1/close",
        f"{base}/id/{PAID['transaction_id']}?mchid=1900007291",
    ]
    assert [exchange.target for exchange in world.exchanges] == targets


@pytest.mark.parametrize(
    "number", ["", "..", "../../certificates", "a/b/c/d", "S1234%2F", "S12345?"]
)
async def test_a_number_cannot_leave_its_path(world: Any, number: str) -> None:
    client = world.client(lambda request: world.answer(PAID))
    for call in (transactions.query, transactions.close):
        with pytest.raises(ValueError, match="out_trade_no"):
            await call(client, PARTIES, number)
    with pytest.raises(ValueError, match="transaction_id"):
        await transactions.query_by_id(client, PARTIES, number)
    assert world.exchanges == []


async def test_an_answer_about_another_number_is_refused(world: Any) -> None:
    other = {**PAID, "out_trade_no": "S9999999", "transaction_id": "42999"}
    client = world.client(lambda request: world.answer(other))
    with pytest.raises(MalformedAnswer, match="out_trade_no"):
        await transactions.query(client, PARTIES, NUMBER)
    with pytest.raises(MalformedAnswer, match="transaction_id"):
        await transactions.query_by_id(client, PARTIES, "42000")


async def test_a_query_of_an_unknown_order_is_refused_with_its_code(world: Any) -> None:
    unknown = httpx.Response(404, json={"code": "ORDER_NOT_EXIST", "message": "订单不存在"})
    with pytest.raises(Refused) as caught:
        await transactions.query(world.client(lambda request: unknown), PARTIES, NUMBER)
    assert caught.value.is_code("ORDERNOTEXIST")


async def test_close_believes_only_a_proved_204(world: Any) -> None:
    await transactions.close(world.client(lambda request: world.answer(b"", 204)), PARTIES, NUMBER)
    for answer in (
        world.answer({"ok": 1}),
        world.answer(b"{}"),
        world.answer(b""),
        world.answer(b"", 204, signature="x"),
    ):
        with pytest.raises(OutcomeUnknown):
            await transactions.close(world.client(lambda request, a=answer: a), PARTIES, NUMBER)
    typing = httpx.Response(202, json={"code": "USERPAYING", "message": "需要等待用户支付"})
    with pytest.raises(TryAgain) as caught:
        await transactions.close(world.client(lambda request: typing), PARTIES, NUMBER)
    assert caught.value.is_code("USER_PAYING")


def test_a_paid_order_is_read_in_utc_and_fen() -> None:
    payment = Transaction.parse({**PAID, "a_new_field": {"x": 1}})
    assert payment.success_time == datetime(2026, 11, 21, 4, 34, 56, tzinfo=UTC)
    assert payment.success_time.tzinfo is UTC
    assert (payment.total_fen, payment.payer_total_fen, payment.currency) == (100, 90, "CNY")
    assert payment.openid == "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"
    assert payment.raw["a_new_field"] == {"x": 1}


def test_an_unpaid_order_lacks_what_is_not_known_yet() -> None:
    unpaid = {name: PAID[name] for name in ("mchid", "appid", "out_trade_no")}
    payment = Transaction.parse({**unpaid, "trade_state": "NOTPAY", "payer": {}})
    assert payment.trade_state_desc == ""
    assert (payment.transaction_id, payment.success_time, payment.total_fen) == (None, None, None)
    assert payment.openid is None


@pytest.mark.parametrize("name", ["trade_state", "trade_type", "bank_type"])
def test_new_words_of_wechat_are_kept(name: str) -> None:
    assert getattr(Transaction.parse({**PAID, name: "SOMETHING_NEW"}), name) == "SOMETHING_NEW"


@pytest.mark.parametrize("text", ["2026-11-21T12:34:56.120+08:00", "2026-11-21T04:34:56.120Z"])
def test_milliseconds_in_times_are_read(text: str) -> None:
    payment = Transaction.parse({**PAID, "success_time": text})
    assert payment.success_time == datetime(2026, 11, 21, 4, 34, 56, 120_000, tzinfo=UTC)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"mchid": None}, "mchid"),
        ({"appid": ""}, "appid"),
        ({"out_trade_no": 5}, "out_trade_no"),
        ({"trade_state": ["SUCCESS"]}, "trade_state"),
        ({"transaction_id": None}, "trade_state"),
        ({"transaction_id": 42}, "transaction_id"),
        ({"amount": None}, "trade_state"),
        ({"trade_state": "REFUND", "transaction_id": None}, "trade_state"),
        ({"amount": [100]}, "amount"),
        ({"amount": {"total": 100.0}}, "amount.total"),
        ({"amount": {"total": True}}, "amount.total"),
        ({"amount": {"total": "100"}}, "amount.total"),
        ({"amount": {"total": -100}}, "amount.total"),
        ({"amount": {"total": 100, "payer_total": 9.5}}, "amount.payer_total"),
        ({"amount": {"total": 100, "currency": 156}}, "currency"),
        ({"payer": "o"}, "payer"),
        ({"success_time": "yesterday"}, "success_time"),
        ({"success_time": "2026-11-21T12:34:56"}, "success_time"),
        ({"success_time": "0001-01-01T00:00:00+08:00"}, "success_time"),
        ({"success_time": 1790000000}, "success_time"),
    ],
)
def test_a_wrong_type_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        Transaction.parse({**PAID, **changed})
    assert caught.value.field == field


def test_the_payer_does_not_reach_a_log() -> None:
    assert "oUpF8" not in repr(Transaction.parse(PAID))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(PAID)), value=JSON)
def test_whatever_stands_in_a_field_only_malformed_answer_is_raised(name: str, value: Any) -> None:
    try:
        payment = Transaction.parse({**PAID, name: value})
    except MalformedAnswer:
        return
    assert payment.total_fen is None or type(payment.total_fen) is int
    json.dumps(payment.raw)
