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
from .till import OPTIONS, DeclinedError, check_payable, find, is_fresh, preview, take
from .wire import Answer
from .world import World

NO_REFERER = "商家参数格式有误，请联系商家解决"
OTHER_DOMAIN = "商家存在未配置的参数，请联系商家解决"
TOO_LATE = "支付请求已失效，请重新发起支付"
OLD_CODE = "二维码已过期，请重新生成"
INSIDE_WECHAT = "请在微信外打开订单，进行支付"
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


async def page(world: World, request: Request) -> HTTPResponse:
    """Answer GET /cgi-bin/mmpayweb-bin/checkmweb: the sheet, or what is wrong."""
    referer, agent = request.headers.get("referer", ""), request.headers.get("user-agent", "")
    url = f"{request.scheme}://{request.host}{request.raw_url.decode(errors='replace')}"
    try:
        ticket = check(world, url, referer)
        if "micromessenger" in agent.lower():
            raise DeclinedError(INSIDE_WECHAT)
        check_payable(world.prepays[ticket][0], world.clock.now())
        body, verdict = _sheet(world, url, ticket, referer), "passed: shows the sheet"
    except DeclinedError as declined:
        body, verdict = PROBLEM.format(problem=escape(str(declined))), str(declined)
    write_log(world, read_call(request, {}), Answer(200, b"", {}, verdict))
    return html(PAGE.format(body=body), headers={"Cache-Control": "no-store"})


def check(world: World, h5_url: str, referer: str | None) -> str:
    """Return the prepay_id of a link that may be opened; None as referer is not looked at."""
    parts = urlsplit(h5_url)
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    ticket = query.get("prepay_id", "")
    if referer == "":
        raise DeclinedError(NO_REFERER)
    known = world.packages.get(ticket) == query.get("package") and ticket in world.prepays
    if not known or query.keys() - {"prepay_id", "package", "redirect_url"}:
        raise DeclinedError(NO_REFERER)
    places = [place for place in (referer, query.get("redirect_url")) if place]
    if not all(map(is_loopback_page, places)):
        raise DeclinedError(OTHER_DOMAIN)
    purchase = find(world, ticket)
    if purchase is None or not is_fresh(world, purchase, ticket):
        raise DeclinedError(TOO_LATE)
    return ticket


def open_link(world: World, form: Mapping[str, Any]) -> dict[str, str]:
    """Play a phone that opens an h5_url: {h5_url, referer?} and the options of the till."""
    try:
        _check_keys(form, {"h5_url", "referer"})
        referer = form.get("referer")
        ticket = check(world, str(form.get("h5_url")), referer if referer is None else str(referer))
        return _decide(world, ticket, form)
    except DeclinedError as declined:
        return {"err_msg": "fail", "err_desc": str(declined)}


def scan(world: World, form: Mapping[str, Any]) -> dict[str, str]:
    """Play a phone that scans a code_url: {code_url} and the options of the till."""
    ticket = str(form.get("code_url"))
    purchase = find(world, ticket)
    try:
        _check_keys(form, {"code_url"})
        if purchase is None or not purchase.code_url:
            raise DeclinedError("code_url is not one of ours")
        stale = ticket != purchase.code_url or not is_fresh(world, purchase, ticket)
        if stale and not form.get("force"):
            raise DeclinedError(OLD_CODE)
        return _decide(world, ticket, form)
    except DeclinedError as declined:
        return {"err_msg": "fail", "err_desc": str(declined)}


def _decide(world: World, ticket: str, form: Mapping[str, Any]) -> dict[str, str]:
    purchase = find(world, ticket)
    assert purchase is not None
    if form.get("outcome") != "typing":
        purchase.typing = False
    outcome, number = take(world, purchase, ticket, form, None)
    return {"err_msg": outcome} | ({"transaction_id": number} if number else {})


def _check_keys(form: Mapping[str, Any], own: set[str]) -> None:
    if unknown := form.keys() - OPTIONS - own:
        raise DeclinedError(f"unknown keys: {', '.join(sorted(unknown))}")


def _sheet(world: World, url: str, ticket: str, referer: str) -> str:
    seen = preview(world, ticket) or {}
    back = parse_qs(urlsplit(url).query).get("redirect_url", [referer])[0]
    total = f"{seen['total'] // 100}.{seen['total'] % 100:02}"
    words = {"merchant": seen["merchant"], "description": seen["description"], "back": back}
    return SHEET.format(total=total, **{name: escape(text) for name, text in words.items()})
