"""The demo: two payments, few lines, no traceback, and nothing left running. In a copy of the shop."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shop.settings import ROOT


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop without .env, whose var/ may be written."""
    folder = tmp_path_factory.mktemp("demo")
    for path in ROOT.iterdir():
        if path.name == "pages" or (path / "__init__.py").exists():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder / path.name, ignore=ignored)
    return folder


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


def start(copy: Path, ports: tuple[int, int], *more: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SHOP_")}
    words = ["demo", "--port", str(ports[0]), "--sandbox-port", str(ports[1]), *more]
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "shop", *words],
        cwd=copy,
        env=kept | {"PYTHONIOENCODING": "ascii"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="ascii",
    )


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/healthz", trust_env=False).is_success
    except httpx.HTTPError:
        return False


def test_once_pays_twice_in_thirty_lines_of_ascii(copy: Path, ports: tuple[int, int]) -> None:
    demo = start(copy, ports, "--once")
    printed, wrong = demo.communicate(timeout=120)
    assert (demo.returncode, wrong) == (0, "")
    lines = printed.splitlines()
    assert len(lines) <= 30
    assert max(len(line) for line in lines) <= 120
    assert f"shop http://127.0.0.1:{ports[0]}" in lines
    assert f"sandbox http://127.0.0.1:{ports[1]}" in lines
    assert printed.count("PAID in") == 2
    assert printed.count("signed") >= 4
    assert not answers(ports[0])
    assert not answers(ports[1])


@pytest.fixture
def taken(ports: tuple[int, int]) -> Iterator[tuple[int, int]]:
    with socket.create_server(("127.0.0.1", ports[1])):
        yield ports


def test_a_busy_port_is_told_in_one_sentence(copy: Path, taken: tuple[int, int]) -> None:
    demo = start(copy, taken, "--once")
    printed, wrong = demo.communicate(timeout=60)
    assert (demo.returncode, printed) == (1, "")
    assert wrong.startswith(f"port {taken[1]} is taken: choose another with --sandbox-port")
    assert len(wrong.splitlines()) == 1


@pytest.mark.skipif(os.name != "posix", reason="signals are those of posix")
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_stops_both_servers_and_exits_0_also_on_a_used_var(
    copy: Path, ports: tuple[int, int], name: str
) -> None:
    demo = start(copy, ports)
    until = time.monotonic() + 60
    while time.monotonic() < until and not answers(ports[0]):
        assert demo.poll() is None
        time.sleep(0.1)
    demo.send_signal(getattr(signal, name))
    _, wrong = demo.communicate(timeout=60)
    assert (demo.returncode, wrong) == (0, "")
    assert not answers(ports[0])
    assert not answers(ports[1])
