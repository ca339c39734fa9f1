"""Where a buyer can pay 场景: a scene is one row of this table, and nothing else knows its name."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Scene:
    """One way to reach WeChat's cashier.

    `product` is WeChat's name of it 支付产品. `app` is the kind of app whose appid it is paid
    with, "" any. `payer` is what the payment is bound to: the buyer's openid there, or the
    buyer's address. `login` is where that openid comes from. `lasts` is how many seconds the
    answer of prepay can be used.
    """

    product: str
    app: str = ""
    payer: str = ""
    login: str = ""
    lasts: int = 2 * 3600


SCENES: Mapping[str, Scene] = {
    "miniprogram": Scene("jsapi", "miniprogram", "openid", "/api/sessions/miniprogram"),
    "jsapi": Scene("jsapi", "official_account", "openid", "/oauth/start"),
    "h5": Scene("h5", payer="address", lasts=300),
    "native": Scene("native"),
    "app": Scene("app", "app"),
    "alipay": Scene("alipay"),
    "unionpay": Scene("unionpay"),
}
