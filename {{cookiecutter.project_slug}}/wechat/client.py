"""Talk to WeChat Pay APIv3: sign, send, verify, and name every way it can end.

Follows pay.weixin.qq.com/doc/v3/merchant/4012365336 and 4013053420. A POST that may have reached
WeChat is never repeated here: OutcomeUnknown goes to the caller, who knows how to query.
"""

import asyncio
import json
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from urllib.parse import quote, urlencode

import httpx

from . import answers, hosts, numbers, sign
from .errors import MalformedAnswer, NotSent, OutcomeUnknown, SignatureInvalid, WeChatError
from .hosts import HOST as HOST
from .hosts import STANDBY as STANDBY
from .keys import Merchant
from .transport import TIMEOUT, Answer, send, stream
from .trust import Trust

REFRESH_SECONDS = 12 * 3600
RETRY_SECONDS = 60
_SAFE = "!$'()*,:/?@"  # some HTTP libraries send these as they are, whatever was signed
_Reader = Callable[[Answer], Awaitable[dict[str, Any]]]


@dataclass(frozen=True)
class Exchange:
    """One request and how it ended, for logs and lessons: no Authorization, no key in it."""

    method: str
    target: str
    status: int | None
    seconds: float
    request_id: str | None
    signed_message: str
    error: str | None

    @property
    def wechat_number(self) -> int | None:
        """Return the number at the end of Request-ID; None for 0, which is success."""
        return numbers.number_in(self.request_id)


@dataclass
class _Call:
    """A signed request and, later, its answer."""

    method: str
    url: httpx.URL
    headers: dict[str, str]
    message: str
    answer: Answer | None = None


class Client:
    """One merchant's connection to WeChat Pay; `http` is yours to configure and to close.

    Another `host` than WeChat's (a sandbox) is asked for all of WeChat's addresses, also for its H5
    page. `standby` is used when the main host cannot be reached, or None. `now` returns Unix
    seconds. `on_exchange` is called after every request and must not raise. `timeout` counts, not
    that of `http`.
    """

    def __init__(
        self,
        http: httpx.AsyncClient,
        merchant: Merchant,
        trust: Trust,
        *,
        host: str = HOST,
        standby: str | None = STANDBY,
        now: Callable[[], float] = time.time,
        on_exchange: Callable[[Exchange], None] | None = None,
        timeout: httpx.Timeout = TIMEOUT,
    ) -> None:
        self.merchant = merchant
        self.trust = trust
        self._http = http
        self._host = host
        self._standby = standby
        self._now = now
        self._on_exchange = on_exchange
        self._timeout = timeout
        self._download: asyncio.Task[dict[str, Any]] | None = None
        self._tried_at = self._unknown_serial_at = float("-inf")

    async def get(self, path: str, params: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Read something; returns the verified JSON object. Raises what post() raises."""
        await self._need_certificates()
        query = f"?{urlencode(params, safe=_SAFE, quote_via=quote)}" if params else ""
        return await self._call("GET", path + query, b"", self._verified)

    async def post(self, path: str, body: bytes | Mapping[str, Any]) -> dict[str, Any]:
        """Do something, once; returns the verified JSON object, and {} only for a verified 204.

        Bytes are signed and sent as they are. Raises Refused (RateLimited), TryAgain, NotSent,
        OutcomeUnknown (AnswerNotProved, NotExplained); `meanings` says what one means.
        """
        await self._need_certificates()
        content = body if isinstance(body, bytes) else to_json(body)
        return await self._call("POST", path, content, self._verified)

    @asynccontextmanager
    async def download(self, url: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """Open a bill's download_url; gives its raw bytes in pieces. WeChat signs none of them.

        Our own signature goes to this client's hosts alone: MalformedAnswer for any other. A
        client of another host than WeChat's asks that host for WeChat's addresses. Raises Refused
        (the link has expired), NotSent, OutcomeUnknown; while reading, Cut.
        """
        call = self._sign("GET", self._own(url), b"")
        with self._watched(call):
            opened = stream(self._http, call.url, call.headers, self._timeout)
            async with opened as (call.answer, pieces):
                if call.answer.status != 200:
                    proved = await self._proved(call.answer)
                    answers.raise_for_status(call.answer, proved)
                    raise answers.unknown(call.answer, "a download answers 200", proved)
                yield pieces

    def reachable(self, address: str) -> str:
        """Return an address of WeChat's, such as h5_url, at the host that this client talks to."""
        return hosts.moved(address, self._host)

    async def verify(self, headers: Mapping[str, str], body: bytes) -> None:
        """Prove that WeChat signed these raw bytes, fetching unknown certificates by the rules.

        Only a serial that looks like a certificate's starts a download, at most one per minute;
        whoever comes meanwhile waits for the same one. Raises SignatureInvalid.
        """
        try:
            self.trust.verify(headers, body, now=self._now())
        except SignatureInvalid as error:
            if error.reason != "unknown_serial" or not self._may_download(headers):
                raise
            try:
                await self.refresh_certificates()
            except WeChatError:
                raise error from None
            self.trust.verify(headers, body, now=self._now())

    async def refresh_certificates(self) -> None:
        """Download the platform certificates now; concurrent callers share one download.

        Raises what get() raises, and DecryptFailed when the APIv3 key is wrong.
        """
        await asyncio.shield(self._start_download())

    def _start_download(self) -> asyncio.Task[dict[str, Any]]:
        if self._download is None or self._download.done():
            self._tried_at = self._now()
            call = self._call("GET", "/v3/certificates", b"", self._certificates)
            self._download = asyncio.create_task(call)
            self._download.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._download

    def _may_download(self, headers: Mapping[str, str]) -> bool:
        serial = {name.lower(): value for name, value in headers.items()}["wechatpay-serial"]
        if not re.fullmatch("[0-9A-F]{40}", serial):  # a public key id, or nonsense
            return False
        if self._download and not self._download.done():
            return True
        recent = abs(self._now() - self._unknown_serial_at) < RETRY_SECONDS
        if not recent:
            self._unknown_serial_at = self._now()
        return not recent

    async def _need_certificates(self) -> None:
        """Without a public key: load certificates once, renew them while the old ones work."""
        if self.trust.public_keys:
            return
        if not self.trust.certificates:
            try:
                await self.refresh_certificates()
            except WeChatError as error:  # its 404 must not look like a 404 of the caller's order
                raise NotSent(f"no platform certificate, nothing was sent: {error}") from error
        elif self._certificates_are_old():
            self._start_download()  # in the background; this call goes on with the old ones

    def _certificates_are_old(self) -> bool:
        now = self._now()
        loaded_at = self.trust.loaded_at or 0
        return now - loaded_at > REFRESH_SECONDS and now - self._tried_at > RETRY_SECONDS

    async def _call(self, method: str, target: str, body: bytes, read: _Reader) -> dict[str, Any]:
        try:
            return await self._exchange(self._host, method, target, body, read)
        except (NotSent, OutcomeUnknown) as error:
            answered = isinstance(error, OutcomeUnknown) and error.status is not None
            posted = isinstance(error, OutcomeUnknown) and method != "GET"
            if self._standby is None or answered or posted:
                raise
            first = error
        try:
            return await self._exchange(self._standby, method, target, body, read)
        except NotSent:
            raise first from None

    async def _exchange(
        self, host: str, method: str, path: str, body: bytes, read: _Reader
    ) -> dict[str, Any]:
        call = self._sign(method, _url(host + path), body)
        with self._watched(call):
            call.answer = await send(
                self._http, method, call.url, call.headers, body, self._timeout
            )
            return await read(call.answer)

    def _own(self, text: str) -> httpx.URL:
        try:
            url = httpx.URL(hosts.moved(text, self._host))
        except httpx.InvalidURL:
            raise MalformedAnswer("download_url", "not a URL") from None
        own = [httpx.URL(host) for host in (self._host, self._standby) if host]
        if url.userinfo or (url.scheme, url.netloc) not in [(u.scheme, u.netloc) for u in own]:
            raise MalformedAnswer("download_url", f"{url.host!r} is not WeChat's host")
        return url

    def _sign(self, method: str, url: httpx.URL, body: bytes) -> _Call:
        target = url.raw_path.decode("ascii")  # what goes over the wire is what is signed
        timestamp = int(self._now())
        nonce = sign.new_nonce()
        headers = self._headers(method, target, body, timestamp, nonce)
        message = sign.request_message(method, target, timestamp, nonce, body)
        return _Call(method, url, headers, message)

    @contextmanager
    def _watched(self, call: _Call) -> Iterator[None]:
        failure = None
        started = time.monotonic()
        try:
            yield
        except BaseException as error:
            failure = str(error) or type(error).__name__
            raise
        finally:
            if self._on_exchange:
                target = call.url.raw_path.decode()
                seconds = time.monotonic() - started
                answer = call.answer
                status, request = (answer.status, answer.request_id) if answer else (None, None)
                self._on_exchange(
                    Exchange(call.method, target, status, seconds, request, call.message, failure)
                )

    def _headers(
        self, method: str, target: str, body: bytes, timestamp: int, nonce: str
    ) -> dict[str, str]:
        headers = {
            "Accept": "application/json",
            "Authorization": sign.authorization(
                self.merchant, method, target, body, timestamp=timestamp, nonce=nonce
            ),
        }
        if body:
            headers["Content-Type"] = "application/json"
        if serial := self.trust.serial_for_requests:
            headers["Wechatpay-Serial"] = serial
        return headers

    async def _verified(self, answer: Answer) -> dict[str, Any]:
        answers.raise_for_status(answer, await self._proved(answer))
        return answers.content(answer)

    async def _proved(self, answer: Answer) -> bool:
        """Verify a signature that is there; False when none is there and none has to be."""
        if not answers.is_success(answer) and "Wechatpay-Signature" not in answer.headers:
            return False
        try:
            await self.verify(answer.headers, answer.body)
        except SignatureInvalid as error:
            raise answers.not_proved(answer, error) from error
        return True

    async def _certificates(self, answer: Answer) -> dict[str, Any]:
        # no verification of a refusal here: the certificate that signed it may be the missing one
        answers.raise_for_status(answer, proved=False)
        content = answers.content(answer)
        try:
            self.trust.load_certificates(content, answer.headers, answer.body, now=self._now())
        except SignatureInvalid as error:
            raise answers.not_proved(answer, error) from error
        return content


@lru_cache(maxsize=64)
def _url(text: str) -> httpx.URL:
    """Parse an address once: every prepay goes to the same, and parsing costs 10 µs."""
    return httpx.URL(text)


def to_json(body: Mapping[str, Any]) -> bytes:
    """Serialise once: compact, UTF-8 unescaped; the same bytes are signed, sent and stored."""
    return json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode()
