"""The bridge that the sandbox plays around the H5 page."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from bakes import PROJECT

HERE = Path(__file__).parent
BRIDGE = (PROJECT / "sandbox" / "bridge.js").read_text("utf-8")
NAMES = re.findall(r"^test\('(.+)',", (HERE / "bridge.test.js").read_text("utf-8"), re.M)


@pytest.mark.parametrize("name", NAMES)
def test_under_node(name: str, under_node: Callable[[str, str], None]) -> None:
    under_node("bridge.test.js", name)


def test_the_bridge_asks_nobody_but_its_own_sandbox() -> None:
    assert not re.search(r"https?://", BRIDGE)
    assert re.findall(r"fetch\((.+?),", BRIDGE) == ["`${own.origin}/_sandbox/${path}`"]


def test_the_bridge_writes_text_and_never_markup() -> None:
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", BRIDGE)
