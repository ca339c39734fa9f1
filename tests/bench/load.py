"""The load generator: raw requests over a few keep-alive connections, in a process of its own."""

import asyncio
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from typing import cast

import httptools
import uvloop


@dataclass(frozen=True)
class Result:
    """How long everything took and each call, in seconds, and what was answered, in order."""

    seconds: float
    latencies: list[float]
    statuses: list[int]
    bodies: list[bytes]


class Load:
    """Sends requests from another process, pinned to the given cores."""

    def __init__(self, cores: set[int]) -> None:
        self._pool = ProcessPoolExecutor(
            1,
            mp_context=get_context("spawn"),
            initializer=os.sched_setaffinity,
            initargs=(0, cores),
        )

    def send(self, ports: Sequence[int], requests: Sequence[bytes], connections: int) -> Result:
        """Send all requests, `connections` at a time, spread over the ports."""
        return self._pool.submit(_send, ports, requests, connections).result()

    def close(self) -> None:
        """End the process."""
        self._pool.shutdown()


def request(method: str, path: str, headers: dict[str, str], body: bytes = b"") -> bytes:
    """Write a request of HTTP/1.1."""
    lines = {"Host": "127.0.0.1", **headers, "Content-Length": str(len(body))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode() + body


class _Connection(asyncio.Protocol):
    """Sends the next request as soon as the one before is answered."""

    def __init__(self, queue: Iterator[tuple[int, bytes]], result: Result) -> None:
        self._queue = queue
        self._result = result
        self._parser = httptools.HttpResponseParser(self)
        self.done = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._next()

    def _next(self) -> None:
        turn = next(self._queue, None)
        if turn is None:
            self.done.set_result(None)
            self._transport.close()
            return
        self._n, content = turn
        self._body = b""
        self._began = time.perf_counter()
        self._transport.write(content)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        self._body += data

    def on_message_complete(self) -> None:
        self._result.latencies[self._n] = time.perf_counter() - self._began
        self._result.statuses[self._n] = self._parser.get_status_code()
        self._result.bodies[self._n] = self._body
        self._parser = httptools.HttpResponseParser(self)
        self._next()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.done.done():
            self.done.set_exception(error or ConnectionError("closed by the server"))


def _send(ports: Sequence[int], requests: Sequence[bytes], connections: int) -> Result:
    return uvloop.run(_run(ports, requests, connections))


async def _run(ports: Sequence[int], requests: Sequence[bytes], connections: int) -> Result:
    n = len(requests)
    result = Result(0, [0.0] * n, [0] * n, [b""] * n)
    queue = iter(enumerate(requests))
    loop = asyncio.get_running_loop()
    began = time.perf_counter()
    made = [
        loop.create_connection(
            lambda: _Connection(queue, result), "127.0.0.1", ports[turn % len(ports)]
        )
        for turn in range(min(connections, n))
    ]
    await asyncio.gather(*[protocol.done for _, protocol in await asyncio.gather(*made)])
    seconds = time.perf_counter() - began
    return Result(seconds, result.latencies, result.statuses, result.bodies)
