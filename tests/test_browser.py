"""A phone-sized Chromium, as WeChat would open it, walks the H5 shop of a running demo.

Nobody touches the shop's API here: what is tapped is what a buyer taps. With UPDATE_SCREENSHOTS=1
the picture of the READMEs is taken anew, and others for looking at are put into build/.
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from conftest import PROJECT, ROOT
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
    expect,
)
from running import Demo

WECHAT = (
    "Mozilla/5.0 (Linux; Android 13; Pixel 6) AppleWebKit/537.36 (KHTML, like Gecko) Version/4.0 "
    "Chrome/116.0.0.0 Mobile Safari/537.36 MicroMessenger/8.0.49.2600(0x28003137) WeChat/arm64 "
    "NetType/WIFI Language/zh_CN"
)
PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 1.5,
    "is_mobile": True,
    "has_touch": True,
    "locale": "zh-CN",
    "timezone_id": "Asia/Shanghai",
}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FIRST_VISIT = "/api/me"  # answered 401 before the login, which Chromium notes in the console


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The Chromium of this machine, without a window."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail("Chromium is missing: the H5 shop must be walked in CI")
    if found is None:
        pytest.skip("Chromium is not installed: nobody walks the H5 shop here")
    arguments = ["--no-sandbox", "--disable-gpu"]
    async with async_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        chromium = await playwright.chromium.launch(executable_path=found, args=arguments)
        yield chromium
        await chromium.close()


@dataclass
class Visit:
    """Somebody's phone: `page` is the shop, `problems` what a browser complained about."""

    demo: Demo
    context: BrowserContext
    page: Page
    problems: list[str] = field(default_factory=list)

    def watch(self) -> None:
        """Note console errors, which violations of the CSP are too, and requests to strangers."""
        self.context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.context.on("request", self._requested)
        self.context.on("console", self._said)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self.demo.shop, self.demo.sandbox, "data:")):
            self.problems.append(request.url)

    def _said(self, message: ConsoleMessage) -> None:
        expected = message.location["url"].endswith(FIRST_VISIT)
        if message.type in ("error", "warning") and not expected:
            self.problems.append(f"{message.text} {message.location['url']}")

    async def open(self, path: str = "/") -> None:
        """Open a page of the shop."""
        await self.page.goto(self.demo.shop + path)

    async def tap(self, name: str, sku: str = "") -> None:
        """Tap what carries this hook."""
        target = self.page.get_by_test_id(name)
        await (target.and_(self.page.locator(f"[data-sku={sku}]")) if sku else target).tap()

    async def sees(self, name: str, text: str) -> None:
        """Wait until the hook shows this text."""
        await expect(self.page.get_by_test_id(name)).to_contain_text(text)

    async def has(self, state: str) -> None:
        """Wait until the order on the screen has this state."""
        await expect(self.page.get_by_test_id("order")).to_have_attribute("data-state", state)

    async def order(self, sku: str = "longjing") -> None:
        """Put one thing into the cart, tap pay, and wait for the payment sheet."""
        await self.open()
        await self.tap("more", sku)
        await self.tap("pay")
        await expect(self.page.get_by_test_id("sandbox-amount")).to_contain_text("¥")

    @property
    def number(self) -> str:
        """The number of the order on the screen."""
        return self.page.url.partition("?order=")[2]


@asynccontextmanager
async def visiting(demo: Demo, browser: Browser, **options: Any) -> AsyncIterator[Visit]:
    """Take a fresh phone, and look at its complaints in the end."""
    async with await browser.new_context(**{**PHONE, "user_agent": WECHAT, **options}) as context:
        context.set_default_timeout(10_000)
        openid = f"o{secrets.token_hex(8)}"
        await context.add_cookies(
            [{"name": "sandbox_openid", "value": openid, "url": demo.sandbox}]
        )
        visit = Visit(demo, context, await context.new_page())
        visit.watch()
        yield visit
    assert visit.problems == []


@pytest.fixture
async def visit(demo: Demo, browser: Browser) -> AsyncIterator[Visit]:
    """Somebody opens the shop for the first time."""
    async with visiting(demo, browser) as fresh:
        yield fresh


async def picture(page: Page, name: str) -> None:
    """Take a picture, only when asked to; one of them is in the READMEs."""
    if os.environ.get("UPDATE_SCREENSHOTS") == "1":
        shown = PROJECT / "docs" / "images" / f"{name}.png"
        await page.wait_for_timeout(400)  # let the animation end
        await page.screenshot(path=shown if shown.exists() else ROOT / "build" / shown.name)


@pytest.mark.parametrize("bridge", ["late", "early"])
async def test_from_product_to_paid(visit: Visit, bridge: str) -> None:
    await visit.context.add_init_script(f"localStorage.sandbox_bridge = {bridge!r}")
    await visit.open()
    for sku in ("longjing", "cup", "cup"):
        await visit.tap("more", sku)
    await visit.sees("total", "¥171.00")
    await picture(visit.page, "shop")
    await visit.tap("pay")
    await visit.sees("sandbox-amount", "¥171.00")
    await picture(visit.page, "sheet")
    await visit.tap("sandbox-pay")
    await visit.has("PAID")
    await visit.sees("amount", "¥171.00")
    await picture(visit.page, "paid")
    await visit.tap("back")
    await visit.sees("total", "¥0.00")


async def test_cancel_keeps_the_order_and_pay_again_pays_it(visit: Visit) -> None:
    await visit.order()
    await visit.tap("sandbox-cancel")
    await visit.has("OPEN")
    await visit.sees("said", "付款没有完成")
    number, prepays = visit.number, len(visit.demo.wire("request", "/jsapi"))
    await visit.tap("pay")
    await visit.tap("sandbox-pay")
    await visit.has("PAID")
    assert visit.number == number
    assert len(visit.demo.wire("request", "/jsapi")) == prepays  # the same, signed anew


async def test_cancelling_in_another_tab_while_the_password_is_typed_does_not_lose_money(
    visit: Visit,
) -> None:
    await visit.order("puer")
    await visit.tap("sandbox-typing")
    tab = await visit.context.new_page()
    await tab.goto(visit.page.url)
    await tab.get_by_test_id("cancel").tap()
    await expect(tab.get_by_test_id("order")).to_have_attribute("data-state", "CLOSING")
    for digit in "135790":
        await visit.tap(f"sandbox-key-{digit}")
    await visit.has("PAID")
    await expect(tab.get_by_test_id("order")).to_have_attribute("data-state", "PAID")


async def test_typing_then_cancel_leaves_the_order_payable(visit: Visit) -> None:
    await visit.order()
    await visit.tap("sandbox-typing")
    await visit.tap("sandbox-key-1")
    await visit.tap("sandbox-close")
    await visit.has("OPEN")
    await visit.tap("pay")
    await visit.tap("sandbox-pay")
    await visit.has("PAID")


async def test_a_failed_payment_says_so_and_can_be_cancelled(visit: Visit) -> None:
    await visit.order()
    await visit.tap("sandbox-fail")
    await visit.sees("said", "微信支付没有成功")
    await visit.tap("cancel")
    await visit.has("CLOSED")


async def test_a_buyer_with_a_coupon_has_paid_in_full(visit: Visit) -> None:
    await visit.order("cup")
    await visit.tap("sandbox-coupon")
    await visit.sees("sandbox-amount", "¥31.00")
    await visit.tap("sandbox-pay")
    await visit.has("PAID")
    await visit.sees("amount", "¥36.00")


async def test_reload_and_back_find_the_same_things_again(visit: Visit) -> None:
    await visit.order()
    await visit.tap("sandbox-cancel")
    number = visit.number
    await visit.page.reload()
    await visit.has("OPEN")
    assert visit.number == number
    await visit.page.go_back()
    await visit.sees("total", "¥99.00")
    await visit.page.go_forward()
    await visit.has("OPEN")
    await visit.tap("orders-link")
    await visit.tap("order-row")
    await visit.has("OPEN")
    assert visit.number == number


async def test_what_the_cashier_says_is_not_believed(visit: Visit) -> None:
    """A page that only claims :ok stays unpaid, because the server asks WeChat."""
    await visit.order()
    await visit.tap("sandbox-cancel")
    lie = "(name, args, call) => call({err_msg: 'get_brand_wcpay_request:ok'})"
    await visit.page.evaluate(f"() => {{ WeixinJSBridge.invoke = {lie}; }}")
    await visit.tap("pay")
    await visit.has("CONFIRMING")
    await visit.page.reload()
    await visit.has("OPEN")


async def test_outside_wechat_the_shop_asks_to_be_opened_there(
    demo: Demo, browser: Browser
) -> None:
    """The sandbox plays WeChat around every browser, so here its bridge is left out."""
    agent = WECHAT.partition(" MicroMessenger")[0]
    async with visiting(demo, browser, user_agent=agent) as visit:
        await visit.context.route(
            "**/bridge.js", lambda route: route.fulfill(content_type="text/javascript", body="")
        )
        await visit.open()
        await visit.sees("open-in-wechat", "请在微信中打开")
        await expect(visit.page.get_by_test_id("product")).to_have_count(5)
        await expect(visit.page.get_by_test_id("pay")).to_have_count(0)


async def test_nothing_is_wider_than_the_screen(visit: Visit) -> None:
    await visit.order()
    await visit.tap("sandbox-cancel")
    await visit.has("OPEN")
    pages = {"/": "total", f"/?order={visit.number}": "amount", "/?view=orders": "order-row"}
    for path, shown in pages.items():
        await visit.open(path)
        await visit.sees(shown, "¥99.00")
        for width in (320, 390, 1280):
            await visit.page.set_viewport_size({"width": width, "height": 700})
            wide = "document.documentElement.scrollWidth - innerWidth"
            assert await visit.page.evaluate(wide) <= 0, (path, width)


async def test_the_console_shows_what_was_signed(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser, viewport={"width": 1280, "height": 800}) as visit:
        await visit.page.goto(demo.sandbox)
        await expect(visit.page.locator("#orders")).to_contain_text("SUCCESS")
        await expect(visit.page.locator("#log")).to_contain_text("/v3/pay/transactions/jsapi")
        await picture(visit.page, "console")
