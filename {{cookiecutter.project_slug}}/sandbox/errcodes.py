"""How the calls of api.weixin.qq.com fail: HTTP 200 and an errcode, JSON declared as text/plain."""

import secrets
from collections.abc import Mapping
from typing import Any

from .wire import Answer, compact

ERRORS = {
    -1: "system error",
    40001: "invalid credential, access_token is invalid or not latest",
    40002: "invalid grant_type",
    40003: "invalid openid",
    40013: "invalid appid",
    40014: "invalid access_token",
    40029: "invalid code",
    40030: "invalid refresh_token",
    40066: "invalid url",
    40097: "invalid args",
    40125: "invalid appsecret",
    40163: "code been used",
    40164: "invalid ip 203.0.113.7 ipv6 ::ffff:203.0.113.7, not in whitelist",
    40226: "code blocked",
    41001: "access_token missing",
    41002: "appid missing",
    41003: "refresh_token missing",
    41004: "appsecret missing",
    41008: "missing code",
    41009: "missing openid",
    42001: "access_token expired",
    42002: "refresh_token expired",
    43002: "require POST method",
    45009: "reach max api daily quota limit",
    45011: "api minute-quota reach limit, must slower, retry next minute",
    47001: "data format error",
    48001: "api unauthorized",
    87007: "session_key is not existed or expired",
    87008: "invalid sig_method",
    87009: "invalid signature",
    89002: "not bound to an open platform account",
    89300: "invalid trade",
}


class LoginError(Exception):
    """Raised with an errcode; the answer is 200 all the same."""

    def __init__(self, errcode: int) -> None:
        super().__init__(f"errcode {errcode}: {ERRORS[errcode]}")
        self.errcode = errcode

    def answer(self) -> Answer:
        """Build the body, with the request id that WeChat's support asks for."""
        rid = f"{secrets.token_hex(4)}-{secrets.token_hex(4)}-{secrets.token_hex(4)}"
        message = f"{ERRORS[self.errcode]}, rid: {rid}"
        return login_answer({"errcode": self.errcode, "errmsg": message}, str(self))


def login_answer(body: Mapping[str, Any], verdict: str = "passed") -> Answer:
    """Build an answer of /sns/*."""
    return Answer(200, compact(body), {"Content-Type": "text/plain"}, verdict)
