"""Whoever has paid is never asked to pay again, and nobody ends nowhere, whatever WeChat does."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, expect
from playwright.async_api import TimeoutError as NotInTime

from browser.walking import BROWSER, DESKTOP, Visit, visiting
from running import JSON, Demo

SLOW = 40_000  # milliseconds: the sweep and the page's own ladder need some seconds
#: ten things that go wrong after the buyer has paid, and whether it is known later without help
FAULTS: dict[str, JSON] = {
    "the notification never comes": {"notifications": "drop"},
    "the notification is late": {"notifications": 30},
    "the notification comes twice": {"notifications": "duplicate"},
    "the notification has a wrong signature": {"notification_signature": "wrong_key"},
    "the notification is of another amount": {"notification_amount_delta_fen": 1},
    "queries fail": {"notifications": "drop", "answers": {"query": "500"}},
    "queries are refused for now": {"notifications": "drop", "answers": {"query": "429"}},
    "queries are cut": {"notifications": "drop", "answers": {"query": "reset_before"}},
    "answers have a wrong signature": {"notifications": "drop", "answers": {"query": "wrong_key"}},
    "WeChat hangs": {"notifications": "drop", "answers": {"query": "hang"}},
}
pytestmark = pytest.mark.thorough


async def nothing_asks_to_pay(visit: Visit) -> None:
    """Look at what the page offers: a refresh or the end, no payment, and a link that leads on."""
    assert await visit.page.get_by_test_id("pay").count() == 0
    assert await visit.page.get_by_test_id("payLater").count() == 0
    await expect(visit.page.get_by_test_id("back")).to_be_visible()
    text = await visit.page.inner_text("body")
    assert "继续支付" not in text
    assert "重新支付" not in text


async def asks_again(visit: Visit) -> None:
    """Tap the one refresh there is; the sweep may know the payment first, and take it away."""
    check = visit.page.get_by_test_id("check")
    paid = visit.page.locator("[data-state=PAID]")
    await expect(check.or_(paid).first).to_be_visible()
    try:
        await (check.tap(timeout=5000) if visit.touch else check.click(timeout=5000))
    except NotInTime:
        await expect(paid).to_be_visible()


async def nothing_asks_to_pay_later(visit: Visit) -> None:
    """Look again after a refresh, a reload, from the list of orders, and from the shop."""
    shown = visit.page.get_by_test_id("order")
    await nothing_asks_to_pay(visit)
    await asks_again(visit)
    await nothing_asks_to_pay(visit)
    await visit.reload()
    await expect(shown).to_be_visible()
    await nothing_asks_to_pay(visit)
    await visit.tap("orders-link")
    await expect(visit.page.get_by_test_id("order-row").first).not_to_contain_text("待支付")
    await visit.tap("order-row")
    await expect(shown).to_be_visible()
    await nothing_asks_to_pay(visit)
    await visit.tap("home")
    await visit.sees("total", "¥0.00")  # what was paid for is not in the cart
    await visit.page.go_back()
    await expect(shown).to_be_visible()


@pytest.mark.parametrize("fault", FAULTS)
async def test_who_has_paid_in_wechat_is_not_asked_again(
    visit: Visit, faults: Callable[..., JSON], fault: str
) -> None:
    visit.expected = ("?refresh=1",)
    await visit.order("cup")
    faults(**FAULTS[fault])
    await visit.tap("sandbox-pay")
    state = visit.page.locator("[data-state=CONFIRMING], [data-state=PAID]")
    await expect(state).to_be_visible()
    await nothing_asks_to_pay_later(visit)
    faults()
    await visit.reload()
    await expect(visit.page.locator("[data-state=PAID]")).to_be_visible(timeout=SLOW)


@pytest.mark.parametrize("fault", ["queries fail", "the notification never comes"])
async def test_who_comes_back_to_a_phone_s_browser_is_asked_first(
    demo: Demo, browser: Browser, faults: Callable[..., JSON], fault: str
) -> None:
    async with visiting(demo, browser, user_agent=BROWSER) as visit:
        await visit.open()
        await visit.tap("more", "cup")
        await visit.tap("pay")
        await visit.page.wait_for_url("**/checkmweb**")
        faults(**FAULTS[fault])
        await visit.page.locator("button, a").filter(has_text="打开微信").first.tap()
        await visit.page.wait_for_url(f"{demo.shop}/**")
        shown = visit.page.locator("[data-state=RETURNED], [data-state=PAID]")
        await expect(shown).to_be_visible()
        assert await visit.page.get_by_test_id("pay").count() == 0
        await asks_again(visit)
        await nothing_asks_to_pay_later(visit)
        faults()
        await visit.reload()
        await expect(visit.page.locator("[data-state=PAID]")).to_be_visible(timeout=SLOW)


async def test_who_scanned_the_code_says_so_and_is_not_asked_again(
    demo: Demo, browser: Browser, faults: Callable[..., JSON]
) -> None:
    async with visiting(demo, browser, **DESKTOP) as visit:
        await visit.open()
        await visit.tap("more", "cup")
        await visit.tap("pay")
        await visit.has("CODE")
        assert await visit.page.get_by_test_id("pay").count() == 0
        faults(**FAULTS["queries fail"])
        await visit.tap("sandbox-scan")
        await visit.tap("sandbox-pay")
        await visit.tap("check")
        await nothing_asks_to_pay_later(visit)
        faults()
        await visit.reload()
        await expect(visit.page.locator("[data-state=PAID]")).to_be_visible(timeout=SLOW)


@pytest.mark.parametrize(
    ("fault", "sentence"),
    [
        ("refuse", "没有受理"),
        ("wrong_key", "支付服务暂时不可用"),
        ("reset_before", "暂时没有响应"),
        ("429", "操作太频繁，请 5 秒后再试"),
    ],
)
async def test_a_payment_that_cannot_start_gets_a_sentence_and_another_try(
    visit: Visit, faults: Callable[..., JSON], fault: str, sentence: str
) -> None:
    visit.expected = ("/payments",)
    faults(answers={"prepay": fault})
    await visit.open()
    await visit.tap("more", "cup")
    await visit.tap("pay")
    await expect(visit.page.get_by_test_id("alert")).to_contain_text(sentence, timeout=SLOW)
    await visit.has("OPEN")
    await expect(visit.page.get_by_test_id("pay")).to_be_visible()


async def test_a_buyer_without_a_network_keeps_the_confirmation(
    visit: Visit, faults: Callable[..., JSON]
) -> None:
    visit.expected = ("?refresh=1",)
    await visit.order("cup")
    faults(**FAULTS["queries fail"])
    await visit.tap("sandbox-pay")
    await visit.has("CONFIRMING")
    await visit.context.set_offline(True)
    await visit.tap("check")
    await visit.sees("alert", "网络连接失败")
    await nothing_asks_to_pay(visit)
    faults()
    await visit.context.set_offline(False)
    await expect(visit.page.locator("[data-state=PAID]")).to_be_visible(timeout=SLOW)
    await expect(visit.page.get_by_test_id("alert")).to_be_hidden()


async def test_a_session_that_is_over_ends_at_the_same_order(
    visit: Visit, faults: Callable[..., JSON]
) -> None:
    visit.expected = ("?refresh=1",)
    await visit.order("cup")
    faults(**FAULTS["queries fail"])
    await visit.tap("sandbox-pay")
    await visit.has("CONFIRMING")
    number = visit.number
    cookies: list[Any] = await visit.context.cookies()
    await visit.context.clear_cookies(name="shop_session")
    assert any(cookie["name"] == "shop_session" for cookie in cookies)
    await visit.tap("check")
    await visit.page.wait_for_load_state()
    await visit.has("CONFIRMING")
    assert visit.number == number
    await nothing_asks_to_pay(visit)
