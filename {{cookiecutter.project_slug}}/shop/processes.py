"""Start the sandbox and the shop as processes, and stop them: for demo.py and dev.py."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx

from checkout.channels import demo_settings
from checkout.config import Env
from shop.settings import ROOT

PATIENCE = 30  # seconds to wait for a process
Child = subprocess.Popen[bytes]


class CannotGoOn(Exception):
    """Raised when a process cannot be started; the message is one sentence."""


def interrupt_on_signals() -> None:
    """Let SIGINT, SIGTERM and SIGHUP raise KeyboardInterrupt; a shell may have SIGINT ignored."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), interrupt)


def check_free(flag: str, port: int, example: str) -> None:
    """Raise CannotGoOn when a port is taken; `example` is the command with another port."""
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            words = f"port {port} is taken: choose another with {flag}, for example {example}"
            raise CannotGoOn(words) from None


def start(module: str, *args: str, env: Mapping[str, str], log: str = "") -> Child:
    """Start `python -m module args` in a session of its own, so that Ctrl-C reaches only us.

    What it prints goes to var/`log`, without one to the terminal.
    """
    (ROOT / "var").mkdir(exist_ok=True)
    with contextlib.ExitStack() as stack:
        output = stack.enter_context((ROOT / "var" / log).open("ab")) if log else None
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", module, *args],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )


def wait_for(address: str, children: list[Child], log: str) -> None:
    """Wait until an address answers 200. Raises CannotGoOn with the end of the log."""
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if any(child.poll() is not None for child in children):
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(address, trust_env=False, timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    raise ended(f"{address} does not answer", log)


def ended(why: str, log: str) -> CannotGoOn:
    """Return the error that shows how a log ends."""
    tail = (ROOT / "var" / log).read_text("utf-8", "replace").splitlines()[-5:]
    return CannotGoOn("\n".join([f"{why}; var/{log} ends with:", *tail]))


def stop(children: list[Child]) -> None:
    """End the processes, the stubborn ones by force."""
    for child in children:
        child.terminate()
    for child in children:
        try:
            child.wait(15)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()


def credentials(sandbox: str) -> dict[str, Any]:
    """Return every key of a sandbox."""
    answer: dict[str, Any] = httpx.get(f"{sandbox}/_sandbox/credentials", trust_env=False).json()
    return answer


def check_merchant(env: Env, credentials: Mapping[str, Any], *, provider: bool) -> None:
    """Raise CannotGoOn when .env is of another sandbox, or of the real WeChat."""
    merchant = (credentials["sp"] if provider else credentials)["mchid"]
    if env.get("SHOP_MCHID", merchant) != merchant:
        raise CannotGoOn(
            "SHOP_MCHID in .env is not this sandbox's: move .env away and run this again"
            " .env 里不是这个沙箱的商户号，先把 .env 移走再运行"
        )


def sandbox_settings(
    credentials: Mapping[str, Any], shop: str, sandbox: str, *, provider: bool
) -> dict[str, str]:
    """Return the settings of a shop at this sandbox; a service provider has keys of its own."""
    own = credentials["sp"] if provider else credentials
    apps = {app["kind"].upper(): app for app in own["apps"]}
    return {
        "SHOP_SANDBOX_URL": sandbox,
        "SHOP_PUBLIC_URL": shop,
        "SHOP_MCHID": own["mchid"],
        "SHOP_MERCHANT_SERIAL": own["merchant_serial"],
        "SHOP_MERCHANT_KEY": own["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": own["apiv3_key"],
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": credentials["public_key_id"],
        "SHOP_WECHATPAY_PUBLIC_KEY": credentials["public_key_pem"],
        "SHOP_MINIPROGRAM_APPID": apps["MINIPROGRAM"]["appid"],
        "SHOP_MINIPROGRAM_SECRET": apps["MINIPROGRAM"]["secret"],
        "SHOP_OFFICIAL_ACCOUNT_APPID": apps["OFFICIAL_ACCOUNT"]["appid"],
        "SHOP_OFFICIAL_ACCOUNT_SECRET": apps["OFFICIAL_ACCOUNT"]["secret"],
        "SHOP_APP_APPID": apps["APP"]["appid"],
        "SHOP_OTHER_MERCHANTS": json.dumps([_keys(other) for other in credentials["others"]]),
        "SHOP_DEV_CLIENT_IP": "203.0.113.10",
        **demo_settings(credentials),
    }


def _keys(merchant: Mapping[str, Any]) -> dict[str, str]:
    return {
        "mchid": merchant["mchid"],
        "serial": merchant["merchant_serial"],
        "key": merchant["merchant_private_key_pem"],
        "apiv3_key": merchant["apiv3_key"],
    }


def kept_secret(name: str) -> str:
    """Return a secret in var/, the same in every run until var/ is deleted."""
    path: Path = ROOT / "var" / name
    if not path.exists():
        path.parent.mkdir(exist_ok=True)
        path.write_text(secrets.token_hex(16))
        path.chmod(0o600)
    return path.read_text()
