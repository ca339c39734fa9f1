"""The cashier: what WeChat's client does when a page, a mini program or an App invokes payment.

doc/v3/merchant/4012365339 (JSAPI), 4012365341 (mini program) and 4012365340 (App): what is signed.
"""

from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from .keys import Merchant
from .sealing import holds
from .till import OPTIONS, DeclinedError, find, take
from .world import Purchase, World

SIGNED = ("appId", "timeStamp", "nonceStr", "package")
BRIDGE = (*SIGNED, "signType", "paySign")
APP = ("appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign")
#: how an App of APIv2 names the same; both are what its SDK is handed
V2_APP = {
    "appid": "appId",
    "partnerid": "partnerId",
    "prepayid": "prepayId",
    "package": "packageValue",
    "noncestr": "nonceStr",
    "timestamp": "timeStamp",
    "sign": "sign",
}
APP_CODES = {"ok": "app:0", "cancel": "app:-2", "fail": "app:-1", "typing": "app:-1"}


def signed_text(form: Mapping[str, Any]) -> str:
    """Build the four lines that are signed; an App signs the bare prepay_id."""
    form = _renamed(form)
    names = ("appId", "timeStamp", "nonceStr", "prepayId") if "prepayId" in form else SIGNED
    return "".join(f"{form.get(name, '')}\n" for name in names)


def pay(world: World, form: Mapping[str, Any], person: str | None = None) -> dict[str, str]:
    """Play the cashier and answer what the client's callback gets.

    `form` is the invoke object with the options of POST /_sandbox/pay; `person` is the openid of
    the cookie. Without any openid the buyer who ordered is the one who pays.
    """
    form = _renamed(form)
    purchase = find(world, prepay_id(form))
    if purchase and form.get("outcome") != "typing":
        purchase.typing = False  # the password screen is gone, whatever comes of this call
    try:
        _check_types(form)
        _check_invoke(world, form, purchase)
        assert purchase is not None
        _check_page(world, form)
        outcome, number = take(world, purchase, prepay_id(form), form, person)
    except DeclinedError as declined:
        return _result(world, form, "fail", str(declined))
    return _result(world, form, outcome) | ({"transaction_id": number} if number else {})


def prepay_id(form: Mapping[str, Any]) -> str:
    """Read the prepay_id of any form."""
    form = _renamed(form)
    return str(form.get("prepayId") or str(form.get("package", "")).removeprefix("prepay_id="))


def _renamed(form: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the fields of an App of APIv2 the names that APIv3 uses."""
    if "prepayid" not in form:
        return form
    return {V2_APP.get(name, name): value for name, value in form.items()}


def _check_invoke(world: World, form: Mapping[str, Any], purchase: Purchase | None) -> None:
    """Check the signature, and that the app is the order's."""
    if purchase and purchase.check:
        if problem := purchase.check(form):
            raise DeclinedError(problem)
    else:
        merchant = world.keys.merchant(purchase.mchid) if purchase else None
        _check_signature(merchant or world.keys.merchants[0], form)
    package = form.get("package", "prepay_id=")
    if purchase is None or not package.startswith("prepay_id="):
        shown = form.get("package") or form.get("prepayId")
        raise DeclinedError(f"package names no prepay_id of ours: {shown}")
    if form["appId"] != purchase.appid:
        raise DeclinedError(f"appId is {form['appId']}, the order was made for {purchase.appid}")
    app = world.app(purchase.appid)
    if (purchase.product == "app") is not ("prepayId" in form):
        raise DeclinedError(f"this prepay_id was made for {purchase.product}")
    if "prepayId" in form and not (app and app.kind == "app"):
        raise DeclinedError(f"appId {form['appId']} is not an App's")
    if "partnerId" in form and form["partnerId"] != purchase.mchid:  # a provider's own number
        raise DeclinedError(f"partnerId is {form['partnerId']}, not {purchase.mchid}")


def _check_signature(merchant: Merchant, form: Mapping[str, Any]) -> None:
    if form.get("signType", "RSA") != "RSA":
        raise DeclinedError(f"signType of APIv3 is RSA, not {form['signType']}")
    text, signature = signed_text(form), form.get("paySign") or form["sign"]
    if not holds(merchant.signer.key.public_key(), signature, text.encode()):
        raise DeclinedError(
            f"支付验证签名失败: the merchant's key did not sign this text: {text!r}"
        )


def _check_types(form: Mapping[str, Any]) -> None:
    names = APP if "prepayId" in form else BRIDGE
    for name in names:
        if not isinstance(form.get(name), str) or not form[name]:
            found = type(form.get(name)).__name__
            raise DeclinedError(
                f"parameter error: parameter.{name} should be String instead of {found}"
            )
    if unknown := form.keys() - {*OPTIONS, "page_url", *names}:
        raise DeclinedError(f"unknown keys: {', '.join(sorted(unknown))}")
    if len(form["nonceStr"]) > 32 or len(form.get("package", "")) > 128:
        raise DeclinedError("parameter error: nonceStr is at most 32 characters, package 128")
    if form.get("packageValue", "Sign=WXPay") != "Sign=WXPay":
        raise DeclinedError(f"packageValue is Sign=WXPay, not {form['packageValue']}")


def _check_page(world: World, form: Mapping[str, Any]) -> None:
    app = world.app(str(form["appId"]))
    url = form.get("page_url")
    if url and app and app.kind == "official_account" and not is_loopback_page(str(url)):
        raise DeclinedError(f"当前页面的URL未注册：{url}")


def is_loopback_page(url: str) -> bool:
    """Tell whether a page lies in the configured domains: the loopback origins, any port."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return parts.scheme == "http" and parts.hostname in ("127.0.0.1", "localhost")


def _result(world: World, form: Mapping[str, Any], outcome: str, why: str = "") -> dict[str, str]:
    app = world.app(str(form.get("appId")))
    if "prepayId" in form:
        result = {"err_msg": APP_CODES[outcome]}
    elif app is not None and app.kind == "miniprogram":
        failures = {"cancel": "fail cancel", "fail": f"fail ({why})"}
        result = {"err_msg": f"requestPayment:{failures.get(outcome, outcome)}"}
    else:
        result = {"err_msg": f"get_brand_wcpay_request:{outcome}"}
    return result | ({"err_desc": why} if why else {})
