"""What arrives is bounded before it is kept: its size, its time, its characters."""

import asyncio
from typing import Any

from sanic import Request
from sanic.exceptions import BadRequest, PayloadTooLarge
from sanic.http.http1 import Http
from sanic.server import HttpProtocol

from checkout.notifications import MAX_BODY as MAX_NOTIFICATION
from shop.web.errors import BodyTooLarge

MAX_BODY = 64 * 1024
#: what is too large is thrown away up to this much, so that the sender hears why; then it is cut
MAX_DISCARDED = 8 * 1024 * 1024
HEAD_SECONDS = 10
BODY_SECONDS = 20


class TooSlow(BadRequest):
    """Raised when a head or a body does not arrive in time."""

    status_code = 408


class Incoming(Request):
    """A request whose body may have 64 KiB, a notification's 2 MiB; more is never kept."""

    async def receive_body(self) -> None:
        """Read the body; refuse it by its Content-Length, or as soon as it is too large."""
        stream: Any = self.stream
        is_notification = self.path.startswith("/notify/")
        stream.request_max_size = MAX_NOTIFICATION if is_notification else MAX_BODY
        try:
            await super().receive_body()  # type: ignore[no-untyped-call]
        except PayloadTooLarge as error:
            most = stream.request_max_size
            stream.request_max_size = MAX_DISCARDED
            raise BodyTooLarge(f"the body may have {most} bytes") from error


class Patience(Http):
    """Sanic's HTTP connection, with an end to its patience.

    Sanic's own timeouts begin again with every byte: who sends a byte now and then would hold a
    connection for ever.
    """

    __slots__ = ("until",)
    until: float | None  # by the loop's clock; None while the next request is awaited

    def __init__(self, protocol: HttpProtocol) -> None:
        super().__init__(protocol)  # type: ignore[no-untyped-call]
        self._receive_more = self._receive_in_time

    def init_for_request(self) -> None:
        """Let the next request come when it comes; Sanic's own timeout ends an idle connection."""
        super().init_for_request()  # type: ignore[no-untyped-call]
        self.until = None

    async def http1_request_header(self) -> None:
        """Read a head, within HEAD_SECONDS of its first byte; its body has BODY_SECONDS then."""
        loop = asyncio.get_running_loop()
        self.until = loop.time() + HEAD_SECONDS
        await super().http1_request_header()  # type: ignore[no-untyped-call]
        self.until = loop.time() + BODY_SECONDS

    async def _receive_in_time(self) -> None:
        """Wait for more of a request; most have come whole, and nobody waits for them."""
        if self.until is None:
            await self.protocol.receive_more()  # type: ignore[no-untyped-call]
            return
        try:
            async with asyncio.timeout_at(self.until):
                await self.protocol.receive_more()  # type: ignore[no-untyped-call]
        except TimeoutError:
            self.keep_alive = False
            raise TooSlow("the request did not arrive in time") from None


def be_impatient() -> None:
    """Let every connection of this process be one of ours; Sanic has no setting for its class."""
    HttpProtocol.HTTP_CLASS = Patience


def refuse_nul(request: Request) -> None:
    """Raise BadRequest for a NUL character in the address or in a header.

    No database takes one, and nobody types one.
    """
    if b"%00" in request.raw_url or b"\0" in request.head:
        raise BadRequest("a NUL character is not allowed")
