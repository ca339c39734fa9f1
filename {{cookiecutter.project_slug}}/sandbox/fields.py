"""The fields of the order API, their limits and WeChat's names for them.

doc/v3/merchant/4012525167 and 4012525182; each number is a length in characters
unless `in_bytes` says UTF-8 bytes.
"""

from functools import cache

from .schema import Flag, Items, Number, Opaque, Record, Rule, Text

NUMBER_PATTERN = r"[0-9a-zA-Z_\-\|\*]+"
OUT_TRADE_NO = Text(
    label="商户订单号", required=True, least=6, most=32, in_bytes=True, pattern=NUMBER_PATTERN
)
DESCRIPTION = Text(label="商品描述", required=True, most=127, in_bytes=True)
ATTACH = Text(label="附加数据", most=128, in_bytes=True)
NOTIFY_URL = Text(label="通知地址", required=True, most=255)
TRANSACTION_ID = Text(label="微信支付订单号", required=True, most=32, pattern=r"[0-9A-Za-z]+")
MCHID = Text(label="商户号", required=True, most=32, pattern=r"[0-9]+")
APPID = Text(label="公众账号ID", required=True, most=32, pattern=r"[0-9A-Za-z]+")
OPENID = Text(label="用户标识", most=128, pattern=r"[0-9A-Za-z_\-]+")

OUT_REFUND_NO = Text(label="商户退款单号", required=True, most=64, pattern=r"[0-9A-Za-z_\-|*@]+")

_GOODS = Record(
    label="单品",
    fields={
        "merchant_goods_id": Text(label="商户侧商品编码", required=True, most=32),
        "wechatpay_goods_id": Text(label="微信支付商品编码", most=32),
        "goods_name": Text(label="商品名称", most=256),
        "quantity": Number(label="商品数量", required=True, least=1),
        "unit_price": Number(label="商品单价", required=True),
    },
)
_STORE = Record(
    label="商户门店信息",
    fields={
        "id": Text(label="门店编号", most=32),
        "out_id": Text(label="商家自定义编码", most=32),
        "name": Text(label="门店名称", most=256),
        "area_code": Text(label="地区编码", most=32),
        "address": Text(label="详细地址", most=512),
    },
)
H5_INFO = Record(
    label="H5场景信息",
    required=True,
    fields={
        "type": Text(label="场景类型", required=True, most=32),
        "app_name": Text(label="应用名称", most=64),
        "app_url": Text(label="网站URL", most=128),
        "bundle_id": Text(label="iOS平台BundleID", most=128),
        "package_name": Text(label="Android平台PackageName", most=128),
    },
)
_PAYER_IP = Text(label="用户终端IP", required=True, most=45)
_DEVICE = Text(label="商户端设备号", most=32)


def _scene(product: str) -> Record:
    fields: dict[str, Rule] = {
        "payer_client_ip": _PAYER_IP,
        "device_id": _DEVICE,
        "store_info": _STORE,
    }
    if product == "h5":
        fields["h5_info"] = H5_INFO
    return Record(label="场景信息", required=product in ("h5", "scannedpos"), fields=fields)


_DETAIL = Record(
    label="优惠功能",
    most_bytes=6144,
    fields={
        "cost_price": Number(label="订单原价"),
        "invoice_id": Text(label="商品小票ID", most=32),
        "goods_detail": Items(label="单品列表", item=_GOODS, most=6000),
    },
)
_OTHER_PRODUCT = Opaque(label="需单独申请权限的参数")
_LIMIT = Text(
    label="支付方式", most=32, choices=("no_balance", "no_credit", "no_debit", "balance_only")
)

_SETTLE = Record(label="结算信息", fields={"profit_sharing": Flag(label="分账标识")})
_AMOUNT = Record(
    label="订单金额",
    required=True,
    fields={
        "total": Number(label="总金额", required=True, least=1),
        "currency": Text(label="货币类型", most=16, choices=("CNY",)),
    },
)
_OPTIONAL_APPID = Text(label="应用ID", most=32, pattern=r"[0-9A-Za-z]+")
_PARTIES: dict[str, Rule] = {"appid": APPID, "mchid": MCHID}
_PARTNERS: dict[str, Rule] = {
    "sp_appid": APPID,
    "sp_mchid": MCHID,
    "sub_appid": _OPTIONAL_APPID,
    "sub_mchid": MCHID,
}


@cache
def prepay(product: str, *, partner: bool) -> Record:
    """Return the fields of an order of a product, for a merchant of its own or a provider."""
    names = ("sp_openid", "sub_openid") if partner else ("openid",)
    payer: dict[str, Rule] = {"identity": _OTHER_PRODUCT}
    if product in ("jsapi", "scannedpos"):
        payer |= dict.fromkeys(names, OPENID)
    parties = dict(_PARTNERS if partner else _PARTIES)
    if product == "scannedpos":
        parties["sp_appid"] = _OPTIONAL_APPID
    return Record(
        label="下单",
        fields={
            **parties,
            "description": DESCRIPTION,
            "out_trade_no": OUT_TRADE_NO,
            "time_expire": Text(label="交易结束时间", most=64),
            "attach": ATTACH,
            "notify_url": NOTIFY_URL,
            "goods_tag": Text(label="订单优惠标记", most=32),
            "limit_pay": Items(label="指定支付方式", item=_LIMIT, most=4),
            "support_fapiao": Flag(label="电子发票入口开放标识"),
            "amount": _AMOUNT,
            "payer": Record(label="支付者", fields=payer),
            "detail": _DETAIL,
            "scene_info": _scene(product),
            "settle_info": _SETTLE,
            "subsidy_info": _OTHER_PRODUCT,
        },
    )


@cache
def close(*, partner: bool) -> Record:
    """Return the fields of close 关单."""
    if partner:
        return Record(label="关单", fields={"sp_mchid": MCHID, "sub_mchid": MCHID})
    return Record(label="关单", fields={"mchid": MCHID})


_REFUND_GOODS = Record(
    label="退款商品",
    fields={
        "merchant_goods_id": Text(label="商户侧商品编码", required=True, most=32),
        "wechatpay_goods_id": Text(label="微信支付商品编码", most=32),
        "goods_name": Text(label="商品名称", most=256),
        "unit_price": Number(label="商品单价", required=True),
        "refund_amount": Number(label="商品退款金额", required=True),
        "refund_quantity": Number(label="商品退货数量", required=True, least=1),
    },
)
_REFUND_FROM = Record(
    label="退款出资账户",
    fields={
        "account": Text(
            label="出资账户类型", required=True, most=32, choices=("AVAILABLE", "UNAVAILABLE")
        ),
        "amount": Number(label="出资金额", required=True, least=1),
    },
)

REFUND = Record(
    label="申请退款",
    fields={
        "sub_mchid": Text(label="特约商户号", most=32, pattern=r"[0-9]+"),
        "transaction_id": Text(label="微信支付订单号", most=32, pattern=r"[0-9A-Za-z]+"),
        "out_trade_no": Text(
            label="商户订单号", least=6, most=32, in_bytes=True, pattern=NUMBER_PATTERN
        ),
        "out_refund_no": OUT_REFUND_NO,
        "reason": Text(label="退款原因", most=80, in_bytes=True),
        "notify_url": Text(label="退款结果回调url", least=8, most=256),
        "funds_account": Text(label="退款资金来源", most=32, choices=("AVAILABLE", "UNSETTLED")),
        "amount": Record(
            label="金额信息",
            required=True,
            fields={
                "refund": Number(label="退款金额", required=True, least=1),
                "total": Number(label="原订单金额", required=True, least=1),
                "currency": Text(label="退款币种", required=True, most=16, choices=("CNY",)),
                "from": Items(label="退款出资账户及金额", item=_REFUND_FROM, most=10),
            },
        ),
        "goods_detail": Items(label="退款商品", item=_REFUND_GOODS, most=6000),
    },
)
