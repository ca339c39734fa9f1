"""The shop's commands as people type them: in a copy of the shop, in a process of their own."""

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Thread
from typing import Any

import httpx
import pytest
from kit.running import merchant_settings

from bakes import LOCAL, PROJECT
from running import SECONDS, answers, free_port, until

PATIENCE = 120  # for a busy machine; each step of `dev` takes one or two
NAMES = ("LANG", "LC_ALL", "HOME", "PATH", "SYSTEMROOT", "TEMP", "TMP")


def copied(folder: Path) -> Path:
    """Copy the shop, without its tests, to where a .env and a var/ may be written."""
    ignored = shutil.ignore_patterns(*LOCAL, "tests", ".env")
    return Path(shutil.copytree(PROJECT, folder, ignore=ignored))


@pytest.fixture(scope="module")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the shop that the tests of a file share."""
    return copied(tmp_path_factory.mktemp("shell") / "shop")


def clean(**settings: str) -> dict[str, str]:
    """Return an environment without any setting but these."""
    kept = {name: value for name, value in os.environ.items() if name in NAMES}
    return {**kept, "PYTHONDONTWRITEBYTECODE": "1", **settings}


def shop(
    folder: Path,
    *words: str,
    env: Mapping[str, str] | None = None,
    seconds: float = SECONDS,
    prefix: tuple[str, ...] = (),
) -> "subprocess.CompletedProcess[str]":
    """Run `python -m shop …` to its end, which has to come within `seconds`.

    `env` has its settings; `prefix` stands before the command.
    """
    return subprocess.run(
        [*prefix, sys.executable, "-m", "shop", *words],
        cwd=folder,
        env=clean(**(env or {})),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        timeout=seconds,
    )


@contextmanager
def sandbox(folder: Path) -> Iterator[str]:
    """Run `python -m sandbox`; gives its address."""
    url = f"http://127.0.0.1:{(port := free_port())}"
    process = subprocess.Popen(
        [sys.executable, "-m", "sandbox", "--port", str(port)],
        cwd=folder,
        env=clean(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        with httpx.Client(trust_env=False) as http:
            until(lambda: answers(http, f"{url}/healthz"), "the sandbox")
        yield url
    finally:
        process.terminate()
        process.wait(SECONDS)


def settings_of(url: str, **more: str) -> Mapping[str, str]:
    """Return the settings with which a shop works at this sandbox."""
    credentials = httpx.get(f"{url}/_sandbox/credentials", trust_env=False).json()
    return {
        "SHOP_SANDBOX_URL": url,
        "SHOP_PUBLIC_URL": "http://127.0.0.1:8000",
        "SHOP_SECRET_KEY": "a-secret-of-the-tests-0123456789abcdef",
        **merchant_settings(credentials),
        **more,
    }


class Development:
    """A running `dev`; what it printed is in `lines`."""

    def __init__(self, folder: Path, ports: tuple[int, int]) -> None:
        self.folder = folder
        self.ports = ports
        self.lines = list[str]()
        self.http = httpx.Client(trust_env=False, base_url=f"http://127.0.0.1:{ports[0]}")
        words = ("dev", "--port", str(ports[0]), "--sandbox-port", str(ports[1]))
        self.process = subprocess.Popen(
            [sys.executable, "-u", "-m", "shop", *words],
            cwd=folder,
            env=clean(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )
        assert self.process.stdout
        self._reader = Thread(target=lambda: self.lines.extend(self.process.stdout or ()))
        self._reader.start()

    def until(self, ask: Callable[[], Any]) -> Any:
        """Wait until something is true; fail when dev stops or it takes too long."""
        for _ in range(PATIENCE * 10):
            with suppress(httpx.HTTPError):
                if answer := ask():
                    return answer
            with suppress(subprocess.TimeoutExpired):
                self.process.wait(0.1)
                break
        raise AssertionError(self.printed)

    @property
    def printed(self) -> str:
        return "".join(self.lines)

    def skus(self) -> list[str]:
        products = self.http.get("/api/products").json()["products"]
        return [product["sku"] for product in products]

    def stop(self, name: str = "SIGINT") -> int:
        """Send a signal; return the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(getattr(signal, name))
        code = self.process.wait(PATIENCE)
        self._reader.join(PATIENCE)
        if self.process.stdout:
            self.process.stdout.close()
        self.http.close()
        return code


@contextmanager
def developing(folder: Path, ports: tuple[int, int] | None = None) -> Iterator[Development]:
    running = Development(folder, ports or (free_port(), free_port()))
    try:
        yield running
    finally:
        running.stop()
