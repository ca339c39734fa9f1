"""Send one request and read one answer, with limits; tell "not sent" from "unknown"."""

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass

import httpx

from .errors import Cut, NotSent, OutcomeUnknown, WeChatError

TIMEOUT = httpx.Timeout(connect=5, read=10, write=10, pool=5)
TOTAL_SECONDS = 20
DOWNLOAD_SECONDS = 600
MAX_ANSWER_BYTES = 4 * 1024 * 1024
GZIP_OR_ZLIB = zlib.MAX_WBITS | 32  # it recognises which
USER_AGENT = f"wechat-checkout httpx/{httpx.__version__}"  # WeChat refuses requests without one


@dataclass(frozen=True)
class Answer:
    """What came back: `body` holds the raw bytes, as they were signed."""

    status: int
    headers: httpx.Headers
    body: bytes

    @property
    def request_id(self) -> str | None:
        """Return WeChat's Request-ID; its support asks for it."""
        request_id: str | None = self.headers.get("Request-ID")
        return request_id


class _Content(httpx.AsyncByteStream):
    """A request body that remembers whether anybody began to send it.

    Exception types do not tell: some transports name a cut after sending a connect timeout.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.started = False

    async def __aiter__(self) -> AsyncIterator[bytes]:
        self.started = True
        yield self._data


async def send(
    http: httpx.AsyncClient,
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    body: bytes,
    timeout: httpx.Timeout = TIMEOUT,
) -> Answer:
    """Send exactly these bytes; redirects are not followed, the client's own defaults not used.

    Whatever `timeout` is, a call ends after TOTAL_SECONDS. Raises NotSent when nothing left this
    machine, OutcomeUnknown for everything after that.
    """
    content = _Content(body) if body else None
    request = _request(method, url, headers, content, len(body), timeout)
    with _failures(url, content):
        async with asyncio.timeout(TOTAL_SECONDS):
            response = await http.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                return Answer(response.status_code, response.headers, await _read(response))
            finally:
                await response.aclose()


@asynccontextmanager
async def stream(
    http: httpx.AsyncClient,
    url: httpx.URL,
    headers: Mapping[str, str],
    timeout: httpx.Timeout = TIMEOUT,
) -> AsyncIterator[tuple[Answer, AsyncIterator[bytes]]]:
    """Open a download: the body of a 200 comes in raw pieces, every other one in the Answer.

    Raises what send() raises; while reading, Cut.
    """
    request = _request("GET", url, headers, None, 0, timeout)
    async with AsyncExitStack() as stack:
        with _failures(url, None):
            async with asyncio.timeout(TOTAL_SECONDS):
                response = await http.send(request, stream=True, auth=None, follow_redirects=False)
                stack.push_async_callback(response.aclose)
                body = b"" if response.status_code == 200 else await _read(response)
        yield Answer(response.status_code, response.headers, body), _pieces(response)


def _request(
    method: str,
    url: httpx.URL,
    headers: Mapping[str, str],
    content: _Content | None,
    length: int,
    timeout: httpx.Timeout,
) -> httpx.Request:
    sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    if content:
        sent["Content-Length"] = str(length)
    extensions = {"timeout": timeout.as_dict()}
    return httpx.Request(method, url, headers=sent, content=content, extensions=extensions)


async def _pieces(response: httpx.Response) -> AsyncIterator[bytes]:
    started = time.monotonic()
    try:
        async for piece in response.aiter_raw():
            if time.monotonic() - started > DOWNLOAD_SECONDS:
                raise TimeoutError
            yield piece
    except Exception as error:
        raise Cut(f"the download broke off ({type(error).__name__})") from error


async def _read(response: httpx.Response) -> bytes:
    """Read an answer as it was signed; packed by a proxy, it is unpacked up to the limit."""
    data = bytearray()
    assert isinstance(response.stream, httpx.AsyncByteStream)
    async for chunk in response.stream:  # not aiter_bytes(): it unpacks without a limit
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise OutcomeUnknown("the answer is too big", status=response.status_code)
    encoding = response.headers.get("Content-Encoding", "identity").lower()
    if encoding == "identity" or not data:
        return bytes(data)
    if encoding not in ("gzip", "deflate"):
        raise OutcomeUnknown("the answer is packed as nobody asked", status=response.status_code)
    unpacked = zlib.decompressobj(GZIP_OR_ZLIB).decompress(data, MAX_ANSWER_BYTES + 1)
    if len(unpacked) > MAX_ANSWER_BYTES:  # a few KiB can unpack to gigabytes
        raise OutcomeUnknown("the answer is too big", status=response.status_code)
    return unpacked


@contextmanager
def _failures(url: httpx.URL, content: _Content | None) -> Iterator[None]:
    try:
        yield
    except WeChatError:
        raise
    except Exception as error:  # transports leak exceptions of their own: they must not pass
        raise _failure(error, url, content) from error


def _failure(error: Exception, url: httpx.URL, content: _Content | None) -> WeChatError:
    never_sent = content is not None and not content.started
    if never_sent or isinstance(error, httpx.ConnectError | httpx.PoolTimeout):
        return NotSent(f"no connection to {url.host} ({type(error).__name__})")
    return OutcomeUnknown(f"no answer from {url.host} ({type(error).__name__})")
