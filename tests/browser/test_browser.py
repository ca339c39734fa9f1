"""A phone-sized Chromium, as WeChat would open it, walks the H5 shop of a running demo."""

import pytest
from playwright.async_api import Browser, expect

from browser.walking import Visit, picture, visiting
from running import Demo


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
    await visit.sees("note", "支付未完成，订单已保留")
    number = visit.number
    prepays = len(visit.demo.wire("request", "/jsapi"))
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
    await tab.get_by_test_id("payLater").tap()
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
    await visit.sees("note", "支付未成功")
    await visit.tap("cancel")
    await visit.has("CLOSED")


async def test_a_buyer_with_a_coupon_has_paid_in_full(visit: Visit) -> None:
    await visit.order("cup")
    await visit.tap("sandbox-coupon")
    await visit.sees("sandbox-amount", "¥31.00")
    await visit.tap("sandbox-pay")
    await visit.has("PAID")
    await visit.sees("amount", "¥36.00")
    await visit.sees("paid", "实付 ¥31.00")


async def test_reload_and_back_find_the_same_things_again(visit: Visit) -> None:
    await visit.order()
    await visit.tap("sandbox-cancel")
    number = visit.number
    await visit.reload()
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
    number = visit.number
    await visit.reload()
    await visit.has("CONFIRMING")
    [order] = [
        order
        for order in visit.demo.http.get(f"{visit.demo.sandbox}/_sandbox/orders").json()["orders"]
        if number in order["out_trade_no"]
    ]
    assert order["trade_state"] == "NOTPAY"


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
