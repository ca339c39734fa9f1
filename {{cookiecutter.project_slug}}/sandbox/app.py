"""Every route of the sandbox: WeChat's own paths on one port, and /_sandbox/* beside them."""

import importlib
import itertools
import pkgutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from sanic import HTTPResponse, Request, Sanic, json, raw, text
from sanic.exceptions import MethodNotAllowed, NotFound

from . import (
    authorize,
    bills,
    cashier,
    certificates,
    cgi,
    combine,
    controls,
    exchange,
    h5,
    login,
    orders,
    protocols,
    refunds,
)
from .addresses import CHECKMWEB
from .wire import Answer, Call, compact
from .world import World

HERE = Path(__file__).parent
ORDERS, PARTNER_ORDERS = "/v3/pay/transactions", "/v3/pay/partner/transactions"
COMBINED = "/v3/combine-transactions"
PRODUCTS = ("jsapi", "h5", "native", "app")
REFUNDS = "/v3/refund/domestic/refunds"
ALGORITHM = ("algorithm_type",)
Handler = Callable[[World, Call], Answer]


class Route(NamedTuple):
    """One call of the v3 API: `name` in the fault menu, `query` lists its query parameters."""

    method: str
    path: str
    name: str
    handler: Handler
    query: tuple[str, ...] = ()


def _orders(base: str, *, partner: bool) -> list[Route]:
    products = (*PRODUCTS, "scannedpos") if partner else PRODUCTS
    prepay = partial(partial, orders.prepay, partner=partner)
    named = ("sp_mchid", "sub_mchid") if partner else ("mchid",)
    return [
        *(Route("POST", f"{base}/{name}", "prepay", prepay(product=name)) for name in products),
        Route("GET", f"{base}/out-trade-no/<out_trade_no>", "query", orders.query, named),
        Route("GET", f"{base}/id/<transaction_id>", "query", orders.query_by_id, named),
        Route("POST", f"{base}/out-trade-no/<out_trade_no>/close", "close", orders.close),
    ]


def _combined(base: str) -> list[Route]:
    number = f"{base}/out-trade-no/<combine_out_trade_no>"
    return [
        *(
            Route("POST", f"{base}/{name}", "prepay", partial(combine.prepay, product=name))
            for name in PRODUCTS
        ),
        Route("GET", number, "query", combine.query),
        Route("POST", f"{number}/close", "close", combine.close),
    ]


CALLS: list[Route] = [
    *_orders(ORDERS, partner=False),
    *_orders(PARTNER_ORDERS, partner=True),
    *_combined(COMBINED),
    Route("POST", REFUNDS, "refund", refunds.create),
    Route("GET", f"{REFUNDS}/<out_refund_no>", "refund_query", refunds.query, ("sub_mchid",)),
    Route("GET", "/v3/bill/tradebill", "bill", bills.apply_trade_bill, bills.TRADE_BILL),
    Route("GET", "/v3/bill/fundflowbill", "bill", bills.apply_fund_flow, bills.FUND_FLOW),
    Route("GET", bills.DOWNLOAD, "bill", bills.download, ("token",)),
    Route("GET", "/v3/certificates", "certificates", certificates.certificates, ALGORITHM),
]
FILES = {
    "/": ("console/index.html", "text/html; charset=utf-8"),
    "/console.css": ("console/console.css", "text/css; charset=utf-8"),
    "/console.js": ("console/console.js", "application/javascript"),
    "/bridge.js": ("bridge.js", "application/javascript"),
    "/h5.js": ("h5.js", "application/javascript"),
}
_instances = itertools.count(1)


def create_app(world: World | None = None) -> Sanic[Any, Any]:
    """Build a sandbox around a world, by default the one whose keys are on the disk.

    Each has a name of its own, so several may live in one process and on one loop.
    """
    world = world or World.open()
    app: Sanic[Any, Any] = Sanic(f"sandbox-{next(_instances)}", configure_logging=False)
    app.ctx.world = world
    app.config.update(ACCESS_LOG=False, MOTD=False, AUTO_EXTEND=False, REQUEST_MAX_SIZE=2**20)
    app.config.update(RESPONSE_TIMEOUT=90, GRACEFUL_SHUTDOWN_TIMEOUT=1, TOUCHUP=False)
    _add_wechat(app, world)
    _add_controls(app, world)
    for module in pkgutil.iter_modules(protocols.__path__):
        if not module.name.startswith("_"):
            importlib.import_module(f"{protocols.__name__}.{module.name}").attach(app, world)
    for path, (file, media) in FILES.items():
        app.add_route(partial(_file, file, media), path, name=file.replace(".", "_"))
    app.add_route(_health, "/healthz", name="health")
    app.register_middleware(_refuse_strangers, "request")
    app.register_middleware(partial(_mark, world), "response")
    app.exception(NotFound, MethodNotAllowed)(partial(_nothing, world))
    app.exception(controls.ControlError)(_bad_control)
    app.after_server_stop(partial(_close, world))
    return app


def _add_wechat(app: Sanic[Any, Any], world: World) -> None:
    for n, route in enumerate(CALLS):
        view = partial(exchange.v3, world, route.name, route.handler, route.query)
        app.add_route(view, route.path, methods=[route.method], name=f"v3_{n}", unquote=True)
    for path, (name, answer) in login.CALLS.items():
        view = partial(exchange.sns, world, name, answer)
        app.add_route(view, path, methods=["GET", "POST"], name=answer.__name__)
    for path, (name, handler) in cgi.CALLS.items():
        view = partial(exchange.cgi, world, name, handler)
        app.add_route(view, path, methods=["GET", "POST"], name=handler.__name__)
    app.add_route(
        partial(authorize.authorize, world), "/connect/oauth2/authorize", name="authorize"
    )
    app.add_route(partial(h5.page, world), CHECKMWEB, name="h5_page")


def _add_controls(app: Sanic[Any, Any], world: World) -> None:
    for name, control in controls.READS.items():
        view = partial(_read, world, control)
        app.add_route(view, f"/_sandbox/{name}", name=f"read_{name}")
    for name, control in controls.ACTS.items():
        view = partial(_act, world, control)
        app.add_route(view, f"/_sandbox/{name}", methods=["POST"], name=f"act_{name}")
    app.add_route(partial(_pay, world), "/_sandbox/pay", methods=["POST"], name="pay")


async def _read(world: World, control: controls.Control, request: Request) -> HTTPResponse:
    return json(control(world, dict(request.query_args)))


async def _act(world: World, control: controls.Control, request: Request) -> HTTPResponse:
    return json(control(world, controls.read_json(request.body)))


async def _pay(world: World, request: Request) -> HTTPResponse:
    """Answer 200 with err_msg, and log which text paySign had to cover."""
    form = controls.read_json(request.body)
    result = cashier.pay(world, form, request.cookies.get("sandbox_openid"))
    call = exchange.read_call(request, {})
    call.signed_message = cashier.signed_text(form)
    shown, why = result["err_msg"], result.get("err_desc", "")
    verdict = shown if why in shown else f"{shown}: {why}"
    exchange.write_log(world, call, Answer(200, compact(result), verdict=verdict))
    return json(result)


async def _file(file: str, media: str, _: Request) -> HTTPResponse:
    path = HERE / file
    if not path.is_file():
        return HTTPResponse(status=404, content_type="text/plain")
    policy = {
        "Content-Security-Policy": "default-src 'self'; style-src 'self'; img-src 'self' data:"
    }
    headers = {"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} | policy
    return raw(path.read_bytes(), headers=headers, content_type=media)


async def _health(_: Request) -> HTTPResponse:
    return text("ok")


async def _refuse_strangers(request: Request) -> HTTPResponse | None:
    """Let pages of loopback origins use the controls, and no other page."""
    origin = request.headers.get("origin")
    if origin is None or not request.path.startswith("/_sandbox/"):
        return None
    if not (cashier.is_loopback_page(origin) or urlsplit(origin).netloc == request.host):
        return json({"message": "the sandbox's controls are for pages of loopback origins"}, 403)
    return HTTPResponse(status=204) if request.method == "OPTIONS" else None


async def _mark(world: World, request: Request, response: HTTPResponse) -> None:
    response.headers["X-Sandbox-Offset"] = str(world.clock.offset)
    origin = request.headers.get("origin", "")
    if request.path.startswith("/_sandbox/") and cashier.is_loopback_page(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Allow-Headers"] = "content-type"
        response.headers["Access-Control-Expose-Headers"] = "X-Sandbox-Offset"
        response.headers["Vary"] = "Origin"


async def _nothing(
    world: World, request: Request, error: NotFound | MethodNotAllowed
) -> HTTPResponse:
    """Answer unknown paths and methods as WeChat does: 404 or 405, empty."""
    answer = Answer(error.status_code, verdict=str(error))
    if not request.path.startswith("/_sandbox/"):
        exchange.write_log(world, exchange.read_call(request, {}), answer)
    return HTTPResponse(status=error.status_code, content_type="text/plain")


async def _bad_control(_: Request, error: controls.ControlError) -> HTTPResponse:
    return json({"message": str(error)}, error.status)


async def _close(world: World, *_: Any) -> None:
    await world.outbox.close()
