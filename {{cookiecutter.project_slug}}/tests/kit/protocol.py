"""An order, a paid transaction and a notification as WeChat's documents show them."""

import json
from datetime import UTC, datetime
from typing import Any

ORDER: dict[str, Any] = {
    "appid": "wxd678efh567hg6787",
    "mchid": "1900007291",
    "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
    "description": "茶",
    "out_trade_no": "S2026112100000001",
    "total_fen": 100,
    "notify_url": "https://shop.example.com/notify/wechat/payment",
    "time_expire": datetime(2026, 11, 21, 4, 30, 59, 999_999, tzinfo=UTC),
}
PAID: dict[str, Any] = {
    "mchid": "1900007291",
    "appid": "wxd678efh567hg6787",
    "out_trade_no": "S2026112100000001",
    "transaction_id": "4200000000202611210000000001",
    "trade_type": "JSAPI",
    "trade_state": "SUCCESS",
    "trade_state_desc": "支付成功",
    "bank_type": "CMC",
    "attach": "",
    "success_time": "2026-11-21T12:34:56+08:00",
    "payer": {"openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o"},
    "amount": {"total": 100, "payer_total": 90, "currency": "CNY", "payer_currency": "CNY"},
}
PARTIES = {"appid": "wxd678efh567hg6787", "mchid": "1900007291"}
PAYMENT = {
    "mchid": "1900007291",
    "appid": "wxd678efh567hg6787",
    "out_trade_no": "S2026112100000001",
    "transaction_id": "4200000000202611210000000001",
    "trade_state": "SUCCESS",
    "trade_state_desc": "支付成功",
    "success_time": "2026-11-21T12:34:56+08:00",
    "amount": {"total": 100, "payer_total": 100, "currency": "CNY", "payer_currency": "CNY"},
}


def envelope(world: Any, content: Any = PAYMENT, **changed: Any) -> dict[str, Any]:
    text = content if isinstance(content, bytes) else json.dumps(content).encode()
    resource = {**world.sealed(text, extra="transaction"), "original_type": "transaction"}
    return {
        "id": "3119dfba-e649-5eec-ab1e-3412bc4d2e17",
        "create_time": "2026-11-21T12:34:57+08:00",
        "event_type": "TRANSACTION.SUCCESS",
        "resource_type": "encrypt-resource",
        "summary": "支付成功",
        "resource": resource | changed.pop("resource", {}),
        **changed,
    }
