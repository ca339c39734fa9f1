"""What errors mean, byte limits, numbers of Request-ID, and addresses of WeChat's."""

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wechat import fields, hosts, meanings, numbers
from wechat.errors import (
    AnswerNotProved,
    ApiError,
    MalformedAnswer,
    NotSent,
    OutcomeUnknown,
    RateLimited,
    Refused,
    TryAgain,
    WeChatError,
)

QUESTIONS = (
    meanings.is_later,
    meanings.is_paid,
    meanings.is_closed,
    meanings.is_unknown_number,
    meanings.is_same_number_other_parameters,
    meanings.is_openid_mismatch,
)


@pytest.mark.parametrize(
    "error",
    [
        NotSent("x"),
        MalformedAnswer("a", "b"),
        WeChatError("订单已支付"),
        OutcomeUnknown("no answer"),
        AnswerNotProved("x", signature_reason="bad_signature", status=200),
        Refused(400, "PARAM_ERROR", "参数错误"),
        Refused(401, "SIGN_ERROR", "签名错误"),
        Refused(403, "NO_AUTH", "商户号该产品权限未开通"),
        Refused(400, "APPID_MCHID_NOT_MATCH", "appid和mch_id不匹配，请检查后再试"),
        Refused(400, "INVALID_REQUEST", "订单金额或退款金额与之前请求不一致，请核实后再试"),
        Refused(400, "INVALID_REQUEST", "申请退款金额超过订单可退金额"),
        Refused(200, "PARAM_ERROR", "time_expire时间过短，刷卡至少1分钟，其他5分钟"),
        Refused(200, "TRADE_STATE_ERROR", "订单生成后不能马上关单，最短间隔为5分钟"),
    ],
    ids=repr,
)
def test_an_error_that_says_nothing_of_it_has_no_meaning(error: WeChatError) -> None:
    assert [question.__name__ for question in QUESTIONS if question(error)] == []


@pytest.mark.parametrize(
    "message",
    [
        "appid与openid不匹配",
        "appid 与 openid 不匹配",
        "openid和appid不匹配",
        "sub_openid与sub_appid不匹配",
        "无效的openid",
        "无效的 openid",
        "appid and openid not match",
        "invalid openid",
        "openid is invalid",
        "openid无效",
    ],
)
def test_a_wrong_openid_is_recognised_in_every_form(message: str) -> None:
    for error in (
        Refused(400, "INVALID_REQUEST", message),
        OutcomeUnknown("x", status=500, code="SYSTEM_ERROR", message=message),
    ):
        assert meanings.is_openid_mismatch(error)
        assert not meanings.is_later(error)  # calling again never helps


@pytest.mark.parametrize(
    ("number", "question"),
    [
        (268498688, meanings.is_same_number_other_parameters),
        (268449538, meanings.is_paid),
        (268498689, meanings.is_paid),
        (268447914, meanings.is_closed),
        (268512771, meanings.is_unknown_number),
        (268447840, meanings.is_later),
    ],
)
def test_the_number_alone_is_enough(number: int, question: Callable[[WeChatError], bool]) -> None:
    error = Refused(400, "INVALID_REQUEST", "in words not heard before", request_id=f"08-{number}")
    assert [asked for asked in QUESTIONS if asked(error)] == [question]


@pytest.mark.parametrize(
    "message",
    [
        "系统繁忙，请稍后再试",
        "退款失败，请稍后重试",
        "请稍候再试",
        "系统繁忙",
        "可用余额不足",
        "交易未结算资金不足，请使用可用余额退款",
        "频率限制，1个月之前的订单请降低申请频率再重试",
        "操作过于频繁，请1分钟后再试",
        "退款正在处理中，请勿重复提交",
    ],
)
def test_a_sentence_that_asks_to_come_back_is_no_refusal(message: str) -> None:
    assert meanings.is_later(Refused(400, "INVALID_REQUEST", message))


@pytest.mark.parametrize(
    ("message", "question"),
    [("订单已支付", meanings.is_paid), ("该订单已关闭", meanings.is_closed)],
)
def test_some_sentences_are_known(message: str, question: Callable[[WeChatError], bool]) -> None:
    error = Refused(400, "INVALID_REQUEST", message)
    assert [asked for asked in QUESTIONS if asked(error)] == [question]


@pytest.mark.parametrize("status", [500, 502, 503, 504])
def test_a_5xx_is_later_and_silence_is_only_unknown(status: int) -> None:
    assert meanings.is_later(OutcomeUnknown("x", status=status))
    assert not meanings.is_later(OutcomeUnknown("x"))


@pytest.mark.parametrize(
    ("status", "code", "message", "kind"),
    [
        (202, "USER_PAYING", "", TryAgain),
        (400, "INVALID_REQUEST", "订单处理中，暂时无法退款，请稍后再试", TryAgain),
        (400, "INVALID_REQUEST", "订单处理中,暂时无法退款", TryAgain),
        (429, "", "", RateLimited),
        (403, "FREQUENCY_LIMITED", "频率超限", RateLimited),
        (400, "INVALID_REQUEST", "订单已全额退款", Refused),
    ],
)
def test_what_is_raised_follows_from_what_it_means(
    status: int, code: str, message: str, kind: type[ApiError]
) -> None:
    assert meanings.kind_of(status, code, message) is kind


@pytest.mark.parametrize("code", ["", "5", "not_found", "NotFound", "<html>", "A B", "A\n", "参数"])
def test_what_a_proxy_writes_is_no_code_of_wechats(code: str) -> None:
    assert not meanings.is_code(code)
    assert meanings.is_code("PARAM_ERROR")


@pytest.mark.parametrize(
    ("request_id", "number"),
    [
        ("0891D295920610860318D7DB8C582093AF0128EA9805-270924337", 270924337),
        ("08F78BA-0", None),
        ("08F78BA", None),
        ("-", None),
        ("08F78BA-x1", None),
        ("08F78BA-1\n", None),
        ("", None),
        (None, None),
    ],
)
def test_the_number_stands_at_the_end_of_the_request_id(
    request_id: str | None, number: int | None
) -> None:
    assert numbers.number_in(request_id) == number
    assert Refused(400, request_id=request_id).wechat_number == number
    assert OutcomeUnknown("x", request_id=request_id).wechat_number == number


def test_the_official_twenty_are_explained_in_both_languages() -> None:
    assert len(numbers.TOP_20) == 20
    for number, entry in numbers.TOP_20.items():
        assert entry.number == number
        for text in (entry.meaning_zh, entry.advice_zh):
            assert re.search("[\u4e00-\u9fff]", text)
        for text in (entry.meaning, entry.advice):
            assert len(text.split()) > 2
        assert numbers.describe(number).startswith(f"{number}: {entry.meaning_zh}")


def test_a_number_that_the_table_lacks_is_said_so() -> None:
    assert numbers.explain(270924337) is None
    assert "不在微信官方排障手册的 TOP 20 里" in numbers.describe(270924337)
    assert "not in WeChat's TOP 20" in numbers.describe(270924337)


@given(st.text(), st.integers(0, 40))
def test_a_cut_text_has_no_more_bytes_and_no_broken_character(text: str, most: int) -> None:
    cut = fields.cut(text, most)
    assert len(cut.encode()) <= most
    assert text.encode("utf-8", "ignore").decode().startswith(cut)
    if len(text.encode("utf-8", "ignore")) > most:
        assert len(cut.encode()) > most - 4  # the next character would not fit


@pytest.mark.parametrize(
    ("text", "most", "left"),
    [
        ("茶" * 60, 127, "茶" * 42),
        ("茶" * 42 + "a", 127, "茶" * 42 + "a"),
        ("a😀b", 4, "a"),
        ("a😀b", 5, "a😀"),
        ("a\ud800b", 2, "ab"),
        ("abc", 0, ""),
    ],
)
def test_bytes_are_counted_not_characters(text: str, most: int, left: str) -> None:
    assert fields.cut(text, most) == left


@pytest.mark.parametrize(
    ("address", "there"),
    [
        (f"{hosts.HOST}/v3/x?a=%2B&b", "http://s:1/v3/x?a=%2B&b"),
        (f"{hosts.STANDBY}/v3/x", "http://s:1/v3/x"),
        (f"{hosts.PAGES}/cgi-bin/x?y", "http://s:1/cgi-bin/x?y"),
        ("weixin://wxpay/bizpayurl?pr=x", "weixin://wxpay/bizpayurl?pr=x"),
        (f"{hosts.HOST}@evil/", f"{hosts.HOST}@evil/"),
        (f"{hosts.HOST}.evil/", f"{hosts.HOST}.evil/"),
        (hosts.HOST, hosts.HOST),
        ("", ""),
    ],
)
def test_only_wechats_own_addresses_move(address: str, there: str) -> None:
    assert hosts.moved(address, "http://s:1") == there
    assert hosts.moved(address, hosts.HOST) == address
