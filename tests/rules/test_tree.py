"""The shape of the generated shop: who imports whom, and what lies about."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bakes import PROJECT, ROOT

#: a folder -> the folders of ours that it may import; an arrow never points back
MAY_IMPORT = {
    "shop": {"shop", "accounts", "checkout", "wechat"},
    "accounts": {"accounts", "wechat"},
    "checkout": {"checkout", "wechat", "huifu"},
    "wechat": set[str](),  # relative imports only: a copy may be renamed
    "huifu": set[str](),
    "sandbox": set[str](),
}
#: a folder that is copied -> the packages of others that it may import
COPIED = {
    "wechat": {"cryptography", "httpx"},
    "huifu": {"cryptography", "httpx"},
    "sandbox": {"cryptography", "httpx", "sanic"},
    "checkout": {"aiosqlite", "cryptography", "httpx", "httpx_aiohttp", "msgspec", "tortoise"},
    "accounts": {"httpx", "jwt", "tortoise"},
}
#: the shop's own files that may know WeChat's folder
KNOW_WECHAT = {"shop.doctor", "shop.explain", "shop.on_paid", "shop.proof"}
#: from a route to the wire, and from a socket to PAID: what a newcomer reads, top-down
TO_THE_WIRE = (
    "shop/web/orders.py",
    "checkout/payments.py",
    "checkout/sql.py",
    "checkout/channels/wechat.py",
    "wechat/transactions.py",
    "wechat/client.py",
    "wechat/sign.py",
    "wechat/transport.py",
)
TO_PAID = (
    "shop/web/notify.py",
    "checkout/notifications.py",
    "checkout/channels/wechat.py",
    "wechat/notify.py",
    "wechat/trust.py",
    "checkout/ledger.py",
    "checkout/sql.py",
)


def modules(package: str) -> dict[str, Path]:
    """Map each module of a package to its file; the name of a package itself ends in a dot."""
    files = {}
    for path in sorted((PROJECT / package).rglob("*.py")):
        parts = path.relative_to(PROJECT).with_suffix("").parts
        files[".".join(parts).removesuffix("__init__")] = path
    return files


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


def absolute(path: Path) -> set[str]:
    """Return the first words of a file's absolute imports."""
    roots = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            roots |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            roots.add((node.module or "").split(".")[0])
    return roots


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_imports_of_our_folders_point_one_way(folder: str) -> None:
    allowed = MAY_IMPORT[folder]
    wrong = {
        name: sorted(absolute(path) & MAY_IMPORT.keys() - allowed)
        for name, path in modules(folder).items()
    }
    assert {name: roots for name, roots in wrong.items() if roots} == {}


@pytest.mark.parametrize("folder", sorted(COPIED))
def test_a_folder_that_is_copied_needs_few_packages(folder: str) -> None:
    allowed = COPIED[folder] | MAY_IMPORT[folder] | sys.stdlib_module_names
    wrong = {name: sorted(absolute(path) - allowed) for name, path in modules(folder).items()}
    assert {name: roots for name, roots in wrong.items() if roots} == {}


@pytest.mark.parametrize("folder", sorted(MAY_IMPORT))
def test_no_import_goes_round_in_a_circle(folder: str) -> None:
    """Not for the type checker alone either: who reads a file knows what it is made of."""
    files = modules(folder)
    names = {name.rstrip("."): name for name in files}
    graph = {
        name: {module for imported in imports(name, path) for module in owners(imported, names)}
        for name, path in files.items()
    }
    while leaves := [name for name, wanted in graph.items() if not wanted & graph.keys() - {name}]:
        for name in leaves:
            del graph[name]
    assert graph == {}


def owners(imported: str, names: dict[str, str]) -> Iterator[str]:
    """Yield the module that a dotted name is, or is of."""
    module = imported if imported in names else imported.rpartition(".")[0]
    if module in names:
        yield names[module]


def test_only_the_doctor_knows_wechat_in_the_shop() -> None:
    users = {name for name, path in modules("shop").items() if "wechat" in absolute(path)}
    assert users <= KNOW_WECHAT


def test_a_verb_knows_the_channel_protocol_but_no_channel() -> None:
    channels = {name for name in modules("checkout/channels") if not name.endswith(".")}
    wrong = [
        f"{name} imports {other}"
        for name, path in modules("checkout").items()
        if not name.startswith("checkout.channels.")
        for other in imports(name, path)
        if any(f"{other}.".startswith(f"{channel}.") for channel in channels)
    ]
    assert wrong == []


def test_a_channel_decides_nothing_and_writes_no_row() -> None:
    """It may use orders.cut, the text tool, and otherwise neither verbs nor statements."""
    verbs = ("ledger", "payments", "refunds", "notifications", "sweep", "sql", "work", "events")
    wrong = [
        f"{name} imports {other}"
        for name, path in modules("checkout/channels").items()
        for other in imports(name, path)
        if any(f"{other}.".startswith(f"checkout.{verb}.") for verb in verbs)
    ]
    assert wrong == []


def test_only_the_ledger_moves_a_state() -> None:
    writers = set()
    for name, path in modules("checkout").items() | modules("shop").items():
        text = path.read_text(encoding="utf-8")
        moves = (
            r"compare_and_set\(|sql\.(OPEN_PAYMENT|CLOSE_ORDER|REFUND_ORDER)|update\([^)]*state="
        )
        if re.search(moves, text) and not name.endswith(".sql"):
            writers.add(name)
    assert writers == {"checkout.ledger"}


def test_transactions_are_opened_in_one_place() -> None:
    folders = ("shop", "accounts", "checkout")
    files = {name: path for folder in folders for name, path in modules(folder).items()}
    users = {
        name
        for name, path in files.items()
        if re.search(r"(?<!\.)\bin_transaction", path.read_text("utf-8"))
    }
    assert users == {"checkout.work"}


def test_only_the_app_the_command_line_and_the_web_itself_import_the_web() -> None:
    wrong = [
        name
        for name, path in modules("shop").items()
        if not name.startswith(
            ("shop.web.", "shop.app", "shop.shop", "shop.routes", "shop.__main__")
        )
        and any(f"{other}.".startswith("shop.web.") for other in imports(name, path))
    ]
    assert wrong == []


@pytest.mark.parametrize("files", [TO_THE_WIRE, TO_PAID], ids=["to the wire", "to PAID"])
def test_a_payment_is_read_in_at_most_eight_files(files: tuple[str, ...]) -> None:
    assert len(files) <= 8
    assert [name for name in files if not (PROJECT / name).is_file()] == []


def test_no_class_name_stands_twice_in_the_shop_s_process() -> None:
    """One word, one thing: in the shop, the engine and the protocols that it speaks."""
    places: dict[str, list[str]] = {}
    for folder in ("shop", "accounts", "checkout", "wechat", "huifu"):
        for name, path in modules(folder).items():
            if ".migrations." in name:
                continue
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.ClassDef) and node.name != "Meta":
                    places.setdefault(node.name, []).append(name)
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


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
    return [
        path
        for path in sorted(folder.rglob("*"))
        if path.is_file()
        and not any(part == "__pycache__" or part.endswith("_cache") for part in path.parts)
    ]


def test_no_verb_and_no_handler_says_a_channel_s_name() -> None:
    channels = modules("checkout/channels")
    names = {name.rpartition(".")[2] for name in channels if "._" not in name}
    used = [
        f"{name}: {node.value}"
        for folder in ("checkout", "shop")
        for name, path in modules(folder).items()
        if not name.startswith("checkout.channels.") and name != "shop.settings"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Constant) and node.value in names - {""}
    ]
    assert used == []


def test_the_example_of_the_settings_names_what_the_code_reads() -> None:
    files = [
        path
        for folder in ("shop", "checkout")
        for name, path in modules(folder).items()
        if name not in ("shop.doctor",)
    ]
    code = "".join(path.read_text("utf-8") for path in files)
    read = set(re.findall(r"\"(SHOP_[A-Z0-9_]+)\"", code))
    read |= {
        f"SHOP_{kind}_{part}"
        for kind in ("MINIPROGRAM", "OFFICIAL_ACCOUNT")
        for part in ("APPID", "SECRET")
    } | {"SHOP_APP_APPID"}
    example = (PROJECT / ".env.example").read_text("utf-8")
    assert set(re.findall(r"^#? ?(SHOP_[A-Z0-9_]+)=", example, re.M)) == read
