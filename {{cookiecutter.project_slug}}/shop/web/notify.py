"""Notifications 通知: one handler for all channels; the engine commits first, then we answer."""

from typing import TYPE_CHECKING, Any

from sanic import HTTPResponse, Request, Sanic

if TYPE_CHECKING:
    from shop.app import Shop


def attach(app: Sanic[Any, Any], shop: "Shop") -> None:
    """Add the notify path of every channel."""

    async def receive(request: Request) -> HTTPResponse:
        status, content_type, body = await shop.checkout.receive(
            request.path, request.headers, request.body
        )
        return HTTPResponse(body, status, content_type=content_type)

    for channel in shop.checkout.channels.values():
        for path in channel.notifications:
            name = path.strip("/").replace("/", "_")
            app.add_route(receive, path, methods=["POST"], name=name)
