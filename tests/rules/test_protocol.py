"""The channel protocol is really checked: mypy fails when a verb's name or signature is another.

A channel's `build` is annotated to return Channel, so its file alone tells. Every verb of every
channel is spoilt in a copy of the file, and mypy must complain about each copy.
"""

import ast
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from shutil import copy, copytree, ignore_patterns

import pytest

from bakes import PROJECT

FOLDERS = ("checkout", "wechat", "huifu")
CHANNELS = Path("checkout", "channels")
EXERCISE = Path("tests", "kit", "channels", "exercise", "voucher.py")
Spoil = Callable[[ast.AsyncFunctionDef | ast.FunctionDef], None]


def rename(verb: ast.AsyncFunctionDef | ast.FunctionDef) -> None:
    verb.name += "_it"


def want_more(verb: ast.AsyncFunctionDef | ast.FunctionDef) -> None:
    verb.args.args.insert(1, ast.arg("more", ast.Name("int")))


def answer_otherwise(verb: ast.AsyncFunctionDef | ast.FunctionDef) -> None:
    verb.returns = ast.Name("object")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The engine with its channels, the exercise among them, in a folder that may be spoilt."""
    folder = tmp_path_factory.mktemp("package")
    for name in FOLDERS:
        copytree(PROJECT / name, folder / name, ignore=ignore_patterns("__pycache__", ".*_cache"))
    copy(PROJECT / "pyproject.toml", folder)
    copy(PROJECT / EXERCISE, folder / CHANNELS)
    return folder


def channel_files(package: Path) -> list[Path]:
    return sorted((package / CHANNELS).glob("[!_]*.py"))


def functions(tree: ast.AST, name: str) -> dict[str, ast.AsyncFunctionDef | ast.FunctionDef]:
    """Return the public functions of a class, without its properties."""
    definition = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == name)
    return {
        node.name: node
        for node in definition.body
        if isinstance(node, ast.AsyncFunctionDef | ast.FunctionDef)
        and not node.name.startswith("_")
        and not node.decorator_list
    }


def channel_class(tree: ast.Module, verbs: set[str]) -> str:
    """Return the class of a file that has every verb."""
    classes = [node.name for node in tree.body if isinstance(node, ast.ClassDef)]
    [name] = [name for name in classes if verbs <= functions(tree, name).keys()]
    return name


def protocol(package: Path) -> set[str]:
    tree = ast.parse((package / CHANNELS / "__init__.py").read_text("utf-8"))
    return set(functions(tree, "Channel"))


def mypy(package: Path, names: list[str]) -> dict[str, str]:
    """Check modules of checkout.channels with the project's own settings: name -> complaints."""
    words = [word for name in names for word in ("-m", f"checkout.channels.{name}")]
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--cache-dir", ".mypy_cache", *words],
        cwd=package,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
    )
    assert done.returncode in (0, 1), done.stdout
    complaints = dict.fromkeys(names, "")
    for line in done.stdout.splitlines():
        if match := re.match(r"checkout/channels/(\w+)\.py:", line):
            complaints[match[1]] = complaints.get(match[1], "") + f"{line}\n"
    return complaints


def spoilt(package: Path, file: Path, spoil: Spoil) -> dict[str, str]:
    """Write a copy of a channel for each verb, with that verb spoilt: the copy's name -> verb."""
    verbs = protocol(package)
    text = file.read_text("utf-8")
    name = channel_class(ast.parse(text), verbs)
    copies = dict[str, str]()
    for verb in sorted(verbs):
        tree = ast.parse(text)
        spoil(functions(tree, name)[verb])
        copies[f"{file.stem}__{spoil.__name__}__{verb}"] = verb
        spoilt_file = file.with_name(f"{file.stem}__{spoil.__name__}__{verb}.py")
        spoilt_file.write_text(ast.unparse(tree), "utf-8")
    return copies


def test_every_verb_of_every_channel_is_compared_with_the_protocol(package: Path) -> None:
    files = channel_files(package)
    copies: dict[str, str] = {}
    for file in files:
        for spoil in (rename, want_more, answer_otherwise):
            copies |= spoilt(package, file, spoil)
    assert len(protocol(package)) >= 15
    complaints = mypy(package, [*(file.stem for file in files), *copies])
    assert {file.stem: complaints[file.stem] for file in files} == {f.stem: "" for f in files}
    unnoticed = {
        name
        for name, verb in copies.items()
        if "Incompatible return value type" not in complaints[name] or verb not in complaints[name]
    }
    assert unnoticed == set()
