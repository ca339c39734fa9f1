"""Outside WeChat: the page that an h5_url opens 中间页, and a code_url that is scanned 扫码.

doc/v3/merchant/4012791834 (H5) and 4012791877 (Native). The messages are those WeChat shows.
"""

from collections.abc import Mapping
from html import escape
from typing import Any
from urllib.parse import parse_qs, urlsplit

from sanic import HTTPResponse, Request, html

from .cashier import is_loopback_page
from .exchange import read_call, write_log
from .models import Purchase
from .payment import (
    OPTIONS,
    DeclinedError,
    check_payable,
    decide,
    find_purchase,
    is_fresh,
    preview,
)
from .state import State
from .wire import Answer

NO_REFERER = "商家参数格式有误，请联系商家解决"
OTHER_DOMAIN = "商家存在未配置的参数，请联系商家解决"
TOO_LATE = "支付请求已失效，请重新发起支付"
OLD_CODE = "二维码已过期，请重新生成"
INSIDE_WECHAT = "请在微信外打开订单，进行支付"
LINK_PARAMETERS = {"prepay_id", "package", "redirect_url"}
PAGE = """<!doctype html><html lang="zh-CN"><meta charset="utf-8">
<meta name="viewport" content="width=device-width,initial-scale=1"><title>微信支付 · 沙箱</title>
<link rel="icon" href="data:,"><link rel="stylesheet" href="/console.css">
<script type="module" src="/h5.js"></script>
<body class="h5">{body}</html>"""
SHEET = """<main data-test="sandbox-h5" data-back="{back}"><p>sandbox 沙箱 · H5 中间页</p>
<h2>{merchant}</h2><p>{description}</p><strong>¥{total}</strong>
<button data-outcome="ok" data-test="sandbox-h5-pay">打开微信并支付</button>
<button data-outcome="cancel" data-test="sandbox-h5-cancel">取消</button>
<button data-outcome="fail" data-test="sandbox-h5-fail">支付失败</button></main>"""
PROBLEM = '<main data-test="sandbox-h5-problem"><h2>{problem}</h2></main>'


async def page(state: State, request: Request) -> HTTPResponse:
    """Answer GET /cgi-bin/mmpayweb-bin/checkmweb: the sheet, or what is wrong."""
    referer = request.headers.get("referer", "")
    user_agent = request.headers.get("user-agent", "")
    url = f"{request.scheme}://{request.host}{request.raw_url.decode(errors='replace')}"
    try:
        purchase, _ = check_link(state, url, referer)
        if "micromessenger" in user_agent.lower():
            raise DeclinedError(INSIDE_WECHAT)
        check_payable(purchase, state.clock.now())
        body = _sheet(purchase, url, referer)
        verdict = "passed: shows the sheet"
    except DeclinedError as declined:
        body = PROBLEM.format(problem=escape(str(declined)))
        verdict = str(declined)
    write_log(state, read_call(request, {}), Answer(200, verdict=verdict))
    return html(PAGE.format(body=body), headers={"Cache-Control": "no-store"})


def check_link(state: State, h5_url: str, referer: str | None) -> tuple[Purchase, str]:
    """Return what a link opens and its prepay_id; None as referer is not looked at.

    Raises DeclinedError when the link was changed, opened from a foreign page, or is too old.
    """
    query = {name: values[0] for name, values in parse_qs(urlsplit(h5_url).query).items()}
    ticket = query.get("prepay_id", "")
    purchase = find_purchase(state, ticket)
    if referer == "":
        raise DeclinedError(NO_REFERER)
    package = state.h5_packages.get(ticket, "")
    is_unchanged = query.get("package") == package and not query.keys() - LINK_PARAMETERS
    if purchase is None or not is_unchanged:
        raise DeclinedError(NO_REFERER)
    pages = [url for url in (referer, query.get("redirect_url")) if url]
    if not all(map(is_loopback_page, pages)):
        raise DeclinedError(OTHER_DOMAIN)
    if not is_fresh(state, purchase, ticket):
        raise DeclinedError(TOO_LATE)
    return purchase, ticket


def open_link(state: State, form: Mapping[str, Any]) -> dict[str, str]:
    """Play a phone that opens an h5_url: {h5_url, referer?} and the options of a payment."""
    referer = form.get("referer")
    try:
        _check_keys(form, {"h5_url", "referer"})
        purchase, ticket = check_link(
            state, str(form.get("h5_url")), None if referer is None else str(referer)
        )
        return _decide(state, purchase, ticket, form)
    except DeclinedError as declined:
        return {"err_msg": "fail", "err_desc": str(declined)}


def scan(state: State, form: Mapping[str, Any]) -> dict[str, str]:
    """Play a phone that scans a code_url: {code_url} and the options of a payment."""
    code_url = str(form.get("code_url"))
    purchase = find_purchase(state, code_url)
    try:
        _check_keys(form, {"code_url"})
        if purchase is None or not purchase.code_url:
            raise DeclinedError("code_url is not one of ours")
        is_newest = code_url == purchase.code_url
        if not form.get("force") and not (is_newest and is_fresh(state, purchase, code_url)):
            raise DeclinedError(OLD_CODE)
        return _decide(state, purchase, code_url, form)
    except DeclinedError as declined:
        return {"err_msg": "fail", "err_desc": str(declined)}


def _decide(
    state: State, purchase: Purchase, ticket: str, form: Mapping[str, Any]
) -> dict[str, str]:
    if form.get("outcome") != "typing":
        purchase.typing = False
    decision = decide(state, purchase, ticket, form, person=None)
    result = {"err_msg": decision.outcome}
    if decision.transaction_id:
        result["transaction_id"] = decision.transaction_id
    return result


def _check_keys(form: Mapping[str, Any], own: set[str]) -> None:
    unknown = form.keys() - OPTIONS - own
    if unknown:
        raise DeclinedError(f"unknown keys: {', '.join(sorted(unknown))}")


def _sheet(purchase: Purchase, url: str, referer: str) -> str:
    seen = preview(purchase)
    back = parse_qs(urlsplit(url).query).get("redirect_url", [referer])[0]
    return SHEET.format(
        back=escape(back),
        merchant=escape(seen["merchant"]),
        description=escape(seen["description"]),
        total=f"{purchase.total // 100}.{purchase.total % 100:02}",
    )
