"""What is wrong with a request before its call is looked at, in WeChat's order and words."""

import asyncio
import base64

import pytest

from tests.sandbox.merchant import ORDERS

CERTIFICATES = "/v3/certificates"
QUERY = f"{ORDERS}/out-trade-no/S1234567?mchid="
FORMAT = "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》"
SERIAL = "商户证书序列号有误。请使用签名私钥匹配的证书序列号"
STALE = "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟"
GARBAGE = base64.b64encode(bytes(256)).decode()


def refusal(answer):
    body = answer.json()
    return answer.status_code, body["code"], body["message"]


def refused(answer, status, code, message):
    """Check an answer to somebody unproved: status, code, message, and that it is not signed."""
    assert refusal(answer) == (status, code, message)
    assert not [name for name in answer.headers if name.startswith("wechatpay-")]


@pytest.mark.parametrize("sent", ["", "Bearer abc"])
async def test_no_authorization_is_worded_by_the_product(merchant, sent):
    headers = {"Authorization": sent}
    answer = await merchant.call("GET", CERTIFICATES, headers=headers)
    refused(answer, 401, "SIGN_ERROR", FORMAT)
    assert answer.headers["Request-ID"].endswith("-268443699")
    answer = await merchant.call("GET", QUERY, headers=headers)
    refused(answer, 401, "SIGN_ERROR", "签名信息错误，验签失败")
    assert "Request-ID" not in answer.headers


@pytest.mark.parametrize("missing", ["User-Agent", "Accept"])
async def test_a_missing_header_comes_before_authorization_except_for_orders(merchant, missing):
    message = "Http头缺少Accept或User-Agent"
    headers = {missing: "", "Authorization": "Bearer abc"}
    refused(
        await merchant.call("GET", CERTIFICATES, headers=headers), 400, "INVALID_REQUEST", message
    )
    refused(
        await merchant.call("GET", QUERY, headers=headers),
        401,
        "SIGN_ERROR",
        "签名信息错误，验签失败",
    )
    signed = await merchant.call("GET", QUERY + merchant.mchid, headers={missing: ""})
    assert refusal(signed) == (400, "INVALID_REQUEST", message)
    merchant.verify(signed)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"scheme": "WECHATPAY2-SM2-WITH-SM3"}, "HTTP头Authorization认证类型不正确"),
        ({"extra": "1"}, FORMAT),
        ({"nonce_str": ""}, FORMAT),
        ({"timestamp": "soon"}, FORMAT),
        ({"age": 301}, STALE),
        ({"age": -302}, STALE),
        ({"serial_no": "0" * 40}, SERIAL),
        ({"mchid": "1900000109"}, SERIAL),
        ({"signature": GARBAGE}, "签名错误"),
        ({"signature": "not base64!"}, "签名错误"),
        ({"nonce_str": "another"}, "签名错误"),
    ],
)
async def test_a_wrong_authorization_is_refused_by_name(merchant, changes, message):
    refused(await merchant.call("GET", CERTIFICATES, **changes), 401, "SIGN_ERROR", message)


async def test_the_timestamp_is_looked_at_before_the_serial_and_that_before_the_signature(merchant):
    everything = {"age": 400, "serial_no": "0" * 40, "signature": GARBAGE}
    for key, message in (("age", STALE), ("serial_no", SERIAL), ("signature", "签名错误")):
        answer = await merchant.call("GET", CERTIFICATES, **everything)
        refused(answer, 401, "SIGN_ERROR", message)
        del everything[key]


async def test_five_minutes_exactly_are_accepted(merchant):
    answer = await merchant.call("GET", CERTIFICATES, age=299)
    assert answer.status_code == 404


async def test_blanks_between_the_pairs_are_refused(merchant):
    header = merchant.authorization("GET", CERTIFICATES).replace('",', '", ')
    answer = await merchant.call("GET", CERTIFICATES, headers={"Authorization": header})
    refused(answer, 401, "SIGN_ERROR", FORMAT)


async def test_the_signature_covers_the_bytes_that_arrived(merchant):
    target = f"{ORDERS}/jsapi"
    body = b'{"mchid": "1"}'
    header = {"Authorization": merchant.authorization("POST", target, body)}
    answer = await merchant.call("POST", target, body.replace(b" ", b""), headers=header)
    refused(answer, 401, "SIGN_ERROR", "签名错误")
    information = answer.json()["detail"]["sign_information"]
    assert information["url"] == target
    assert information["truncated_sign_message"].startswith(f"POST\n{target}\n")


async def test_a_failed_signature_is_explained_in_the_log(merchant):
    await merchant.call("GET", CERTIFICATES, nonce_str="another")
    entry = (await merchant.control("log"))["entries"][-1]
    assert entry["signed_message"].startswith("GET\n/v3/certificates\n")
    assert entry["signed_message"].endswith("\nanother\n\n")
    assert "the sandbox built this text" in entry["verdict"]


async def test_the_target_is_signed_as_it_was_sent(merchant):
    body, _ = await merchant.prepay(merchant.order(out_trade_no="S1|a-b_c*d"))
    assert (await merchant.query(body["out_trade_no"].replace("|", "%7C"))).status_code == 200


async def test_another_mchid_in_the_body_or_query_is_refused(merchant):
    message = "http header中的mchid与post payload中的mchid不匹配"
    answer = await merchant.call("POST", f"{ORDERS}/jsapi", merchant.order(mchid="1900000109"))
    queried = await merchant.call("GET", QUERY + "1900000109")
    for reply in (answer, queried):
        assert refusal(reply) == (400, "PARAM_ERROR", message)
        merchant.verify(reply)


async def test_a_body_that_is_not_declared_as_json_is_refused(merchant):
    headers = {"Content-Type": "text/plain"}
    answer = await merchant.call("POST", f"{ORDERS}/jsapi", merchant.order(), headers=headers)
    assert refusal(answer) == (400, "INVALID_REQUEST", "Http头Content-Type应为application/json")
    merchant.verify(answer)


@pytest.mark.parametrize(
    "target",
    [
        f"{ORDERS}/out-trade-no/S1234567?mchid=MCHID&x=1",
        f"{ORDERS}/id/4200000000?x=1&mchid=MCHID",
        "/v3/refund/domestic/refunds/R1?x=1",
        "/v3/certificates?x=1",
        "/v3/bill/tradebill?bill_date=2026-01-01&x=1",
        "/v3/billdownload/file?token=t&x=1",
        "/v3/combine-transactions/out-trade-no/S1234567?x=1",
    ],
)
async def test_an_unknown_query_parameter_is_refused(merchant, target):
    answer = await merchant.call("GET", target.replace("MCHID", merchant.mchid))
    assert refusal(answer) == (400, "PARAM_ERROR", "请求中含有未在API文档中定义的参数")
    assert answer.json()["detail"]["value"] == ["/query/x"]
    assert answer.json()["detail"]["location"] is None
    assert answer.headers["Request-ID"].endswith("-270924358")
    merchant.verify(answer)


async def test_an_order_takes_no_query_parameters(merchant):
    answer = await merchant.call("POST", f"{ORDERS}/jsapi?x=1", merchant.order())
    assert answer.json()["detail"]["value"] == ["/query/x"]


async def test_a_nonce_has_at_most_32_characters(merchant):
    refused(await merchant.call("GET", CERTIFICATES, nonce="n" * 33), 401, "SIGN_ERROR", FORMAT)
    assert (await merchant.call("GET", CERTIFICATES, nonce="n" * 32)).status_code == 404


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v3/pay/transactions/nothing/here", 404),
        ("POST", "/v3/refund/domestic/nothing", 404),
        ("GET", f"{ORDERS}/jsapi", 405),
        ("POST", CERTIFICATES, 405),
    ],
)
async def test_unknown_paths_and_methods_are_answered_empty(merchant, method, path, status):
    answer = await merchant.call(method, path)
    assert (answer.status_code, answer.content) == (status, b"")


async def test_bytes_that_are_not_text_break_neither_the_answer_nor_the_log(merchant, sandbox_url):
    host, port = sandbox_url.removeprefix("http://").split(":")
    header = (
        merchant.authorization("GET", CERTIFICATES)
        .encode()
        .replace(b'nonce_str="', b'nonce_str="\xff')
    )
    for target in (b"/v3/certificates", b"/v3/pay/transactions/id/\xff%FF%ZZ?mchid=\xff"):
        reader, writer = await asyncio.open_connection(host, int(port))
        lines = [b"GET " + target + b" HTTP/1.1", b"Host: x", b"Accept: */*", b"User-Agent: \xff"]
        lines += [b"Connection: close", b"Authorization: " + header, b"", b""]
        writer.write(b"\r\n".join(lines))
        status = (await reader.read()).split(b" ")[1]
        assert status in (b"400", b"401")
        writer.close()
    assert (await merchant.http.get("/_sandbox/log")).status_code == 200
