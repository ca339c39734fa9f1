"""The cashier: what WeChat's client does when a page, a mini program or an App invokes payment.

doc/v3/merchant/4012365339 (JSAPI), 4012365341 (mini program) and 4012365340 (App).
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .apiv3 import ApiV3, signed_text
from .models import Purchase
from .payment import OPTIONS, DeclinedError, decide, find_purchase
from .state import State

BRIDGE = ("appId", "timeStamp", "nonceStr", "package", "signType", "paySign")
APP = ("appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign")
#: how an App of the older API names the same; both are what its SDK is handed
OLD_APP_NAMES = {
    "appid": "appId",
    "partnerid": "partnerId",
    "prepayid": "prepayId",
    "package": "packageValue",
    "noncestr": "nonceStr",
    "timestamp": "timeStamp",
    "sign": "sign",
}
APP_CODES = {"ok": "app:0", "cancel": "app:-2", "fail": "app:-1", "typing": "app:-1"}


def pay(state: State, form: Mapping[str, Any], person: str | None = None) -> dict[str, str]:
    """Play the cashier and answer what the client's callback gets.

    `form` is the invoke object with the options of POST /_sandbox/pay; `person` is the openid of
    the cookie. Without any openid the buyer who ordered is the one who pays.
    """
    form = _completed(state, form)
    ticket = prepay_id(form)
    purchase = find_purchase(state, ticket)
    if purchase and form.get("outcome") != "typing":
        purchase.typing = False  # the password screen is gone, whatever comes of this call
    try:
        _check_types(form)
        purchase = _check_invoke(state, form, purchase)
        _check_page(state, form)
        decision = decide(state, purchase, ticket, form, person)
    except DeclinedError as declined:
        return _result(state, form, "fail", str(declined))
    result = _result(state, form, decision.outcome)
    if decision.transaction_id:
        result["transaction_id"] = decision.transaction_id
    return result


def text_to_sign(state: State, form: Mapping[str, Any]) -> str:
    """Build what paySign had to cover, for the log."""
    return signed_text(_completed(state, form))


def prepay_id(form: Mapping[str, Any]) -> str:
    """Read the prepay_id of any form."""
    form = _with_new_names(form)
    return str(form.get("prepayId") or str(form.get("package", "")).removeprefix("prepay_id="))


def is_loopback_page(url: str) -> bool:
    """Tell whether a page lies in the configured domains: the loopback origins, any port."""
    try:
        parsed = urlsplit(url)
    except ValueError:
        return False
    return parsed.scheme == "http" and parsed.hostname in ("127.0.0.1", "localhost")


def _with_new_names(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Name everything as the newer forms do; wx.chooseWXPay takes the time as `timestamp`."""
    if "prepayid" in form:
        return {OLD_APP_NAMES.get(name, name): value for name, value in form.items()}
    if "timestamp" not in form:
        return form
    others = {name: value for name, value in form.items() if name != "timestamp"}
    return {"timeStamp": form["timestamp"], **others}  # some SDKs give both names


def _completed(state: State, form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Fill in the appId, which a mini program does not pass: WeChat knows what is running."""
    form = _with_new_names(form)
    purchase = find_purchase(state, prepay_id(form))
    app = state.app(purchase.appid) if purchase else None
    if app is None or app.kind != "miniprogram" or "appId" in form or "prepayId" in form:
        return form
    return {**form, "appId": app.appid}


def _check_types(form: Mapping[str, Any]) -> None:
    names = APP if "prepayId" in form else BRIDGE
    for name in names:
        if not isinstance(form.get(name), str) or not form[name]:
            actual = type(form.get(name)).__name__
            raise DeclinedError(
                f"parameter error: parameter.{name} should be String instead of {actual}"
            )
    unknown = form.keys() - {*OPTIONS, "page_url", *names}
    if unknown:
        raise DeclinedError(f"unknown keys: {', '.join(sorted(unknown))}")
    if len(form["nonceStr"]) > 32 or len(form.get("package", "")) > 128:
        raise DeclinedError("parameter error: nonceStr is at most 32 characters, package 128")
    if form.get("packageValue", "Sign=WXPay") != "Sign=WXPay":
        raise DeclinedError(f"packageValue is Sign=WXPay, not {form['packageValue']}")


def _check_invoke(state: State, form: Mapping[str, Any], purchase: Purchase | None) -> Purchase:
    """Check the signature, and that the app is the order's; return what is to be paid."""
    if purchase is None:  # the signature comes first, even of what is not ours
        ApiV3(state).check_signature(state.keys.merchants[0].mchid, form)
    else:
        purchase.api.check_invoke(purchase, form)
    package = form.get("package", "prepay_id=")
    if purchase is None or not package.startswith("prepay_id="):
        named = form.get("package") or form.get("prepayId")
        raise DeclinedError(f"package names no prepay_id of ours: {named}")
    if form["appId"] != purchase.appid:
        raise DeclinedError(f"appId is {form['appId']}, the order was made for {purchase.appid}")
    if (purchase.product == "app") is not ("prepayId" in form):
        raise DeclinedError(f"this prepay_id was made for {purchase.product}")
    if purchase.product == "app":
        _check_app(state, form, purchase)
    return purchase


def _check_app(state: State, form: Mapping[str, Any], purchase: Purchase) -> None:
    app = state.app(purchase.appid)
    if app is None or app.kind != "app":
        raise DeclinedError(f"appId {form['appId']} is not an App's")
    if form["partnerId"] != purchase.mchid:  # of a service provider: its own number
        raise DeclinedError(f"partnerId is {form['partnerId']}, not {purchase.mchid}")


def _check_page(state: State, form: Mapping[str, Any]) -> None:
    app = state.app(str(form["appId"]))
    url = form.get("page_url")
    if url and app and app.kind == "official_account" and not is_loopback_page(str(url)):
        raise DeclinedError(f"当前页面的URL未注册：{url}")


def _result(state: State, form: Mapping[str, Any], outcome: str, why: str = "") -> dict[str, str]:
    app = state.app(str(form.get("appId")))
    if "prepayId" in form:
        result = {"err_msg": APP_CODES[outcome]}
    elif app is not None and app.kind == "miniprogram":
        failures = {"cancel": "fail cancel", "fail": f"fail ({why})"}
        result = {"err_msg": f"requestPayment:{failures.get(outcome, outcome)}"}
    else:
        result = {"err_msg": f"get_brand_wcpay_request:{outcome}"}
    if why:
        result["err_desc"] = why
    return result
