"""Hand an order over 交接: from a browser or an App to the mini program, by a signed token.

The token is single use and lives ten minutes of real time. An order's number alone claims nothing.
"""

import secrets
import time

import jwt

from shop import errors
from shop.models import Order

SECONDS = 600
PATH = "pages/order/order?number={order_no}&handover={token}"


class Handover:
    """Issue and redeem tokens; a new one makes the one before useless."""

    def __init__(self, secret_key: str) -> None:
        self._key = secret_key

    async def issue(self, order: Order) -> tuple[str, str]:
        """Return a token for this order, and the mini program's page that redeems it."""
        name, now = secrets.token_hex(16), int(time.time())
        claims = {"sub": order.order_no, "jti": name, "aud": "handover", "exp": now + SECONDS}
        token = jwt.encode(claims, self._key, "HS256")
        await Order.filter(id=order.id).update(handover=name)
        return token, PATH.format(order_no=order.order_no, token=token)

    async def claim(self, token: str, buyer_id: str) -> Order:
        """Let this buyer see and pay the order, too. Raises BadRequest for a token that is over."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                ["HS256"],
                audience="handover",
                options={"require": ["sub", "jti", "exp"]},
            )
        except jwt.InvalidTokenError as error:
            said = "this link does not hold, make a new one"
            raise errors.BadRequest(said, field="token") from error
        mine = Order.filter(order_no=claims["sub"], handover=claims["jti"])
        if not await mine.update(handover=None, claimed_by=buyer_id):
            raise errors.BadRequest("this link was used, make a new one", field="token")
        return await Order.get(order_no=claims["sub"])
