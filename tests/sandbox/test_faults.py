"""The fault menu: answers that fail, who signs, and what the menu itself refuses."""

import json

import httpx
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.x509 import load_pem_x509_certificate

from tests.sandbox.merchant import ORDERS

DEFAULTS = {
    "notifications": "send",
    "notification_signature": "good",
    "notification_amount_delta_fen": 0,
    "answers": {},
    "refunds": "success",
    "bill": "good",
    "times": None,
    "signing": "public_key",
    "rotate_certificates": False,
    "leading_zero_serials": False,
}


def order(merchant, body=None):
    return merchant.call("POST", f"{ORDERS}/jsapi", body or merchant.order())


async def numbers(merchant):
    return [row["out_trade_no"] for row in (await merchant.control("orders"))["orders"]]


async def test_the_menu_sets_only_what_is_named_and_an_empty_one_resets(merchant):
    assert await merchant.control("faults") == DEFAULTS
    await merchant.faults(signing="mixed")
    menu = await merchant.faults(answers={"prepay": 500}, times=2)
    assert menu == DEFAULTS | {"signing": "mixed", "answers": {"prepay": "500"}, "times": 2}
    assert await merchant.control("faults") == menu
    assert await merchant.faults() == DEFAULTS


@pytest.mark.parametrize(
    ("menu", "named"),
    [
        ({"surprise": 1}, "surprise"),
        ({"bill": "bad"}, "bill"),
        ({"refunds": "SUCCESS"}, "refunds"),
        ({"notifications": "lose"}, "notifications"),
        ({"notifications": -1}, "notifications"),
        ({"notifications": True}, "notifications"),
        ({"notifications": []}, "notifications"),
        ({"notification_signature": "bad"}, "notification_signature"),
        ({"notification_amount_delta_fen": 0.5}, "notification_amount_delta_fen"),
        ({"answers": "500"}, "answers"),
        ({"answers": {"pay": "500"}}, "answers.pay"),
        ({"answers": {"prepay": "501"}}, "answers.prepay"),
        ({"answers": {"code2session": "signtest"}}, "answers.code2session"),
        ({"answers": {"refund": "openid_mismatch"}}, "answers.refund"),
        ({"answers": {"any": "number_used"}}, "answers.any"),
        ({"times": 0}, "times"),
        ({"signing": "rsa"}, "signing"),
        ({"rotate_certificates": 1}, "rotate_certificates"),
    ],
)
async def test_what_is_not_on_the_menu_is_refused_by_name(merchant, menu, named):
    answer = await merchant.http.post("/_sandbox/faults", json={"times": 3} | menu)
    assert answer.status_code == 400
    assert answer.json()["message"].startswith(named)
    assert await merchant.control("faults") == DEFAULTS


@pytest.mark.parametrize(
    ("fault", "status", "code"),
    [("500", 500, "SYSTEM_ERROR"), ("429", 429, "FREQUENCY_LIMITED"), ("refuse", 403, "NO_AUTH")],
)
async def test_an_error_answer_means_that_nothing_happened(merchant, fault, status, code):
    await merchant.faults(answers={"prepay": fault}, times=1)
    body = merchant.order()
    answer = await order(merchant, body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    merchant.verify(answer)
    assert await numbers(merchant) == []
    await merchant.prepay(body)


@pytest.mark.parametrize(
    ("fault", "status", "code", "message"),
    [
        ("openid_mismatch", 500, "OPENID_MISMATCH", "openid和appid不匹配"),
        ("openid_not_matching", 400, "INVALID_REQUEST", "appid与openid不匹配"),
        ("openid_invalid", 400, "PARAM_ERROR", "无效的openid"),
        ("number_used", 403, "OUT_TRADE_NO_USED", "商户订单号重复"),
        ("service_unavailable", 503, "SERVICE_UNAVAILABLE", "服务不可用"),
    ],
)
async def test_the_other_forms_of_a_refusal_can_be_asked_for(
    merchant, fault, status, code, message
):
    await merchant.faults(answers={"prepay": fault}, times=1)
    body = merchant.order()
    answer = await order(merchant, body)
    assert answer.status_code == status
    assert answer.json() == {"code": code, "message": message}
    merchant.verify(answer)
    await merchant.prepay(body)


async def test_accepted_is_signed_and_means_ask_again(merchant):
    body, _ = await merchant.prepay()
    await merchant.faults(answers={"any": "202"})
    closing = await merchant.close(body["out_trade_no"])
    assert (closing.status_code, closing.json()["code"]) == (202, "USER_PAYING")
    merchant.verify(closing)
    asked = await merchant.query(body["out_trade_no"])
    assert (asked.status_code, asked.json()["code"]) == (202, "ACCEPTED")
    merchant.verify(asked)


@pytest.mark.parametrize(("fault", "happened"), [("reset_before", False), ("reset_after", True)])
async def test_a_cut_connection_hides_whether_it_happened(merchant, fault, happened):
    await merchant.faults(answers={"prepay": fault}, times=1)
    body = merchant.order()
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await order(merchant, body)
    assert (body["out_trade_no"] in await numbers(merchant)) is happened
    entry = (await merchant.control("log"))["entries"][-1]
    assert entry["status"] is None
    assert fault in entry["verdict"]


async def test_a_hanging_answer_never_comes(merchant):
    await merchant.faults(answers={"close": "hang"}, times=1)
    body, _ = await merchant.prepay()
    merchant.http.timeout = 0.2
    with pytest.raises(httpx.ReadTimeout):
        await merchant.close(body["out_trade_no"])
    assert (await merchant.query(body["out_trade_no"])).json()["trade_state"] == "CLOSED"


@pytest.mark.parametrize("fault", ["signtest", "wrong_key"])
async def test_a_false_signature_is_on_a_true_answer(merchant, fault):
    await merchant.faults(answers={"query": fault}, times=1)
    body, _ = await merchant.prepay()
    answer = await merchant.query(body["out_trade_no"])
    assert answer.status_code == 200
    with pytest.raises((InvalidSignature, ValueError)):
        merchant.verify(answer)
    merchant.verify(await merchant.query(body["out_trade_no"]))


async def test_times_counts_calls_that_passed_the_gate(merchant):
    await merchant.faults(answers={"query": "500"}, times=2)
    body, _ = await merchant.prepay()
    number = body["out_trade_no"]
    await merchant.call("GET", f"{ORDERS}/out-trade-no/{number}", signature="AAAA")
    codes = [(await merchant.query(number)).status_code for _ in range(3)]
    assert codes == [500, 500, 200]
    assert await merchant.control("faults") == DEFAULTS


async def test_a_calls_own_fault_comes_before_that_of_any(merchant):
    await merchant.faults(answers={"any": "500", "query": "429"})
    assert (await merchant.query("S1234567")).status_code == 429
    assert (await order(merchant)).status_code == 500


@pytest.mark.parametrize(("fault", "errcode"), [("500", -1), ("429", 45011), ("refuse", 40226)])
async def test_login_faults_are_errcodes(merchant, fault, errcode):
    await merchant.faults(answers={"code2session": fault})
    answer = await merchant.http.get("/sns/jscode2session")
    assert (answer.status_code, answer.json()["errcode"]) == (200, errcode)


async def test_a_login_answer_can_get_lost(merchant):
    await merchant.faults(answers={"any": "reset_after"}, times=1)
    code = await merchant.control("login-code", appid=merchant.mini["appid"], openid="oBuyer")
    asked = {"appid": merchant.mini["appid"], "secret": merchant.mini["secret"]}
    asked |= {"js_code": code["code"], "grant_type": "authorization_code"}
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        await merchant.http.get("/sns/jscode2session", params=asked)
    again = await merchant.http.get("/sns/jscode2session", params=asked)
    assert again.json()["errcode"] == 40163


async def test_a_merchant_of_public_key_mode_has_no_certificates(merchant):
    answer = await merchant.call("GET", "/v3/certificates")
    assert (answer.status_code, answer.json()["code"]) == (404, "RESOURCE_NOT_EXISTS")


async def certificates(merchant, serial=""):
    headers = {"Wechatpay-Serial": serial}
    answer = await merchant.call("GET", "/v3/certificates", headers=headers)
    merchant.credentials = await merchant.control("credentials")
    serial = merchant.verify(answer)
    listed = {}
    for certificate in answer.json()["data"]:
        assert certificate["encrypt_certificate"]["associated_data"] == "certificate"
        pem = merchant.unseal(certificate["encrypt_certificate"])
        listed[certificate["serial_no"]] = load_pem_x509_certificate(pem)
    return serial, listed


async def test_platform_certificates_are_sealed_listed_first_and_used_later(merchant):
    await merchant.faults(signing="certificate")
    old, listed = await certificates(merchant)
    assert list(listed) == [old]
    assert "O=SANDBOX" in listed[old].subject.rfc4514_string()
    await merchant.faults(rotate_certificates=True)
    signed, listed = await certificates(merchant)
    assert (signed, next(iter(listed)), len(listed)) == (old, old, 2)
    await merchant.faults(rotate_certificates=True)
    new, listed = await certificates(merchant)
    assert list(listed) == [old, new]
    assert f"{listed[new].serial_number:040X}" == new


async def test_a_listed_certificate_is_used_after_five_days(merchant, shop, until):
    await merchant.faults(signing="certificate", rotate_certificates=True)
    old, listed = await certificates(merchant)
    await merchant.control("clock", advance_seconds=5 * 86400 - 60)
    assert (await certificates(merchant))[0] == old
    await merchant.control("clock", advance_seconds=60)
    assert (await certificates(merchant))[0] == list(listed)[1]
    _, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id)
    await until(lambda: len(shop.received) == 1)
    assert merchant.verify(shop.received[0]) == list(listed)[1]


async def test_whoever_knows_one_certificate_gets_answers_signed_by_it(merchant):
    """A client that met only the old certificate can fetch the list that has the new one."""
    await merchant.faults(signing="certificate")
    old, _ = await certificates(merchant)
    for _ in range(2):
        await merchant.faults(rotate_certificates=True)
    new, _ = await certificates(merchant)
    assert new != old
    assert (await certificates(merchant, old))[0] == old
    assert (await certificates(merchant, new))[0] == new
    assert (await certificates(merchant, "0" * 40))[0] == new
    await merchant.control("clock", advance_seconds=5 * 365 * 86400)
    assert (await certificates(merchant, old))[0] == new


async def test_serials_of_merchants_begin_with_zero_only_when_asked(merchant):
    async def serials():
        credentials = await merchant.control("credentials")
        return [
            party["merchant_serial"]
            for party in (credentials, *credentials["others"], credentials["sp"])
        ]

    before = await serials()
    assert not [serial for serial in before if serial.startswith("0") or len(serial) != 40]
    assert (await merchant.faults(leading_zero_serials=True)) == DEFAULTS
    after = await serials()
    assert all(serial.startswith("0") and len(serial) == 40 for serial in after)
    for serial in (before[0], after[0]):
        answer = await merchant.call("GET", "/v3/certificates", serial_no=serial)
        assert answer.status_code == 404  # authenticated: this merchant has no certificates
    credentials = await merchant.control("credentials")
    certificate = load_pem_x509_certificate(credentials["merchant_certificate_pem"].encode())
    assert f"{certificate.serial_number:040X}" == after[0]


async def test_the_requests_serial_chooses_the_key_in_mixed_times(merchant, shop, until):
    await merchant.faults(signing="mixed")
    key_id = merchant.credentials["public_key_id"]
    serial = merchant.credentials["platform_certificates"][0]["serial"]
    for sent, signed in ((key_id, key_id), (serial, serial), ("", serial)):
        headers = {"Wechatpay-Serial": sent}
        answer = await merchant.call("POST", f"{ORDERS}/jsapi", merchant.order(), headers=headers)
        assert merchant.verify(answer) == signed
    for _ in range(4):
        body = merchant.order()
        answer = await order(merchant, body)
        await merchant.pay(answer.json()["prepay_id"])
    await until(lambda: len(shop.received) == 4)
    assert {merchant.verify(message) for message in shop.received} == {key_id, serial}


async def test_unknown_algorithms_are_refused(merchant):
    answer = await merchant.call("GET", "/v3/certificates?algorithm_type=DSA")
    assert json.loads(answer.text)["detail"]["field"] == "/query/algorithm_type"
