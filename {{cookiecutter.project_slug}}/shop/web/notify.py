"""Notifications 通知: one handler for all channels; the engine commits first, then we answer."""

from collections.abc import Iterable

from sanic import Blueprint, HTTPResponse, Request


def blueprint_of(paths: Iterable[str]) -> Blueprint:
    """Return the routes of the paths where notifications arrive."""
    blueprint = Blueprint("notify")
    for path in paths:
        name = path.strip("/").replace("/", "_")
        blueprint.add_route(receive, path, methods=["POST"], name=name)
    return blueprint


async def receive(request: Request) -> HTTPResponse:
    """Hand a notification to the engine, and give its answer."""
    status, content_type, body = await request.app.ctx.shop.checkout.receive(
        request.path, request.headers, request.body
    )
    return HTTPResponse(body, status, content_type=content_type)
