"""The signed fields that open the cashier 调起支付, one function per place that takes them.

All timestamps are strings of Unix seconds: WeChat's clients refuse numbers. The appid signed here
must be the one the order was placed with. Follows pay.weixin.qq.com/doc/v3/merchant/4012365339
(JSAPI), 4012365341 (mini program) and 4012365340 (App).
"""

from .keys import Merchant
from .sign import check_nonce, sign


def bridge(
    merchant: Merchant, appid: str, prepay_id: str, *, timestamp: int, nonce: str
) -> dict[str, str]:
    """Return the six fields of WeixinJSBridge getBrandWCPayRequest.

    Raises ValueError for a nonce that WeChat would refuse.
    """
    check_nonce(nonce)
    package = f"prepay_id={prepay_id}"
    return {
        "appId": appid,
        "timeStamp": str(timestamp),
        "nonceStr": nonce,
        "package": package,
        "signType": "RSA",  # is sent, but not signed
        "paySign": sign(merchant.private_key, f"{appid}\n{timestamp}\n{nonce}\n{package}\n"),
    }


def miniprogram(
    merchant: Merchant, appid: str, prepay_id: str, *, timestamp: int, nonce: str
) -> dict[str, str]:
    """Return the five fields of wx.requestPayment: the appid is signed, but not passed."""
    fields = bridge(merchant, appid, prepay_id, timestamp=timestamp, nonce=nonce)
    del fields["appId"]
    return fields


def jssdk(
    merchant: Merchant, appid: str, prepay_id: str, *, timestamp: int, nonce: str
) -> dict[str, str]:
    """Return the five fields of wx.chooseWXPay, which writes `timestamp` in lower case."""
    fields = miniprogram(merchant, appid, prepay_id, timestamp=timestamp, nonce=nonce)
    return {"timestamp": fields.pop("timeStamp"), **fields}


def app(
    merchant: Merchant, appid: str, prepay_id: str, *, timestamp: int, nonce: str
) -> dict[str, str]:
    """Return the seven fields of the App SDK; here the bare prepay_id is signed.

    `merchant` is the one that signed the order: of a service provider partnerId is sp_mchid.
    """
    check_nonce(nonce)
    return {
        "appId": appid,
        "partnerId": merchant.mchid,
        "prepayId": prepay_id,
        "packageValue": "Sign=WXPay",
        "nonceStr": nonce,
        "timeStamp": str(timestamp),
        "sign": sign(merchant.private_key, f"{appid}\n{timestamp}\n{nonce}\n{prepay_id}\n"),
    }
