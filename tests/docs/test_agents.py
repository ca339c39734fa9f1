"""AGENTS.md tells facts: its commands exist, its files are there, each rule has its test in a shop."""

import re

from bakes import PROJECT, Bake

TEXT = (PROJECT / "AGENTS.md").read_text(encoding="utf-8")


def test_it_is_short_and_claude_is_sent_to_it() -> None:
    assert len(TEXT.splitlines()) <= 120
    assert (PROJECT / "CLAUDE.md").read_text(encoding="utf-8") == "@AGENTS.md\n"


def test_each_money_rule_names_a_test_that_ships_in_the_leanest_shop(bake: Bake) -> None:
    rules = re.findall(r"^\| (\d+) \|.*\| `(test_\w+)` \|$", TEXT, re.M)
    assert [int(number) for number, _ in rules] == list(range(1, 12))
    shop = bake(frontends="none")
    tests = "".join(path.read_text("utf-8") for path in (shop / "tests").rglob("test_*.py"))
    assert {name for _, name in rules} <= set(re.findall(r"def (test_\w+)", tests))
    assert all(name.startswith(f"test_rule_{number}_") for number, name in rules)


def test_every_file_that_it_names_is_in_the_leanest_shop(bake: Bake) -> None:
    names = set(
        re.findall(r"`((?:shop|accounts|checkout|wechat|sandbox|tests|docs)/[\w/.]*)`", TEXT)
    )
    shop = bake(frontends="none")
    assert len(names) > 15
    assert [name for name in sorted(names) if not (shop / name).exists()] == []
