"""Develop at the sandbox 本地开发: a ready .env, both servers, the shop anew after each edit."""

import os
import secrets
import sys
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NoReturn

from checkout.config import Env, read_dotenv
from shop import processes
from shop.processes import CannotGoOn, Child
from shop.settings import ROOT

DOTENV = ROOT / ".env"
LOG = "sandbox.log"
LOOK_SECONDS = 0.3
#: an edit here does not concern the shop
NOT_WATCHED = {"tests", "var", "sandbox", "build", "certs", "node_modules", "pages", "docs"}
HEADING = """\
# 由 python -m shop dev 写入，只用于沙箱；已有的行不会被改动
# Written by python -m shop dev, for the sandbox alone; lines that were there stay as they are
"""
Snapshot = Mapping[Path, float]


def run(*, port: int, sandbox_port: int) -> int:
    """Serve until Ctrl-C, then exit 0; exit 1 when something is in the way."""
    processes.interrupt_on_signals()
    shop = f"http://127.0.0.1:{port}"
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    children: list[Child] = []
    try:
        for flag, number in (("--port", port), ("--sandbox-port", sandbox_port)):
            processes.check_free(flag, number, f"python -m shop dev {flag} {number + 1}")
        arguments = ("--port", str(sandbox_port))
        children.append(processes.start("sandbox", *arguments, env=os.environ, log=LOG))
        processes.wait_for(f"{sandbox}/healthz", children, LOG)
        env = {**os.environ, "SHOP_PUBLIC_URL": shop, "SHOP_SANDBOX_URL": sandbox}
        for name in prepare_dotenv(shop, sandbox):
            print(f".env + {name}")
        _tell(shop, sandbox)
        _serve_after_each_edit(env, port, children)
    except CannotGoOn as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        processes.stop(children)


def prepare_dotenv(shop: str, sandbox: str) -> list[str]:
    """Write what .env lacks of the sandbox's settings; return the names. A line is never changed.

    Raises CannotGoOn when .env is of another sandbox, or of the real WeChat.
    """
    env = Env(os.environ, DOTENV)
    credentials = processes.credentials(sandbox)
    provider = bool(env.get("SHOP_SUB_MCHID"))
    processes.check_merchant(env, credentials, provider=provider)
    wanted = {
        **processes.sandbox_settings(credentials, shop, sandbox, provider=provider),
        "SHOP_SECRET_KEY": secrets.token_urlsafe(32),
        "SHOP_ADMIN_TOKEN": secrets.token_urlsafe(32),
    }
    missing = {name: value for name, value in wanted.items() if not env.get(name)}
    if missing:
        _append(missing)
    return list(missing)


def _append(values: Mapping[str, str]) -> None:
    """Add lines to .env, readable by its owner alone; a PEM text becomes one line."""
    lines = [f"{name}={value.strip()}" for name, value in values.items()]
    text = HEADING + "\n".join(line.replace("\n", "\\n") for line in lines) + "\n"
    begun = DOTENV.is_file() and not DOTENV.read_bytes().endswith(b"\n")
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    with os.fdopen(os.open(DOTENV, flags, 0o600), "w", encoding="utf-8") as file:
        file.write("\n" * begun + text)


def _tell(shop: str, sandbox: str) -> None:
    token = read_dotenv(DOTENV).get("SHOP_ADMIN_TOKEN", "(in the environment)")
    print(f"sandbox {sandbox}\nshop {shop}\nadmin token 管理令牌 {token}")
    print(
        "Edit shop/catalogue.py: the shop starts anew 改了就重启. Ctrl-C 同时停止两者 stops both."
    )
    sys.stdout.flush()


def _serve_after_each_edit(env: Mapping[str, str], port: int, children: list[Child]) -> NoReturn:
    """Run the shop beside the sandbox; what keeps it from starting is shown, an edit mends it."""
    seen = _snapshot()
    while True:
        serving = _started(env, port)
        children[1:] = [serving] if serving else []
        changed = _wait_for_edit(seen, children)
        print(f"{', '.join(sorted(changed))} changed 已修改", flush=True)
        processes.stop(children[1:])
        seen = _snapshot()


def _started(env: Mapping[str, str], port: int) -> Child | None:
    """Migrate and serve; None when the database could not be prepared."""
    if processes.start("shop", "migrate", env=env).wait() != 0:
        _report_waiting()
        return None
    return processes.start("shop", "serve", "--port", str(port), env=env)


def _wait_for_edit(seen: Snapshot, children: list[Child]) -> set[str]:
    """Return the files that changed, once nobody writes them any more."""
    is_reported = False
    while True:
        time.sleep(LOOK_SECONDS)
        if children[0].poll() is not None:
            raise CannotGoOn(f"the sandbox stopped 沙箱停了: see var/{LOG}")
        if not is_reported and any(child.poll() is not None for child in children[1:]):
            is_reported = True
            _report_waiting()
        now = _snapshot()
        if now != seen and now == _later():
            return {_name(path) for path in _different(seen, now)}


def _report_waiting() -> None:
    print(
        "the shop is not running: waiting for the next edit 商城没有运行，等待下一次修改",
        flush=True,
    )


def _later() -> Snapshot:
    time.sleep(LOOK_SECONDS / 3)
    return _snapshot()


def _snapshot() -> Snapshot:
    """Return when each file of the shop was written last."""
    folders = [path for path in ROOT.iterdir() if path.is_dir() and _is_watched(path)]
    files = [file for folder in folders for file in folder.rglob("*.py")]
    return {path: _written(path) for path in (*files, DOTENV)}


def _is_watched(folder: Path) -> bool:
    return folder.name not in NOT_WATCHED and not folder.name.startswith((".", "__"))


def _written(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return 0


def _different(before: Snapshot, after: Snapshot) -> Iterable[Path]:
    return (path for path in {*before, *after} if before.get(path, 0) != after.get(path, 0))


def _name(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
