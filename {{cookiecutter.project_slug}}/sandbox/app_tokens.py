"""The access tokens of apps: how long each lives, which is the newest, how often may be asked.

developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken. The two calls that issue
them have tokens of their own, which do not disturb each other. Every moment is a virtual one.
"""

import re
import secrets
from collections import Counter
from dataclasses import dataclass
from datetime import datetime

from .clock import BEIJING
from .errcodes import LoginError

LIFETIME = 7200  # seconds
OVERLAP = 300  # seconds in which the token before is still good
FORCED_APART = 30
A_DAY = {"token": 2_000, "stable_token": 500_000, "force_refresh": 20}
A_MINUTE = {"stable_token": 10_000}


@dataclass
class AppToken:
    """A token of an app, good until a virtual Unix second; `replaced` by a newer one."""

    text: str
    appid: str
    until: float
    replaced: bool = False


class Tokens:
    """Every token that was issued, which one is the newest, and how often each app asked."""

    def __init__(self) -> None:
        self._issued: dict[str, AppToken] = {}
        self._newest: dict[tuple[str, str], AppToken] = {}
        self._forced_at: dict[str, float] = {}
        self._asked: Counter[tuple[str, str, str]] = Counter()

    def renew(self, appid: str, now: float) -> AppToken:
        """Issue a token by /cgi-bin/token; the one before lives five minutes more."""
        self._count("token", appid, now)
        before = self._newest.get(("token", appid))
        if before:
            before.until = min(before.until, now + OVERLAP)
            before.replaced = True
        return self._issue("token", appid, now)

    def stable(self, appid: str, now: float) -> AppToken:
        """Give the token of /cgi-bin/stable_token, in its last five minutes a new one."""
        self._count("stable_token", appid, now)
        newest = self._newest.get(("stable_token", appid))
        if newest and newest.until - now > OVERLAP:
            return newest
        return self._issue("stable_token", appid, now)

    def force(self, appid: str, now: float) -> AppToken:
        """Replace the stable token at once, but not within 30 seconds after the last time."""
        newest = self._newest.get(("stable_token", appid))
        if newest and now - self._forced_at.get(appid, 0) < FORCED_APART:
            return newest
        self._count("force_refresh", appid, now)
        self._forced_at[appid] = now
        if newest:
            newest.until = now
            newest.replaced = True
        return self._issue("stable_token", appid, now)

    def check(self, text: str, now: float) -> str:
        """Return the appid of a good token; raises LoginError 40014, 40001 or 42001."""
        if not re.fullmatch(r"[0-9A-Za-z_\-]{40,512}", text):
            raise LoginError(40014)
        token = self._issued.get(text)
        if token is None or (token.replaced and now >= token.until):
            raise LoginError(40001)
        if now >= token.until:
            raise LoginError(42001)
        return token.appid

    def _issue(self, call: str, appid: str, now: float) -> AppToken:
        issued = AppToken(secrets.token_urlsafe(100), appid, now + LIFETIME)
        self._issued[issued.text] = self._newest[call, appid] = issued
        return issued

    def _count(self, call: str, appid: str, now: float) -> None:
        moment = datetime.fromtimestamp(now, BEIJING)
        for limits, form, errcode in ((A_DAY, "%Y%m%d", 45009), (A_MINUTE, "%Y%m%d%H%M", 45011)):
            key = call, appid, moment.strftime(form)
            if call in limits and self._asked[key] >= limits[call]:
                raise LoginError(errcode)
            self._asked[key] += 1
