"""Some three hundred wrong requests and what WeChat's pages and captured answers say to each.

One table: status, code, the number at the end of Request-ID, the sentence or its field. What no
page tells (None) is not compared. Every one is sent to one sandbox, none of them changes it.
"""

import copy
import json
from collections.abc import Awaitable, Callable, Iterator
from typing import Any, NamedTuple

import httpx
import pytest
from sandbox.keys import Keys
from sandbox.testing import running_sandbox

from tests.sandbox.merchant import Merchant, Shop, in_minutes

ORDERS = "/v3/pay/transactions"
PARTNER = "/v3/pay/partner/transactions"
COMBINED = "/v3/combine-transactions"
REFUNDS = "/v3/refund/domestic/refunds"
CERTIFICATES = "/v3/certificates"
NUMBER = "S1234567"
SCENE = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}

ILLEGAL = 268435461
OUT_OF_RANGE = 268435464
BAD_SIGNATURE = 268443699
UNDEFINED = 270924358
UNDEFINED_MESSAGE = "请求中含有未在API文档中定义的参数"
FORMAT = "Http头Authorization值格式错误，请参考《微信支付商户REST API签名规则》"
NO_HEADERS = "Http头缺少Accept或User-Agent"
SERIAL = "商户证书序列号有误。请使用签名私钥匹配的证书序列号"
STALE = "Http头Authorization中的timestamp与发起请求的时间不得超过5分钟"
FORGED = "签名错误"
UNPROVED = "签名信息错误，验签失败"

Send = Callable[[Merchant], Awaitable[httpx.Response]]
Body = dict[str, Any]


class Wrong(NamedTuple):
    """A wrong request, and the answer that is expected."""

    name: str
    send: Send
    status: int
    code: str
    number: int | None = None
    message: str | None = None
    field: str | None = None


# -- right requests, from which the wrong ones are made


def direct(m: Merchant, product: str) -> Body:
    body = {
        "appid": m.mini["appid"],
        "mchid": m.mchid,
        "description": "一盒茶",
        "out_trade_no": NUMBER,
        "notify_url": "https://shop.example.com/notify",
        "amount": {"total": 990, "currency": "CNY"},
    }
    if product == "jsapi":
        body["payer"] = {"openid": "oBuyer"}
    if product == "h5":
        body["scene_info"] = SCENE
    return body


def partner(m: Merchant, product: str) -> Body:
    body = direct(m, product)
    provider = m.credentials["sp"]
    del body["appid"], body["mchid"]
    body["sp_appid"] = app_of(provider)
    body["sp_mchid"] = provider["mchid"]
    body["sub_mchid"] = m.credentials["sub"][0]["mchid"]
    if product == "jsapi":
        body["payer"] = {"sp_openid": "oProviders"}
    return body


def combined(m: Merchant, product: str) -> Body:
    mchids = (m.mchid, m.credentials["others"][0]["mchid"])
    body: Body = {
        "combine_appid": m.mini["appid"],
        "combine_mchid": m.mchid,
        "combine_out_trade_no": f"{NUMBER}C",
        "sub_orders": [
            {
                "mchid": mchid,
                "out_trade_no": f"{NUMBER}{n}",
                "attach": "shop",
                "amount": {"total_amount": 100, "currency": "CNY"},
                "description": "茶",
            }
            for n, mchid in enumerate(mchids)
        ],
        "notify_url": "https://shop.example.com/notify",
        "scene_info": {"payer_client_ip": "203.0.113.7", "device_id": "shop0001"},
    }
    if product == "jsapi":
        body["combine_payer_info"] = {"openid": "oBuyer"}
    if product == "h5":
        body["scene_info"]["h5_info"] = {"type": "Wap"}
    return body


def refund(m: Merchant, _: str = "") -> Body:
    return {
        "out_trade_no": NUMBER,
        "out_refund_no": "R1234567",
        "amount": {"refund": 100, "total": 990, "currency": "CNY"},
    }


def close(m: Merchant, _: str = "") -> Body:
    return {"mchid": m.mchid}


def partner_close(m: Merchant, _: str = "") -> Body:
    return {"sp_mchid": m.credentials["sp"]["mchid"], "sub_mchid": m.credentials["sub"][0]["mchid"]}


def combined_close(m: Merchant, _: str = "") -> Body:
    subs = combined(m, "native")["sub_orders"]
    names = ("mchid", "out_trade_no")
    named = [{name: sub[name] for name in names} for sub in subs]
    return {"combine_appid": m.mini["appid"], "sub_orders": named}


def app_of(party: Body, kind: str = "miniprogram") -> str:
    return str(next(app["appid"] for app in party["apps"] if app["kind"] == kind))


class Call(NamedTuple):
    """A POST: its path, its right body, and whether the provider signs it."""

    path: str
    body: Callable[[Merchant, str], Body]
    product: str = ""
    by_provider: bool = False


DIRECT = [Call(f"{ORDERS}/{p}", direct, p) for p in ("jsapi", "h5", "native", "app")]
BY_PARTNER = [Call(f"{PARTNER}/{p}", partner, p, True) for p in ("jsapi", "h5", "native", "app")]
COMBINE = [Call(f"{COMBINED}/{p}", combined, p) for p in ("jsapi", "h5", "native", "app")]
REFUND = Call(REFUNDS, refund)
CLOSE = Call(f"{ORDERS}/out-trade-no/{NUMBER}/close", close)
PARTNER_CLOSE = Call(f"{PARTNER}/out-trade-no/{NUMBER}/close", partner_close, "", True)
COMBINED_CLOSE = Call(f"{COMBINED}/out-trade-no/{NUMBER}C/close", combined_close)
POSTS = [*DIRECT, *BY_PARTNER, *COMBINE, REFUND, CLOSE, PARTNER_CLOSE, COMBINED_CLOSE]
GETS = (
    f"{ORDERS}/out-trade-no/{NUMBER}?mchid=MCHID",
    f"{ORDERS}/id/4200000000202611210000000001?mchid=MCHID",
    f"{COMBINED}/out-trade-no/{NUMBER}C",
    f"{REFUNDS}/R1234567",
    CERTIFICATES,
    "/v3/bill/tradebill?bill_date=2026-01-01",
    "/v3/bill/fundflowbill?bill_date=2026-01-01",
    "/v3/billdownload/file?token=t",
)


def get(target: str, headers: dict[str, str] | None = None, **changes: Any) -> Send:
    async def send(m: Merchant) -> httpx.Response:
        return await m.call("GET", target.replace("MCHID", m.mchid), headers=headers, **changes)

    return send


def post(
    call: Call, change: Callable[[Merchant, Body], Any] | None = None, query: str = ""
) -> Send:
    """Send the right body after a change; a change that returns something sends that."""

    async def send(m: Merchant) -> httpx.Response:
        body: Any = copy.deepcopy(call.body(m, call.product))
        replaced = change(m, body) if change else None
        content = replaced or json.dumps(body).encode()
        signer = m.become(m.credentials["sp"]) if call.by_provider else m
        return await signer.call("POST", call.path + query, content)

    return send


def put(pointer: str, value: Any) -> Callable[[Merchant, Body], None]:
    """Set the field at a JSON pointer; Ellipsis removes it."""

    def change(_: Merchant, body: Body) -> None:
        *parents, name = [int(key) if key.isdigit() else key for key in pointer.split("/")[2:]]
        place: Any = body
        for key in parents:
            place = place[key]
        if value is ...:
            del place[name]
        else:
            place[name] = value

    return change


# -- the table


def authorization() -> Iterator[Wrong]:
    """Reference §1.3, in WeChat's order: format, time, serial, signature."""
    wrong: dict[str, tuple[dict[str, Any], str]] = {
        "scheme": ({"scheme": "WECHATPAY2-SM2-WITH-SM3"}, "HTTP头Authorization认证类型不正确"),
        "extra pair": ({"extra": "1"}, FORMAT),
        "long nonce": ({"nonce": "n" * 33}, FORMAT),
        "no number as time": ({"timestamp": "soon"}, FORMAT),
        "old": ({"age": 302}, STALE),
        "future": ({"age": -303}, STALE),
        "old, with a wrong serial": ({"age": 302, "serial_no": "0" * 40}, STALE),
        "serial": ({"serial_no": "0" * 40}, SERIAL),
        "stranger": ({"mchid": "1900000109"}, SERIAL),
        "forged": ({"signature": "Zm9yZ2Vk"}, FORGED),
        "other nonce": ({"nonce_str": "other"}, FORGED),
    }
    for target in GETS:
        for name, (changes, message) in wrong.items():
            send = get(target, **changes)
            yield Wrong(f"{target} {name}", send, 401, "SIGN_ERROR", None, message)
        for sent in ("", "Bearer abc"):
            is_order = target.startswith(ORDERS)
            if is_order or not target.startswith(COMBINED):  # of combined orders nobody tells
                send = get(target, {"Authorization": sent})
                message = UNPROVED if is_order else FORMAT
                yield Wrong(f"{target} {sent!r}", send, 401, "SIGN_ERROR", None, message)


def headers() -> Iterator[Wrong]:
    for target in GETS[3:]:
        for name in ("User-Agent", "Accept"):
            for authorized in (True, False):
                sent = {name: ""} | ({} if authorized else {"Authorization": "Bearer abc"})
                send = get(target, sent)
                yield Wrong(
                    f"{target} no {name} {authorized}",
                    send,
                    400,
                    "INVALID_REQUEST",
                    ILLEGAL,
                    NO_HEADERS,
                )


def undefined() -> Iterator[Wrong]:
    code = "PARAM_ERROR"
    for target in GETS:
        send = get(f"{target}{'&' if '?' in target else '?'}surprise=1")
        yield Wrong(f"{target} query", send, 400, code, UNDEFINED, UNDEFINED_MESSAGE)
    for call in POSTS:
        send = post(call, put("/body/surprise", 1))
        yield Wrong(f"{call.path} field", send, 400, code, UNDEFINED, UNDEFINED_MESSAGE)
        send = post(call, query="?surprise=1")
        yield Wrong(f"{call.path} query", send, 400, code, UNDEFINED, UNDEFINED_MESSAGE)


def missing() -> Iterator[Wrong]:
    shared = ("description", "out_trade_no", "notify_url", "amount", "amount/total")
    needed: list[tuple[list[Call], tuple[str, ...]]] = [
        (DIRECT, ("appid", "mchid", *shared)),
        (BY_PARTNER, ("sp_appid", "sp_mchid", "sub_mchid", *shared)),
        (DIRECT[1:2], ("scene_info", "scene_info/payer_client_ip", "scene_info/h5_info")),
        (DIRECT[1:2], ("scene_info/h5_info/type",)),
        (COMBINE, ("combine_appid", "combine_mchid", "combine_out_trade_no", "sub_orders")),
        (COMBINE[:1], ("sub_orders/1/mchid", "sub_orders/1/out_trade_no", "sub_orders/0/amount")),
        (COMBINE[:1], ("sub_orders/0/amount/total_amount", "sub_orders/0/amount/currency")),
        (COMBINE[:1], ("sub_orders/0/description",)),
        ([REFUND], ("out_refund_no", "amount", "amount/refund", "amount/total")),
        ([REFUND], ("amount/currency",)),
        ([CLOSE], ("mchid",)),
        ([PARTNER_CLOSE], ("sp_mchid", "sub_mchid")),
        ([COMBINED_CLOSE], ("combine_appid", "sub_orders")),
    ]
    for calls, names in needed:
        for call in calls:
            for name in names:
                at = f"/body/{name}"
                send = post(call, put(at, ...))
                yield Wrong(f"{call.path} no {name}", send, 400, "PARAM_ERROR", ILLEGAL, field=at)


def out_of_range() -> Iterator[Wrong]:
    """Lengths and sizes; description and attach count bytes (§0.3)."""
    wrong: dict[str, Any] = {
        "description": "茶" * 43,
        "attach": "备" * 43,
        "out_trade_no": "S" * 33,
        "goods_tag": "x" * 33,
        "notify_url": "https://shop.example.com/" + "x" * 240,
        "amount/total": 0,
    }
    for call in (*DIRECT, *BY_PARTNER[:1]):
        for name, value in wrong.items():
            at = f"/body/{name}"
            send = post(call, put(at, value))
            yield Wrong(f"{call.path} {name}", send, 400, "PARAM_ERROR", OUT_OF_RANGE, field=at)
    of_refund: dict[str, Any] = {
        "out_refund_no": "R" * 65,
        "reason": "退" * 27,
        "notify_url": "https:/",
        "amount/refund": 0,
    }
    for name, value in of_refund.items():
        send = post(REFUND, put(f"/body/{name}", value))
        yield Wrong(f"refund {name}", send, 400, "PARAM_ERROR", OUT_OF_RANGE, field=f"/body/{name}")


def illegal() -> Iterator[Wrong]:
    """Types, patterns, addresses, times."""
    wrong: dict[str, tuple[str, Any]] = {
        "text as total": ("amount/total", "990"),
        "fraction": ("amount/total", 9.9),
        "bool as total": ("amount/total", True),
        "dollars": ("amount/currency", "USD"),
        "blank": ("description", " "),
        "null": ("attach", None),
        "number": ("out_trade_no", "S12345@7"),
        "http": ("notify_url", "http://shop.example.com/notify"),
        "address with a query": ("notify_url", "https://shop.example.com/notify?a=1"),
        "path alone": ("notify_url", "/notify"),
        "time of v2": ("time_expire", "20300101000000"),
        "time without zone": ("time_expire", "2030-01-01T00:00:00"),
    }
    for call in (DIRECT[0], DIRECT[2], BY_PARTNER[0]):
        for name, (field, value) in wrong.items():
            at = f"/body/{field}"
            send = post(call, put(at, value))
            yield Wrong(f"{call.path} {name}", send, 400, "PARAM_ERROR", ILLEGAL, field=at)
    at = "/body/scene_info/payer_client_ip"
    for address in ("127.0.0.1", "::1", "here"):
        send = post(DIRECT[1], put(at, address))
        yield Wrong(f"h5 from {address}", send, 400, "PARAM_ERROR", ILLEGAL, field=at)
    far = post(DIRECT[0], put("/body/time_expire", in_minutes(91 * 24 * 60)))
    yield Wrong("after 90 days", far, 400, "PARAM_ERROR", OUT_OF_RANGE, field="/body/time_expire")
    for name, body in {"no JSON": b"{", "a list": b"[]", "doubled": b'{"a":1,"a":2}'}.items():
        send = post(DIRECT[0], lambda _, __, body=body: body)
        yield Wrong(f"order {name}", send, 400, "PARAM_ERROR", ILLEGAL)
    send = post(DIRECT[0], lambda _, __: '{"description":"茶"}'.encode("gbk"))
    yield Wrong("order in GBK", send, 400, "INVALID_REQUEST", ILLEGAL, "请求内容传入了非UTF8参数")


def foreign(name: str) -> Callable[[Merchant, Body], None]:
    """Put the provider's appid where the merchant's own belongs."""
    return lambda m, body: body.update({name: app_of(m.credentials["sp"])})


def apps() -> Iterator[Wrong]:
    """Which appid, merchant number and openid belong together: §1.4's numbers."""
    not_bound = "appid和mch_id不匹配，请检查后再试"
    for calls, name in ((DIRECT, "appid"), (COMBINE, "combine_appid")):
        for call in calls:
            send = post(call, foreign(name))
            code = "APPID_MCHID_NOT_MATCH"
            yield Wrong(f"{call.path} appid", send, 400, code, 268445527, not_bound)
    for call in DIRECT:
        send = post(call, put("/body/mchid", "1900000109"))
        message = "http header中的mchid与post payload中的mchid不匹配"
        yield Wrong(f"{call.path} mchid", send, 400, "PARAM_ERROR", None, message)
    for call in (DIRECT[0], COMBINE[0], BY_PARTNER[0]):
        name = "combine_payer_info" if call in COMBINE else "payer"
        send = post(call, put(f"/body/{name}", {}))
        message = "JSAPI支付必须传openid"
        yield Wrong(f"{call.path} no openid", send, 400, "PARAM_ERROR", 268501013, message)
    send = post(DIRECT[0], put("/body/payer", {"openid": "oProviders"}))
    yield Wrong("openid of another app", send, 500, "OPENID_MISMATCH")


def providers() -> Iterator[Wrong]:
    """A service provider and its sub merchants: §1.4's numbers."""
    for call in BY_PARTNER:
        send = post(call, lambda m, body: body.update(sub_mchid=m.mchid))
        yield Wrong(f"{call.path} no relation", send, 403, "NO_AUTH", 268443701)
        send = post(call, lambda m, body: body.update(sub_mchid=body["sp_mchid"]))
        yield Wrong(f"{call.path} itself", send, 400, "INVALID_REQUEST", 268443705)
    for call in DIRECT:
        send = post(call._replace(by_provider=True), as_provider)
        yield Wrong(f"{call.path} by a provider", send, 400, "INVALID_REQUEST", 268443704)


def as_provider(m: Merchant, body: Body) -> None:
    body["mchid"] = m.credentials["sp"]["mchid"]
    body["appid"] = app_of(m.credentials["sp"])


def unknown() -> Iterator[Wrong]:
    for target in GETS[:3]:
        send = get(target)
        yield Wrong(f"{target} unknown", send, 404, "ORDER_NOT_EXIST", 268512771, "订单不存在")
    yield Wrong("refund unknown", get(GETS[3]), 404, "RESOURCE_NOT_EXISTS")
    yield Wrong("refund of nothing", post(REFUND), 404, "RESOURCE_NOT_EXISTS")
    no_certificates = "无可用的平台证书，请在商户平台-API安全申请使用微信支付公钥。"
    send = get(CERTIFICATES)
    yield Wrong("certificates", send, 404, "RESOURCE_NOT_EXISTS", None, no_certificates)
    for path in ("/v3/pay/transactions/nothing/here", "/v3/nothing"):
        yield Wrong(path, get(path), 404, "")
    for path in (f"{ORDERS}/jsapi", REFUNDS, f"{COMBINED}/native"):
        yield Wrong(f"GET {path}", get(path), 405, "")


def bills() -> Iterator[Wrong]:
    apply = "/v3/bill/tradebill?bill_date="
    for name, date in {"slashes": "2026/01/01", "none": "", "no day": "2026-02-30"}.items():
        field = "/query/bill_date"
        yield Wrong(f"bill {name}", get(f"{apply}{date}"), 400, "PARAM_ERROR", field=field)
    for date in ("2020-01-01", "2999-01-01"):
        yield Wrong(f"bill of {date}", get(f"{apply}{date}"), 400, "INVALID_REQUEST")
    for name, value in {"bill_type": "X", "tar_type": "ZIP"}.items():
        send = get(f"{apply}2026-01-01&{name}={value}")
        yield Wrong(f"bill {name}", send, 400, "PARAM_ERROR", field=f"/query/{name}")
    yield Wrong("download", get("/v3/billdownload/file?token=t"), 400, "INVALID_REQUEST")
    send = get(f"{apply}2026-01-01&sub_mchid=1900000109")
    yield Wrong("bill of another's sub merchant", send, 403, "NO_AUTH")


TABLE = [
    *authorization(),
    *headers(),
    *undefined(),
    *missing(),
    *out_of_range(),
    *illegal(),
    *apps(),
    *providers(),
    *unknown(),
    *bills(),
]


CODE2SESSION = {"js_code": "unknown", "grant_type": "authorization_code"}
EXCHANGE = {"code": "unknown", "grant_type": "authorization_code"}
TOKEN = {"grant_type": "client_credential"}
REFRESH = {"grant_type": "refresh_token", "refresh_token": "unknown"}
USER = {"access_token": "unknown", "openid": "oBuyer"}
#: path, parameters beside appid and secret (None removes one), errcode
LOGINS: list[tuple[str, dict[str, str | None], int]] = [
    *(
        (path, right | wrong, errcode)
        for path, right, code in (
            ("/sns/jscode2session", CODE2SESSION, "js_code"),
            ("/sns/oauth2/access_token", EXCHANGE, "code"),
        )
        for wrong, errcode in (
            ({}, 40029),
            ({"appid": None}, 41002),
            ({"appid": "wx0"}, 40013),
            ({"secret": None}, 41004),
            ({"secret": "0" * 32}, 40125),
            ({code: None}, 41008),
            ({"grant_type": None}, 40002),
            ({"grant_type": "client_credential"}, 40002),
        )
    ),
    ("/sns/oauth2/refresh_token", REFRESH, 40030),
    ("/sns/oauth2/refresh_token", REFRESH | {"refresh_token": None}, 41003),
    ("/sns/oauth2/refresh_token", REFRESH | {"grant_type": "code"}, 40002),
    ("/sns/oauth2/refresh_token", REFRESH | {"appid": None}, 41002),
    ("/sns/userinfo", USER, 40001),
    ("/sns/userinfo", USER | {"access_token": None}, 41001),
    ("/sns/auth", USER, 40001),
    ("/sns/auth", USER | {"openid": None}, 41009),
    ("/cgi-bin/token", TOKEN | {"appid": None}, 41002),
    ("/cgi-bin/token", TOKEN | {"appid": "wx0"}, 40013),
    ("/cgi-bin/token", TOKEN | {"secret": None}, 41004),
    ("/cgi-bin/token", TOKEN | {"secret": "0" * 32}, 40125),
    ("/cgi-bin/token", TOKEN | {"grant_type": "authorization_code"}, 40002),
    ("/cgi-bin/stable_token", TOKEN, 43002),
    ("/cgi-bin/ticket/getticket", {"type": "jsapi"}, 41001),
    ("/cgi-bin/ticket/getticket", {"access_token": "short"}, 40014),
    ("/wxa/checksession", {"openid": "oBuyer"}, 41001),
    ("/wxa/checksession", {"access_token": "x" * 64}, 40001),
    ("/wxa/getpaidunionid", {"access_token": "x" * 64}, 40001),
]


@pytest.fixture(scope="module")
async def merchant(keys: Keys) -> Any:
    """A merchant of one sandbox for the whole table, whose buyer has logged in."""
    async with (
        running_sandbox(keys) as url,
        httpx.AsyncClient(base_url=url, trust_env=False) as http,
    ):
        merchant = Merchant(http, (await http.get("/_sandbox/credentials")).json(), Shop())
        provider = app_of(merchant.credentials["sp"])
        await merchant.control("login-code", appid=merchant.mini["appid"], openid="oBuyer")
        await merchant.control("login-code", appid=provider, openid="oProviders")
        yield merchant


def test_there_are_at_least_250() -> None:
    assert len({wrong.name for wrong in TABLE}) == len(TABLE)
    assert len(TABLE) + len(LOGINS) > 400


@pytest.mark.parametrize("wrong", TABLE, ids=lambda wrong: wrong.name)
async def test_a_wrong_request_is_answered_as_wechat_does(merchant: Merchant, wrong: Wrong) -> None:
    answer = await wrong.send(merchant)
    body = answer.json() if answer.content else {"code": ""}
    assert (answer.status_code, body["code"]) == (wrong.status, wrong.code), answer.text
    if wrong.number:
        assert answer.headers["Request-ID"].endswith(f"-{wrong.number}")
    if wrong.message:
        assert body["message"] == wrong.message
    if wrong.field:
        assert body["detail"]["field"] == wrong.field
        assert set(body["detail"]) == {"field", "value", "issue", "location"}
    is_signed = "wechatpay-signature" in answer.headers
    is_proved = wrong.status != 401 and wrong.code != "" and wrong.message != NO_HEADERS
    assert is_signed is is_proved


@pytest.mark.parametrize(("path", "changes", "errcode"), LOGINS)
async def test_a_wrong_login_call_is_200_and_an_errcode(
    merchant: Merchant, path: str, changes: dict[str, str | None], errcode: int
) -> None:
    app = {"appid": merchant.mini["appid"], "secret": merchant.mini["secret"]}
    sent = {name: value for name, value in (app | changes).items() if value is not None}
    answer = await merchant.http.get(path, params=sent)
    assert (answer.status_code, answer.json()["errcode"]) == (200, errcode)
    assert ", rid: " in answer.json()["errmsg"]


async def test_none_of_them_ordered_anything(merchant: Merchant) -> None:
    assert json.loads((await merchant.http.get("/_sandbox/orders")).text)["orders"] == []
