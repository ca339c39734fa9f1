"""What every JSON route shares: body, session, unit of work, answer, error."""

import hmac
import ipaddress
import random
import re
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Generic, Literal, TypeVar

import msgspec
from sanic import Blueprint, HTTPResponse, Request
from sanic.exceptions import SanicException
from tortoise.exceptions import ValidationError

from accounts.errors import AccountsError, LoginRequired
from accounts.models import Identity
from accounts.sessions import SECONDS
from checkout import log
from checkout.errors import BadRequest, CheckoutError, NotFound, OpenidRequired
from checkout.payments import Payer
from checkout.sql import Statement
from checkout.work import failed, is_outage
from shop.shop import Shop
from shop.web.cookies import SESSION, read_cookie, set_cookie
from shop.web.errors import (
    LOGINS,
    STATUS,
    IdempotencyKeyRequired,
    UnsupportedMediaType,
    WebError,
)
from shop.web.shapes import Failure, Nothing

B = TypeVar("B", bound=msgspec.Struct)
Who = Literal["anyone", "buyer", "admin"]
UNIT_SECONDS = 25
JSON_TYPE = "application/json; charset=utf-8"
SAFE = ("GET", "HEAD")
OPENIDS = Statement(
    "SELECT appid, openid FROM accounts_identity WHERE buyer_id = :buyer_id", Identity
)
CODES = {404: "NOT_FOUND", 405: "METHOD_NOT_ALLOWED", 413: "BODY_TOO_LARGE"}


@dataclass
class Call(Generic[B]):
    """One request, read and checked."""

    shop: Shop
    request: Request
    body: B
    buyer_id: str

    def argument(self, name: str) -> str | None:
        """Return a query argument: letters, digits, `_` and `-`. Raises BadRequest."""
        value: str | None = self.request.args.get(name)
        if value is not None and not re.fullmatch(r"[A-Za-z0-9_-]{1,32}", value):
            raise BadRequest("letters, digits, _ and - only", field=name)
        return value

    def client_ip(self) -> str:
        """Return the buyer's address, behind SHOP_PROXIES_COUNT proxies; the demo's is set."""
        return self.shop.settings.client_ip or address_of(self.request)

    async def payer(self) -> Payer:
        """Read who pays: the buyer's openids by appid; and the address."""
        rows = await OPENIDS.read(buyer_id=self.buyer_id)
        return Payer({row["appid"]: row["openid"] for row in rows}, self.client_ip())

    def idempotency_key(self) -> str:
        """Return the Idempotency-Key header. Raises IdempotencyKeyRequired."""
        key: str = self.request.headers.get("idempotency-key", "")
        if not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", key):
            raise IdempotencyKeyRequired(
                "send an Idempotency-Key header: 1 to 64 of A-Z a-z 0-9 _ -"
            )
        return key


@dataclass(frozen=True)
class JsonAnswer:
    """What a handler gives back: status and body.

    `session` is the token that goes into the session cookie; "" clears the cookie.
    """

    status: int
    body: msgspec.Struct | None = None
    session: str | None = None


Handler = Callable[..., Awaitable[JsonAnswer]]


@dataclass(frozen=True)
class Route:
    """One line of the API, as the OpenAPI document shows it."""

    method: str
    path: str
    who: Who
    takes: type[msgspec.Struct]
    gives: Mapping[int, type[msgspec.Struct] | None]
    keyed: bool
    handler: Handler


class Api:
    """A blueprint whose routes are served as: read, check, run as a unit of work, answer."""

    def __init__(self, name: str) -> None:
        self.blueprint = Blueprint(name)
        self.routes: list[Route] = []

    def __call__(
        self,
        method: str,
        path: str,
        *,
        gives: Mapping[int, type[msgspec.Struct] | None],
        takes: type[msgspec.Struct] = Nothing,
        who: Who = "buyer",
        keyed: bool = False,
    ) -> Callable[[Handler], Handler]:
        """Register the decorated handler."""

        def register(handler: Handler) -> Handler:
            route = Route(method, path, who, takes, gives, keyed, handler)
            self.routes.append(route)
            sanic_path = re.sub(r"{(\w+)}", r"<\1:str>", path)
            self.blueprint.add_route(
                _serve(route),
                sanic_path,
                methods=[method],
                name=handler.__name__,
                error_format="json",  # said, or Sanic reads the source of every handler to find out
            )
            return handler

        return register


def _serve(route: Route) -> Callable[..., Coroutine[Any, Any, HTTPResponse]]:
    async def serve(request: Request, **parts: str) -> HTTPResponse:
        if not all(re.fullmatch(r"[A-Za-z0-9_-]{1,32}", part) for part in parts.values()):
            raise NotFound("not found")
        shop: Shop = request.app.ctx.shop

        async def unit() -> JsonAnswer:
            buyer_id = identify(route.who, request, shop)
            call = Call(shop, request, read(request, route.takes), buyer_id)
            return await route.handler(call, **parts)

        answer = await shop.checkout.work.run(unit(), seconds=UNIT_SECONDS)
        body = msgspec.json.encode(answer.body) if answer.body is not None else b""
        response = HTTPResponse(body, answer.status, content_type=JSON_TYPE)
        if answer.session is not None:
            seconds = SECONDS if answer.session else 0
            set_cookie(request, response, SESSION, answer.session, seconds=seconds)
        return response

    return serve


def identify(who: Who, request: Request, shop: Shop) -> str:
    """Return the buyer's id where one is needed: the token proves it, nothing is looked up.

    Raises LoginRequired, and NotFound where there is no admin token.
    """
    if who == "anyone":
        return ""
    if who == "admin":
        token = _ascii(request.token)
        expected = shop.settings.admin_token
        if not expected:
            raise NotFound("not found")
        if not hmac.compare_digest(token.encode(), expected.encode()):
            log.warning("admin token refused", path=request.path)
            raise LoginRequired("the admin token is missing or wrong")
        return ""
    token = _ascii(request.token) or _session_cookie(request, shop)
    return shop.sessions.read(token)


def buyer_of(request: Request) -> str:
    """Return the id of the buyer who asks, for routes of your own. Raises LoginRequired."""
    return identify("buyer", request, request.app.ctx.shop)


def address_of(request: Request) -> str:
    """Return the address of who sends this, behind SHOP_PROXIES_COUNT proxies."""
    behind = request.remote_addr if request.app.ctx.shop.settings.proxies_count else ""
    return plain_address(behind or request.ip)


@lru_cache(maxsize=1024)  # the same senders come again and again
def plain_address(text: str) -> str:
    """Write an address as WeChat takes it: IPv4 as such, without zone, a strange one as none."""
    try:
        address = ipaddress.ip_address(text.strip().strip("[]").partition("%")[0])
    except ValueError:
        return "127.0.0.1"  # WeChat refuses it by name where it matters
    mapped = getattr(address, "ipv4_mapped", None)
    return str(mapped or address)


def _session_cookie(request: Request, shop: Shop) -> str:
    """Return the session cookie; for a change only when our own page sends the request."""
    token = read_cookie(request, SESSION)
    if not token:
        raise LoginRequired("log in first: there is no session")
    if request.method not in SAFE:
        _is_json(request)
        if request.headers.get("origin") != shop.settings.public_url:
            raise LoginRequired("the session cookie counts only from SHOP_PUBLIC_URL")
    return token


def _ascii(token: str | None) -> str:
    """Return a token that came in a header, or "" when its bytes make no sense."""
    return token if token and token.isascii() else ""


def _is_json(request: Request) -> None:
    media = request.headers.get("content-type", "").split(";")[0].strip().lower()
    if media != "application/json":
        raise UnsupportedMediaType("send Content-Type: application/json")


def read(request: Request, takes: type[B]) -> B:
    """Decode the body strictly. Raises UnsupportedMediaType, BadRequest."""
    body = request.body
    if not body and takes is Nothing:
        return takes()
    _is_json(request)
    try:
        _refuse_nul(body)
        return msgspec.json.decode(body, type=takes)
    except msgspec.ValidationError as error:
        message = str(error)  # it may repeat a name of 64 KiB
        raise BadRequest(message[:300], field=_field(message)[:100] or None) from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadRequest("the body is not JSON that can be read") from error


def _refuse_nul(body: bytes) -> None:
    """Raise BadRequest for a text with a NUL character: no database takes one."""
    if rb"\u0000" in body and (field := _nul_in(msgspec.json.decode(body))) is not None:
        raise BadRequest("a NUL character is not allowed", field=field[:100] or None)


def _nul_in(value: object, path: str = "") -> str | None:
    """Return the path of the first text with a NUL character, None when there is none."""
    if isinstance(value, str):
        return path if "\0" in value else None
    if isinstance(value, dict):
        inner = [_nul_in(member, f"{path}.{name}".strip(".")) for name, member in value.items()]
        names = [path for name in value if "\0" in name]
        return next((field for field in inner + names if field is not None), None)
    if isinstance(value, list):
        elements = (_nul_in(element, f"{path}[{n}]") for n, element in enumerate(value))
        return next((field for field in elements if field is not None), None)
    return None


def _field(message: str) -> str:
    """Find the name of the field that msgspec complains about."""
    path = re.search(r"at `\$\.?([^`]*)`", message)
    name = re.search(r"field `([^`]*)`", message)
    return ".".join(part.group(1) for part in (path, name) if part and part.group(1))


def failure(error: BaseException) -> tuple[int, Failure, int | None]:
    """Translate an exception into status, body and Retry-After (seconds)."""
    request_id = log.request_id.get()
    if isinstance(error, CheckoutError | AccountsError | WebError):
        more = {**error.more}
        if isinstance(error, OpenidRequired):
            more["login"] = LOGINS.get(error.scene)
        body = Failure(error.code, str(error), request_id, **more)
        return STATUS.get(error.code, 500), body, error.retry_after
    if isinstance(error, ValidationError):  # longer than any value in that column
        return 400, Failure("BAD_REQUEST", "a value is out of range", request_id), None
    if isinstance(error, TimeoutError):
        return 503, Failure("OUTCOME_UNKNOWN", "this takes too long, ask again", request_id), 3
    if isinstance(error, SanicException) and error.status_code < 500:
        status = error.status_code
        return status, Failure(CODES.get(status, "BAD_REQUEST"), str(error), request_id), None
    if is_outage(error):
        failed("request failed", error)
        again = random.randint(1, 5)  # noqa: S311
        return 503, Failure("OUTCOME_UNKNOWN", "the books are away, call again", request_id), again
    log.failure("request failed", error)
    return 500, Failure("INTERNAL", "something broke, it is in the log", request_id), None


def answer_failure(request: Request, error: Exception) -> HTTPResponse:
    """Answer an exception as JSON; a notification that could not be read, as its channel does."""
    status, body, retry_after = failure(error)
    at = request.app.ctx.shop.checkout.channels.at(request.path)
    if at is not None and status in (400, 408, 413):
        reply = at[0].failed(status, body.message)
        return HTTPResponse(reply.body, reply.status, content_type=reply.content_type)
    headers = {"Retry-After": str(retry_after)} if retry_after is not None else {}
    if isinstance(error, SanicException):
        headers |= error.headers  # Allow on 405
    return HTTPResponse(msgspec.json.encode(body), status, headers, content_type=JSON_TYPE)
