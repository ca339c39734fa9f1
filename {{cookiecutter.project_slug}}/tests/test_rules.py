"""Rules about our folders that keep the shop right; a folder of yours is not looked at."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
#: a folder of ours -> those that it must not import; an arrow never points back
MUST_NOT_IMPORT = {
    "accounts": {"checkout", "sandbox", "shop", "tests"},
    "checkout": {"accounts", "sandbox", "shop", "tests"},
    "wechat": {"accounts", "checkout", "sandbox", "shop", "tests", "wechat"},  # relative ones only
    "sandbox": {"accounts", "checkout", "sandbox", "shop", "tests", "wechat"},
}


def sources(folder: str) -> list[Path]:
    """List the Python files of a folder; an absent one has none."""
    return sorted((ROOT / folder).rglob("*.py"))


def imported(path: Path) -> set[str]:
    """Return the first words of the absolute imports of a file."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            roots.add((node.module or "").split(".")[0])
    return roots


@pytest.mark.parametrize("folder", sorted(MUST_NOT_IMPORT))
def test_imports_of_our_folders_point_one_way(folder: str) -> None:
    wrong = {p.name: imported(p) & MUST_NOT_IMPORT[folder] for p in sources(folder)}
    assert {name: roots for name, roots in wrong.items() if roots} == {}


def test_the_engine_knows_no_web_server() -> None:
    assert [p.name for p in sources("checkout") if "sanic" in imported(p)] == []


def test_transactions_are_opened_in_one_place() -> None:
    folders = ("accounts", "checkout")
    users = [
        p.name
        for f in folders
        for p in sources(f)
        if re.search(r"(?<!\.)\bin_transaction", p.read_text("utf-8"))
    ]
    assert users == ["work.py"]


def test_states_are_written_in_one_place() -> None:
    moves = r"compare_and_set\(|sql\.(OPEN_PAYMENT|CLOSE_ORDER|REFUND_ORDER)|update\([^)]*state="
    files = [p for p in sources("checkout") if p.name != "sql.py"]
    assert [p.name for p in files if re.search(moves, p.read_text("utf-8"))] == ["ledger.py"]


def test_what_is_signed_is_sent_as_it_was_signed() -> None:
    """httpx's `json=` would write the body a second time, after the signature."""
    files = [p for f in ("wechat", "checkout") for p in sources(f)]
    assert [p.name for p in files if " json=" in p.read_text("utf-8")] == []
