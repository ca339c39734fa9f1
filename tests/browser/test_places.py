"""The H5 shop pays by where it is opened: WeChat, a phone's browser, a desktop, a web-view."""

import re
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from bakes import Bake
from browser.walking import WECHAT, Visit, picture, visiting
from running import Demo, started

BROWSER = WECHAT.partition(" MicroMessenger")[0]
DESKTOP: dict[str, Any] = {
    "user_agent": "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/120.0 Safari/537.36",
    "viewport": {"width": 1280, "height": 800},
    "is_mobile": False,
}


async def fill_and_pay(visit: Visit) -> None:
    """Buy something whose notification will be lost: only asking finds out."""
    visit.demo.control("faults", notifications="drop", times=1)
    await fill(visit)


async def fill_and_leave(visit: Visit) -> None:
    """Buy something of which nobody, not even the sweep, hears before the buyer confirms."""
    visit.demo.control("faults", notifications="drop", answers={"query": "500"})
    await fill(visit)


async def confirm(visit: Visit) -> None:
    """Say "I have paid", now that WeChat can be asked."""
    visit.demo.control("faults")
    await visit.tap("check")


async def fill(visit: Visit) -> None:
    """Put tea into the cart and pay."""
    await visit.open()
    await visit.tap("more", "longjing")
    await visit.tap("pay")


async def test_a_phones_browser_goes_to_wechats_page_and_confirms_afterwards(
    demo: Demo, browser: Browser
) -> None:
    async with visiting(demo, browser, user_agent=BROWSER) as visit:
        await fill_and_leave(visit)
        await expect(visit.page.get_by_test_id("sandbox-h5")).to_contain_text("¥99.00")
        await picture(visit.page, "h5")
        await visit.tap("sandbox-h5-pay")
        await visit.has("RETURNED")  # coming back proves nothing
        await visit.sees("note", "我已完成支付")
        await picture(visit.page, "back")
        asked: list[str] = []
        visit.page.on("request", lambda request: asked.append(request.url))
        await visit.page.wait_for_timeout(1500)
        assert not [url for url in asked if "refresh=1" in url]  # and nobody decides by polling
        await confirm(visit)
        await visit.has("PAID")
        [sent] = [e for e in demo.wire("request", "/transactions/h5") if visit.number in str(e)]
        assert '"payer_client_ip":"203.0.113.10"' in sent["request_body"]


async def test_a_phone_that_did_not_pay_pays_again(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser, user_agent=BROWSER) as visit:
        await fill_and_leave(visit)
        await visit.tap("sandbox-h5-cancel")
        await visit.has("RETURNED")
        await visit.tap("payLater")
        await visit.has("OPEN")
        await visit.tap("pay")
        await visit.tap("sandbox-h5-pay")
        await confirm(visit)
        await visit.has("PAID")


async def test_the_way_back_by_the_browsers_own_button_asks_the_same(
    demo: Demo, browser: Browser
) -> None:
    async with visiting(demo, browser, user_agent=BROWSER) as visit:
        await fill_and_leave(visit)
        await expect(visit.page.get_by_test_id("sandbox-h5")).to_be_visible()
        await visit.page.go_back()
        await visit.has("RETURNED")
        await visit.tap("payLater")
        await visit.tap("pay")
        await visit.tap("sandbox-h5-pay")
        await confirm(visit)
        await visit.has("PAID")


async def test_a_desktop_shows_a_code_that_a_phone_scans(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser, **DESKTOP) as visit:
        await fill_and_pay(visit)
        code = visit.page.get_by_test_id("code")
        await expect(code).to_be_visible()
        await expect(code).to_have_js_property("complete", True)
        assert await code.evaluate("image => image.naturalWidth") > 100
        url = await code.get_attribute("data-code-url")
        assert re.fullmatch(r"weixin://wxpay/bizpayurl\?pr=[\w-]+", url or "")
        await picture(visit.page, "code")
        await visit.tap("sandbox-scan")
        await visit.sees("sandbox-amount", "¥99.00")
        await visit.tap("sandbox-pay")
        await visit.has("PAID")
        await expect(visit.page.get_by_test_id("code")).to_have_count(0)


async def test_a_code_that_was_scanned_by_a_real_phone_is_seen_by_polling(
    demo: Demo, browser: Browser
) -> None:
    async with visiting(demo, browser, **DESKTOP) as visit:
        await fill_and_pay(visit)
        url = await visit.page.get_by_test_id("code").get_attribute("data-code-url")
        assert demo.control("scan", code_url=url)["err_msg"] == "ok"
        await visit.has("PAID")


async def test_a_web_view_hands_the_order_over_and_the_mini_program_pays_it(
    demo: Demo, browser: Browser
) -> None:
    agent = f"{WECHAT} miniProgram/wx0000000000000000"
    async with visiting(demo, browser, user_agent=agent) as visit:
        await fill_and_pay(visit)
        opened = visit.page.get_by_test_id("sandbox-navigated")
        await expect(opened).to_contain_text("pages/order/order?")
        path = str(await opened.get_attribute("data-url"))
        assert path.startswith(f"/pages/order/order?number={visit.number}&handover=")
        code, openid = demo.login_code()
        token = demo.post(f"{demo.shop}/api/sessions/miniprogram", {"code": code})["token"]
        session = {"Authorization": f"Bearer {token}"}
        claim = {"token": path.partition("handover=")[2]}
        order = demo.post(f"{demo.shop}/api/handover", claim, session)
        assert order["order_no"] == visit.number
        path = f"{demo.shop}/api/orders/{visit.number}/payments"
        started = demo.post(path, {"scene": "miniprogram"}, session)
        assert demo.control("pay", **started["invoke"], openid=openid)["err_msg"].endswith(":ok")
        await visit.has("PAID")


async def test_wecom_and_a_page_without_a_bridge_say_open_in_wechat(
    demo: Demo, browser: Browser
) -> None:
    async with visiting(demo, browser, user_agent=f"{WECHAT} wxwork/4.1") as visit:
        await visit.open()
        await visit.sees("open-in-wechat", "请在微信中打开")
        await expect(visit.page.get_by_test_id("product")).to_have_count(5)
        await expect(visit.page.get_by_test_id("pay")).to_have_count(0)
    async with visiting(demo, browser) as visit:
        await visit.context.route(
            "**/bridge.js", lambda route: route.fulfill(content_type="text/javascript", body="")
        )
        await fill_and_pay(visit)
        notice = visit.page.get_by_test_id("open-in-wechat")
        await expect(notice).to_contain_text("请在微信中打开")


async def test_the_demo_can_be_looked_at_from_every_place(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser, **DESKTOP) as visit:
        await visit.open()
        await visit.sees("pay", "扫码")
        for place, words in (("phone", "微信支付"), ("webview", "小程序"), ("desktop", "扫码")):
            await visit.tap(f"sandbox-place-{place}")
            await visit.sees("pay", words)
        await visit.tap("sandbox-place-wechat")
        await visit.tap("more", "cup")
        await visit.tap("pay")
        await visit.tap("sandbox-pay")
        await visit.has("PAID")


async def test_an_amount_of_ones_own_is_for_service_providers(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser) as visit:
        await visit.open("/?view=collect")
        await visit.sees("missing", "页面不存在")


async def test_an_amount_that_cannot_be_gets_a_sentence(demo: Demo, browser: Browser) -> None:
    collect = {"scenes": ["jsapi"], "min_fen": 1, "max_fen": 1_000_000}  # as a provider's shop says
    about = {"name": "My Shop", "logged_in": True, "collect": collect}
    async with visiting(demo, browser) as visit:
        visit.expected = ("/api/collect",)
        await visit.open()
        await visit.sees("total", "¥0.00")
        await visit.page.route("**/api/shop", lambda route: route.fulfill(json=about))
        await visit.open("/?view=collect")
        await visit.page.get_by_test_id("typed").fill("12.345")
        await visit.tap("collect")
        await visit.sees("alert", "最多两位小数")
        await visit.page.get_by_test_id("typed").fill("12.30")
        await picture(visit.page, "collect")
        await visit.tap("collect")
        await visit.sees("alert", "这里暂不支持微信支付")


@pytest.mark.parametrize(
    "data", ["", "https://example.com/", "weixin://a b", "weixin://" + "a" * 501]
)
def test_only_wechats_codes_are_drawn(demo: Demo, data: str) -> None:
    assert demo.http.get(f"{demo.shop}/qr.svg", params={"data": data}).status_code == 404


async def test_a_shop_behind_huifu_shows_alipays_code_on_a_desktop(
    bake: Bake, browser: Browser
) -> None:
    with started(bake(channels="all"), SHOP_CHANNELS="huifu") as demo:
        async with visiting(demo, browser, **DESKTOP) as visit:
            await fill_and_pay(visit)
            code = visit.page.get_by_test_id("code")
            await expect(code).to_be_visible()
            url = await code.get_attribute("data-code-url") or ""
            assert url.startswith("https://qr.alipay.com/")
            await visit.sees("note", "支付宝")
            await picture(visit.page, "alipay")
            [asked] = visit.problems  # the browser's own line about the scene that is off
            assert "409" in asked
            visit.problems.clear()
            assert demo.control("scan", code_url=url)["err_msg"] == "ok"
            await visit.has("PAID")
        async with visiting(demo, browser) as visit:
            await fill_and_pay(visit)
            await visit.tap("sandbox-pay")
            await visit.has("PAID")
        assert not demo.wire("request", "/v3/pay")
