"""Refunds: what is sent, what WeChat may say of one, and the v2 notification that is none."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wechat import notify, refunds
from wechat.errors import DecryptFailed, MalformedAnswer, OutcomeUnknown, RateLimited, Refused
from wechat.refunds import RefundAnswer

ORDER: dict[str, Any] = {
    "out_trade_no": "S2026112100000001",
    "out_refund_no": "S2026112100000001R1",
    "refund_fen": 40,
    "total_fen": 100,
    "notify_url": "https://shop.example.com/notify/wechat/refund",
}
ANSWER: dict[str, Any] = {
    "refund_id": "50300000002026112100000000001",
    "out_refund_no": "S2026112100000001R1",
    "transaction_id": "4200000000202611210000000001",
    "out_trade_no": "S2026112100000001",
    "channel": "ORIGINAL",
    "user_received_account": "招商银行信用卡0403",
    "create_time": "2026-11-21T12:34:56+08:00",
    "status": "PROCESSING",
    "funds_account": "UNSETTLED",
    "amount": {
        "total": 100,
        "refund": 40,
        "from": [],
        "payer_total": 90,
        "payer_refund": 36,
        "settlement_refund": 40,
        "settlement_total": 100,
        "discount_refund": 4,
        "currency": "CNY",
    },
}
NOTIFIED: dict[str, Any] = {
    "mchid": "1900007291",
    "transaction_id": "4200000000202611210000000001",
    "out_trade_no": "S2026112100000001",
    "refund_id": "50300000002026112100000000001",
    "out_refund_no": "S2026112100000001R1",
    "refund_status": "SUCCESS",
    "success_time": "2026-11-21T12:40:00+08:00",
    "user_received_account": "招商银行信用卡0403",
    "amount": {"total": 100, "refund": 40, "payer_total": 90, "payer_refund": 36},
}
V2 = (
    b"<xml><return_code>SUCCESS</return_code><appid><![CDATA[wxd678efh567hg6787]]></appid>"
    b"<mch_id><![CDATA[1900007291]]></mch_id><nonce_str><![CDATA[x]]></nonce_str>"
    b"<req_info><![CDATA[c2VhbGVk]]>"
    b"</req_info></xml>"
)


def test_a_refund_has_the_fields_of_the_documents() -> None:
    assert refunds.refund_order(**ORDER, reason="不喜欢") == {
        "out_trade_no": "S2026112100000001",
        "out_refund_no": "S2026112100000001R1",
        "reason": "不喜欢",
        "notify_url": "https://shop.example.com/notify/wechat/refund",
        "amount": {"refund": 40, "total": 100, "currency": "CNY"},
    }


def test_a_refund_can_name_the_payment_by_wechats_number_and_a_sub_merchant() -> None:
    order = {**ORDER, "out_trade_no": None, "transaction_id": "42000", "sub_mchid": "1900000109"}
    body = refunds.refund_order(**order)
    assert (body["transaction_id"], body["sub_mchid"]) == ("42000", "1900000109")
    assert not {"out_trade_no", "reason"} & body.keys()  # nothing is sent as null


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("out_trade_no", None),
        ("out_trade_no", "S1234"),
        ("transaction_id", "4200000000202611210000000001"),  # besides out_trade_no
        ("out_refund_no", ""),
        ("out_refund_no", "R" * 65),
        ("out_refund_no", "R 1"),
        ("out_refund_no", "R/1"),
        ("out_refund_no", "R1\n"),
        ("out_refund_no", "退款"),
        ("out_refund_no", 1),
        ("refund_fen", 0),
        ("refund_fen", -40),
        ("refund_fen", 101),
        ("refund_fen", 0.4),
        ("refund_fen", True),
        ("refund_fen", "40"),
        ("total_fen", 100.0),
        ("total_fen", True),
        ("total_fen", 0),
        ("reason", ""),
        ("reason", " "),
        ("notify_url", ""),
        ("notify_url", "https://shop.example.com/refund?x=1"),
        ("notify_url", None),
        ("sub_mchid", ""),
    ],
)
def test_what_wechat_would_refuse_is_refused_by_name(field: str, value: object) -> None:
    named = "out_trade_no" if field == "transaction_id" else field
    with pytest.raises(ValueError, match=f"^{named}: "):
        refunds.refund_order(**{**ORDER, field: value})


def test_the_longest_values_and_the_whole_amount_are_accepted() -> None:
    longest = {"out_refund_no": "R_-|*@" + "9" * 58, "reason": "退" * 80, "refund_fen": 100}
    order = refunds.refund_order(**{**ORDER, **longest})
    assert order["amount"]["refund"] == 100
    assert order["reason"] == "退" * 26  # 80 bytes


async def test_create_sends_stored_bytes_untouched_and_reads_the_answer(world: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        seen.append((request.method, request.url.path, request.content))
        return world.answer(ANSWER)

    seen: list[Any] = []
    stored = b'{ "out_refund_no" : "S2026112100000001R1" }'
    refund = await refunds.create(world.client(answer), stored)
    assert seen == [("POST", "/v3/refund/domestic/refunds", stored)]
    assert (refund.status, refund.refund_fen, refund.total_fen) == ("PROCESSING", 40, 100)
    assert refund.create_time == datetime(2026, 11, 21, 4, 34, 56, tzinfo=UTC)
    assert (refund.currency, refund.channel, refund.success_time) == ("CNY", "ORIGINAL", None)
    assert refund == await refunds.create(world.client(answer), refunds.refund_order(**ORDER))


async def test_query_asks_for_our_number_as_it_is_signed(world: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        targets.append(request.url.raw_path.decode())
        return world.answer({**ANSWER, "out_refund_no": "a|b*c-_@1"})

    targets: list[str] = []
    client = world.client(answer)
    await refunds.query(client, out_refund_no="a|b*c-_@1")
    await refunds.query(client, out_refund_no="a|b*c-_@1", sub_mchid="1900000109")
    base = "/v3/refund/domestic/refunds/a%7Cb*c-_@1"
    assert targets == [base, f"{base}?sub_mchid=1900000109"]
    assert [exchange.target for exchange in world.exchanges] == targets


async def test_an_answer_about_another_refund_is_refused(world: Any) -> None:
    client = world.client(lambda request: world.answer({**ANSWER, "out_refund_no": "R9"}))
    with pytest.raises(MalformedAnswer, match="out_refund_no: R9"):
        await refunds.query(client, out_refund_no="S2026112100000001R1")
    with pytest.raises(MalformedAnswer, match="out_refund_no: R9"):
        await refunds.create(client, refunds.refund_order(**ORDER))


@pytest.mark.parametrize("number", ["", "..", "../../certificates", "R/1", "R%2F", "R?x=1", "R#"])
async def test_a_number_cannot_leave_its_path(world: Any, number: str) -> None:
    client = world.client(lambda request: world.answer(ANSWER))
    with pytest.raises(ValueError, match="out_refund_no"):
        await refunds.query(client, out_refund_no=number)
    assert world.exchanges == []


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (403, "NOT_ENOUGH", Refused),
        (400, "INVALID_REQUEST", Refused),
        (404, "RESOURCE_NOT_EXISTS", Refused),
        (429, "FREQUENCY_LIMITED", RateLimited),
    ],
)
async def test_a_refusal_keeps_its_code(world: Any, status: int, code: str, kind: Any) -> None:
    answer = httpx.Response(status, json={"code": code, "message": "不行"})
    client = world.client(lambda request: answer)
    with pytest.raises(kind) as caught:
        await refunds.create(client, refunds.refund_order(**ORDER))
    assert caught.value.is_code(code)


async def test_a_server_error_or_an_unproved_answer_leaves_the_refund_unknown(world: Any) -> None:
    for answer in (httpx.Response(500, json={}), world.answer(ANSWER, signature="x")):
        client = world.client(lambda request, answer=answer: answer)
        with pytest.raises(OutcomeUnknown):
            await refunds.create(client, refunds.refund_order(**ORDER))
        with pytest.raises(OutcomeUnknown):
            await refunds.query(client, out_refund_no="R1")


@pytest.mark.parametrize("status", ["SUCCESS", "PROCESSING", "ABNORMAL", "CLOSED", "SOMETHING_NEW"])
def test_states_are_kept_as_they_come(status: str) -> None:
    assert RefundAnswer.parse({**ANSWER, "status": status}).status == status
    assert RefundAnswer.parse_notification({**NOTIFIED, "refund_status": status}).status == status


def test_the_old_word_close_is_closed() -> None:
    assert (
        RefundAnswer.parse_notification({**NOTIFIED, "refund_status": "CLOSE"}).status == "CLOSED"
    )


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"refund_id": None}, "refund_id"),
        ({"out_refund_no": ""}, "out_refund_no"),
        ({"transaction_id": 42}, "transaction_id"),
        ({"out_trade_no": None}, "out_trade_no"),
        ({"status": None}, "status"),
        ({"amount": None}, "amount"),
        ({"amount": {"total": 100}}, "amount"),
        ({"amount": {"refund": 40}}, "amount"),
        ({"amount": {"total": 100, "refund": 40.0}}, "amount.refund"),
        ({"amount": {"total": True, "refund": 40}}, "amount.total"),
        ({"amount": {"total": 100, "refund": "40"}}, "amount.refund"),
        ({"amount": {"total": 100, "refund": 40, "currency": 156}}, "currency"),
        ({"create_time": "2026-11-21 12:34:56"}, "create_time"),
        ({"success_time": 1790000000}, "success_time"),
        ({"channel": []}, "channel"),
    ],
)
def test_a_wrong_field_is_named(changed: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        RefundAnswer.parse({**ANSWER, **changed})
    assert caught.value.field == field


def test_an_answer_and_a_notification_cannot_be_taken_for_each_other() -> None:
    with pytest.raises(MalformedAnswer, match=r"^status: "):
        RefundAnswer.parse(NOTIFIED)
    with pytest.raises(MalformedAnswer, match=r"^refund_status: "):
        RefundAnswer.parse_notification(ANSWER)


def test_the_buyers_account_does_not_reach_a_log() -> None:
    refund = RefundAnswer.parse(ANSWER)
    assert refund.user_received_account == "招商银行信用卡0403"
    assert "0403" not in repr(refund)


def opened(
    world: Any, content: Any = NOTIFIED, key: bytes | None = None, **changed: Any
) -> RefundAnswer:
    resource = {**world.sealed(json.dumps(content).encode(), extra="refund")}
    body = {
        "id": "3119dfba-e649-5eec-ab1e-3412bc4d2e17",
        "event_type": "REFUND.SUCCESS",
        "resource": {**resource, "original_type": "refund", **changed},
    }
    envelope = notify.parse(json.dumps(body).encode())
    return refunds.open_refund(key or world.merchant.apiv3_key, envelope)


def test_a_notification_is_opened_without_currency_channel_and_create_time(world: Any) -> None:
    refund = opened(world)
    assert (refund.status, refund.refund_fen, refund.parties) == (
        "SUCCESS",
        40,
        {"mchid": "1900007291"},
    )
    assert refund.success_time == datetime(2026, 11, 21, 4, 40, tzinfo=UTC)
    assert (refund.currency, refund.channel, refund.create_time) == (None, None, None)


def test_a_partners_notification_has_no_mchid(world: Any) -> None:
    content = {**NOTIFIED, "sp_mchid": "1900007291", "sub_mchid": "1900000109"}
    del content["mchid"]
    refund = opened(world, content)
    assert refund.parties == {"sp_mchid": "1900007291", "sub_mchid": "1900000109"}


@pytest.mark.parametrize("other", ["transaction", "profitsharing"])
def test_another_product_is_no_refund(world: Any, other: str) -> None:
    with pytest.raises(MalformedAnswer, match=other):
        opened(world, original_type=other)


def test_a_wrong_key_or_a_payment_inside_cannot_be_opened(world: Any) -> None:
    with pytest.raises(DecryptFailed):
        opened(world, key=b"f" * 32)
    with pytest.raises(MalformedAnswer, match="refund_status"):
        opened(world, {"mchid": "1900007291", "trade_state": "SUCCESS"})


@pytest.mark.parametrize(
    "body",
    [
        V2,
        b"\n" + V2,
        b"\xef\xbb\xbf" + V2,
        b'<?xml version="1.0" encoding="UTF-8"?>\n' + V2,
        V2.replace(b"><", b">\n<"),
    ],
)
def test_a_v2_notification_at_the_v3_address_is_recognised(body: bytes) -> None:
    assert refunds.is_v2_xml(body)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{}",
        b"\xff\xfe",
        b" " * 1_000_000,  # a pattern that goes back and forth would take hours
        b'{"x": "<xml><req_info>"}',
        b"<html><req_info></req_info></html>",
        b"<xml><return_code>SUCCESS</return_code></xml>",
        b"<xmlish><req_info>x</req_info></xmlish>",
        b'<!DOCTYPE xml [<!ENTITY a SYSTEM "file:///etc/passwd">]>' + V2,
        b'<?xml version="1.0"?><!DOCTYPE xml []>' + V2,
        json.dumps(ANSWER).encode(),
    ],
)
def test_everything_else_is_not(body: bytes) -> None:
    assert not refunds.is_v2_xml(body)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@settings(deadline=None)
@given(name=st.sampled_from(sorted(ANSWER)), value=JSON)
def test_whatever_stands_in_a_field_only_malformed_answer_is_raised(name: str, value: Any) -> None:
    try:
        refund = RefundAnswer.parse({**ANSWER, name: value})
    except MalformedAnswer:
        return
    assert type(refund.refund_fen) is int
    assert type(refund.total_fen) is int


@given(body=st.binary(max_size=200))
def test_no_bytes_upset_the_recognition(body: bytes) -> None:
    assert refunds.is_v2_xml(body) in (True, False)


def test_an_amount_of_nothing_is_read_and_left_to_whoever_compares() -> None:
    """It is signed: to take it for unreadable would ask for the APIv3 key."""
    read = RefundAnswer.parse({**ANSWER, "amount": {"total": 100, "refund": 0}})
    assert (read.refund_fen, read.total_fen) == (0, 100)
