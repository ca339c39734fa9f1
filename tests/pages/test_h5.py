"""The H5 shop: its files fit together and the CSP, and its logic holds under Node."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bakes import PROJECT

HERE = Path(__file__).parent
ROOT = PROJECT / "pages" / "h5"
INDEX = (ROOT / "index.html").read_text("utf-8")
SCRIPTS = "\n".join(path.read_text("utf-8") for path in sorted(ROOT.glob("*.js")))
NODE = (HERE / "h5.test.js").read_text("utf-8")
NAMES = re.findall(r"^test\('(.+)',", NODE, re.M)


@pytest.mark.parametrize("name", NAMES)
def test_under_node(name: str, under_node: Callable[[str, str], None]) -> None:
    under_node("h5.test.js", name)


def test_every_file_that_the_page_asks_for_exists() -> None:
    wanted = re.findall(r'(?:src|href)="/h5/([^"]+)"', INDEX)
    wanted += re.findall(r"from '\./([^']+)'", SCRIPTS)
    assert set(wanted) == {path.name for path in ROOT.iterdir()} - {"index.html"}


def test_the_page_keeps_a_strict_content_security_policy() -> None:
    assert not re.search(r"<script(?![^>]*\ssrc=)", INDEX), "no inline script"
    assert not re.search(r"\son\w+\s*=", INDEX), "no inline handler"
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", SCRIPTS)


def test_nothing_comes_from_elsewhere() -> None:
    everything = INDEX + SCRIPTS + (ROOT / "style.css").read_text("utf-8")
    addresses = set(re.findall(r"(?:https?:)?//[\w.-]+\.[\w/]+", everything))
    allowed = {"http://www.w3.org/2000/svg", "https://res.wx.qq.com/open/js/jweixin"}
    assert addresses <= allowed | set(re.findall(r"// \S+", everything))
    assert "@import" not in everything
    assert "url(" not in everything


def test_the_page_knows_nothing_of_the_sandbox_and_holds_no_secret() -> None:
    everything = INDEX + SCRIPTS
    assert not re.search(r"sandbox|secret|mchid|apiv3|token\b.*=", everything)


def test_every_picture_and_action_that_the_views_name_exists() -> None:
    symbols = set(re.findall(r'<symbol id="icon-(\w+)"', INDEX))
    icons = set(re.findall(r"^  [A-Z]+: '(\w+)',", SCRIPTS.split("const ICONS = {")[1], re.M))
    assert icons | {"wechat"} == symbols
    table = SCRIPTS.split("const ACTIONS = {")[1].split("\n};")[0]
    actions = set(re.findall(r"^  (\w+)[:,]", table, re.M))
    used = re.findall(r"button\('(\w+)'", SCRIPTS) + re.findall(r'data-do="(\w+)"', INDEX)
    assert set(used) == actions


def test_every_word_that_the_page_names_exists() -> None:
    wanted = set(re.findall(r'data-word="(\w+)"', INDEX))
    assert wanted <= set(re.findall(r"^    (\w+): '", (ROOT / "words.js").read_text("utf-8"), re.M))


def test_no_sentence_is_written_outside_the_table_of_words() -> None:
    for path in ROOT.glob("*.js"):
        code = re.sub(r"//.*", "", path.read_text("utf-8"))
        if path.name != "words.js":
            assert set(re.findall(r"[\u4e00-\u9fff]+", code)) <= {"已支付"}, path.name


def test_the_paths_are_those_of_the_contract() -> None:
    assert set(re.findall(r"['`](/(?:api|oauth)/[^'`?]*)", SCRIPTS)) == {
        "/api/me",
        "/api/shop",
        "/api/products",
        "/api/orders",
        "/api/orders${after ",
        "/api/orders/${number}/payments",
        "/api/orders/${number}/cancel",
        "/api/orders/${number}/handover",
        "/api/sessions/guest",
        "/api/collect",
        "/api/orders/${encodeURIComponent(number)}",
        "/oauth/start",
    }
    assert set(re.findall(r"scene: '(\w+)'", SCRIPTS)) == {"jsapi", "h5", "native", "alipay"}
