"""What APIv3 signs for the cashier, and what it tells merchants.

doc/v3/merchant/4012365339 (JSAPI), 4012365341 (mini program) and 4012365340 (App): what is signed;
4012071382: the notifications.
"""

from collections.abc import Mapping
from typing import Any

from .models import Notification, Order, Purchase, Refund
from .objects import combined_object, order_object, refund_notification
from .payment import DeclinedError
from .sealing import verifies
from .state import State

SIGNED_BY_BRIDGE = ("appId", "timeStamp", "nonceStr", "package")
SIGNED_BY_APP = ("appId", "timeStamp", "nonceStr", "prepayId")


class ApiV3:
    """The API of an order that was made by /v3/pay/… or /v3/combine-transactions/…."""

    def __init__(self, state: State) -> None:
        self._state = state

    def check_invoke(self, purchase: Purchase, form: Mapping[str, Any]) -> None:
        """Raise DeclinedError unless the merchant of the order signed this."""
        self.check_signature(purchase.mchid, form)

    def check_signature(self, mchid: str, form: Mapping[str, Any]) -> None:
        """Raise DeclinedError unless this merchant's certificate verifies paySign."""
        if form.get("signType", "RSA") != "RSA":
            raise DeclinedError(f"signType of APIv3 is RSA, not {form['signType']}")
        merchant = self._state.keys.merchant(mchid)
        assert merchant is not None
        text = signed_text(form)
        signature = form.get("paySign") or form["sign"]
        if not verifies(merchant.signer.key.public_key(), signature, text.encode()):
            raise DeclinedError(
                f"支付验证签名失败: the merchant's key did not sign this text: {text!r}"
            )

    def notify_payment(self, purchase: Purchase) -> Notification:
        """Send TRANSACTION.SUCCESS with the order object, or the combined one."""
        now = self._state.clock.now()
        if purchase.combined:
            payload = combined_object(purchase, now)
        else:
            payload = order_object(purchase.orders[0], now)
        merchant = self._state.keys.merchant(purchase.mchid)
        assert merchant is not None
        url = str(purchase.body["notify_url"])
        return self._state.outbox.announce(purchase, merchant, url, "TRANSACTION.SUCCESS", payload)

    def notify_refund(self, order: Order, refund: Refund) -> None:
        """Send REFUND.SUCCESS, REFUND.CLOSED or REFUND.ABNORMAL."""
        merchant = self._state.keys.merchant(order.mchid)
        assert merchant is not None
        notification = self._state.outbox.announce(
            refund,
            merchant,
            order.refund_notify_url(refund),
            f"REFUND.{refund.outcome}",
            refund_notification(order, refund),
        )
        self._state.notifications[refund.out_refund_no] = notification


def signed_text(form: Mapping[str, Any]) -> str:
    """Build the four lines that are signed; an App signs the bare prepay_id."""
    names = SIGNED_BY_APP if "prepayId" in form else SIGNED_BY_BRIDGE
    return "".join(f"{form.get(name, '')}\n" for name in names)
