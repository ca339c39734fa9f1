"""/docs in a Chromium: read at any width, in light and dark, and tried out until an order is paid."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from playwright.async_api import Browser, Locator, expect

from browser.test_looks import AUDIT
from browser.walking import DESKTOP, Visit, visiting
from running import ADMIN_TOKEN, Demo

DARK = {"color_scheme": "dark"}
LANGUAGES = pytest.mark.parametrize("language", ["zh", "en"])


@pytest.fixture
async def reader(demo: Demo, browser: Browser) -> AsyncIterator[Visit]:
    """A developer at a desk."""
    async with visiting(demo, browser, **DESKTOP) as visit:
        yield visit


async def read(visit: Visit, language: str) -> None:
    """Open /docs."""
    await visit.page.goto(f"{visit.demo.shop}/docs?lang={language}")


@asynccontextmanager
async def call(visit: Visit, name: str) -> AsyncIterator[Locator]:
    """Open a call by its link in the contents; give its form, and wait for its answer."""
    await visit.page.locator(f".side a[href='#{name}']").click()
    form = visit.page.locator(f"#{name} form")
    await expect(form).to_be_visible()
    yield form
    await expect(form.locator(".status")).not_to_have_text(re.compile("^$|Waiting|等待"))


async def send(visit: Visit, name: str, status: str) -> str:
    """Send a call as it is filled in; return its answer."""
    async with call(visit, name) as form:
        await form.locator("button.primary").click()
        await expect(form.locator(".status")).to_contain_text(status)
        await expect(form.locator(".status")).to_contain_text(" ms")
        return await form.locator(".came").inner_text()


@pytest.mark.thorough
async def test_a_reader_logs_in_orders_pays_and_refunds_by_trying_it(reader: Visit) -> None:
    await read(reader, "en")
    async with call(reader, "place_order") as form:
        await form.get_by_role("button", name="Log in as a new buyer").click()
        await expect(form.locator(".status")).to_contain_text("200 OK")
    placed = await send(reader, "place_order", "201 Created")
    assert '"state": "OPEN"' in placed
    assert await send(reader, "place_order", "200 OK") == placed  # the same key: the same order
    async with call(reader, "start_payment") as form:
        await form.locator("button.primary").click()
        await expect(form.locator(".status")).to_contain_text("201 Created")
        await form.get_by_role("button", name="Pay it in the sandbox").click()
        await expect(form.locator(".came")).to_contain_text("requestPayment:ok")
    assert '"state": "PAID"' in await send(reader, "get_order", "200 OK")
    reader.expected = ("/refunds",)
    assert "LOGIN_REQUIRED" in await send(reader, "refund_order", "401 Unauthorized")
    await reader.page.locator("#refund_order [name=token]").fill(ADMIN_TOKEN)
    assert "out_refund_no" in await send(reader, "refund_order", "202 Accepted")


async def audit(visit: Visit) -> None:
    """Assert that everything can be read at every width; small links in a text are links in a text."""
    await visit.page.locator("[data-all]").click()
    for width in (320, 390, 1280):
        await visit.page.set_viewport_size({"width": width, "height": 844})
        problems: list[str] = await visit.page.evaluate(AUDIT)
        assert [
            problem for problem in problems if re.match(r"[\d.]+ : 1|-?\d+ px too wide", problem)
        ] == [], width


@LANGUAGES
async def test_nothing_is_pale_or_wider_than_the_screen(
    demo: Demo, browser: Browser, language: str
) -> None:
    for scheme in ({}, DARK):
        async with visiting(demo, browser, **DESKTOP, **scheme) as visit:
            await read(visit, language)
            await audit(visit)


@LANGUAGES
async def test_on_a_phone_the_contents_fold_and_lead_to_a_call(
    demo: Demo, browser: Browser, language: str
) -> None:
    async with visiting(demo, browser) as visit:
        await read(visit, language)
        contents = visit.page.locator(".contents")
        await contents.locator("summary").tap()
        await contents.locator("a[href='#place_order']").tap()
        await expect(contents.locator("nav")).to_be_hidden()
        await expect(visit.page.locator("#place_order .shown")).to_be_visible()
        width = await visit.page.evaluate("document.documentElement.scrollWidth")
        assert width == 390  # innerWidth would grow with what is too wide on a phone
        await expect(visit.page.locator(".side")).to_be_hidden()


async def test_the_keyboard_opens_a_call_and_the_switch_keeps_the_place(reader: Visit) -> None:
    await read(reader, "en")
    await reader.page.locator("#me > summary").focus()
    await reader.page.keyboard.press("Enter")
    await expect(reader.page.locator("#me .inside")).to_be_visible()
    await reader.page.locator("#start_payment > summary").click()
    await reader.page.locator("#start_payment a[href='#OPENID_REQUIRED']").click()
    await expect(reader.page.locator("#OPENID_REQUIRED")).to_be_in_viewport()
    await reader.page.locator("[data-other]").click()
    await expect(reader.page.locator("html")).to_have_attribute("lang", "zh")
    await expect(reader.page.locator("#OPENID_REQUIRED")).to_be_in_viewport()
