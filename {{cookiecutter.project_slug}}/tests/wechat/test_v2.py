"""APIv2: published signatures, XML that cannot hurt, and answers that are believed or not."""

import base64
import gzip
import hashlib
import json
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7
from hypothesis import given
from hypothesis import strategies as st

from kit.captured import SAYS, read
from wechat import meanings, v2, v2_refunds, v2_sign, v2_xml
from wechat.errors import (
    AnswerNotProved,
    BillNotReady,
    DecryptFailed,
    KeyMaterialError,
    MalformedAnswer,
    OutcomeUnknown,
    RateLimited,
    Refused,
    SignatureInvalid,
    Truncated,
    TryAgain,
)
from wechat.v2 import ClientV2

VECTORS = {
    vector["id"]: vector
    for vector in json.loads(Path(__file__).with_name("v2_vectors.json").read_text("utf-8"))[
        "vectors"
    ]
}
KEY = "192006250b4c09247ec02edce69f6a2d"
PAID = {
    "return_code": "SUCCESS",
    "result_code": "SUCCESS",
    "appid": "wxd930ea5d5a258f4f",
    "mch_id": "10000100",
    "out_trade_no": "S2026112100000001",
    "trade_state": "SUCCESS",
    "transaction_id": "4200000000202611210000000001",
    "trade_type": "JSAPI",
    "total_fee": "100",
    "time_end": "20261121123456",
    "openid": "oBuyer",
}


@pytest.mark.parametrize(
    ("name", "sign_type"), [("v2-sign-md5", "MD5"), ("v2-sign-hmac-sha256", "HMAC-SHA256")]
)
def test_the_published_signs_come_out(name: str, sign_type: str) -> None:
    vector = VECTORS[name]
    fields = {**vector["params"], "empty": "", "sign": "x"}
    key = vector["apiv2_key"]
    assert v2_sign.text_to_sign(fields, key) == f"{vector['string_a']}&key={key}"
    assert v2_sign.sign(fields, key, sign_type) == vector["signature"]


def test_the_published_key_of_refund_notifications_comes_out() -> None:
    vector = VECTORS["js-md5-of-apiv2-key"]
    digest = hashlib.md5(vector["input"].encode(), usedforsecurity=False).hexdigest()
    assert digest == vector["md5"]
    ecb = VECTORS["php-aes-256-ecb-pkcs7"]
    assert seal(ecb["key"].encode(), ecb["plaintext"].encode()) == ecb["ciphertext"]


def seal(secret: bytes, plain: bytes) -> str:
    padder = PKCS7(128).padder()
    cipher = Cipher(algorithms.AES(secret), modes.ECB()).encryptor()
    padded = padder.update(plain) + padder.finalize()
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode()


@given(st.dictionaries(st.sampled_from(["a", "B", "c_1"]), st.text("a<>&]'\"茶 \n", max_size=9)))
def test_what_is_written_is_read_again(fields: dict[str, str]) -> None:
    assert v2_xml.parse(v2_xml.build(fields)) == fields


BOMB = '<!DOCTYPE x [<!ENTITY a "aaaa"><!ENTITY b "&a;&a;&a;">]><xml><a>&b;</a></xml>'


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<xml>",
        b"<xml><a>1</a><a>2</a></xml>",
        b"<xml><a><b>1</b></a></xml>",
        b"<xml><a x='1'>1</a></xml>",
        b"<xml>text</xml>",
        b"<root><a>1</a></root>",
        b"<xml><a>&unknown;</a></xml>",
        b"<?xml version='1.0'?><?php evil?><xml><a>1</a></xml>",
        BOMB.encode(),
        b'<!DOCTYPE x SYSTEM "http://127.0.0.1/x"><xml><a>1</a></xml>',
        b'<!DOCTYPE x [<!ENTITY f SYSTEM "file:///etc/passwd">]><xml><a>&f;</a></xml>',
        b"<xml><a>\xff\xfe</a></xml>",
        b"<xml><a>" + b"a" * 300_000 + b"</a></xml>",
        b"<xml>" + b"<a>" * 100_000,
    ],
)
def test_xml_that_apiv2_never_sends_is_refused(body: bytes) -> None:
    with pytest.raises(MalformedAnswer):
        v2_xml.parse(body)


def client(answer: Any, sign_type: str = "MD5") -> ClientV2:
    """Build a client whose WeChat answers with these fields, signed with the right key."""

    def respond(request: httpx.Request) -> httpx.Response:
        asked.append(v2_xml.parse(request.content))
        reply = answer(asked[-1]) if callable(answer) else answer
        if isinstance(reply, dict):
            reply = v2_xml.build({**reply, "sign": v2_sign.sign(reply, KEY, sign_type)})
        return reply if isinstance(reply, httpx.Response) else httpx.Response(200, content=reply)

    asked: list[dict[str, str]] = []
    http = httpx.AsyncClient(transport=httpx.MockTransport(respond))
    made = ClientV2(http, http, "10000100", KEY, sign_type)
    object.__setattr__(made, "asked", asked)
    return made


@pytest.mark.parametrize("sign_type", v2_sign.SIGN_TYPES)
async def test_a_query_is_signed_and_its_answer_proved(sign_type: str) -> None:
    wechat = client(PAID, sign_type)
    payment = await v2.query(wechat, "wxd930ea5d5a258f4f", PAID["out_trade_no"])
    assert (payment.trade_state, payment.total_fen, payment.currency) == ("SUCCESS", 100, "CNY")
    assert payment.success_time == datetime(2026, 11, 21, 4, 34, 56, tzinfo=UTC)
    [asked] = wechat.asked  # type: ignore[attr-defined]
    v2_sign.check(asked, KEY, sign_type)
    assert asked["sign_type"] == sign_type


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"<html>",
        httpx.Response(502),
        httpx.Response(302, headers={"location": "https://example.com"}),
        v2_xml.build({**PAID, "sign": "0" * 32}),
        v2_xml.build(PAID),
        {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": "SYSTEMERROR"},
        {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": "BIZERR_NEED_RETRY"},
    ],
)
async def test_an_answer_that_is_not_proved_is_unknown(answer: Any) -> None:
    with pytest.raises(OutcomeUnknown):
        await v2.query(client(answer), "wx", PAID["out_trade_no"])


async def test_a_refusal_carries_its_code() -> None:
    refused = {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": "ORDERNOTEXIST"}
    with pytest.raises(Refused) as caught:
        await v2.query(client(refused), "wx", PAID["out_trade_no"])
    assert caught.value.is_code("ORDER_NOT_EXIST")
    transport = v2_xml.build({"return_code": "FAIL", "return_msg": "签名错误"})
    with pytest.raises(Refused, match="签名错误"):
        await v2.close(client(transport), "wx", PAID["out_trade_no"])


async def test_an_answer_about_another_number_is_refused() -> None:
    with pytest.raises(MalformedAnswer):
        await v2.query(client(PAID), "wx", "S9999999")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"appid": ""}, "appid"),
        ({"total_fee": "1.5"}, "total_fee"),
        ({"total_fee": "１"}, "total_fee"),
        ({"total_fee": ""}, "trade_state"),
        ({"time_end": "now"}, "time"),
    ],
)
async def test_strange_fields_are_named(changes: dict[str, str], field: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        await v2.query(client({**PAID, **changes}), "wx", PAID["out_trade_no"])
    assert caught.value.field == field


def signed(fields: dict[str, str], sign_type: str = "MD5", key: str = KEY) -> bytes:
    return v2_xml.build({**fields, "sign": v2_sign.sign(fields, key, sign_type)})


def test_a_notification_needs_the_orders_own_sign_type() -> None:
    wechat = client(PAID, "HMAC-SHA256")
    fields = {name: value for name, value in PAID.items() if name != "trade_state"}
    paid = v2.read_payment(wechat, signed(fields, "HMAC-SHA256"))
    assert (paid.trade_state, paid.total_fen) == ("SUCCESS", 100)
    for body in (
        signed(fields, "MD5"),
        signed({**fields, "sign_type": "MD5"}, "HMAC-SHA256"),
        signed({**fields, "sign_type": "MD5"}, "MD5"),  # a message does not choose its own
        signed(fields, "HMAC-SHA256", "f" * 32),
        v2_xml.build(fields),
    ):
        with pytest.raises(SignatureInvalid):
            v2.read_payment(wechat, body)
    failed = v2.read_payment(wechat, signed({**fields, "result_code": "FAIL"}, "HMAC-SHA256"))
    assert failed.trade_state == "FAIL"


@pytest.mark.parametrize("result", ["FAIL", "", None, "OK", "success"])
@pytest.mark.parametrize("state", ["SUCCESS", "REFUND", None])
def test_without_result_code_success_nothing_is_paid(result: str | None, state: str | None) -> None:
    changed = {**PAID, "result_code": result, "trade_state": state}
    body = signed({name: value for name, value in changed.items() if value is not None})
    assert v2.read_payment(client({}), body).trade_state not in ("SUCCESS", "REFUND")


async def test_a_query_that_worked_is_no_payment_without_trade_state() -> None:
    with pytest.raises(MalformedAnswer) as caught:
        await v2.query(client({**PAID, "trade_state": ""}), "wx", PAID["out_trade_no"])
    assert caught.value.field == "trade_state"


FOLDER = Path(__file__).parent / "captured" / "v2"
CAPTURED = sorted(FOLDER.glob("*.json"))
KINDS: dict[str, tuple[type[Exception], ...]] = {
    "later": (RateLimited, TryAgain, Refused),
    "unknown": (OutcomeUnknown,),
}


def captured_fields(answer: dict[str, Any]) -> dict[str, str]:
    fields = v2_xml.parse(answer["xml"].encode())
    return {name: value for name, value in fields.items() if name != "sign"}


@pytest.mark.parametrize("path", CAPTURED, ids=lambda path: path.stem)
async def test_every_captured_answer_is_understood(path: Path) -> None:
    answer = read(path)
    fields = captured_fields(answer)
    means = answer["means"]
    proved = fields["return_code"] == "SUCCESS"
    with pytest.raises(KINDS.get(means, (Refused,))) as caught:
        await client(fields if proved else v2_xml.build(fields)).call("/pay/x", {"a": "1"})
    error: Any = caught.value
    assert type(error) in KINDS.get(means, (Refused,))
    assert error.code == fields.get("err_code", "FAIL")
    assert error.message == (fields.get("err_code_des") or fields["return_msg"])
    assert error.proved == proved
    expected = {"unknown": {"later"}}.get(means, {means} & SAYS.keys())
    assert {name for name, says in SAYS.items() if says(error)} == expected


async def test_every_code_that_means_later_is_later_whoever_signed() -> None:
    for code in v2_refunds.LATER:
        fields = {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": code}
        for answer in (fields, v2_xml.build({**fields, "return_code": "FAIL"})):
            with pytest.raises((Refused, TryAgain, OutcomeUnknown)) as caught:
                await v2_refunds.refund(client(answer), {"out_refund_no": "R1"})
            assert meanings.is_later(caught.value), code  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("SYSTEMERROR", OutcomeUnknown),
        ("BIZERR_NEED_RETRY", OutcomeUnknown),
        ("FREQUENCY_LIMITED", RateLimited),
        ("INVALID_REQ_TOO_MUCH", RateLimited),
        ("ORDER_NOT_READY", TryAgain),
        ("NOTENOUGH", Refused),
    ],
)
async def test_a_code_that_means_later_is_raised_as_what_v3_raises(
    code: str, kind: type[Exception]
) -> None:
    answer = {"return_code": "SUCCESS", "result_code": "FAIL", "err_code": code}
    with pytest.raises(kind) as caught:
        await v2.unified_order(client(answer), {})
    assert type(caught.value) is kind


async def test_an_answer_of_another_key_is_told_apart_from_silence() -> None:
    for answer in (v2_xml.build({**PAID, "sign": "0" * 32}), b"<html>"):
        with pytest.raises(AnswerNotProved) as caught:
            await v2.query(client(answer), "wx", PAID["out_trade_no"])
        assert caught.value.status == 200


async def test_texts_are_cut_to_the_bytes_that_wechat_takes() -> None:
    wechat = client({**PAID, "prepay_id": "wx1"})
    texts = {"body": "茶" * 60, "attach": "店" * 43, "detail": "茶" * 60}
    await v2.unified_order(wechat, texts)
    refunded = {**REFUND, "out_refund_no": "R1", "refund_id": "5", "refund_fee": "1"}
    await v2_refunds.refund(client(refunded), {"refund_desc": "退" * 27})
    [asked] = wechat.asked  # type: ignore[attr-defined]
    assert (asked["body"], asked["attach"]) == ("茶" * 42, "店" * 42)
    assert asked["detail"] == texts["detail"]


async def test_a_mweb_url_leads_to_the_host_that_was_asked() -> None:
    wechat = client({**PAID, "mweb_url": "https://wx.tenpay.com/cgi-bin/x?prepay_id=wx1"})
    answer = await v2.unified_order(replace(wechat, host="http://127.0.0.1:8001"), {})
    assert answer["mweb_url"] == "http://127.0.0.1:8001/cgi-bin/x?prepay_id=wx1"
    answer = await v2.unified_order(wechat, {})
    assert answer["mweb_url"].startswith("https://wx.tenpay.com/")


def test_an_order_lives_at_least_five_minutes() -> None:
    assert v2.MIN_EXPIRE_SECONDS == 300


REFUND = {
    "return_code": "SUCCESS",
    "result_code": "SUCCESS",
    "out_trade_no": "S2026112100000001",
    "transaction_id": "42",
    "total_fee": "100",
    "refund_count": "2",
    "out_refund_no_0": "R0",
    "refund_id_0": "50",
    "refund_fee_0": "10",
    "refund_status_0": "PROCESSING",
    "out_refund_no_1": "R1",
    "refund_id_1": "51",
    "refund_fee_1": "40",
    "refund_status_1": "SUCCESS",
    "refund_success_time_1": "2026-11-21 12:34:56",
}


async def test_a_refund_is_found_among_others_by_its_own_number() -> None:
    refund = await v2_refunds.query(client(REFUND), "wx", "R1")
    assert (refund.refund_id, refund.refund_fen, refund.status) == ("51", 40, "SUCCESS")
    assert refund.success_time == datetime(2026, 11, 21, 4, 34, 56, tzinfo=UTC)
    with pytest.raises(MalformedAnswer):
        await v2_refunds.query(client(REFUND), "wx", "R9")


def test_a_refund_notification_opens_with_the_key_alone() -> None:
    inner = {
        "out_refund_no": "R1",
        "refund_id": "51",
        "out_trade_no": "S1",
        "transaction_id": "42",
        "refund_fee": "40",
        "total_fee": "100",
        "refund_status": "SUCCESS",
    }
    plain = v2_xml.build(inner).replace(b"xml>", b"root>")
    secret = hashlib.md5(KEY.encode(), usedforsecurity=False).hexdigest().encode()
    body = v2_xml.build({"return_code": "SUCCESS", "req_info": seal(secret, plain)})
    assert v2_refunds.open_refund(KEY, body).out_refund_no == "R1"
    for key, wrong in (("f" * 32, body), (KEY, body.replace(b"req_info", b"other"))):
        with pytest.raises((DecryptFailed, MalformedAnswer)):
            v2_refunds.open_refund(key, wrong)


async def test_a_bill_is_unpacked_or_missing_or_broken() -> None:
    day = date(2026, 11, 20)
    packed = gzip.compress(b"bill")

    async def fetch(answer: Any) -> bytes | None:
        return await v2_refunds.download_bill(client(answer), "wx", day)

    assert await fetch(packed) == b"bill"
    for words in ("No Bill Exist", "NO Bill Exist"):  # as it is answered, and as it is written
        assert await fetch(v2_xml.build({"return_code": "FAIL", "return_msg": words})) is None
    with pytest.raises(BillNotReady):
        await fetch(v2_xml.build({"return_code": "FAIL", "return_msg": "Bill Creating"}))
    with pytest.raises(Refused):
        await fetch(v2_xml.build({"return_code": "FAIL", "return_msg": "invalid bill_date"}))
    with pytest.raises(Truncated):
        await fetch(packed[:-5])


def test_pay_sign_signs_the_sign_type() -> None:
    form = v2.invoke(client({}, "HMAC-SHA256"), "wx1", "wx2", timestamp=1)
    assert form["signType"] == "HMAC-SHA256"
    unsigned = {name: value for name, value in form.items() if name != "paySign"}
    assert form["paySign"] == v2_sign.sign(unsigned, KEY, "HMAC-SHA256")


@pytest.mark.parametrize("text", ["", "x" * 31, "密" * 32, "-" * 32])
def test_a_wrong_key_is_named(text: str) -> None:
    with pytest.raises(KeyMaterialError):
        v2_sign.apiv2_key(text)
    assert KEY not in repr(client({}))
