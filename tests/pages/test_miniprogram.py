"""The mini program: its files fit together, and its logic holds under Node."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bakes import PROJECT

HERE = Path(__file__).parent
ROOT = PROJECT / "pages" / "miniprogram"
FILES = sorted(path for path in ROOT.rglob("*") if path.is_file())
SOURCES = "\n".join(path.read_text("utf-8") for path in FILES)
NAMES = re.findall(r"^test\('(.+)',", (HERE / "miniprogram.test.js").read_text("utf-8"), re.M)
PAGES: list[str] = json.loads((ROOT / "app.json").read_text("utf-8"))["pages"]


@pytest.mark.parametrize("name", NAMES)
def test_under_node(name: str, under_node: Callable[[str, str], None]) -> None:
    under_node("miniprogram.test.js", name)


@pytest.mark.parametrize("path", [path for path in FILES if path.suffix == ".json"], ids=str)
def test_every_json_file_parses(path: Path) -> None:
    json.loads(path.read_text("utf-8"))


def test_every_page_is_listed_and_has_its_four_files() -> None:
    there = {str(path.with_suffix("").relative_to(ROOT)) for path in ROOT.rglob("pages/*/*.wxml")}
    assert there == set(PAGES)
    for page in PAGES:
        for suffix in (".js", ".json", ".wxml", ".wxss"):
            assert (ROOT / page).with_suffix(suffix).is_file(), page + suffix


def test_every_handler_in_the_markup_exists_in_its_page() -> None:
    for page in PAGES:
        markup = (ROOT / page).with_suffix(".wxml").read_text("utf-8")
        logic = (ROOT / page).with_suffix(".js").read_text("utf-8")
        for handler in re.findall(r'bind\w+="(\w+)"', markup):
            assert re.search(rf"^  (async )?{handler}\(", logic, re.M), f"{page}: {handler}"


def test_every_file_that_is_required_exists() -> None:
    for path in ROOT.rglob("*.js"):
        for name in re.findall(r"require\('(.+?)'\)", path.read_text("utf-8")):
            assert (path.parent / name).is_file(), f"{path.name} requires {name}"


def test_the_project_runs_without_an_account() -> None:
    project = json.loads((ROOT / "project.config.json").read_text("utf-8"))
    assert project["appid"] == "touristappid"
    assert project["setting"]["urlCheck"] is False


def test_nothing_is_secret_and_nothing_comes_from_elsewhere() -> None:
    own = ["http://127.0.0.1:8000", "http://127.0.0.1:9000"]
    assert re.findall(r"https?://[^'\"\s]+", SOURCES) == own
    assert not re.search(r"secret|mchid|apiv3|BEGIN [A-Z ]*PRIVATE KEY", SOURCES, re.I)
    assert not re.search(r"wx[0-9a-f]{16}", SOURCES)


def test_the_paths_are_those_of_the_contract() -> None:
    paths = set(re.findall(r"['`](/api/[^'`?]*)", SOURCES))
    assert paths == {
        "/api/shop",
        "/api/products",
        "/api/sessions/miniprogram",
        "/api/orders",
        "/api/orders/${this.number}",
        "/api/orders/${this.number}/payments",
        "/api/orders/${this.number}/cancel",
        "/api/handover",
        "/api/collect",
    }
    assert "scene: 'miniprogram'" in SOURCES


def test_the_app_id_is_never_passed_on() -> None:
    pages = "".join(path.read_text("utf-8") for path in FILES if path.name != "sandbox.js")
    assert "appId" not in pages


def test_no_page_knows_of_the_sandbox() -> None:
    knowing = {path.name for path in FILES if "sandbox" in path.read_text("utf-8").lower()}
    assert knowing == {"app.js", "config.js", "sandbox.js"}


def test_every_word_in_the_markup_is_in_the_table() -> None:
    words = re.findall(r"^    (\w+): ", (ROOT / "words.js").read_text("utf-8"), re.M)
    for path in ROOT.rglob("*.wxml"):
        markup = path.read_text("utf-8")
        assert set(re.findall(r"words\.(\w+)", markup)) <= set(words)
        assert not re.search(r"[\u4e00-\u9fff]", markup), f"{path.name} has a text of its own"


def luminance(colour: str) -> float:
    """Return WCAG's relative luminance of #rgb or #rrggbb."""
    digits = colour[1:] if len(colour) == 7 else "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[n : n + 2], 16) / 255 for n in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(first: str, second: str) -> float:
    """Return WCAG's contrast ratio."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def rules() -> dict[str, dict[str, str]]:
    """Read every rule of the style sheets: selector, then property and value."""
    text = "".join(path.read_text("utf-8") for path in ROOT.rglob("*.wxss"))
    styles: dict[str, dict[str, str]] = {}
    for selectors, body in re.findall(r"([^{}]+)\{([^}]*)\}", re.sub(r"/\*.*?\*/", "", text)):
        pairs = dict(re.findall(r"([\w-]+): ([^;]+);", body))
        for selector in selectors.split(","):
            styles.setdefault(selector.strip(), {}).update(pairs)
    return styles


def test_every_text_has_the_contrast_of_wcag_aa() -> None:
    everywhere = ["#fff", "#f5f4ef"]
    inside = {".detail": ".problem", ".title": ".hero"}
    for selector, style in rules().items():
        around = rules().get(inside.get(selector, ""), {})
        back = style.get("background", "") or around.get("background", "")
        behind = re.findall(r"#[0-9a-f]{3,6}", back) or everywhere
        for colour in re.findall(r"#[0-9a-f]{3,6}", style.get("color", "")):
            assert min(contrast(colour, other) for other in behind) >= 4.5, selector


def test_every_target_is_88_rpx_high() -> None:
    for selector in (".primary", ".plain", ".again", ".step", ".language"):
        style = rules()[selector]
        assert "88rpx" in (style.get("min-height"), style.get("line-height")), selector
    targets = re.findall(r'class="([^"]+)"[^>]*bindtap', SOURCES)
    assert {names.split()[0] for names in targets} == {
        "primary",
        "plain",
        "again",
        "step",
        "language",
    }
