"""The addresses that answers name: WeChat's own, when the sandbox is addressed as WeChat.

Whoever bends the way of api.mch.weixin.qq.com to the sandbox may cut that very origin off an
address before signing the rest; everybody else is sent to where the sandbox really listens.
"""

WECHAT_HOSTS = {
    "api.mch.weixin.qq.com",
    "api2.mch.weixin.qq.com",
    "api.wechatpay.cn",
    "api2.wechatpay.cn",
    "wx.tenpay.com",
}
CHECKMWEB = "/cgi-bin/mmpayweb-bin/checkmweb"


def bill_origin(host: str) -> str:
    """Return scheme and host of a bill's download_url for a request to this Host."""
    return _origin(host, "https://api.mch.weixin.qq.com")


def h5_page(host: str) -> str:
    """Return the address of the H5 page 中间页 for a request to this Host."""
    return _origin(host, "https://wx.tenpay.com") + CHECKMWEB


def _origin(host: str, wechats: str) -> str:
    is_wechat = host.partition(":")[0].lower() in WECHAT_HOSTS
    return wechats if is_wechat else f"http://{host}"
