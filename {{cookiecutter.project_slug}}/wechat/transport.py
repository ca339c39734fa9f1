"""Send one request and read one answer, with limits; tell "not sent" from "unknown"."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx

from .errors import NotSent, OutcomeUnknown, WeChatError

TIMEOUT = httpx.Timeout(connect=5, read=10, write=10, pool=5)
TOTAL_SECONDS = 20
MAX_ANSWER_BYTES = 4 * 1024 * 1024
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
    http: httpx.AsyncClient, method: str, url: httpx.URL, headers: Mapping[str, str], body: bytes
) -> Answer:
    """Send exactly these bytes; redirects are not followed, the client's own defaults not used.

    Raises NotSent when nothing left this machine, OutcomeUnknown for everything after that.
    """
    content = _Content(body) if body else None
    sent = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
    if body:
        sent["Content-Length"] = str(len(body))
    extensions = {"timeout": TIMEOUT.as_dict()}
    request = httpx.Request(method, url, headers=sent, content=content, extensions=extensions)
    try:
        async with asyncio.timeout(TOTAL_SECONDS):
            response = await http.send(request, stream=True, auth=None, follow_redirects=False)
            try:
                return Answer(response.status_code, response.headers, await _read(response))
            finally:
                await response.aclose()
    except WeChatError:
        raise
    except (
        Exception
    ) as error:  # transports leak exceptions of their own, which must not pass as ours
        raise _failure(error, url, content) from error


async def _read(response: httpx.Response) -> bytes:
    data = bytearray()
    async for chunk in response.aiter_bytes():
        data += chunk
        if len(data) > MAX_ANSWER_BYTES:
            raise OutcomeUnknown("the answer is too big", status=response.status_code)
    return bytes(data)


def _failure(error: Exception, url: httpx.URL, content: _Content | None) -> WeChatError:
    never_sent = content is not None and not content.started
    if never_sent or isinstance(error, httpx.ConnectError | httpx.PoolTimeout):
        return NotSent(f"no connection to {url.host} ({type(error).__name__})")
    return OutcomeUnknown(f"no answer from {url.host} ({type(error).__name__})")
