"""Every route of the sandbox: WeChat's own paths on one port, and /_sandbox/* beside them."""

import importlib
import itertools
import pkgutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from sanic import HTTPResponse, Request, Sanic, json, raw, text
from sanic.exceptions import MethodNotAllowed, NotFound

from . import (
    bills,
    cashier,
    certificates,
    cgi,
    combine,
    controls,
    exchange,
    h5,
    login,
    oauth,
    orders,
    protocols,
    refunds,
)
from .addresses import CHECKMWEB
from .exchange import Route
from .state import State
from .wire import Answer, compact

HERE = Path(__file__).parent
ORDERS = "/v3/pay/transactions"
PARTNER_ORDERS = "/v3/pay/partner/transactions"
COMBINED_ORDERS = "/v3/combine-transactions"
PRODUCTS = ("jsapi", "h5", "native", "app")
REFUNDS = "/v3/refund/domestic/refunds"
FILES = {
    "/": ("console/index.html", "text/html; charset=utf-8"),
    "/console.css": ("console/console.css", "text/css; charset=utf-8"),
    "/console.js": ("console/console.js", "application/javascript"),
    "/bridge.js": ("bridge.js", "application/javascript"),
    "/h5.js": ("h5.js", "application/javascript"),
}
FILE_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "default-src 'self'; style-src 'self'; img-src 'self' data:",
}
_instances = itertools.count(1)


def create_app(state: State | None = None) -> Sanic[Any, Any]:
    """Build a sandbox around a state, by default one with the keys that are on the disk.

    Each has a name of its own, so several may live in one process and on one loop.
    """
    state = state or State.open()
    app: Sanic[Any, Any] = Sanic(f"sandbox-{next(_instances)}", configure_logging=False)
    app.ctx.state = state
    app.config.update(
        ACCESS_LOG=False,
        MOTD=False,
        AUTO_EXTEND=False,
        TOUCHUP=False,
        REQUEST_MAX_SIZE=2**20,
        RESPONSE_TIMEOUT=90,  # longer than the fault `hang`
        GRACEFUL_SHUTDOWN_TIMEOUT=1,
    )
    _add_wechat_pay(app, state)
    _add_logins(app, state)
    _add_pages(app, state)
    _add_controls(app, state)
    _add_protocols(app, state)
    app.add_route(_health, "/healthz", name="health")
    app.register_middleware(_refuse_foreign_pages, "request")
    app.register_middleware(partial(_add_headers, state), "response")
    app.exception(NotFound, MethodNotAllowed)(partial(_answer_unknown, state))
    app.exception(controls.ControlError)(_answer_wrong_control)
    app.after_server_stop(partial(_close, state))
    return app


# -- the calls of WeChat Pay


def _add_wechat_pay(app: Sanic[Any, Any], state: State) -> None:
    routes = (
        *_order_routes(ORDERS, partner=False),
        *_order_routes(PARTNER_ORDERS, partner=True),
        *_combined_routes(),
        *_other_routes(),
    )
    for n, route in enumerate(routes):
        view = exchange.signed_view(state, route)
        app.add_route(
            view,
            route.path,
            methods=[route.method],
            name=f"v3_{n}",
            unquote=True,
            error_format="json",  # said, or Sanic reads the source of every handler to find out
        )


def _order_routes(base: str, *, partner: bool) -> Iterator[Route]:
    products = (*PRODUCTS, "scannedpos") if partner else PRODUCTS
    parties = ("sp_mchid", "sub_mchid") if partner else ("mchid",)
    number = f"{base}/out-trade-no/<out_trade_no>"
    for product in products:
        prepay = partial(orders.prepay, product=product, partner=partner)
        yield Route("POST", f"{base}/{product}", "prepay", prepay)
    yield Route("GET", number, "query", orders.query, parties)
    yield Route("GET", f"{base}/id/<transaction_id>", "query", orders.query_by_id, parties)
    yield Route("POST", f"{number}/close", "close", orders.close)


def _combined_routes() -> Iterator[Route]:
    number = f"{COMBINED_ORDERS}/out-trade-no/<combine_out_trade_no>"
    for product in PRODUCTS:
        prepay = partial(combine.prepay, product=product)
        yield Route("POST", f"{COMBINED_ORDERS}/{product}", "prepay", prepay)
    yield Route("GET", number, "query", combine.query)
    yield Route("POST", f"{number}/close", "close", combine.close)


def _other_routes() -> Iterator[Route]:
    refund = f"{REFUNDS}/<out_refund_no>"
    yield Route("POST", REFUNDS, "refund", refunds.create)
    yield Route("GET", refund, "refund_query", refunds.query, ("sub_mchid",))
    yield Route("GET", "/v3/bill/tradebill", "bill", bills.apply_trade_bill, bills.TRADE_BILL)
    yield Route("GET", "/v3/bill/fundflowbill", "bill", bills.apply_fund_flow, bills.FUND_FLOW)
    yield Route("GET", bills.DOWNLOAD, "bill", bills.download, ("token",))
    listing = certificates.certificates
    yield Route("GET", "/v3/certificates", "certificates", listing, ("algorithm_type",))


def _add_protocols(app: Sanic[Any, Any], state: State) -> None:
    """Let every protocol that lies in protocols/ add its paths; a shop may lack some."""
    for module in pkgutil.iter_modules(protocols.__path__):
        if not module.name.startswith("_"):
            protocol = importlib.import_module(f"{protocols.__name__}.{module.name}")
            protocol.attach(app, state)


# -- logins and pages


def _add_logins(app: Sanic[Any, Any], state: State) -> None:
    for path, (name, handler) in (login.CALLS | cgi.CALLS).items():
        view = exchange.login_view(state, name, handler)
        methods = ["GET", "POST"]
        app.add_route(view, path, methods, name=handler.__name__, error_format="json")


def _add_pages(app: Sanic[Any, Any], state: State) -> None:
    app.add_route(partial(oauth.page, state), "/connect/oauth2/authorize", name="oauth_page")
    app.add_route(partial(h5.page, state), CHECKMWEB, name="h5_page")
    for path, (file, media) in FILES.items():
        app.add_route(partial(_file, file, media), path, name=file.replace(".", "_"))


async def _file(file: str, media: str, _: Request) -> HTTPResponse:
    return raw((HERE / file).read_bytes(), headers=FILE_HEADERS, content_type=media)


async def _health(_: Request) -> HTTPResponse:
    return text("ok")


# -- controls


def _add_controls(app: Sanic[Any, Any], state: State) -> None:
    for name, control in controls.READS.items():
        view = partial(_read, state, control)
        app.add_route(view, f"/_sandbox/{name}", name=f"read_{name}")
    for name, control in controls.ACTS.items():
        view = partial(_act, state, control)
        app.add_route(view, f"/_sandbox/{name}", methods=["POST"], name=f"act_{name}")
    app.add_route(partial(_pay, state), "/_sandbox/pay", methods=["POST"], name="pay")


async def _read(state: State, control: controls.Control, request: Request) -> HTTPResponse:
    return json(control(state, dict(request.query_args)))


async def _act(state: State, control: controls.Control, request: Request) -> HTTPResponse:
    return json(control(state, controls.read_json(request.body)))


async def _pay(state: State, request: Request) -> HTTPResponse:
    """Answer 200 with err_msg, and log which text paySign had to cover."""
    form = controls.read_json(request.body)
    result = cashier.pay(state, form, request.cookies.get("sandbox_openid"))
    verdict = result["err_msg"]
    why = result.get("err_desc", "")
    if why not in verdict:
        verdict = f"{verdict}: {why}"
    call = exchange.read_call(request, {})
    call.signed_message = cashier.text_to_sign(state, form)
    exchange.write_log(state, call, Answer(200, compact(result), verdict=verdict))
    return json(result)


async def _answer_wrong_control(_: Request, error: controls.ControlError) -> HTTPResponse:
    return json({"message": str(error)}, error.status)


# -- around every request


async def _refuse_foreign_pages(request: Request) -> HTTPResponse | None:
    """Let pages of loopback origins use the controls, and no other page."""
    origin = request.headers.get("origin")
    if origin is None or not request.path.startswith("/_sandbox/"):
        return None
    is_own_console = urlsplit(origin).netloc == request.host
    if not is_own_console and not cashier.is_loopback_page(origin):
        return json({"message": "the sandbox's controls are for pages of loopback origins"}, 403)
    return HTTPResponse(status=204) if request.method == "OPTIONS" else None


async def _add_headers(state: State, request: Request, response: HTTPResponse) -> None:
    response.headers["X-Sandbox-Offset"] = str(state.clock.offset)
    origin = request.headers.get("origin", "")
    if request.path.startswith("/_sandbox/") and cashier.is_loopback_page(origin):
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Allow-Credentials"] = "true"
        response.headers["Access-Control-Allow-Headers"] = "content-type"
        response.headers["Access-Control-Expose-Headers"] = "X-Sandbox-Offset"
        response.headers["Vary"] = "Origin"


async def _answer_unknown(
    state: State, request: Request, error: NotFound | MethodNotAllowed
) -> HTTPResponse:
    """Answer unknown paths and methods as WeChat does: 404 or 405, empty."""
    answer = Answer(error.status_code, verdict=str(error))
    if not request.path.startswith("/_sandbox/"):
        exchange.write_log(state, exchange.read_call(request, {}), answer)
    return HTTPResponse(status=error.status_code, content_type="text/plain")


async def _close(state: State, *_: Any) -> None:
    await state.outbox.close()
