"""Whose orders we place: our own 直连, or as a service provider 服务商 those of sub merchants.

Settings choose it: SHOP_SUB_MCHID makes SHOP_MCHID a service provider's number.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from shop.channels import SCENES
from shop.settings import Env, Settings, is_appid
from wechat.transactions import PRODUCTS


@dataclass(frozen=True)
class Parties:
    """The merchant numbers and appids of an order, by the names that WeChat gives them."""

    mchid: str
    apps: Mapping[str, str]
    sp_appid: str = ""
    sub_mchid: str = ""
    sub_appid: str = ""

    def scenes(self, wanted: Iterable[str]) -> dict[str, str]:
        """Return scene -> appid for every scene that an app of ours serves; `wanted` narrows."""
        found = {}
        for name, scene in SCENES.items():
            if scene.product not in PRODUCTS:
                continue
            appid = self.apps.get(scene.app) if scene.app else self._any()
            if appid and (not wanted or name in wanted):
                found[name] = appid
        return found

    def named(self, appid: str, merchant: str) -> dict[str, str]:
        """Return the party fields of an order that is paid in this app, for this merchant."""
        if not self.sub_mchid:
            return {"appid": appid, "mchid": merchant or self.mchid}
        sub = {"sub_mchid": merchant or self.sub_mchid}
        if appid == self.sub_appid:
            sub = {"sub_appid": appid, **sub}
        own = self.sp_appid if appid == self.sub_appid else appid
        return {"sp_appid": own, "sp_mchid": self.mchid, **sub}

    def payer(self, appid: str, openid: str) -> dict[str, str]:
        """Return the payer by the name that fits the app which the openid belongs to."""
        if not self.sub_mchid:
            return {"openid": openid}
        return {"sub_openid" if appid == self.sub_appid else "sp_openid": openid}

    def _any(self) -> str:
        """Return an appid for scenes that need no certain app: one of the merchant's own."""
        own = [appid for appid in self.apps.values() if appid != self.sub_appid]
        return next(iter([*own, *self.apps.values()]), "")


def own_apps(settings: Settings) -> dict[str, str]:
    """Return scene -> appid for a channel that knows no service providers."""
    apps = {kind: app.appid for kind, app in settings.apps.items()}
    return Parties("", apps).scenes(settings.scenes)


def read(env: Env, settings: Settings, mchid: str) -> Parties:
    """Read the service provider's settings; half a pair is a problem noted in `env`."""
    apps = {kind: app.appid for kind, app in settings.apps.items()}
    sub_mchid, sub_appid = env.get("SHOP_SUB_MCHID"), env.get("SHOP_SUB_APPID")
    own = [appid for appid in apps.values() if appid != sub_appid]
    sp_appid = env.get("SHOP_SP_APPID") or next(iter(own), "")
    for name, appid in (("SHOP_SUB_APPID", sub_appid), ("SHOP_SP_APPID", sp_appid)):
        if appid and not is_appid(appid):
            env.problem(name, "is not an appid", "wx8888888888888888")
    if not sub_mchid:
        if sub_appid:
            missing = "missing, but SHOP_SUB_APPID is set: which sub merchant's app is it"
            env.problem("SHOP_SUB_MCHID", missing, "1900000109")
        return Parties(mchid, apps)
    if sub_mchid == mchid:
        env.problem("SHOP_SUB_MCHID", "is SHOP_MCHID itself", "1900000109")
    if apps and not sp_appid:
        missing = "missing: no app here is the service provider's own"
        env.problem("SHOP_SP_APPID", missing, "wx8888888888888888")
    return Parties(mchid, apps, sp_appid, sub_mchid, sub_appid)
