"""How the H5 shop looks to everybody: contrast, size of targets, width, one language, a clean console."""

from collections.abc import Callable
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from browser.walking import DESKTOP, Visit, visiting
from running import JSON, Demo

#: WCAG 2.1: 1.4.3 contrast of text, 2.5.5 size of targets; text over the drawing of the header counts
#: against the header's darkest and lightest colour
AUDIT = """() => {
  const channel = (value) => (value /= 255) <= 0.03928 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const ratio = (one, other) => {
    const [low, high] = [light(one), light(other)].sort((a, b) => a - b);
    return (high + 0.05) / (low + 0.05);
  };
  const background = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const colour = parse(getComputedStyle(at).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const problems = [];
  for (const element of document.querySelectorAll('body *')) {
    const own = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
    if (!element.checkVisibility() || !(own || element.matches('input'))) continue;
    const style = getComputedStyle(element);
    const size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    const contrast = ratio(parse(style.color), background(element));
    if (contrast < (large ? 3 : 4.5)) problems.push(`${contrast.toFixed(2)} : 1 ${element.outerHTML.slice(0, 80)}`);
    if (style.opacity !== '1') problems.push(`opacity ${element.outerHTML.slice(0, 80)}`);
  }
  for (const target of document.querySelectorAll('button, a, input')) {
    const { width, height } = target.getBoundingClientRect();
    const small = width < 44 || height < 44;
    if (target.checkVisibility() && small) problems.push(`${width} x ${height} ${target.outerHTML.slice(0, 80)}`);
  }
  const wide = document.documentElement.scrollWidth - innerWidth;
  if (wide > 0) problems.push(`${wide} px too wide`);
  return problems;
}"""


async def audit(visit: Visit) -> None:
    """Assert that this page can be read and tapped, also on a small phone and a desktop."""
    for width in (320, 390, 1280):
        await visit.page.set_viewport_size({"width": width, "height": 844})
        assert await visit.page.evaluate(AUDIT) == [], (width, visit.page.url)
    await visit.page.set_viewport_size({"width": 390, "height": 844})


@pytest.mark.parametrize("language", ["zh", "en"])
async def test_every_state_can_be_read_and_tapped(
    visit: Visit, faults: Callable[..., JSON], language: str
) -> None:
    visit.expected = ("?refresh=1", "/payments", "/nothing", "/api/orders/0?refresh=1")
    await visit.context.add_init_script(f"localStorage.language = JSON.stringify('{language}')")
    await visit.open()
    await expect(visit.page.get_by_test_id("product").first).to_be_visible()
    await audit(visit)
    await visit.tap("more", "cup")
    await audit(visit)
    await visit.tap("pay")
    await visit.tap("sandbox-fail")
    await visit.has("OPEN")
    await audit(visit)
    faults(notifications="drop", answers={"query": "500"})
    await visit.tap("pay")
    await visit.tap("sandbox-coupon")
    await visit.tap("sandbox-pay")
    await visit.has("CONFIRMING")
    await audit(visit)
    await visit.tap("orders-link")
    await expect(visit.page.get_by_test_id("order-row")).to_be_visible()
    await audit(visit)
    faults()
    await visit.tap("order-row")
    await visit.has("PAID")
    await audit(visit)
    for path in ("/nothing", "/?order=0", "/?view=collect"):
        await visit.open(path)
        await expect(visit.page.get_by_test_id("missing")).to_be_visible()
        await audit(visit)
    await visit.page.route("**/api/products", lambda route: route.abort())
    visit.expected += ("/api/products",)
    await visit.open()
    await expect(visit.page.get_by_test_id("lost")).to_be_visible()
    await audit(visit)


async def test_a_code_can_be_read_and_tapped(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser, **DESKTOP) as visit:
        await visit.open()
        await visit.tap("more", "cup")
        await visit.tap("pay")
        await visit.has("CODE")
        await audit(visit)


async def test_the_audit_sees_what_is_too_pale_and_too_small(visit: Visit) -> None:
    await visit.open()
    await expect(visit.page.get_by_test_id("product").first).to_be_visible()
    style = "h2 { color: #999 !important } .step { width: 30px !important }"
    await visit.page.evaluate(
        "(css) => { const s = new CSSStyleSheet(); s.replaceSync(css); document.adoptedStyleSheets = [s]; }",
        style,
    )
    problems = await visit.page.evaluate(AUDIT)
    assert any("2.85 : 1" in problem for problem in problems)
    assert any(problem.startswith("30 x 44") for problem in problems)


async def test_one_language_at_a_time_is_chosen_once(visit: Visit) -> None:
    await visit.open()
    await visit.sees("orders-link", "我的订单")
    chinese = await visit.page.inner_text("main")
    assert "龙井" in chinese
    assert "Longjing" not in chinese
    await visit.tap("language")
    await visit.sees("orders-link", "My orders")
    await visit.reload()
    await visit.sees("orders-link", "My orders")
    english = await visit.page.inner_text("main") + await visit.page.inner_text("footer")
    assert "Longjing" in english
    assert not any("\u4e00" <= letter <= "\u9fff" for letter in english)
    assert await visit.page.evaluate("document.documentElement.lang") == "en"


async def test_the_shop_has_its_name_and_no_two_pictures_are_alike(visit: Visit) -> None:
    await visit.open()
    await expect(visit.page.get_by_test_id("product").first).to_be_visible()
    assert await visit.page.title() == "My Shop"
    await visit.sees("home", "My Shop")
    sources: list[Any] = await visit.page.eval_on_selector_all(
        ".picture", "all => all.map((p) => p.src)"
    )
    pictures = {visit.demo.http.get(source).text for source in sources}
    assert len(pictures) == len(sources) == 5


async def test_on_a_desktop_the_grid_has_no_hole(demo: Demo, browser: Browser) -> None:
    async with visiting(demo, browser, **DESKTOP) as visit:
        await visit.open()
        await expect(visit.page.get_by_test_id("product").first).to_be_visible()
        boxes = await visit.page.get_by_test_id("product").evaluate_all(
            "all => all.map((one) => { const b = one.getBoundingClientRect(); return [b.top, b.right]; })"
        )
        rows = {top for top, _ in boxes}
        assert {max(right for at, right in boxes if at == top) for top in rows} == {
            max(right for _, right in boxes)
        }


async def test_what_is_missing_is_a_page_for_people_and_json_for_programs(demo: Demo) -> None:
    browsers = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    page = demo.http.get(f"{demo.shop}/nothing", headers=browsers)
    assert (page.status_code, page.headers["content-type"]) == (404, "text/html; charset=utf-8")
    for path, headers in (("/nothing", {}), ("/api/nothing", browsers)):
        answer = demo.http.get(demo.shop + path, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (404, "NOT_FOUND")
    assert demo.http.get(f"{demo.shop}/favicon.ico").status_code == 200
