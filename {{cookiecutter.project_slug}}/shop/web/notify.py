"""Notifications 通知: one handler for all channels; commit first, then answer."""

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from sanic import HTTPResponse, Request, Sanic

from shop import log
from shop.channels import Channel, NotProved

if TYPE_CHECKING:
    from shop.app import Shop

MAX_BODY = 2 * 1024 * 1024
SECONDS = 4  # WeChat gives up after 5
DONE = ("APPLIED", "DUPLICATE", "REFUSED", "UNMATCHED", "IGNORED")


def attach(app: Sanic[Any, Any], shop: "Shop") -> None:
    """Add the notify path of every channel."""
    for channel in shop.channels.values():
        for path, kind in channel.notifications.items():
            name = path.strip("/").replace("/", "_")
            app.add_route(_serve(shop, channel, kind), path, methods=["POST"], name=name)


def _serve(
    shop: "Shop", channel: Channel, kind: str
) -> Callable[[Request], Coroutine[Any, Any, HTTPResponse]]:
    async def serve(request: Request) -> HTTPResponse:
        if len(request.body) > MAX_BODY:
            return _failed(channel, 413, "too large")
        if said := channel.hint(kind, request.body):
            await shop.work.run(shop.refunds.ask_again(channel.name), seconds=SECONDS)
            return HTTPResponse(said[2], said[0], content_type=said[1])
        unit = shop.inbox.receive(channel.name, kind, _kept(request), request.body)
        try:
            verdict = await shop.work.run(unit, seconds=SECONDS)
        except NotProved as error:
            log.warning("notification not proved", reason=error.code, why=str(error))
            shop.metrics.notified("NOT_PROVED", error.code)
            return _failed(channel, 401, error.code)
        except Exception as error:
            log.failure("notification not recorded", error)
            shop.metrics.notified("FAILED")
            return _failed(channel, 500, "try again")
        shop.metrics.notified(verdict.outcome)
        log.info("notification", kind=kind, outcome=verdict.outcome, reason=verdict.reason)
        if verdict.outcome not in DONE:
            return _failed(channel, 500, verdict.outcome)
        status, content_type, body = channel.received(request.body)
        return HTTPResponse(body, status, content_type=content_type)

    return serve


def _kept(request: Request) -> dict[str, str]:
    """Keep the headers that a signature needs and support asks for."""
    return {
        name.lower(): value
        for name, value in request.headers.items()
        if name.lower().startswith("wechatpay-") or name.lower() in ("request-id", "content-type")
    }


def _failed(channel: Channel, status: int, message: str) -> HTTPResponse:
    content_type, body = channel.failed(message)
    return HTTPResponse(body, status, content_type=content_type)
