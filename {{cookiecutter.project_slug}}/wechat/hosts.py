"""WeChat Pay's own addresses, and where they are when a client talks to another host.

Answers name addresses of WeChat's (download_url, h5_url). A client whose host is something else, a
proxy or a sandbox, must ask that host for them.
"""

HOST = "https://api.mch.weixin.qq.com"
STANDBY = "https://api2.mch.weixin.qq.com"
PAGES = "https://wx.tenpay.com"


def moved(address: str, host: str) -> str:
    """Move an address of WeChat's to `host`, with path and query as they are; leave all others.

    For WeChat's own hosts nothing changes.
    """
    if host in (HOST, STANDBY):
        return address
    for own in (HOST, STANDBY, PAGES):
        if address.startswith(f"{own}/"):  # with the slash: no user, no port, no longer name
            return host + address.removeprefix(own)
    return address
