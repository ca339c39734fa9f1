"""The number at the end of Request-ID 请求ID末尾的数字, which names an error exactly.

The table is WeChat's own TOP 20 (排障手册 in github.com/wechatpay-apiv3/wechatpay-skills): what a
number means and what to do, for logs and for people. Other numbers exist: describe() says so.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Explanation:
    """What one number means and what to do, in English and in Chinese."""

    number: int
    meaning: str
    advice: str
    meaning_zh: str
    advice_zh: str


def number_in(request_id: str | None) -> int | None:
    """Return the number behind the last hyphen; None without one, and for 0, which is success."""
    match = re.search(r"-([0-9]{1,12})\Z", request_id or "")
    return (int(match[1]) or None) if match else None


def explain(number: int) -> Explanation | None:
    """Look a number up; None when the table lacks it."""
    return TOP_20.get(number)


def describe(number: int) -> str:
    """Write one line about a number in both languages, also about a number the table lacks."""
    if entry := explain(number):
        return (
            f"{number}: {entry.meaning_zh}。{entry.advice_zh}。 / {entry.meaning}: {entry.advice}."
        )
    return (
        f"{number}: 不在微信官方排障手册的 TOP 20 里，请看 code 和 message，"
        "或把完整的 Request-ID 发给微信支付客服。 / not in WeChat's TOP 20: read code and message,"
        " or give the whole Request-ID to WeChat Pay's support."
    )


def _table(*explanations: Explanation) -> Mapping[int, Explanation]:
    return {entry.number: entry for entry in explanations}


TOP_20 = _table(
    Explanation(
        268435461,
        "a parameter is not allowed",
        "mend the field that message and detail name",
        "参数不合法",
        "按 message 和 detail 指出的字段修改",
    ),
    Explanation(
        268435464,
        "a value is out of range",
        "mend the field that message and detail name",
        "参数超出取值范围",
        "按 message 和 detail 指出的字段修改",
    ),
    Explanation(
        268443699,
        "the signature of the request is wrong",
        "compare private key, certificate serial and signed text; send the bytes that you signed",
        "请求签名错误",
        "核对商户API私钥、证书序列号和待签名串，签的字节就是发的字节",
    ),
    Explanation(
        268443701,
        "service provider and sub merchant are not related",
        "let the sub merchant authorise the provider, or mend sub_mchid",
        "服务商与子商户没有受理关系",
        "让子商户授权，或改正 sub_mchid",
    ),
    Explanation(
        268443704,
        "a service provider must send sub_mchid",
        "use the partner path with sp_mchid and sub_mchid",
        "服务商模式必须传 sub_mchid",
        "改用服务商接口，传 sp_mchid 和 sub_mchid",
    ),
    Explanation(
        268443705,
        "sub_mchid is the provider's own number",
        "put the sub merchant's number there",
        "sub_mchid 与服务商商户号相同",
        "填子商户的商户号",
    ),
    Explanation(
        268443715,
        "the merchant number is not available",
        "read the messages in the merchant platform",
        "商户号不可用",
        "到商户平台查看商户号状态",
    ),
    Explanation(
        268445527,
        "appid and merchant number are not bound",
        "bind them: merchant platform, 产品中心 > AppID账号管理, then confirm in the app's console",
        "appid 与商户号没有绑定",
        "商户平台 产品中心 > AppID账号管理 里绑定，再到公众平台确认",
    ),
    Explanation(
        268447840,
        "too many calls",
        "wait and repeat with the same number, more slowly each time",
        "调用频率超限",
        "用原单号稍后重试，逐次放慢",
    ),
    Explanation(
        268447843,
        "the order belongs to another merchant number",
        "query with the mchid it was placed with",
        "商户号与订单不匹配",
        "用下单时的商户号查询",
    ),
    Explanation(
        268447845,
        "the order belongs to another sub merchant",
        "query with the sub_mchid it was placed with",
        "子商户号与订单不匹配",
        "用下单时的 sub_mchid 查询",
    ),
    Explanation(
        268447914,
        "the order is closed or has expired",
        "pay under a new out_trade_no",
        "订单已关闭或已过期",
        "换新的商户订单号重新下单",
    ),
    Explanation(
        268448010,
        "the merchant may not receive money (risk control)",
        "read the reason in the merchant platform; calling again does not help",
        "商户收款功能被限制（风控）",
        "到商户平台查看原因，重试无用",
    ),
    Explanation(
        268449538,
        "the order is paid",
        "query it and record the payment",
        "订单已支付",
        "查单并入账",
    ),
    Explanation(
        268449641,
        "this order cannot be closed",
        "a payment by code 付款码 is reversed, not closed",
        "订单不允许关闭",
        "付款码订单请用撤销接口",
    ),
    Explanation(
        268498688,
        "the same number was ordered with other parameters",
        "query the number first; send the stored body again, byte for byte",
        "同一商户订单号，参数与首次不一致",
        "先查单，再用原来的请求体重发",
    ),
    Explanation(
        268498689,
        "the order is paid",
        "query it and record the payment",
        "订单已支付",
        "查单并入账",
    ),
    Explanation(
        268501013,
        "JSAPI needs the buyer's openid",
        "send payer.openid, of the same appid",
        "JSAPI 支付缺少 openid",
        "传 payer.openid，且属于同一个 appid",
    ),
    Explanation(
        268512771,
        "the order does not exist",
        "after a timeout ask again shortly; otherwise compare number and mchid",
        "订单不存在",
        "刚超时的稍后再查，否则核对单号和商户号",
    ),
    Explanation(
        270924358,
        "the request has a parameter that the page does not know",
        "leave it out; detail.value names it",
        "请求里有文档没有定义的参数",
        "去掉 detail.value 指出的参数",
    ),
)
