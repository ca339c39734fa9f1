"""The pictures in the README show what the ledger does, the same in both languages."""

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from checkout import ledger

from bakes import PROJECT

IMAGES = PROJECT / "docs" / "images"
MACHINES = {"payment": ledger.PAYMENT, "order": ledger.ORDER, "refund": ledger.REFUND}
DRAWN = ("payment.svg", "states.svg")


def read(name: str) -> ElementTree.Element:
    """Parse a picture of our own; it is no stranger's XML."""
    return ElementTree.fromstring((IMAGES / name).read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", ["states.svg", "states.zh-CN.svg"])
@pytest.mark.parametrize("machine", MACHINES)
def test_the_picture_shows_every_move_of_a_state_and_no_other(name: str, machine: str) -> None:
    arrows = [dict(path.attrib) for path in read(name).iter() if "data-machine" in path.attrib]
    drawn = {(a["data-from"], a["data-to"]) for a in arrows if a["data-machine"] == machine}
    moves = {(old, new) for old, targets in MACHINES[machine].items() for new in targets}
    assert drawn == moves


@pytest.mark.parametrize("name", DRAWN)
def test_both_languages_are_one_drawing(name: str) -> None:
    chinese = name.replace(".svg", ".zh-CN.svg")
    shapes = [
        [(node.tag, node.attrib) for node in read(file).iter() if node.attrib]
        for file in (name, chinese)
    ]
    assert shapes[0] == shapes[1]
    text = "".join(read(name).itertext())
    assert not re.search(r"[\u4e00-\u9fff]", text.replace("；", ""))


@pytest.mark.parametrize("path", sorted(IMAGES.glob("*.svg")), ids=lambda path: path.name)
def test_a_picture_says_in_words_what_it_shows_and_can_be_read_in_the_dark(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert re.search(r"<title[^>]*>[^<]{5,}</title>\s*<desc[^>]*>[^<]{40,}</desc>", text)
    assert "prefers-color-scheme: dark" in text
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
