"""The demo: two payments, few lines, no traceback, and nothing left running. In a copy of the shop."""

import itertools
import json
import os
import re
import shlex
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

from running import free_port
from shop import demo as module


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A shop without .env, whose var/ may be written."""
    folder = tmp_path_factory.mktemp("demo")
    for path in ROOT.iterdir():
        if path.name == "pages" or (path / "__init__.py").exists():
            ignored = shutil.ignore_patterns("__pycache__")
            shutil.copytree(path, folder / path.name, ignore=ignored)
    return folder


@pytest.fixture
def ports() -> tuple[int, int]:
    return free_port(), free_port()


def start(copy: Path, ports: tuple[int, int], *more: str, **settings: str) -> subprocess.Popen[str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SHOP_")}
    words = ["demo", "--port", str(ports[0]), "--sandbox-port", str(ports[1]), *more]
    return subprocess.Popen(
        [sys.executable, "-B", "-m", "shop", *words],
        cwd=copy,
        env=kept | {"PYTHONIOENCODING": "ascii"} | settings,
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


def test_the_addresses_that_dev_left_in_dotenv_are_not_the_demos(
    copy: Path, ports: tuple[int, int]
) -> None:
    addresses = "SHOP_SANDBOX_URL=http://127.0.0.1:1\nSHOP_PUBLIC_URL=http://127.0.0.1:2\n"
    (copy / ".env").write_text(addresses)
    demo = start(copy, ports, "--once")
    printed, wrong = demo.communicate(timeout=120)
    (copy / ".env").unlink()
    assert (demo.returncode, wrong) == (0, "")
    assert printed.count("PAID in") == 2


def test_a_dotenv_of_the_real_wechat_is_refused_before_its_database_is_touched(
    copy: Path, ports: tuple[int, int]
) -> None:
    (copy / ".env").write_text("SHOP_MCHID=1612345678\nSHOP_DATABASE_URL=sqlite://var/real.db\n")
    demo = start(copy, ports, "--once")
    _, wrong = demo.communicate(timeout=120)
    (copy / ".env").unlink()
    assert demo.returncode == 1
    assert wrong.startswith("SHOP_MCHID in .env is not this sandbox's")
    assert not (copy / "var" / "real.db").exists()


def test_full_shows_the_signed_strings_as_they_are(copy: Path, ports: tuple[int, int]) -> None:
    demo = start(copy, ports, "--once", "--full")
    printed, wrong = demo.communicate(timeout=120)
    assert (demo.returncode, wrong) == (0, "")
    request = printed.partition("the shop signed\n")[2].splitlines()[:5]
    assert request[0] == "      POST\\n"
    assert request[1] == "      /v3/pay/transactions/jsapi\\n"
    body = json.loads(request[4].strip().removesuffix("\\n"))
    assert body["amount"] == {"total": 9900, "currency": "CNY"}
    covered = printed.partition("paySign covers\n")[2].splitlines()[:4]
    assert covered[3].startswith("      prepay_id=")
    notified = printed.partition("WeChat signed\n")[2].splitlines()[:3]
    assert json.loads(notified[2].strip().removesuffix("\\n"))["event_type"]


def test_a_channel_without_v3_s_signatures_is_not_waited_for(
    copy: Path, ports: tuple[int, int]
) -> None:
    demo = start(copy, ports, "--once", SHOP_CHANNELS="huifu")
    printed, wrong = demo.communicate(timeout=120)
    assert (demo.returncode, wrong) == (0, "")
    lasted = [float(seconds) for seconds in re.findall(r"PAID in (\S+) s", printed)]
    assert len(lasted) == 2
    assert max(lasted) < module.PATIENCE
    assert " signed " not in printed


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


def test_the_last_lines_lead_somewhere(copy: Path, ports: tuple[int, int]) -> None:
    demo = start(copy, ports)
    assert demo.stdout
    lines = list(itertools.takewhile(lambda line: not line.startswith("Ctrl-C"), demo.stdout))
    farewell = lines[lines.index("\n", lines.index("\n") + 1) :]
    for address in re.findall(r"  (http://\S+)$", "".join(farewell), re.M):
        assert httpx.get(address, trust_env=False).status_code == 200, address
    [command] = [line for line in farewell if "refund one fen" in line]
    words = shlex.split(command.partition("one fen")[2])
    headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
    body = words[words.index("-d") + 1]
    refunded = httpx.post(words[-1], headers=headers, content=body, trust_env=False)
    assert refunded.status_code == 202, refunded.text
    demo.send_signal(signal.SIGINT)
    _, wrong = demo.communicate(timeout=60)
    assert (demo.returncode, wrong) == (0, "")
    assert len(lines) < 30


@pytest.mark.parametrize(
    ("frontends", "named"),
    [
        ((), ["/docs", "://sandbox"]),
        (("h5",), ["://shop\n", "/docs", "://sandbox"]),
        (("miniprogram",), ["pages/miniprogram", "/docs", "://sandbox"]),
    ],
)
def test_only_what_was_baked_is_named(
    frontends: tuple[str, ...],
    named: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in frontends:
        (tmp_path / "pages" / name).mkdir(parents=True)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    module._farewell("http://shop", "http://sandbox", "token", "N1")
    printed = capsys.readouterr().out
    assert [part for part in named if part not in printed] == []
    assert ("pages/miniprogram" in printed) == ("miniprogram" in frontends)
    assert ("http://shop\n" in printed) == ("h5" in frontends)


def test_the_demo_buys_what_is_offered_first_and_no_virtual_goods_in_a_mini_program() -> None:
    products = [{"sku": "course", "kind": "virtual"}, {"sku": "cup", "kind": "physical"}]
    answer = httpx.MockTransport(lambda _: httpx.Response(200, json={"products": products}))
    with httpx.Client(transport=answer) as http:
        story = module.Story(http, "http://shop", "http://sandbox", "wx1", full=False)
        assert story._first_product("miniprogram") == "cup"
        assert story._first_product("jsapi") == "course"
        products.pop()
        with pytest.raises(module.CannotGoOn, match=r"catalogue\.py"):
            story._first_product("miniprogram")
