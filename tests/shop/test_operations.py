"""What an operator relies on: readiness, outages, bounded bodies, slow senders, quiet logs."""

import asyncio
import contextlib
import errno
import json
import logging
import os
import re
import resource
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from checkout import log
from kit.answers import check_failure
from kit.buyers import JSON, paying
from kit.databases import Servers
from kit.logs import Diary
from kit.running import RunningShop
from kit.wechat import WeChat
from shop.log import SILENT, JsonLines, OncePerSecond
from shop.web import descriptors, health, incoming
from tortoise.backends.base.executor import EXECUTOR_CACHE
from tortoise.connection import get_connection

ORDER = {"items": [{"sku": "sample", "quantity": 1}]}


# -- readiness


@pytest.fixture
def eager(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try a write at every look."""
    monkeypatch.setattr(health, "PROBE_SECONDS", 0)


async def test_a_database_that_takes_no_writes_is_not_ready(
    running: RunningShop, eager: None
) -> None:
    assert (await running.http.get("/readyz")).status_code == 200
    await get_connection("default").execute_script("PRAGMA query_only = 1")
    answer = await running.http.get("/readyz")
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    buyer = await running.http.post("/api/sessions/guest", json={})
    assert check_failure(buyer, 503)["code"] == "OUTCOME_UNKNOWN"
    await get_connection("default").execute_script("PRAGMA query_only = 0")
    assert (await running.http.get("/readyz")).status_code == 200


async def test_a_full_disk_is_not_ready(running: RunningShop, eager: None, tmp_path: Path) -> None:
    """Files of this process may not grow: what a full disk says."""
    assert (await running.http.get("/readyz")).status_code == 200
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    await get_connection("default").execute_script("PRAGMA wal_checkpoint(TRUNCATE)")
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
        answer = await running.http.get("/readyz")
        order = await running.http.post("/api/sessions/guest", json={})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (answer.status_code, answer.json()["ready"]) == (503, False)
    assert check_failure(order, 503)["code"] == "OUTCOME_UNKNOWN"
    assert (await running.http.get("/readyz")).status_code == 200


async def test_a_write_is_tried_every_few_seconds_however_often_somebody_looks(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[float] = []

    async def probe() -> None:
        tried.append(time.monotonic())

    monkeypatch.setattr("checkout.database.probe", probe)
    for _ in range(20):
        assert (await running.http.get("/readyz")).status_code == 200
    assert len(tried) == 1
    running.shop.written_at -= health.PROBE_SECONDS
    await running.http.get("/readyz")
    assert len(tried) == 2


# -- an outage of the database


class Wire:
    """A way to the database server that can be cut and mended."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._talks: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def mend(self) -> None:
        """Let connections through, always at the same port."""
        self._server = await asyncio.start_server(self._talk, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """End every connection and take no new one."""
        assert self._server is not None
        self._server.close()
        for writer in self._talks:
            writer.transport.abort()
        await asyncio.sleep(0)

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(*self._there)
        self._talks |= {writer, back}
        await asyncio.gather(_copy(reader, back), _copy(there, writer))


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while data := await reader.read(65536):
            writer.write(data)
    except OSError:
        pass
    writer.close()


@pytest.mark.parametrize("server_kind", ["postgres", "mysql"])
class TestAnOutage:
    @pytest.fixture
    async def wire(self, server_kind: str, servers: Servers) -> AsyncIterator[Wire]:
        parts = urlsplit((await servers.get(server_kind)).database_url)
        wire = Wire(parts.hostname or "", parts.port or 0)
        await wire.mend()
        yield wire
        await wire.cut()

    @pytest.fixture
    async def database_url(
        self, server_kind: str, servers: Servers, wire: Wire
    ) -> AsyncIterator[str]:
        EXECUTOR_CACHE.clear()  # Tortoise keeps SQL by the table's name, whatever the database
        server = await servers.get(server_kind)
        parts = urlsplit(server.database_url)
        user = f"{parts.username}@" if parts.username else ""
        yield urlunsplit(parts._replace(netloc=f"{user}127.0.0.1:{wire.port}"))
        await server.empty()

    async def test_is_503_for_buyers_and_500_for_wechat_until_it_is_over(
        self, running: RunningShop, wire: Wire, caplog: pytest.LogCaptureFixture
    ) -> None:
        buyer, _, started = await paying(running)
        wechat = WeChat(running)
        body = wechat.seal(await wechat.trade(started["out_trade_no"]))
        await wire.cut()
        caplog.clear()
        began = time.monotonic()
        waits = set()
        for n in range(30):
            answer = await buyer.post("/api/orders", ORDER, **{"Idempotency-Key": f"k{n}"})
            assert check_failure(answer, 503)["code"] == "OUTCOME_UNKNOWN", answer.text
            waits.add(int(answer.headers["Retry-After"]))
            answer = await wechat.send(body)
            assert (answer.status_code, answer.json()["code"]) == (500, "FAIL")
        assert (await running.http.get("/readyz")).status_code == 503
        assert len(waits) > 1
        loud = [r for r in caplog.records if r.name not in SILENT]
        records = [r for r in loud if r.levelno >= logging.WARNING]
        seconds = time.monotonic() - began
        assert len(records) <= seconds + 1, [r.getMessage() for r in records]
        assert [r for r in records if r.exc_info] == []
        await wire.mend()
        await buyer.order()
        assert (await wechat.send(body)).status_code == 204
        assert (await running.http.get("/readyz")).status_code == 200


# -- bodies


@asynccontextmanager
async def connected(running: RunningShop) -> AsyncIterator[Any]:
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(running.origin).port)
    try:
        yield reader, writer
    finally:
        writer.close()


def head(path: str, *headers: str) -> bytes:
    lines = [f"POST {path} HTTP/1.1", "Host: x", "Content-Type: application/json", *headers]
    return "\r\n".join([*lines, "", ""]).encode()


async def status_of(reader: asyncio.StreamReader) -> int:
    answer = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
    return int(answer.split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("path", "length", "status"),
    [
        ("/api/orders", 65_537, 413),
        ("/api/sessions/guest", 8_000_000, 413),
        ("/notify/wechat/payment", 2 * 1024 * 1024 + 1, 413),
        ("/notify/wechat/refund", 100_000_000, 413),
    ],
)
async def test_a_body_is_refused_by_its_length_before_it_comes(
    running: RunningShop, path: str, length: int, status: int
) -> None:
    async with connected(running) as (reader, writer):
        writer.write(head(path, f"Content-Length: {length}"))
        assert await status_of(reader) == status


@pytest.mark.parametrize("size", [70_000, 3_000])
async def test_a_body_in_chunks_is_refused_as_soon_as_it_is_too_large(
    running: RunningShop, size: int
) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b" " * size)
    async with connected(running) as (reader, writer):
        writer.write(head("/api/orders", "Transfer-Encoding: chunked"))
        writer.write(chunk * (70_000 // size))
        assert await status_of(reader) == 413


def resident_bytes() -> int:
    """Return the memory that this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * resource.getpagesize()


async def test_forty_unfinished_bodies_of_8_mb_are_not_kept(running: RunningShop) -> None:
    sent = b" " * 7_900_000
    before = resident_bytes()
    async with connected(running) as (reader, writer):
        writer.write(head("/api/orders", "Content-Length: 65536") + sent[:65_000])
        hanging = [await self_sent(running, sent) for _ in range(40)]
        assert resident_bytes() - before < 60_000_000
        for _, other in hanging:
            other.close()
        writer.write(b" " * 536)
        assert await status_of(reader) == 401


async def self_sent(running: RunningShop, body: bytes) -> Any:
    """Send a part of a body of 8 MB, and leave the connection open."""
    reader, writer = await asyncio.open_connection("127.0.0.1", urlsplit(running.origin).port)
    writer.write(head("/api/orders", "Content-Length: 8000000") + body)
    await writer.drain()
    return reader, writer


async def closed(reader: asyncio.StreamReader) -> None:
    """Wait until the other side has closed the connection."""
    with contextlib.suppress(ConnectionResetError):
        await asyncio.wait_for(reader.read(), 2)


async def trickle(writer: asyncio.StreamWriter, data: bytes) -> None:
    """Send a byte now and then, as long as somebody takes it."""
    for byte in data:
        writer.write(bytes([byte]))
        await asyncio.sleep(0.02)


@pytest.mark.parametrize("path", ["/api/orders", "/notify/wechat/payment"])
async def test_a_body_that_trickles_is_cut(
    running: RunningShop, path: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BODY_SECONDS", 0.2)
    async with connected(running) as (reader, writer):
        writer.write(head(path, "Content-Length: 1000"))
        sending = asyncio.create_task(trickle(writer, b" " * 500))
        assert await status_of(reader) == 408
        await closed(reader)
        sending.cancel()


async def test_a_head_that_trickles_is_cut(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "HEAD_SECONDS", 0.2)
    async with connected(running) as (reader, writer):
        sending = asyncio.create_task(trickle(writer, head("/api/orders") * 5))
        assert await status_of(reader) == 408
        await closed(reader)
        sending.cancel()


async def test_what_was_refused_and_still_trickles_is_cut_too(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(incoming, "BODY_SECONDS", 0.3)
    async with connected(running) as (reader, writer):
        writer.write(head("/api/orders", "Content-Length: 100000"))
        assert await status_of(reader) == 413
        sending = asyncio.create_task(trickle(writer, b" " * 500))
        await closed(reader)
        sending.cancel()


async def test_a_connection_is_used_again_after_a_body_that_was_too_large(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    for _ in range(3):
        answer = await running.http.post(
            "/api/orders", content=b" " * 200_000, headers={**buyer.headers, **JSON}
        )
        assert check_failure(answer, 413)["code"] == "BODY_TOO_LARGE"
    await buyer.order()


# -- descriptors


async def test_running_out_of_descriptors_is_logged(running: RunningShop, diary: Diary) -> None:
    await descriptors.look()
    assert diary.fields("no file descriptors left") == []
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
        await descriptors.look()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    (fields,) = diary.fields("no file descriptors left")
    assert fields["why"] == os.strerror(errno.EMFILE)


# -- the log


class Written(logging.Handler):
    """What would go to standard error."""

    def __init__(self, now: Any) -> None:
        super().__init__()
        self.lines: list[dict[str, Any]] = []
        self.setFormatter(JsonLines())
        self.addFilter(OncePerSecond(now))

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(json.loads(self.format(record)))

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.lines if line["event"] == event]


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
def written(now: list[float]) -> Iterator[Written]:
    handler = Written(lambda: now[0])
    logging.root.addHandler(handler)
    logging.getLogger("checkout").setLevel(logging.INFO)
    yield handler
    logging.root.removeHandler(handler)


async def test_forged_notifications_are_logged_by_reason_with_the_address_once_a_second(
    running: RunningShop, written: Written, now: list[float]
) -> None:
    wechat = WeChat(running)
    for _ in range(5):
        assert (await wechat.send(b"{}", signature="AAAA")).status_code == 401
        assert (await wechat.send(b"{}", age=400)).status_code == 401
    lines = written.events("notification not proved")
    assert [line["reason"] for line in lines] == ["bad_signature", "stale"]
    assert {line["address"] for line in lines} == {"127.0.0.1"}
    now[0] += 1
    await wechat.send(b"{}", age=400)
    assert written.events("notification not proved")[-1]["left_out"] == 4


@pytest.mark.parametrize("path", ["/api/admin/orders", "/metrics"])
async def test_a_wrong_admin_token_is_logged_with_the_address_and_without_itself(
    running: RunningShop, written: Written, path: str
) -> None:
    headers = {"Authorization": "Bearer guessed-token-0123456789"}
    for _ in range(5):
        assert (await running.http.get(path, headers=headers)).status_code == 401
    (line,) = written.events("admin token refused")
    assert (line["address"], line["path"]) == ("127.0.0.1", path)
    assert "guessed" not in json.dumps(line)


def test_alarms_and_what_is_no_trouble_are_never_left_out(
    written: Written, now: list[float]
) -> None:
    for _ in range(3):
        log.alarm("refund refused")
        log.info("order placed")
        log.warning("collision of the test")
        log.failure("request failed", ValueError("one"))
    counted = [len(written.events(event)) for event in ("refund refused", "order placed")]
    assert counted == [3, 3]
    assert len(written.events("collision of the test")) == 1
    log.failure("request failed", KeyError("another"))
    assert len(written.events("request failed")) == 2
    assert not re.search("address", json.dumps(written.events("order placed")))
