"""The answers a caller can get besides success; web/api.py turns them into JSON."""

from typing import Any


class ShopError(Exception):
    """An answer with an HTTP status, a code to branch on and a sentence to read."""

    status = 500
    code = "INTERNAL"

    def __init__(self, message: str, *, retry_after: int | None = None, **more: Any) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.more = more


class BadRequest(ShopError):
    """Raised when the request is malformed; `field` names the part."""

    status, code = 400, "BAD_REQUEST"


class IdempotencyKeyRequired(ShopError):
    """Raised when the Idempotency-Key header is missing or malformed."""

    status, code = 400, "IDEMPOTENCY_KEY_REQUIRED"


class PartRequired(BadRequest):
    """Raised when an order was paid in several parts and a refund does not say which."""

    code = "PART_REQUIRED"


class LoginRequired(ShopError):
    """Raised when there is no session, or one that does not hold."""

    status, code = 401, "LOGIN_REQUIRED"


class LoginCodeInvalid(ShopError):
    """Raised when WeChat does not take the login code (40029, 40163): log in again."""

    status, code = 401, "LOGIN_CODE_INVALID"


class LoginRefused(ShopError):
    """Raised when WeChat blocks this person's login (40226)."""

    status, code = 403, "LOGIN_REFUSED"


class NotFound(ShopError):
    """Raised when there is no such thing, or it belongs to somebody else."""

    status, code = 404, "NOT_FOUND"


class BodyTooLarge(ShopError):
    """Raised when a body is larger than the route takes."""

    status, code = 413, "BODY_TOO_LARGE"


class UnsupportedMediaType(ShopError):
    """Raised when a body is not application/json."""

    status, code = 415, "UNSUPPORTED_MEDIA_TYPE"


class Conflict(ShopError):
    """Raised when the order's state does not allow the call; see the subclasses."""

    status = 409


class OrderPaid(Conflict):
    """Raised when the order is paid already."""

    code = "ORDER_PAID"


class OrderClosed(Conflict):
    """Raised when the order is closed, or about to be."""

    code = "ORDER_CLOSED"


class OrderExpired(Conflict):
    """Raised in the last 60 seconds of an order and after them."""

    code = "ORDER_EXPIRED"


class PaymentInProgress(Conflict):
    """Raised when the live payment can neither be reused nor closed yet."""

    code = "PAYMENT_IN_PROGRESS"


class OpenidRequired(Conflict):
    """Raised when the scene needs an identity that this session lacks."""

    code = "OPENID_REQUIRED"


class SceneOff(Conflict):
    """Raised when no channel of this shop serves the scene."""

    code = "SCENE_OFF"


class RefundExceeds(Conflict):
    """Raised when a refund is more than what is left of the payment."""

    code = "REFUND_EXCEEDS"


class RefundLimit(Conflict):
    """Raised when a payment has had 50 refunds."""

    code = "REFUND_LIMIT"


class IdempotencyKeyReused(Conflict):
    """Raised when the key came before with another body."""

    code = "IDEMPOTENCY_KEY_REUSED"


class TooManyRequests(ShopError):
    """Raised when WeChat asks us to slow down."""

    status, code = 429, "TOO_MANY_REQUESTS"


class WeChatRefused(ShopError):
    """Raised when WeChat refuses a call for good; carries its code and Request-ID."""

    status, code = 502, "WECHAT_REFUSED"


class OutcomeUnknown(ShopError):
    """Raised when nobody knows yet whether WeChat did it; nothing is lost, call again."""

    status, code = 503, "OUTCOME_UNKNOWN"
