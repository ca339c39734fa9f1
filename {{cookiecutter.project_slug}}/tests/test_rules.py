"""Rules that keep the house liveable."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
OURS = {path.name for path in ROOT.iterdir() if path.is_dir() and list(path.glob("*.py"))} | {
    "tests"
}


def sources(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the first words of the absolute imports of a file."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add((node.module or "").split(".")[0])
    return found


@pytest.mark.parametrize("folder", sorted(OURS - {"shop", "tests"}))
def test_a_folder_that_is_copied_imports_nothing_of_ours(folder: str) -> None:
    assert {path.name: imported(path) & OURS for path in sources(folder)} == {
        path.name: set() for path in sources(folder)
    }


def test_transactions_are_opened_in_one_place() -> None:
    users = [p.name for p in sources("shop") if "in_transaction" in p.read_text("utf-8")]
    assert users == ["work.py"]


def test_states_are_written_in_one_place() -> None:
    writers = [p.name for p in sources("shop") if re.search(r"update\([^)]*state=", p.read_text())]
    assert writers == ["moves.py"]


def test_the_example_of_the_settings_names_what_the_code_reads() -> None:
    code = "".join(p.read_text("utf-8") for p in sources("shop") if p.name != "doctor.py")
    read = set(re.findall(r"\"(SHOP_[A-Z0-9_]+)\"", code))
    read |= {
        f"SHOP_{kind}_{part}"
        for kind in ("MINIPROGRAM", "OFFICIAL_ACCOUNT")
        for part in ("APPID", "SECRET")
    } | {"SHOP_APP_APPID"}
    example = (ROOT / ".env.example").read_text("utf-8")
    assert set(re.findall(r"^#? ?(SHOP_[A-Z0-9_]+)=", example, re.M)) == read


def test_what_is_signed_is_sent_as_it_was_signed() -> None:
    """httpx's `json=` would write the body a second time, after the signature."""
    users = [p.name for f in ("wechat", "shop") for p in sources(f) if " json=" in p.read_text()]
    assert users == ["demo.py"]  # the demo plays the buyer, who signs nothing
