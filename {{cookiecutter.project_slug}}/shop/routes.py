"""Yours: your own routes 你自己的接口, a Sanic blueprint that the shop mounts as it is.

Database work runs as a unit of `shop.run`: a buyer who hangs up would cancel it in the middle.
`read(request, MyBody)` of shop.web.api decodes a JSON body into a msgspec.Struct, or answers 400.
`@blueprint.on_request` and `@blueprint.on_response` wrap these routes alone.
"""

from sanic import Blueprint, HTTPResponse, Request
from sanic.response import json

from shop.models import DeliveryNote
from shop.web.api import buyer_of

blueprint = Blueprint("own")


@blueprint.get("/my/deliveries")
async def my_deliveries(request: Request) -> HTTPResponse:
    """List the delivery notes of the buyer who asks, newest first: an example."""
    buyer = buyer_of(request)
    notes = await request.app.ctx.shop.run(DeliveryNote.filter(buyer=buyer).order_by("-id"))
    return json({"deliveries": [{"order_no": n.order_no, "contents": n.contents} for n in notes]})
