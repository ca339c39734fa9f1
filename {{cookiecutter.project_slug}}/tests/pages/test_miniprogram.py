"""The mini program: its files fit together, and its logic holds under Node."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parent.parent / "pages" / "miniprogram"
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
    assert re.findall(r"https?://[^'\"\s]+", SOURCES) == ["http://127.0.0.1:8000"]
    assert not re.search(r"secret|mchid|apiv3|BEGIN [A-Z ]*PRIVATE KEY", SOURCES, re.I)
    assert not re.search(r"wx[0-9a-f]{16}", SOURCES)


def test_the_paths_are_those_of_the_contract() -> None:
    paths = set(re.findall(r"['`](/api/[^'`?]*)", SOURCES))
    assert paths == {
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
    assert "appId" not in SOURCES
