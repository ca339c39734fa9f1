"""Clients that hang up hurt nobody, and a stop finishes what is under way."""

import asyncio
import os
import secrets
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from kit.buyers import paying
from kit.databases import EVERY_DATABASE
from kit.running import RunningShop, settings
from kit.wechat import WeChat
from shop.settings import ROOT

STORM = int(os.environ.get("SHOP_TEST_HANGUPS", "1000"))


async def hang_up(port: int, request: bytes, pause: float) -> None:
    """Send a request and cut the connection after a moment."""
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(request)
    await asyncio.sleep(pause)
    writer.transport.abort()


def request(path: str, headers: dict[str, str], body: bytes, *, cut: int = 0) -> bytes:
    """Build a POST as bytes; `cut` leaves out the end of the body."""
    length = {"Content-Length": str(len(body)), "Content-Type": "application/json", "Host": "x"}
    lines = "".join(f"{name}: {value}\r\n" for name, value in (headers | length).items())
    return f"POST {path} HTTP/1.1\r\n{lines}\r\n".encode() + body[: len(body) - cut]


@EVERY_DATABASE
async def test_a_storm_of_clients_that_hang_up_leaves_everything_usable(
    running: RunningShop,
) -> None:
    buyer, order, started = await paying(running)
    wechat = WeChat(running)
    port = int(running.origin.rpartition(":")[2])
    notification = wechat.seal(await wechat.trade(started["out_trade_no"]))
    new = b'{"items":[{"sku":"cup","quantity":1}]}'
    pay = b'{"scene":"miniprogram"}'

    def request_of(n: int) -> bytes:
        if n % 4 == 0:
            key = {"Idempotency-Key": secrets.token_hex(8)}
            return request("/api/orders", buyer.headers | key, new, cut=n % 3)
        if n % 4 == 1:
            return request(f"/api/orders/{order['order_no']}/payments", buyer.headers, pay)
        if n % 4 == 2:
            return request("/notify/wechat/payment", wechat.headers(notification), notification)
        return request("/api/sessions/guest", {}, b"{}")

    for start in range(0, STORM, 50):
        pauses = ((n, (n % 7) * 0.001) for n in range(start, start + 50))
        await asyncio.gather(*(hang_up(port, request_of(n), pause) for n, pause in pauses))
    for _ in range(20):
        fresh = await buyer.order()
        assert (await buyer.start(fresh["order_no"])).status_code == 201
    assert await buyer.state(order["order_no"]) == "PAID"
    assert (await running.http.get("/readyz")).status_code == 200
    assert await running.shop.checkout.work.drain(seconds=5) == 0


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM to send")
async def test_a_stop_under_load_answers_what_is_in_flight(
    keys: object, sandbox_url: str, database_url: str, tmp_path: Path
) -> None:
    async with httpx.AsyncClient(base_url=sandbox_url, trust_env=False) as sandbox:
        credentials = (await sandbox.get("/_sandbox/credentials")).json()
        code = await sandbox.post(
            "/_sandbox/login-code",
            json={"appid": credentials["apps"][0]["appid"], "openid": "oBuyer"},
        )
    with httpx.Client(trust_env=False) as probe:
        port = _free_port()
        url = f"http://127.0.0.1:{port}"
        env = {**os.environ, **settings(credentials, sandbox_url, url, database_url)}
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "shop", "serve", "--port", str(port), env=env, cwd=ROOT,
            stderr=asyncio.subprocess.DEVNULL,
        )  # fmt: skip
        await _ready(url)
        del probe
    async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=30) as http:
        session = await http.post("/api/sessions/miniprogram", json={"code": code.json()["code"]})
        headers = {"Authorization": f"Bearer {session.json()['token']}"}

        orders = [await Order.begun(port, headers) for _ in range(40)]
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        done = await asyncio.gather(*(order.end() for order in orders))
    assert await asyncio.wait_for(process.wait(), 20) == 0
    assert time.monotonic() - began < 20
    assert set(done) == {201}


@dataclass
class Order:
    """An order that is under way: the shop has read its head and waits for its body."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    body: bytes = b'{"items":[{"sku":"cup","quantity":1}]}'

    @classmethod
    async def begun(cls, port: int, headers: dict[str, str]) -> "Order":
        order = cls(*await asyncio.open_connection("127.0.0.1", port))
        expect = {"Idempotency-Key": secrets.token_hex(8), "Expect": "100-continue"}
        head = request("/api/orders", headers | expect, order.body, cut=len(order.body))
        order.writer.write(head)
        assert await order._status() == 100
        return order

    async def end(self) -> int:
        self.writer.write(self.body)
        status = await self._status()
        self.writer.close()
        return status

    async def _status(self) -> int:
        """Read a head."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        return int(head.split()[1])


def _free_port() -> int:
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def _ready(url: str) -> None:
    async with httpx.AsyncClient(trust_env=False) as http, asyncio.timeout(20):
        while True:
            try:
                if (await http.get(f"{url}/readyz")).status_code == 200:
                    return
            except httpx.HTTPError:
                await asyncio.sleep(0.05)
