"""What the documents show is true: code runs, commands exist, links lead somewhere.

Prose stands twice (`x.md` and `x.zh-CN.md`) with equal code blocks. A shell line that no rule of
RULES knows fails: teach the table how to try it.
"""

import json
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from urllib.parse import unquote

import pytest
from conftest import PROJECT, ROOT, Bake

READMES = [folder / name for folder in (ROOT, PROJECT) for name in ("README.md", "README.zh-CN.md")]
DOCS = [path for path in READMES if path.exists()] + sorted((PROJECT / "docs").rglob("*.md"))
PAIRS = [
    (path, path.with_suffix(".zh-CN.md")) for path in DOCS if path.with_suffix(".zh-CN.md").exists()
]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|href)=\"([^\"#]+)\"")
PYTHON = r"(?:python3?|py|(?:\.\.[/\\])*\.venv[/\\](?:bin|Scripts)[/\\]python) -m "


def title(path: Path) -> str:
    """Name a document by its path in the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str | None = None) -> list[tuple[str, str]]:
    """Return the fenced blocks of a document as (language, text)."""
    found: list[tuple[str, str]] = FENCE.findall(path.read_text(encoding="utf-8"))
    return [block for block in found if language in (None, block[0])]


def accept(line: str, folder: Path) -> None:
    """Accept a line that needs the network, or that other tests run."""


def try_make(line: str, folder: Path) -> None:
    """Look for each target in the Makefile beside the document."""
    makefile = (folder / "Makefile").read_text(encoding="utf-8")
    targets = [word for word in shlex.split(line)[1:] if "=" not in word and word[0] != "-"]
    assert targets
    assert all(re.search(rf"^{target}:", makefile, re.M) for target in targets), line


def try_help(line: str, folder: Path) -> None:
    """Ask the command for its help, and look for each option in it."""
    module, *words = shlex.split(re.sub(PYTHON, "", line.replace("\\", "/"), count=1))
    command = [word for word in words[:1] if not word.startswith("-")]
    done = subprocess.run(
        [sys.executable, "-m", module, *command, "--help"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr
    options = [word.split("=")[0] for word in words if word.startswith("-")]
    assert [option for option in options if option not in done.stdout] == [], line


def try_copy(line: str, folder: Path) -> None:
    """Look for what is copied: a file or a folder beside the document, or in the shop."""
    names = [word for word in shlex.split(line)[1:-1] if word[0] != "-"]
    for name in names:
        inside = name.removeprefix("my-shop/").removeprefix("build/my-shop/")
        assert (folder / inside).exists() or (PROJECT / inside).exists(), line


RULES: list[tuple[str, Callable[[str, Path], None]]] = [
    (r"cd \S+$|git (clone|init|add|commit) |(pip|uv|apt-get) install |uvx |pipx ", accept),
    (PYTHON + r"(venv|pip|pytest|ruff|mypy|cookiecutter)\b|cookiecutter ", accept),
    (r"make ", try_make),
    (PYTHON + r"(shop|sandbox)\b", try_help),
    (r"(cp|copy) ", try_copy),
]


def test_both_readmes_are_there_in_both_languages() -> None:
    assert [title(path) for path in READMES if not path.exists()] == []


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: title(path))
def test_both_languages_show_the_same_code(english: Path, chinese: Path) -> None:
    assert blocks(english) == blocks(chinese)


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_shell_line_is_a_command_that_exists(path: Path) -> None:
    text = "".join(block for language in ("sh", "bash") for _, block in blocks(path, language))
    for line in text.replace("\\\n", " ").splitlines():
        words = re.sub(r"(^|\s)#.*$", "", line).strip()
        for part in re.split(r"\s*&&\s*", words) if words else []:
            rule = next((rule for pattern, rule in RULES if re.match(pattern, part)), None)
            assert rule, f"no rule tries this line: {part}"
            rule(part, path.parent if path.parent.name != "docs" else path.parent.parent)


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_python_block_runs_in_a_fresh_shop(path: Path, bake: Bake) -> None:
    code = "\n".join(text for _, text in blocks(path, "python"))
    if code:
        done = subprocess.run(
            [sys.executable, "-W", "error", "-"], cwd=bake(), input=code, text=True, timeout=60
        )
        assert done.returncode == 0


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_json_block_is_json(path: Path) -> None:
    for _, text in blocks(path, "json"):
        json.loads(text)


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_link_leads_to_a_file(path: Path) -> None:
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    targets = {unquote(one or other) for one, other in LINK.findall(text)}
    local = {target for target in targets if not re.match(r"[a-z]+:", target)}
    assert [target for target in sorted(local) if not (path.parent / target).exists()] == []
