"""Where a buyer can pay 场景: a scene is one row of a table, and nothing else knows its name.

WeChat's five are here; a channel that offers others has rows of its own.
"""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One way to reach a cashier.

    `product` is WeChat's name of it 支付产品. `app` is the kind of app whose appid it is paid
    with, "" any. `payer` is what the payment is bound to: the buyer's openid there, or the
    buyer's address. `lasts` is how many seconds the answer of prepay can be used.
    """

    product: str
    app: str = ""
    payer: str = ""
    lasts: int = 2 * 3600


SCENES: Mapping[str, Scene] = {
    "miniprogram": Scene("jsapi", app="miniprogram", payer="openid"),
    "jsapi": Scene("jsapi", app="official_account", payer="openid"),
    "h5": Scene("h5", payer="address", lasts=300),
    "native": Scene("native"),
    "app": Scene("app", app="app"),
}
