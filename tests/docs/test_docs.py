"""What the documents show is true: code runs, commands exist, names lead somewhere.

Prose stands twice (`x.md` and `x.zh-CN.md`) with equal code blocks. A shell line that no rule of
RULES knows fails: teach the table how to try it.
"""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import cache
from itertools import dropwhile
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

from bakes import COMBINATIONS, PROJECT, ROOT, Bake
from running import free_port

READMES = [folder / name for folder in (ROOT, PROJECT) for name in ("README.md", "README.zh-CN.md")]
DOCS = (
    [path for path in READMES if path.exists()]
    + [PROJECT / "AGENTS.md"]
    + sorted((PROJECT / "docs").rglob("*.md"))
)
PAIRS = [
    (path, path.with_suffix(".zh-CN.md")) for path in DOCS if path.with_suffix(".zh-CN.md").exists()
]
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
LINK = re.compile(r"\]\(([^)#\s]+)(?:#[^)]*)?\)|(?:src|href)=\"([^\"#]+)\"")
LONGEST = {ROOT: 200, PROJECT: 160}
SPEAKERS = sorted(
    path.relative_to(PROJECT).as_posix()
    for folder in ("shop", "accounts", "checkout", "wechat")
    for path in (PROJECT / folder).rglob("*.py")
)
CELL = re.compile(r"(?<!`)`([^`\n]+)`")
PATH = re.compile(r"(?:shop|accounts|checkout|wechat|sandbox|pages|tests)/[\w/.]*")
PYTHON = r"(?:python3?|py|(?:\.\.[/\\])*\.venv[/\\](?:bin|Scripts)[/\\]python) -m "


def title(path: Path) -> str:
    """Name a document by its path in the repository."""
    return path.relative_to(ROOT).as_posix()


def blocks(path: Path, language: str | None = None) -> list[tuple[str, str]]:
    """Return the fenced blocks of a document as (language, text)."""
    fenced: list[tuple[str, str]] = FENCE.findall(path.read_text(encoding="utf-8"))
    return [block for block in fenced if language in (None, block[0])]


def accept(line: str, folder: Path) -> None:
    """Accept a line that needs the network, or that other tests run."""


def try_bake(line: str, folder: Path) -> None:
    """Bake as the line says, without questions and into a folder that is thrown away."""
    words = shlex.split(re.sub(PYTHON, "", line.replace("\\", "/"), count=1))
    words = words[: words.index("-o")] if "-o" in words else words
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", *words, "--no-input", "--default-config", "-o", out]
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=60)
        assert Path(out, "my-shop", "shop", "app.py").is_file()


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
    shown = help_of(module, *command)
    options = [word.split("=")[0] for word in words if word.startswith("-")]
    assert [option for option in options if option not in shown] == [], line


@cache
def help_of(*words: str) -> str:
    """Return what `python -m … --help` prints."""
    done = subprocess.run(
        [sys.executable, "-m", *words, "--help"],
        cwd=PROJECT,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def try_tool(line: str, folder: Path) -> None:
    """Look for a tool of the template, which runs from its root."""
    [name] = re.findall(r"-m tests\.(\w+)", line)
    assert (ROOT / "tests" / name / "__main__.py").is_file(), line


def try_copy(line: str, folder: Path) -> None:
    """Look for what is copied: a file or a folder beside the document, or in the shop."""
    names = [word for word in shlex.split(line)[1:-1] if word[0] != "-"]
    for name in names:
        inside = name.removeprefix("my-shop/").removeprefix("build/my-shop/")
        assert (folder / inside).exists() or (PROJECT / inside).exists(), line


def try_compose(line: str, folder: Path) -> None:
    """Look for the service in compose.yaml, and try the command that runs in it."""
    words = list(dropwhile(lambda word: word[0] == "-", shlex.split(line)[3:]))
    services = yaml.safe_load((PROJECT / "compose.yaml").read_text(encoding="utf-8"))["services"]
    assert all(word.split("=")[0] in services for word in words[:1]), line
    if words[1:]:
        try_help(" ".join(words[1:]), folder)


RULES: list[tuple[str, Callable[[str, Path], None]]] = [
    (r"cd \S+$", accept),
    (PYTHON + r"(venv|pip|pytest|ruff|mypy|tortoise)\b", accept),
    (PYTHON + r"cookiecutter\b", try_bake),
    (r"make ", try_make),
    (PYTHON + r"(shop|sandbox)\b", try_help),
    (PYTHON + r"tests\.", try_tool),
    (r"(cp|copy) ", try_copy),
    (r"docker compose (up|run|logs|restart)\b", try_compose),
]


def test_both_readmes_are_there_in_both_languages() -> None:
    assert [title(path) for path in READMES if not path.exists()] == []


@pytest.mark.parametrize(("english", "chinese"), PAIRS, ids=lambda path: title(path))
def test_both_languages_show_the_same_code(english: Path, chinese: Path) -> None:
    assert blocks(english) == blocks(chinese)


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_shell_line_is_a_command_that_exists(path: Path, source: Path) -> None:
    folder = path.parent if path.parent.name != "docs" else path.parent.parent
    text = "".join(block for language in ("sh", "bash") for _, block in blocks(path, language))
    for line in text.replace("\\\n", " ").splitlines():
        words = re.sub(r"(^|\s)#.*$|^(SHOP_TEST_\w+=\S+ )+", "", line).strip()
        for part in re.split(r"\s*&&\s*", words) if words else []:
            rule = next((rule for pattern, rule in RULES if re.match(pattern, part)), None)
            assert rule, f"no rule tries this line: {part}"
            rule(part, source / folder.relative_to(ROOT))


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_command_in_a_table_or_a_unit_has_these_options(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    units = re.findall(rf"^ExecStart\w*=\S*/({PYTHON}shop .*)$", text, re.M)
    for command in units + [cell for cell in CELL.findall(text) if re.match(PYTHON, cell)]:
        if re.match(PYTHON + r"(shop|sandbox)\b", command):
            try_help(re.sub(r"[\[\]]", "", command), PROJECT)


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_file_function_and_constant_that_is_named_is_there(path: Path) -> None:
    """`shop/x.py` `one`, `two` means: the file is there, and so are these names in it."""
    text = FENCE.sub("", path.read_text(encoding="utf-8"))
    files = [cell for cell in CELL.findall(text) if PATH.fullmatch(cell)]
    assert [
        name for name in files if not (PROJECT / name).exists() and not (ROOT / name).exists()
    ] == []
    for file, names in re.findall(r"`([\w/]+\.py)`((?:,? `\w+`)+)", text):
        code = (PROJECT / file).read_text(encoding="utf-8")
        for name in CELL.findall(names):
            assert re.search(rf"^ *(async )?(def |class )?{name}\b", code, re.M), f"{file} {name}"


@pytest.mark.parametrize("path", DOCS, ids=title)
def test_every_setting_and_test_that_is_named_exists(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    example = (PROJECT / ".env.example").read_text(encoding="utf-8")
    example += (PROJECT / "tests/kit/databases.py").read_text(encoding="utf-8")
    assert set(re.findall(r"\bSHOP_[A-Z0-9_]+", text)) <= set(re.findall(r"\bSHOP_\w+", example))
    tests = "".join(
        p.read_text(encoding="utf-8")
        for p in [*(PROJECT / "tests").rglob("test_*.py"), *(ROOT / "tests").rglob("test_*.py")]
    )
    named = set(re.findall(r"`(test_\w+)`", text))
    assert named <= set(re.findall(r"def (test_\w+)", tests))


def test_every_code_reason_and_alarm_of_the_shop_is_explained() -> None:
    text = (PROJECT / "docs" / "errors.md").read_text(encoding="utf-8")
    code = {name: (PROJECT / name).read_text(encoding="utf-8") for name in SPEAKERS}
    everything = "".join(code.values())
    words = set(re.findall(r'^    "([A-Z_]+)": \d{3},', code["shop/web/errors.py"], re.M))
    words |= set(re.findall(r'\d: "([A-Z_]+)"', code["shop/web/api.py"]))
    words |= set(re.findall(r'SignatureInvalid\(\s*"(\w+)"', everything))
    words |= set(re.findall(r'log\.alarm\(\s*"([^"]+)"', everything))
    words |= set(re.findall(r'(?:report\(\s*|event = |UNPROVED = )"([^"]+)"', everything))
    assert len(words) > 35
    assert [word for word in sorted(words) if f"`{word}`" not in text] == []


def test_every_error_has_a_status() -> None:
    table = (PROJECT / "shop/web/errors.py").read_text(encoding="utf-8")
    listed = set(re.findall(r'^    "([A-Z_]+)": \d{3},', table, re.M))
    for name in ("checkout/errors.py", "accounts/errors.py", "shop/web/errors.py"):
        codes = re.findall(r'\bcode = "(\w+)"', (PROJECT / name).read_text(encoding="utf-8"))
        assert set(codes) - {"INTERNAL"} <= listed, name


def test_the_demo_prints_what_the_readme_shows(bake: Bake) -> None:
    shown = blocks(ROOT / "README.md", "text")[0][1]
    ports = ["--port", str(free_port()), "--sandbox-port", str(free_port())]
    words = ["demo", "--once", *ports]
    done = subprocess.run(
        [sys.executable, "-m", "shop", *words], cwd=bake(), capture_output=True, timeout=60
    )
    printed = [" ".join(line.split()) for line in done.stdout.decode().splitlines()]
    for line in shown.splitlines():
        pieces = [re.escape(piece) for piece in " ".join(line.split()).split("..")]
        pattern = ".*".join(re.sub(r"[0-9a-f]{8,}|\d+", "[0-9a-f]+", piece) for piece in pieces)
        assert any(re.fullmatch(pattern, output) for output in printed), line


@pytest.mark.parametrize("frontends", COMBINATIONS)
def test_the_table_of_a_baked_readme_names_only_what_was_baked(
    frontends: str, shops: dict[str, Path]
) -> None:
    for name in ("README.md", "README.zh-CN.md"):
        text = (shops[frontends] / name).read_text(encoding="utf-8")
        paths = [cell for cell in CELL.findall(text) if PATH.fullmatch(cell)]
        assert len(paths) > 30
        assert [path for path in paths if not (shops[frontends] / path).exists()] == []
        table = text[text.index("| … | open |") :].split("\n\n")[0].splitlines()
        assert all(line.startswith("| ") for line in table[2:])
        assert "`sandbox/faults.py`" in table[-1], "a blank line cuts the table"


def test_the_readmes_stay_short() -> None:
    lines = {path: len(path.read_text(encoding="utf-8").splitlines()) for path in READMES}
    assert [title(path) for path in READMES if lines[path] > LONGEST[path.parent]] == []


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
    targets = {unquote(angled or plain) for angled, plain in LINK.findall(text)}
    local = {target for target in targets if not re.match(r"[a-z]+:", target)}
    assert [target for target in sorted(local) if not (path.parent / target).exists()] == []
