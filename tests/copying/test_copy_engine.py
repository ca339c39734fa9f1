"""checkout/README.md, followed word for word: the engine takes payments in somebody else's project.

The environment is fresh and has no Sanic in it; only the sandbox runs in the template's own.
"""

import os
import re
import secrets
import shlex
import signal
import subprocess
import sys
import tomllib
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns
from urllib.parse import SplitResult, urlsplit

import httpx
import pytest
from kit.databases import absent

from bakes import PROJECT
from running import JSON, SECONDS, Demo, answers, free_port, until

README = (PROJECT / "checkout" / "README.md").read_text(encoding="utf-8")
#: what a shop of one channel lacks
UNCHOSEN = ignore_patterns("__pycache__", "huifu.py", "wechat_v2.py", "v2*.py")
SERVERS = {
    "postgres": ("SHOP_TEST_POSTGRES_URL", "asyncpg://postgres@127.0.0.1:5432/postgres"),
    "mysql": ("SHOP_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/mysql"),
}
STAFF_TOKEN = "the-staff-token-of-the-tests"


@dataclass(frozen=True)
class Shop(Demo):
    """The README's program as it runs; one buyer is logged in."""

    buyer: str = "buyer-1"
    openid: str = ""

    @property
    def printed(self) -> str:
        """What the program has written so far."""
        return (self.folder / "main.log").read_text(encoding="utf-8")

    def headers(self, key: str = "") -> dict[str, str]:
        """Who asks, and with which Idempotency-Key."""
        asks = {"X-User": self.buyer, "X-Openid": self.openid, "X-Staff": STAFF_TOKEN}
        return asks | {"Idempotency-Key": key or secrets.token_hex(8)}

    def call(self, path: str, form: JSON | None = None, key: str = "") -> JSON:
        """Post to the program."""
        return self.post(self.shop + path, form or {}, self.headers(key))

    def order(self) -> str:
        """Place an order of two teas for 136.00 yuan."""
        placed = self.call("/orders", {"longjing": 2})
        assert placed["total_fen"] == 13600
        return str(placed["order_no"])

    def start(self, number: str) -> JSON:
        """Start a payment."""
        return self.call(f"/orders/{number}/payments")

    def pay(self, invoke: JSON) -> None:
        """Let the buyer pay."""
        done = self.control("pay", **invoke)
        assert done["err_msg"] == "requestPayment:ok", done

    def shown(self, number: str) -> JSON:
        """Return the order as its buyer sees it."""
        answer = self.http.get(f"{self.shop}/orders/{number}", headers=self.headers())
        assert answer.is_success, answer.text
        shown: JSON = answer.json()
        return shown

    def was_notified(self, number: str) -> bool:
        """Tell whether the sandbox has sent a notification of the order's only payment."""
        orders = self.http.get(f"{self.sandbox}/_sandbox/orders").json()["orders"]
        [notified] = [order["notified"] for order in orders if number in order["out_trade_no"]]
        return bool(notified)

    def becomes(self, number: str, state: str) -> None:
        """Wait until the order is in this state."""
        until(lambda: self.shown(number)["state"] == state, f"{number} {state}")


def blocks(language: str) -> list[str]:
    """Return the fenced blocks of the README in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```$", README, re.M | re.S)


Process = subprocess.Popen[bytes]


@contextmanager
def process(command: list[str], folder: Path, log: Path, **env: str) -> Iterator[Process]:
    """Run a program with its output in a file, and end it."""
    with log.open("wb") as out:
        running = subprocess.Popen(
            command, cwd=folder, env={**os.environ, **env}, stdout=out, stderr=out
        )
        try:
            yield running
        finally:
            running.terminate()
            running.wait(SECONDS)


def wait_for(http: httpx.Client, url: str, running: Process, log: Path) -> None:
    """Wait until a program answers, or show what it wrote when it ended instead."""
    until(lambda: answers(http, url) or running.poll() is not None, f"an answer of {url}")
    assert running.poll() is None, log.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project that was empty, after the first lines of the README."""
    folder = tmp_path_factory.mktemp("copied")
    for name in ("checkout", "wechat"):
        copytree(PROJECT / name, folder / "shop" / name, ignore=UNCHOSEN)
    (folder / "my-project").mkdir()
    copy_and_install, _ = blocks("sh")
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        ["sh", "-e", "-c", copy_and_install],
        cwd=folder / "shop",
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    [program] = blocks("python")
    (folder / "my-project" / "main.py").write_text(program, encoding="utf-8")
    return folder / "my-project"


@pytest.fixture(scope="module")
def sandbox(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A sandbox of its own for these tests, because they move its clock.

    It is a day ahead already: whoever starts now has to follow it from the start.
    """
    var = tmp_path_factory.mktemp("sandbox")
    port = free_port()
    log = var / "sandbox.log"
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-m", "sandbox", "--port", str(port)]
    own = {"SANDBOX_VAR": str(var), "PYTHONDONTWRITEBYTECODE": "1"}
    with process(command, PROJECT, log, **own) as running, httpx.Client(trust_env=False) as http:
        wait_for(http, f"{url}/healthz", running, log)
        http.post(f"{url}/_sandbox/clock", json={"advance_seconds": 86_400}).raise_for_status()
        yield url


@pytest.fixture(scope="module", params=["sqlite", *SERVERS])
async def database_url(request: pytest.FixtureRequest) -> AsyncIterator[str]:
    """A database of this name that is empty, on each server that is there."""
    name = f"copied_{secrets.token_hex(4)}"
    if request.param == "sqlite":
        yield f"sqlite://{name}.db"
        return
    variable, default = SERVERS[request.param]
    server = urlsplit(os.environ.get(variable) or default)
    try:
        await run(server, f"CREATE DATABASE {name}")
    except Exception as error:  # each driver has its own for "nobody listens"
        absent(f"no {request.param} at {variable}: {type(error).__name__} {error}")
    yield server._replace(path=f"/{name}").geturl()
    await run(server, f"DROP DATABASE {name}")


async def run(server: SplitResult, statement: str) -> None:
    """Give a database server one statement."""
    account = {"host": server.hostname, "port": server.port, "user": server.username}
    account |= {"password": server.password or "", "database": server.path.strip("/")}
    if server.scheme == "mysql":
        import asyncmy  # drivers are extras: without one its server counts as absent

        mysql = await asyncmy.connect(**account, connect_timeout=2, autocommit=True)
        async with mysql.cursor() as cursor:
            await cursor.execute(statement)
        await mysql.ensure_closed()
        return
    import asyncpg

    postgres = await asyncpg.connect(**account, timeout=2)
    await postgres.execute(statement)
    await postgres.close()


def settings(credentials: JSON, url: str, sandbox: str, database_url: str) -> dict[str, str]:
    """Fill the README's table of variables from the sandbox's credentials, as it says."""
    rows = re.findall(r"^\| `([A-Z0-9_]+)` \|.*\|(.*)\|$", README, re.M)
    [miniprogram] = [app for app in credentials["apps"] if app["kind"] == "miniprogram"]
    own = {
        "APPID": miniprogram["appid"],
        "DATABASE_URL": database_url,
        "PUBLIC_URL": url,
        "SANDBOX_URL": sandbox,
        "STAFF_TOKEN": STAFF_TOKEN,
    }
    return {name: own.get(name) or credentials[cell.strip(" `")] for name, cell in rows}


@pytest.fixture(scope="module")
def shop(project: Path, sandbox: str, database_url: str) -> Iterator[Shop]:
    """The README's program on a database; when it is stopped, it stops clean."""
    port = free_port()
    log = project / "main.log"
    url = f"http://127.0.0.1:{port}"
    _, serve = blocks("sh")
    command = shlex.split(serve.replace("8000", str(port)))
    with httpx.Client(trust_env=False, timeout=SECONDS) as http:
        credentials = http.get(f"{sandbox}/_sandbox/credentials").json()
        env = settings(credentials, url, sandbox, database_url)
        with process(command, project, log, **env) as running:
            wait_for(http, f"{url}/openapi.json", running, log)
            shop = Shop(project, url, sandbox, http)
            _, openid = shop.login_code()
            yield Shop(project, url, sandbox, http, openid=openid)
            running.send_signal(signal.SIGINT)
            running.wait(SECONDS)
    assert "Application shutdown complete." in shop.printed
    assert "Traceback" not in shop.printed, shop.printed


def test_the_environment_has_no_sanic_and_the_engine_does_not_miss_it(project: Path) -> None:
    python = project / ".venv" / "bin" / "python"
    code = "import checkout.engine, checkout.bill, checkout.channels as c; c.modules(); import {}"
    for name, is_there in (("tortoise", True), ("sanic", False), ("aiohttp", False)):
        command = [str(python), "-c", code.format(name)]
        done = subprocess.run(command, cwd=project, capture_output=True, text=True, timeout=60)
        assert (done.returncode == 0) == is_there, done.stderr
        assert is_there or f"No module named '{name}'" in done.stderr


def test_the_recipe_installs_the_versions_that_the_shop_runs_with() -> None:
    shop = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = shop["optional-dependencies"]
    wanted = {*shop["dependencies"], *extras["postgres"], *extras["mysql"]}
    names = {re.split("[<>=]", requirement)[0]: requirement for requirement in wanted}
    written = re.findall(r'"([\w-]+)([<>=][^"]+)"', blocks("sh")[0])
    assert len(written) > 6
    shared = {name: name + limits for name, limits in written if name in names}
    assert shared == {name: names[name] for name in shared}


def test_it_takes_a_payment_and_gives_it_back(shop: Shop) -> None:
    number = shop.order()
    shop.pay(shop.start(number))
    shop.becomes(number, "PAID")
    until(lambda: shop.was_notified(number), "the sandbox hears that it was received")
    key = secrets.token_hex(8)
    refund = shop.call(f"/orders/{number}/refunds", {"refund_fen": 3600}, key)
    assert shop.call(f"/orders/{number}/refunds", {"refund_fen": 3600}, key) == refund
    until(lambda: shop.shown(number)["refunded_fen"] == 3600, "the refund")
    assert shop.shown(number)["state"] == "PAID"
    lines = until(lambda: re.findall(rf"{number}-on_\w+.*fen went back.*", shop.printed), "a hook")
    assert len(lines) == 1
    assert shop.printed.count(f"{number}-on_paid: pack {number} for {shop.buyer}") == 1


def test_the_sweep_finds_a_payment_whose_notification_was_lost(shop: Shop) -> None:
    shop.control("faults", notifications="drop")
    try:
        number = shop.order()
        shop.pay(shop.start(number))
        assert shop.shown(number)["state"] == "OPEN"
        shop.control("clock", advance_seconds=10)
        shop.becomes(number, "PAID")
    finally:
        shop.control("faults")
    assert shop.was_notified(number) is False
    until(lambda: f"{number}-on_paid: pack" in shop.printed, "the hook")


def test_an_order_lasts_as_long_here_as_in_the_sandbox(shop: Shop) -> None:
    number = shop.order()
    invoke = shop.start(number)
    shop.control("clock", advance_seconds=25 * 60)
    shop.pay(invoke)
    shop.becomes(number, "PAID")
    late = shop.order()
    shop.control("clock", advance_seconds=32 * 60)
    shop.becomes(late, "CLOSED")


def test_the_same_key_places_one_order_and_another_buyer_does_not_see_it(shop: Shop) -> None:
    key = secrets.token_hex(8)
    first, second = (shop.call("/orders", {"puer": 1}, key) for _ in range(2))
    assert first == second
    url = f"{shop.shop}/orders/{first['order_no']}"
    other = {"X-User": "buyer-2", "X-Openid": "o"}
    assert shop.http.get(url, headers=other).status_code == 404
    answer = shop.http.post(f"{shop.shop}/orders", json={"puer": 2}, headers=shop.headers(key))
    assert (answer.status_code, answer.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")


def test_a_notification_that_nobody_signed_moves_nothing(shop: Shop) -> None:
    answer = shop.http.post(f"{shop.shop}/notify/wechat/payment", json={})
    assert answer.status_code == 401
    assert answer.json()["code"] == "FAIL"
    assert shop.http.post(f"{shop.shop}/notify/elsewhere", json={}).status_code == 404


def test_only_staff_give_money_back(shop: Shop) -> None:
    number = shop.order()
    headers = shop.headers() | {"X-Staff": "guessed"}
    url = f"{shop.shop}/orders/{number}/refunds"
    assert shop.http.post(url, json={"refund_fen": 1}, headers=headers).status_code == 403
