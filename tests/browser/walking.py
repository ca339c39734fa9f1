"""A Chromium that opens the H5 shop of a running demo, by default as WeChat on a phone would.

Nobody touches the shop's API with it: what is tapped is what a buyer taps. With
UPDATE_SCREENSHOTS=1 the picture of the READMEs is taken anew, and others for looking at are put
into build/.
"""

import os
import secrets
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from kit.databases import absent
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    async_playwright,
    expect,
)

from bakes import PROJECT, ROOT
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
PATIENCE = 30_000  # milliseconds: a page that is slow beside other tests is no fault
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
DESKTOP: dict[str, Any] = {
    "viewport": {"width": 1280, "height": 800},
    "device_scale_factor": 1,
    "is_mobile": False,
    "has_touch": False,
    "user_agent": None,
}
BROWSER = (
    "Mozilla/5.0 (iPhone; CPU iPhone OS 17_0 like Mac OS X) AppleWebKit/605.1.15 "
    "(KHTML, like Gecko) Version/17.0 Mobile/15E148 Safari/604.1"
)


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    """The Chromium of this machine, without a window."""
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        absent("Chromium is not installed: nobody walks the H5 shop here")
    arguments = ["--no-sandbox", "--disable-gpu"]
    async with async_playwright() as playwright:
        playwright.selectors.set_test_id_attribute("data-test")
        expect.set_options(timeout=PATIENCE)
        chromium = await playwright.chromium.launch(executable_path=path, args=arguments)
        yield chromium
        await chromium.close()


@dataclass
class Visit:
    """Somebody's phone: `page` is the shop, `problems` what a browser complained about."""

    demo: Demo
    context: BrowserContext
    page: Page
    problems: list[str] = field(default_factory=list)
    expected: tuple[str, ...] = ()
    touch: bool = True

    def watch(self) -> None:
        """Note console errors, which violations of the CSP are too, and requests to strangers."""
        self.context.on("weberror", lambda error: self.problems.append(str(error.error)))
        self.context.on("request", self._requested)
        self.context.on("console", self._printed)

    def _requested(self, request: Request) -> None:
        if not request.url.startswith((self.demo.shop, self.demo.sandbox, "data:")):
            self.problems.append(request.url)

    def _printed(self, message: ConsoleMessage) -> None:
        expected = message.location["url"].endswith(self.expected)
        if message.type in ("error", "warning") and not expected:
            self.problems.append(f"{message.text} {message.location['url']}")

    async def open(self, path: str = "/") -> None:
        """Open a page of the shop, and wait for what it shows."""
        await self.page.goto(self.demo.shop + path)
        await self.shows_something()

    async def reload(self) -> None:
        """Load the page again, and wait for what it shows."""
        await self.page.reload()
        await self.shows_something()

    async def shows_something(self) -> None:
        """Wait until the page says more than that it is loading, also after a login."""
        await expect(self.page.locator("#view > :not(.quiet)").first).to_be_visible()

    async def tap(self, name: str, sku: str = "") -> None:
        """Tap what carries this hook."""
        target = self.page.get_by_test_id(name)
        target = target.and_(self.page.locator(f"[data-sku={sku}]")) if sku else target
        await (target.tap() if self.touch else target.click())

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
        return self.page.url.partition("?order=")[2].partition("&")[0]


@asynccontextmanager
async def visiting(demo: Demo, browser: Browser, **options: Any) -> AsyncIterator[Visit]:
    """Take a fresh phone, and look at its complaints in the end."""
    async with await browser.new_context(**{**PHONE, "user_agent": WECHAT, **options}) as context:
        context.set_default_timeout(PATIENCE)
        openid = f"o{secrets.token_hex(8)}"
        await context.add_cookies(
            [{"name": "sandbox_openid", "value": openid, "url": demo.sandbox}]
        )
        touch = {**PHONE, **options}["has_touch"]
        visit = Visit(demo, context, await context.new_page(), touch=touch)
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
