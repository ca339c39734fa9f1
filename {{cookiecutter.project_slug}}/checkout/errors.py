"""What a caller of the engine can get besides success: a code to branch on, a sentence to read.

No HTTP status is here: a web layer gives each code its own.
"""

from typing import Any


class CheckoutError(Exception):
    """The base of everything that a verb of the engine raises on purpose.

    `retry_after` is in seconds; `more` holds what helps the caller, such as `field`.
    """

    code = "INTERNAL"

    def __init__(self, message: str, *, retry_after: int | None = None, **more: Any) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.more = more


class BadRequest(CheckoutError):
    """Raised when the request is malformed; `field` names the part."""

    code = "BAD_REQUEST"


class PartRequired(BadRequest):
    """Raised when an order was paid in several parts and a refund does not say which."""

    code = "PART_REQUIRED"


class NotFound(CheckoutError):
    """Raised when there is no such thing, or it belongs to somebody else."""

    code = "NOT_FOUND"


class OrderPaid(CheckoutError):
    """Raised when the order is paid already."""

    code = "ORDER_PAID"


class OrderClosed(CheckoutError):
    """Raised when the order is closed, or about to be."""

    code = "ORDER_CLOSED"


class OrderExpired(CheckoutError):
    """Raised in the last 60 seconds of an order (or the channel's minimum) and after them."""

    code = "ORDER_EXPIRED"


class PaymentInProgress(CheckoutError):
    """Raised when the live payment can neither be reused nor closed yet."""

    code = "PAYMENT_IN_PROGRESS"


class OpenidRequired(CheckoutError):
    """Raised when the scene needs an openid of its app that the payer lacks; `scene` names it."""

    code = "OPENID_REQUIRED"

    def __init__(self, message: str, *, scene: str) -> None:
        super().__init__(message)
        self.scene = scene


class SceneOff(CheckoutError):
    """Raised when no channel serves the scene, or the channel of what was paid is switched off."""

    code = "SCENE_OFF"


class VirtualGoods(CheckoutError):
    """Raised when a virtual product is to be paid in a mini program: 小程序虚拟支付 is needed."""

    code = "VIRTUAL_GOODS"


class RefundExceeds(CheckoutError):
    """Raised when a refund is more than what is left of the share."""

    code = "REFUND_EXCEEDS"


class RefundLimit(CheckoutError):
    """Raised when a share has had 50 refunds."""

    code = "REFUND_LIMIT"


class IdempotencyKeyReused(CheckoutError):
    """Raised when the key came before with another body."""

    code = "IDEMPOTENCY_KEY_REUSED"


class TooManyRequests(CheckoutError):
    """Raised when WeChat asks us to slow down."""

    code = "TOO_MANY_REQUESTS"


class WeChatRefused(CheckoutError):
    """Raised when WeChat refuses a call for good; carries its code and Request-ID."""

    code = "WECHAT_REFUSED"


class WeChatUnproved(CheckoutError):
    """Raised when WeChat answered and its signature does not hold: a wrong public key?"""

    code = "WECHAT_UNPROVED"


class CallAgain(CheckoutError):
    """Raised when nobody knows yet whether it was done; nothing is lost, call again."""

    code = "OUTCOME_UNKNOWN"
