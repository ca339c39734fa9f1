"""The measured apps: each a process pinned to its cores, with a database of its own."""

import asyncio
import json
import os
import secrets
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import httpx

from bench import counted, credentials, history
from bench.load import request
from running import answers, free_port

BENCH = Path(__file__).resolve().parent
SHOP = BENCH.parent.parent / "{{cookiecutter.project_slug}}"
SERVERS = {
    "postgres": (
        "SHOP_TEST_POSTGRES_URL",
        "asyncpg://postgres@127.0.0.1:5432/postgres",
    ),
    "mysql": ("SHOP_TEST_MYSQL_URL", "mysql://root@127.0.0.1:3306/mysql"),
}
FORM = b'{"scene":"miniprogram"}'
JSON_TYPE = {"Content-Type": "application/json"}
BUYERS = 300  # each orders little: the shop limits what one buyer may
PATIENCE = 120  # seconds for a start, on a busy machine


@dataclass(frozen=True)
class Process:
    """A server that runs; `statements` is the file with its count."""

    port: int
    process: subprocess.Popen[bytes]
    statements: Path

    def cpu_seconds(self) -> float:
        """Return what it has used of its core, threads included."""
        stat = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(stat[11]) + int(stat[12])) / os.sysconf("SC_CLK_TCK")


class App(ABC):
    """What the bench asks of an app, whoever wrote it; several instances share a database."""

    name: str
    notify_path: str
    price_fen: int

    def __init__(self, instances: Sequence[Process]) -> None:
        self.instances = instances
        self.ports = [instance.port for instance in instances]

    def cpu_seconds(self) -> float:
        """Return what all instances have used."""
        return sum(instance.cpu_seconds() for instance in self.instances)

    def statements(self) -> int:
        """Return how many statements all instances have sent."""
        return sum(counted.read(instance.statements) for instance in self.instances)

    @abstractmethod
    def place(self, n: int) -> bytes:
        """Return the request that places the order of buyer `n`."""

    @abstractmethod
    def start(self, n: int, order_no: str) -> bytes:
        """Return the request that starts the payment of an order of buyer `n`."""


class Shop(App):
    """The generated shop; many buyers share the orders."""

    name = "shop"
    notify_path = "/notify/wechat/payment"

    def __init__(self, instances: Sequence[Process]) -> None:
        super().__init__(instances)
        with httpx.Client(base_url=f"http://127.0.0.1:{self.ports[0]}", trust_env=False) as http:
            tokens = [_token(http) for _ in range(BUYERS)]
            product = http.get("/api/products").json()["products"][0]
        self.price_fen = product["price_fen"]
        self._cart = json.dumps({"items": [{"sku": product["sku"], "quantity": 1}]}).encode()
        self._buyers = [{**JSON_TYPE, "Authorization": f"Bearer {token}"} for token in tokens]

    def place(self, n: int) -> bytes:
        headers = {**self._buyers[n % BUYERS], "Idempotency-Key": secrets.token_hex(8)}
        return request("POST", "/api/orders", headers, self._cart)

    def start(self, n: int, order_no: str) -> bytes:
        return request("POST", f"/api/orders/{order_no}/payments", self._buyers[n % BUYERS], FORM)


class Peer(App):
    """The naive app; `prefix` chooses between the same writes ("") and "/fewer"."""

    price_fen = 9900

    def __init__(self, instances: Sequence[Process], prefix: str) -> None:
        super().__init__(instances)
        self.name = "fewer writes" if prefix else "peer"
        self.notify_path = f"{prefix}/notify"
        self._prefix = prefix

    def place(self, n: int) -> bytes:
        return request("POST", "/orders", JSON_TYPE, b"{}")

    def start(self, n: int, order_no: str) -> bytes:
        return request("POST", f"{self._prefix}/orders/{order_no}/pay", JSON_TYPE, FORM)


def _token(http: httpx.Client) -> str:
    answer = http.post("/api/sessions/miniprogram", json={"code": secrets.token_hex(8)})
    token: str = answer.raise_for_status().json()["token"]
    return token


@contextmanager
def upstream(keys: credentials.JSON, cores: set[int]) -> Iterator[str]:
    """Run WeChat; its address."""
    port = free_port()
    command = [sys.executable, "-m", "bench.upstream", str(port)]
    process = subprocess.Popen(
        command,
        env={**_environment(), credentials.VARIABLE: json.dumps(keys)},
    )
    os.sched_setaffinity(process.pid, cores)
    url = f"http://127.0.0.1:{port}"
    with _stopped_at_the_end(process):
        _wait_for(url, "/sns/jscode2session?js_code=hello")
        yield url


def set_delay(wechat: str, milliseconds: int) -> None:
    """Let WeChat take so much longer for each answer."""
    httpx.post(f"{wechat}/_bench/delay?{milliseconds}", trust_env=False).raise_for_status()


@contextmanager
def shop(
    keys: credentials.JSON,
    wechat: str,
    url: str,
    folder: Path,
    cores: Sequence[set[int]],
    orders: int = 0,
) -> Iterator[Shop]:
    """Run an instance of the shop for each set of cores, all on one database.

    `orders` are there already, with everything that belongs to them.
    """
    env = {
        "SHOP_SANDBOX_URL": wechat,
        "SHOP_DATABASE_URL": url,
        "SHOP_SECRET_KEY": secrets.token_hex(32),
        "SHOP_MCHID": keys["mchid"],
        "SHOP_MERCHANT_SERIAL": keys["merchant_serial"],
        "SHOP_MERCHANT_KEY": keys["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": keys["apiv3_key"],
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": keys["public_key_id"],
        "SHOP_WECHATPAY_PUBLIC_KEY": keys["public_key_pem"],
        "SHOP_MINIPROGRAM_APPID": keys["appid"],
        "SHOP_MINIPROGRAM_SECRET": keys["app_secret"],
    }
    subprocess.run(
        [sys.executable, "-m", "shop", "migrate"],
        cwd=SHOP,
        env={**_environment(), **env},
        check=True,
        stdout=subprocess.DEVNULL,
    )
    if orders:
        asyncio.run(history.fill(url, orders))
    with ExitStack() as stack:
        instances = [
            stack.enter_context(_run(["shop", "serve", "--port"], env, folder, on)) for on in cores
        ]
        yield Shop(instances)


@contextmanager
def peer(
    keys: credentials.JSON, wechat: str, url: str, folder: Path, cores: set[int]
) -> Iterator[Process]:
    """Run the peer."""
    env = {
        credentials.VARIABLE: json.dumps(keys),
        "BENCH_UPSTREAM": wechat,
        "BENCH_DATABASE_URL": url,
    }
    with _run(["bench.peer"], env, folder, cores) as process:
        yield process


@contextmanager
def _run(
    command: Sequence[str], env: Mapping[str, str], folder: Path, cores: set[int]
) -> Iterator[Process]:
    port = free_port()
    statements = folder / f"statements-{port}"
    log = folder / f"log-{port}"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "bench.counted",
                str(statements),
                *command,
                str(port),
            ],
            cwd=SHOP,
            env={**_environment(), **env},
            stdout=output,
            stderr=output,
        )
        os.sched_setaffinity(process.pid, cores)
        with _stopped_at_the_end(process):
            _wait_for(f"http://127.0.0.1:{port}", "/healthz")
            yield Process(port, process, statements)


def _environment() -> dict[str, str]:
    """Return ours without settings of a shop, and where both packages are imported from."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    return {**own, "PYTHONPATH": f"{SHOP}{os.pathsep}{BENCH.parent}"}


def _wait_for(url: str, path: str) -> None:
    end = time.monotonic() + PATIENCE
    with httpx.Client(trust_env=False) as http:
        while not answers(http, url + path):
            assert time.monotonic() < end, f"{url} does not answer"
            time.sleep(0.05)


@contextmanager
def _stopped_at_the_end(process: subprocess.Popen[bytes]) -> Iterator[None]:
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


@contextmanager
def database(kind: str, folder: Path) -> Iterator[str]:
    """Make an empty database; its URL."""
    name = f"bench_{secrets.token_hex(4)}"
    if kind == "sqlite":
        yield f"sqlite://{folder}/{name}.db"
        return
    variable, default = SERVERS[kind]
    server = os.environ.get(variable) or default
    asyncio.run(_execute(kind, server, f"CREATE DATABASE {name}"))
    try:
        yield urlunsplit(urlsplit(server)._replace(path=f"/{name}"))
    finally:
        asyncio.run(_execute(kind, server, f"DROP DATABASE {name}"))


async def _execute(kind: str, server: str, statement: str) -> None:
    parts = urlsplit(server)
    options: dict[str, Any] = {
        "host": parts.hostname,
        "port": parts.port,
        "user": parts.username,
        "password": parts.password or "",
    }
    if kind == "postgres":
        import asyncpg

        connection = await asyncpg.connect(**options, database=parts.path.strip("/"))
        await connection.execute(statement)
        await connection.close()
        return
    import asyncmy

    connection = await asyncmy.connect(**options, autocommit=True)
    async with connection.cursor() as cursor:
        await cursor.execute(statement)
    await connection.ensure_closed()
