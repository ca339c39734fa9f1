"""The sandbox gives every captured answer: same status, code, sentence, number, shape of detail."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx
import pytest
from kit import captured

from tests.sandbox.merchant import ORDERS, Merchant

Scenario = Callable[[Merchant], Awaitable[httpx.Response]]
FILES = captured.read_folder("wechat/captured")
JSAPI = f"{ORDERS}/jsapi"
NATIVE = f"{ORDERS}/native"
PARTNER = "/v3/pay/partner/transactions"
REFUNDS = "/v3/refund/domestic/refunds"
CERTIFICATES = "/v3/certificates"
SCENARIOS: dict[str, Scenario] = {}
#: files that no call of the sandbox answers, and why
NOT_PLAYED = {
    "other-number-pattern": "a call of marketing, which the sandbox does not have",
    "profitsharing-openid-mismatch-400": "profit sharing is not played",
    "prepay-appid-missing": "an older wording: pointer without /body, ASCII comma",
    "prepay-mchid-malformed": "nobody knows what was sent: Authorization names the number, too",
    "prepay-param-error-bare": "nobody knows what was sent",
    "refund-old-order-too-often": "the sandbox does not count refunds of old orders",
    "sign-apiv3-key-missing": "every merchant of the sandbox has an APIv3 key",
    "sign-certificate-expired": "no merchant's certificate is ever expired",
    "sign-certificate-missing": "every merchant of the sandbox has a certificate",
    "sign-certificate-replaced": "an older certificate of a merchant counts on",
    "sign-certificate-revoked": "no merchant's certificate is ever revoked",
    "sign-detail-of-detail": "transfers are not played; the shape is tested below",
}


#: of these only the number is published: status and code are the file's and the sandbox's own
ONLY_NUMBER = {"number-not-the-orders-mchid", "number-not-the-orders-sub-mchid"}


def scenario(*names: str) -> Callable[[Scenario], Scenario]:
    """Register what was sent when these answers came."""

    def register(play: Scenario) -> Scenario:
        SCENARIOS.update(dict.fromkeys(names, play))
        return play

    return register


def order_with(name: str, path: str = JSAPI, **changes: Any) -> None:
    """Register an order that is wrong in these fields."""

    @scenario(name)
    async def play(merchant: Merchant) -> httpx.Response:
        return await merchant.call("POST", path, merchant.order(**changes))


def fault_of(name: str, call: str, fault: str) -> None:
    """Register an answer that only the fault menu can ask for."""

    @scenario(name)
    async def play(merchant: Merchant) -> httpx.Response:
        await merchant.faults(answers={call: fault})
        body = merchant.order()
        number = "S1234567"
        refund = refund_of(merchant, number)
        return await {
            "prepay": lambda: merchant.call("POST", JSAPI, body),
            "close": lambda: merchant.close(number),
            "refund": lambda: merchant.call("POST", REFUNDS, refund),
        }[call]()


def get(name: str, target: str, **changes: Any) -> None:
    """Register a GET with this header, these pairs of Authorization, this age."""

    @scenario(name)
    async def play(merchant: Merchant) -> httpx.Response:
        return await merchant.call("GET", target.replace("MCHID", merchant.mchid), **changes)


async def paid(merchant: Merchant) -> dict[str, Any]:
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id)
    return body


def refund_of(merchant: Merchant, number: str, fen: int = 100, **more: Any) -> dict[str, Any]:
    amount = {"refund": fen, "total": 990, "currency": "CNY"}
    return {"out_trade_no": number, "out_refund_no": "R1", "amount": amount} | more


order_with("prepay-attach-too-long", attach="备" * 67 + "xx")
order_with("prepay-description-too-long", description="茶" * 33 + "x" * 36)
order_with("prepay-number-too-short", out_trade_no="1")
order_with("prepay-total-zero", amount={"total": 0, "currency": "CNY"})
order_with("prepay-total-fraction", amount={"total": 0.01, "currency": "CNY"})
order_with("prepay-number-pattern", out_trade_no="订单号")
order_with("prepay-notify-url-blank", notify_url=" https://www.weixin.qq.com/wxpay/pay.php")
order_with("prepay-openid-no-text", payer={"openid": 4})
order_with("prepay-openid-missing", payer={})
order_with("prepay-appid-not-bound", appid="wx0000000000000000")
order_with("prepay-mchid-of-another", mchid="1900000109")
fault_of("prepay-number-used", "prepay", "number_used")
fault_of("prepay-openid-invalid", "prepay", "openid_invalid")
fault_of("prepay-openid-mismatch-400", "prepay", "openid_not_matching")
fault_of("prepay-paid-second-number", "prepay", "already_paid")
fault_of("prepay-product-off", "prepay", "product_off")
fault_of("prepay-receiving-restricted", "prepay", "receiving_restricted")
fault_of("number-merchant-unavailable", "prepay", "merchant_unavailable")
fault_of("prepay-rate-limited", "prepay", "429")
fault_of("prepay-system-error", "prepay", "500")
fault_of("prepay-service-unavailable", "prepay", "service_unavailable")
fault_of("close-typing-password-429", "close", "429")
fault_of("refund-rate-limited", "refund", "429")
fault_of("refund-system-error", "refund", "500")
get("certificates-public-key-only", CERTIFICATES)
get("certificates-language-star", CERTIFICATES, headers={"Accept-Language": "*"})
get("certificates-no-user-agent", CERTIFICATES, headers={"User-Agent": "", "Authorization": ""})
get("sign-authorization-malformed", CERTIFICATES, headers={"Authorization": "Bearer abc"})
get("sign-signature-forged", CERTIFICATES, signature="AAAA")
get("sign-timestamp-stale", CERTIFICATES, age=400)
get("sign-authorization-missing-on-order", f"{ORDERS}/id/1", headers={"Authorization": ""})
get("sign-scheme-wrong", f"{ORDERS}/id/1", scheme="WECHATPAY2-SM2-WITH-SM3")
get("sign-serial-wrong", f"{ORDERS}/id/1", serial_no="0" * 40)
get("query-unknown-number", f"{ORDERS}/out-trade-no/S1234567?mchid=MCHID")
get("query-unknown-parameter", f"{ORDERS}/out-trade-no/S1234567?mchid=MCHID&sub_mch_id=")
get("query-transaction-id-malformed", f"{ORDERS}/id/wx1?mchid=MCHID")
get("refund-query-unknown", f"{REFUNDS}/R1")
get("path-unknown", "/v3/nothing/here")
get("method-wrong", JSAPI)


@scenario("prepay-openid-mismatch-500")
async def openid_of_another_app(merchant: Merchant) -> httpx.Response:
    await merchant.control("oauth-code", appid=merchant.official["appid"], openid="oReader")
    return await merchant.call("POST", JSAPI, merchant.order(payer={"openid": "oReader"}))


@scenario("prepay-same-number-other-parameters")
async def other_amount(merchant: Merchant) -> httpx.Response:
    body, _ = await merchant.prepay()
    return await merchant.call("POST", JSAPI, body | {"amount": {"total": 991}})


@scenario("prepay-paid")
async def order_again_when_paid(merchant: Merchant) -> httpx.Response:
    return await merchant.call("POST", JSAPI, await paid(merchant))


@scenario("prepay-closed")
async def order_again_when_closed(merchant: Merchant) -> httpx.Response:
    body, _ = await merchant.prepay()
    await merchant.close(body["out_trade_no"])
    return await merchant.call("POST", JSAPI, body)


@scenario("prepay-after-close-of-unknown")
async def order_after_close_of_unknown(merchant: Merchant) -> httpx.Response:
    body = merchant.order()
    await merchant.close(body["out_trade_no"])
    return await merchant.call("POST", JSAPI, body)


@scenario("prepay-not-utf8")
async def not_utf8(merchant: Merchant) -> httpx.Response:
    return await merchant.call("POST", NATIVE, '{"description":"茶"}'.encode("gbk"))


def provider(merchant: Merchant, **changes: Any) -> tuple[Merchant, dict[str, Any]]:
    """Be the service provider, with an order of the first sub merchant."""
    sp = merchant.become(merchant.credentials["sp"])
    body = sp.order(appid=None, mchid=None, payer={"sp_openid": "oProviders"})
    parties = {"sp_appid": sp.mini["appid"], "sp_mchid": sp.mchid}
    subs = {"sub_mchid": merchant.credentials["sub"][0]["mchid"]}
    return sp, body | parties | subs | changes


@scenario("prepay-unknown-field")
async def openid_of_a_direct_merchant(merchant: Merchant) -> httpx.Response:
    sp, body = provider(merchant, payer={"openid": "oProviders"})
    return await sp.call("POST", f"{PARTNER}/jsapi", body)


@scenario("number-no-relation")
async def sub_merchant_of_nobody(merchant: Merchant) -> httpx.Response:
    sp, body = provider(merchant, sub_mchid="1900000109")
    return await sp.call("POST", f"{PARTNER}/jsapi", body)


@scenario("number-sub-is-provider")
async def provider_as_its_own_sub_merchant(merchant: Merchant) -> httpx.Response:
    sp, body = provider(merchant)
    return await sp.call("POST", f"{PARTNER}/jsapi", body | {"sub_mchid": sp.mchid})


@scenario("number-provider-on-direct-path")
async def provider_on_the_direct_path(merchant: Merchant) -> httpx.Response:
    sp, _ = provider(merchant)
    return await sp.call("POST", NATIVE, sp.order(payer=None))


@scenario("number-not-the-orders-mchid")
async def order_of_another_merchant(merchant: Merchant) -> httpx.Response:
    _, prepay_id = await merchant.prepay()
    number = (await merchant.pay(prepay_id))["transaction_id"]
    other = merchant.become(merchant.credentials["others"][0])
    return await other.call("GET", f"{ORDERS}/id/{number}?mchid={other.mchid}")


@scenario("number-not-the-orders-sub-mchid")
async def order_of_another_sub_merchant(merchant: Merchant) -> httpx.Response:
    sp, body = provider(merchant)
    await sp.post(f"{PARTNER}/jsapi", body)
    both = f"sp_mchid={sp.mchid}&sub_mchid={merchant.credentials['sub'][1]['mchid']}"
    return await sp.call("GET", f"{PARTNER}/out-trade-no/{body['out_trade_no']}?{both}")


@scenario("close-unpaid")
async def close_what_nobody_paid(merchant: Merchant) -> httpx.Response:
    body, _ = await merchant.prepay()
    return await merchant.close(body["out_trade_no"])


@scenario("close-unknown-number")
async def close_of_unknown(merchant: Merchant) -> httpx.Response:
    return await merchant.close("S1234567")


@scenario("close-number-too-long")
async def close_of_what_cannot_be_a_number(merchant: Merchant) -> httpx.Response:
    return await merchant.close("S" * 35)


@scenario("close-paid")
async def close_of_paid(merchant: Merchant) -> httpx.Response:
    return await merchant.close((await paid(merchant))["out_trade_no"])


@scenario("close-typing-password-202")
async def close_while_typing(merchant: Merchant) -> httpx.Response:
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id, outcome="typing")
    return await merchant.close(body["out_trade_no"])


@scenario("refund-unknown-order")
async def refund_of_unknown(merchant: Merchant) -> httpx.Response:
    return await merchant.call("POST", REFUNDS, refund_of(merchant, "S1234567"))


@scenario("refund-unpaid-order")
async def refund_of_unpaid(merchant: Merchant) -> httpx.Response:
    body, _ = await merchant.prepay()
    return await merchant.call("POST", REFUNDS, refund_of(merchant, body["out_trade_no"]))


@scenario("refund-all-refunded")
async def refund_of_what_is_gone(merchant: Merchant) -> httpx.Response:
    number = (await paid(merchant))["out_trade_no"]
    await merchant.call("POST", REFUNDS, refund_of(merchant, number, 990))
    await merchant.control("clock", advance_seconds=60)
    again = refund_of(merchant, number, 990, out_refund_no="R2")
    return await merchant.call("POST", REFUNDS, again)


@scenario("refund-exceeds")
async def refund_of_more_than_is_left(merchant: Merchant) -> httpx.Response:
    number = (await paid(merchant))["out_trade_no"]
    await merchant.call("POST", REFUNDS, refund_of(merchant, number, 100))
    more = refund_of(merchant, number, 900, out_refund_no="R2")
    return await merchant.call("POST", REFUNDS, more)


@scenario("refund-amount-differs")
async def refund_with_another_amount(merchant: Merchant) -> httpx.Response:
    number = (await paid(merchant))["out_trade_no"]
    await merchant.call("POST", REFUNDS, refund_of(merchant, number, 100))
    return await merchant.call("POST", REFUNDS, refund_of(merchant, number, 99))


@scenario("refund-unknown-field")
async def refund_with_fields_of_orders(merchant: Merchant) -> httpx.Response:
    more = {"mchid": merchant.mchid, "appid": merchant.mini["appid"]}
    return await merchant.call("POST", REFUNDS, refund_of(merchant, "S1234567", **more))


@scenario("refund-not-enough", "refund-order-not-ready", "refund-account-abnormal")
async def refund_as_asked(merchant: Merchant) -> httpx.Response:
    number = (await paid(merchant))["out_trade_no"]
    return await merchant.call("POST", REFUNDS, refund_of(merchant, number))


REFUND_FAULTS = {
    "refund-not-enough": "not_enough",
    "refund-order-not-ready": "order_not_ready",
    "refund-account-abnormal": "user_account_abnormal",
}


@scenario("bill-not-ready")
async def bill_of_yesterday(merchant: Merchant) -> httpx.Response:
    now = (await merchant.control("clock"))["now"]
    hour, minute = int(now[11:13]), int(now[14:16])
    seconds = (25 - hour) * 3600 - minute * 60  # one o'clock of the next day
    await merchant.control("clock", advance_seconds=seconds)
    return await merchant.call("GET", f"/v3/bill/tradebill?bill_date={now[:10]}")


@scenario("bill-nothing-happened")
async def bill_of_an_empty_day(merchant: Merchant) -> httpx.Response:
    now = (await merchant.control("clock"))["now"]
    await merchant.control("clock", advance_seconds=2 * 86400)
    return await merchant.call("GET", f"/v3/bill/tradebill?bill_date={now[:10]}")


def test_every_captured_answer_has_a_scenario_or_a_reason() -> None:
    assert captured.unregistered(FILES, SCENARIOS, NOT_PLAYED) == []


@pytest.mark.parametrize("name", sorted(FILES.keys() & SCENARIOS.keys()))
async def test_the_sandbox_answers_as_wechat_did(merchant: Merchant, name: str) -> None:
    if name in REFUND_FAULTS:
        await merchant.faults(refunds=REFUND_FAULTS[name])
    wanted = FILES[name]
    answer = await SCENARIOS[name](merchant)
    if number := wanted.get("request_id_number"):
        assert answer.headers["Request-ID"].endswith(f"-{number}")
    if name not in ONLY_NUMBER:
        assert answer.status_code == wanted["status"], answer.text
        same = captured.differences(wanted, answer.json(), "message") if "body" in wanted else []
        assert same == [], answer.text
    assert bool(answer.content) is ("body" in wanted)
    if answer.status_code not in (401, 405) and "User-Agent" in answer.request.headers:
        assert ("Wechatpay-Signature" in answer.headers) is (name != "path-unknown")
    if "Wechatpay-Signature" in answer.headers:
        merchant.verify(answer)


async def test_the_detail_of_a_wrong_signature_has_the_captured_shape(merchant: Merchant) -> None:
    answer = await merchant.call("POST", JSAPI, merchant.order(), signature="AAAA")
    assert shape(answer.json()["detail"]) == shape(FILES["sign-detail-of-detail"]["body"]["detail"])


def shape(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    return type(value)
