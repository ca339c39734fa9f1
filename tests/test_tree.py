"""The shape of the generated shop: who imports whom, how long a file may be, what lies about."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import PROJECT, ROOT

COPYABLE = {
    "wechat": {"cryptography", "httpx"},
    "huifu": {"cryptography", "httpx"},
    "sandbox": {"cryptography", "httpx", "sanic"},
}
OURS = {"shop", "wechat", "huifu", "sandbox"}
USE_CASES = ("shop.checkout", "shop.ledger", "shop.refunds", "shop.sweep", "shop.bill")
KNOW_WECHAT = ("shop.channels.", "shop.login", "shop.doctor", "shop.on_paid", "shop.app")
EIGHT = (
    "shop/app.py",
    "shop/web/orders.py",
    "shop/checkout.py",
    "shop/channels/wechat.py",
    "wechat/transactions.py",
    "wechat/sign.py",
    "wechat/notify.py",
    "shop/ledger.py",
)


def modules(package: str) -> dict[str, Path]:
    """Map each module of a package to its file; the name of a package itself ends in a dot."""
    found = {}
    for path in sorted((PROJECT / package).rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        found[".".join(parts).removesuffix("__init__")] = path
    return found


def imports(name: str, path: Path) -> Iterator[str]:
    """Yield the absolute dotted names that a module imports, relative imports resolved."""
    package = name.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            assert start or not node.level, f"{name} imports from above its package"
            base = ".".join([*start, *filter(None, [node.module])])
            yield from (f"{base}.{alias.name}" for alias in node.names)


def offences(
    forbidden: tuple[str, ...], *, of: tuple[str, ...] = ("",), but: tuple[str, ...] = ()
) -> list[str]:
    """List forbidden imports of the shop's modules: `of` these names, `but` not of those."""
    return [
        f"{name} imports {other}"
        for name, path in modules("shop").items()
        if name.startswith(of) and not name.startswith(but)
        for other in imports(name, path)
        if f"{other}.".startswith(forbidden)
    ]


@pytest.mark.parametrize("package", sorted(COPYABLE))
def test_a_folder_that_is_copied_imports_nothing_of_ours(package: str) -> None:
    for name, path in modules(package).items():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        absolute = {
            root.split(".")[0]
            for node in ast.walk(tree)
            for root in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom) and not node.level
                else []
            )
        }
        assert not absolute & OURS, name
        assert absolute <= COPYABLE[package] | sys.stdlib_module_names, name
        assert all(other.startswith(package) for other in imports(name, path) if "." not in name)


def test_only_channels_login_and_doctor_know_wechat() -> None:
    assert offences(("wechat.", "huifu."), but=KNOW_WECHAT) == []


def test_the_shop_imports_no_sandbox() -> None:
    assert offences(("sandbox.",)) == []


def test_use_cases_know_the_channel_protocol_but_no_channel_and_no_web() -> None:
    channels = tuple(f"{name}." for name in modules("shop/channels") if not name.endswith("."))
    assert offences(("shop.web.", "shop.app.", "sanic.", *channels), of=USE_CASES) == []


def test_a_channel_decides_nothing_and_writes_no_row() -> None:
    others = tuple(f"{name}." for name in USE_CASES)
    assert offences((*others, "shop.web.", "shop.app.", "sanic."), of=("shop.channels.",)) == []


def test_only_the_app_the_command_line_and_the_web_itself_import_the_web() -> None:
    assert offences(("shop.web.",), but=("shop.web.", "shop.app", "shop.__main__")) == []


def test_read_it_in_eight_files_of_a_thousand_lines_together() -> None:
    lines = {name: len((PROJECT / name).read_text(encoding="utf-8").splitlines()) for name in EIGHT}
    assert sum(lines.values()) <= 1000, lines


def test_no_file_is_longer_than_three_hundred_lines_and_no_test_than_four_hundred() -> None:
    paths = [path for folder in (PROJECT, ROOT / "hooks", ROOT / "tests") for path in walk(folder)]
    lengths = {str(path.relative_to(ROOT)): len(path.read_bytes().splitlines()) for path in paths}
    code = (".py", ".js", ".css", ".html", ".wxml", ".wxss")
    limits = {name: 400 if "tests/" in name else 300 for name in lengths if name.endswith(code)}
    assert {name: lengths[name] for name, limit in limits.items() if lengths[name] > limit} == {}


def test_no_python_file_is_a_template() -> None:
    """Jinja in a source would make it unreadable, and unrunnable in place."""
    for path in walk(PROJECT):
        if path.suffix == ".py":
            compile(path.read_bytes(), str(path), "exec")
            assert b"{{ cookiecutter" not in path.read_bytes(), path


def test_nothing_lies_about_in_the_template_folder() -> None:
    """What git ignores may still be copied into a shop; only caches are swept by the bake."""
    if not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    command = ["git", "ls-files", "--others", "--ignored", "--exclude-standard", "--directory", "."]
    junk = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=True).stdout
    swept = ("__pycache__/", "_cache/", ".hypothesis/", ".egg-info/")
    assert [name for name in junk.splitlines() if not name.endswith(swept)] == []


def walk(folder: Path) -> list[Path]:
    """List the files of a folder, without caches."""
    found = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return [
        path
        for path in found
        if not any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)
    ]


def test_no_use_case_and_no_handler_says_a_channel_s_name() -> None:
    names = {name.rpartition(".")[2] for name in modules("shop/channels") if "._" not in name}
    said = [
        f"{name}: {node.value}"
        for name, path in modules("shop").items()
        if not name.startswith("shop.channels.")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names - {""}
    ]
    assert said == []
