"""The fields of combined orders 合单 and their limits: doc/v3/merchant/4012556961."""

from functools import cache

from .fields import (
    APPID,
    ATTACH,
    DESCRIPTION,
    H5_INFO,
    MCHID,
    NOTIFY_URL,
    OPENID,
    OUT_TRADE_NO,
)
from .schema import Flag, Items, Number, Opaque, Record, Rule, Text

MOST_FEN = 10_000_000 * 100
NUMBER = Text(
    label="合单商户订单号", required=True, least=6, most=32, pattern=r"[0-9A-Za-z_\-|*@]+"
)
_OPTIONAL = {
    "sub_mchid": Text(label="二级商户号", most=32, pattern=r"[0-9]+"),
    "sub_appid": Text(label="子商户应用ID", most=32, pattern=r"[0-9A-Za-z]+"),
}
_LIMIT = Text(label="支付方式", most=32, choices=("no_balance", "no_debit", "balance_only"))
_SUB_ORDER = Record(
    label="子单信息",
    fields={
        "mchid": MCHID,
        **_OPTIONAL,
        "out_trade_no": OUT_TRADE_NO,
        "attach": ATTACH,
        "amount": Record(
            label="订单金额",
            required=True,
            fields={
                "total_amount": Number(label="标价金额", required=True, least=1, most=MOST_FEN),
                "currency": Text(label="标价币种", required=True, most=8, choices=("CNY",)),
            },
        ),
        "description": DESCRIPTION,
        "detail": Text(label="商品详情", most=6000),
        "goods_tag": Text(label="订单优惠标记", most=32),
        "profit_sharing": Flag(label="是否指定分账"),
        "settle_info": Record(
            label="结算信息",
            fields={
                "profit_sharing": Flag(label="是否指定分账"),
                "subsidy_amount": Number(label="补差金额", most=500_000),
            },
        ),
    },
)


@cache
def prepay(product: str) -> Record:
    """Return the fields of a combined order of a product."""
    scene: dict[str, Rule] = {
        "payer_client_ip": Text(label="用户终端IP", required=True, most=45),
        "device_id": Text(label="商户端设备号", required=product == "h5", most=32),
    }
    if product == "h5":
        scene["h5_info"] = H5_INFO
    payer: dict[str, Rule] = {
        "identity": Opaque(label="实名支付"),
        "openid": OPENID,
        "sub_openid": OPENID,
    }
    return Record(
        label="合单下单",
        fields={
            "combine_appid": APPID,
            "combine_mchid": MCHID,
            "combine_out_trade_no": NUMBER,
            "scene_info": Record(label="场景信息", required=product == "h5", fields=scene),
            "sub_orders": Items(label="子单信息", required=True, item=_SUB_ORDER, most=50),
            "combine_payer_info": Record(label="支付者", fields=payer),
            "time_start": Text(label="交易起始时间", most=64),
            "time_expire": Text(label="交易结束时间", most=64),
            "notify_url": NOTIFY_URL,
            "limit_pay": Items(label="指定支付方式", item=_LIMIT, most=3),
            "trade_scenario": Text(label="交易场景", most=32),
            "subsidy_info": Opaque(label="贴息信息"),
        },
    )


CLOSE = Record(
    label="合单关单",
    fields={
        "combine_appid": APPID,
        "sub_orders": Items(
            label="子单信息",
            required=True,
            most=50,
            item=Record(
                label="子单", fields={"mchid": MCHID, **_OPTIONAL, "out_trade_no": OUT_TRADE_NO}
            ),
        ),
    },
)
