"""Errors of the HTTP side, and the one table from a code to its status."""

from typing import Any

STATUS = {
    "BAD_REQUEST": 400,
    "IDEMPOTENCY_KEY_REQUIRED": 400,
    "PART_REQUIRED": 400,
    "LOGIN_REQUIRED": 401,
    "LOGIN_CODE_INVALID": 401,
    "LOGIN_REFUSED": 403,
    "NOT_FOUND": 404,
    "ORDER_PAID": 409,
    "ORDER_CLOSED": 409,
    "ORDER_EXPIRED": 409,
    "PAYMENT_IN_PROGRESS": 409,
    "OPENID_REQUIRED": 409,
    "SCENE_OFF": 409,
    "VIRTUAL_GOODS": 409,
    "REFUND_EXCEEDS": 409,
    "REFUND_LIMIT": 409,
    "IDEMPOTENCY_KEY_REUSED": 409,
    "BODY_TOO_LARGE": 413,
    "UNSUPPORTED_MEDIA_TYPE": 415,
    "TOO_MANY_REQUESTS": 429,
    "WECHAT_REFUSED": 502,
    "WECHAT_UNPROVED": 502,
    "OUTCOME_UNKNOWN": 503,
}
#: where the openid that a scene needs comes from
LOGINS = {"miniprogram": "/api/sessions/miniprogram", "jsapi": "/oauth/start"}


class WebError(Exception):
    """The base of what only the HTTP side raises; `more` helps the caller."""

    code = "INTERNAL"

    def __init__(self, message: str, *, retry_after: int | None = None, **more: Any) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.more = more


class IdempotencyKeyRequired(WebError):
    """Raised when the Idempotency-Key header is missing or malformed."""

    code = "IDEMPOTENCY_KEY_REQUIRED"


class BodyTooLarge(WebError):
    """Raised when a body is larger than the route takes."""

    code = "BODY_TOO_LARGE"


class TooOften(WebError):
    """Raised when an address, a buyer or an order asks too often; `retry_after` is in seconds."""

    code = "TOO_MANY_REQUESTS"


class UnsupportedMediaType(WebError):
    """Raised when a body is not application/json."""

    code = "UNSUPPORTED_MEDIA_TYPE"
