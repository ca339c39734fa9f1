"""Real sockets: was it sent or not, and what does every broken answer become?"""

import asyncio
import gzip
import socket
import tracemalloc
import zlib
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from wechat import transport
from wechat.errors import Cut, NotSent, OutcomeUnknown

BODY = b'{"description":"\xe8\x8c\xb6"}'


def aiohttp_transport() -> httpx.AsyncBaseTransport:
    module: Any = pytest.importorskip("httpx_aiohttp")  # the folder works with any transport
    transport_: httpx.AsyncBaseTransport = module.AiohttpTransport(trust_env=False)
    return transport_


@pytest.fixture(params=[httpx.AsyncHTTPTransport, aiohttp_transport])
async def http(request: pytest.FixtureRequest) -> Any:
    make: Callable[[], httpx.AsyncBaseTransport] = request.param
    async with httpx.AsyncClient(transport=make(), auth=("a", "b")) as client:
        yield client


async def post(http: httpx.AsyncClient, url: str) -> transport.Answer:
    return await transport.send(http, "POST", httpx.URL(url), {}, BODY)


async def test_the_bytes_given_are_the_bytes_sent(http: Any, serve: Any) -> None:
    target = "/v3/x/out-trade-no/a%7Cb*c_-@1?mchid=1&note=a%20b%2Bc:/"
    async with serve(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}") as (url, requests):
        answer = await post(http, url + target)
    head, body = requests[0].split(b"\r\n\r\n")
    assert head.startswith(f"POST {target} HTTP/1.1".encode())
    assert body == BODY
    assert b"chunked" not in head.lower()
    assert b"authorization" not in head.lower()  # the client's own defaults do not get in
    assert (answer.status, answer.body, answer.request_id) == (200, b"{}", None)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(None, id="cut before the answer"),
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nabc", id="cut in the answer"),
        pytest.param(b"nonsense\r\n\r\n", id="no HTTP"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 3\r\n\r\nabc",
            id="no gzip",
        ),
    ],
)
async def test_whatever_breaks_after_sending_is_unknown(http: Any, serve: Any, raw: Any) -> None:
    async with serve(raw) as (url, requests):
        with pytest.raises(OutcomeUnknown) as caught:
            await post(http, url)
    assert len(requests) == 1
    assert caught.value.status is None


async def test_a_refused_connection_sent_nothing(http: Any) -> None:
    with socket.socket() as held:  # bound, but nobody listens
        held.bind(("127.0.0.1", 0))
        with pytest.raises(NotSent, match=r"127\.0\.0\.1"):
            await post(http, f"http://127.0.0.1:{held.getsockname()[1]}/")


async def test_an_answer_that_never_comes_is_unknown(
    http: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TIMEOUT", httpx.Timeout(0.05))

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        with pytest.raises(OutcomeUnknown, match="ReadTimeout"):
            await post(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_an_answer_that_never_ends_is_unknown_at_the_deadline(
    http: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "TOTAL_SECONDS", 0.1)

    async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhalf")
        await reader.read()
        writer.close()

    server = await asyncio.start_server(half, "127.0.0.1", 0)
    async with server:
        with pytest.raises(OutcomeUnknown):
            await post(http, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")


async def test_an_answer_beyond_the_limit_is_not_read(
    http: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "MAX_ANSWER_BYTES", 10)
    async with serve(b"HTTP/1.1 200 OK\r\ncontent-length: 11\r\n\r\n" + b"x" * 11) as (url, _):
        with pytest.raises(OutcomeUnknown, match="too big") as caught:
            await post(http, url)
    assert caught.value.status == 200


async def test_a_redirect_is_an_answer_and_is_not_followed(http: Any, serve: Any) -> None:
    raw = b"HTTP/1.1 307 Moved\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with serve(raw) as (url, requests):
        answer = await post(http, url)
    assert answer.status == 307
    assert len(requests) == 1


async def test_a_cancelled_call_stays_cancelled(http: Any, serve: Any) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        arrived.set()
        await reader.read()
        writer.close()

    arrived = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        call = asyncio.create_task(post(http, f"http://127.0.0.1:{port}/"))
        await arrived.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call


async def fetched(http: httpx.AsyncClient, url: str) -> tuple[transport.Answer, bytes]:
    async with transport.stream(http, httpx.URL(url), {"Authorization": "x"}) as (answer, pieces):
        body = [piece async for piece in pieces] if answer.status == 200 else []
        return answer, b"".join(body)


async def test_a_download_comes_in_pieces_and_exactly_as_it_was_sent(http: Any, serve: Any) -> None:
    raw = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 7\r\n\r\nno gzip"
    async with serve(raw) as (url, requests):
        answer, body = await fetched(http, url + "/file?token=a%2Bb")
    assert (answer.status, answer.body, body) == (200, b"", b"no gzip")
    assert requests[0].startswith(b"GET /file?token=a%2Bb HTTP/1.1")
    assert b"identity" in requests[0]


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"HTTP/1.1 200 OK\r\ncontent-length: 50\r\n\r\nabc", id="length"),
        pytest.param(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n", id="chunked"
        ),
    ],
)
async def test_a_download_that_breaks_off_is_cut(http: Any, serve: Any, raw: bytes) -> None:
    async with serve(raw) as (url, _):
        with pytest.raises(Cut, match="broke off"):
            await fetched(http, url)


async def test_a_download_that_drips_is_cut_at_its_deadline(
    http: Any, serve: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "DOWNLOAD_SECONDS", -1)
    async with serve(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc") as (url, _):
        with pytest.raises(Cut, match="TimeoutError"):
            await fetched(http, url)


async def test_a_redirected_download_is_not_followed(http: Any, serve: Any) -> None:
    raw = b"HTTP/1.1 302 Found\r\nlocation: /elsewhere\r\ncontent-length: 0\r\n\r\n"
    async with serve(raw) as (url, requests):
        answer, _ = await fetched(http, url)
    assert (answer.status, len(requests)) == (302, 1)


async def test_a_refused_download_brings_its_reason(http: Any, serve: Any) -> None:
    raw = b'HTTP/1.1 400 Bad Request\r\ncontent-length: 8\r\n\r\n{"a": 1}'
    async with serve(raw) as (url, _):
        answer, _ = await fetched(http, url)
    assert (answer.status, answer.body) == (400, b'{"a": 1}')


async def test_no_answer_to_a_download_is_unknown(http: Any, serve: Any) -> None:
    async with serve(None) as (url, _):
        with pytest.raises(OutcomeUnknown):
            await fetched(http, url)


async def test_what_the_reader_of_a_download_raises_stays_what_it_is(http: Any, serve: Any) -> None:
    async with serve(b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc") as (url, _):
        with pytest.raises(OSError, match="disk full"):
            async with transport.stream(http, httpx.URL(url), {}):
                raise OSError("disk full")


def packed(encoding: bytes, body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-encoding: %b\r\ncontent-length: %d\r\n\r\n"
    return head % (encoding, len(body)) + body


@pytest.mark.parametrize(
    ("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
)
async def test_an_answer_that_a_proxy_packed_is_read(
    http: Any, serve: Any, encoding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    async with serve(packed(encoding, pack(b"{}"))) as (url, _):
        assert (await post(http, url)).body == b"{}"


@pytest.mark.parametrize(
    ("encoding", "pack"), [(b"gzip", gzip.compress), (b"deflate", zlib.compress)]
)
async def test_a_few_kib_that_unpack_to_100_mb_are_refused_and_never_unpacked(
    http: Any, serve: Any, encoding: bytes, pack: Callable[[bytes], bytes]
) -> None:
    bomb = pack(bytes(100_000_000))
    assert len(bomb) < 200_000
    tracemalloc.start()
    async with serve(packed(encoding, bomb)) as (url, _):
        with pytest.raises(OutcomeUnknown, match="too big"):
            await post(http, url)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * transport.MAX_ANSWER_BYTES


async def test_an_encoding_that_nobody_asked_for_is_unknown(http: Any, serve: Any) -> None:
    async with serve(packed(b"br", b"x")) as (url, _):
        with pytest.raises(OutcomeUnknown, match="packed"):
            await post(http, url)
