"""What only WeChat can prove 证明: each appsecret, and one fen ordered and closed in each scene."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta

from accounts.login import App
from checkout.channels import (
    Channel,
    ChannelError,
    Draft,
    DraftShare,
    Finding,
    known_scenes,
)
from checkout.models import Payment, Share
from shop.shop import Shop
from wechat import errors, login, numbers

LASTS = timedelta(minutes=10)
SOMEBODYS_ADDRESS = "203.0.113.10"  # for H5: WeChat refuses 127.0.0.1
CONSOLE = "mp.weixin.qq.com > 开发管理 > 开发设置"
#: the product of a scene, as the merchant platform calls it
PRODUCTS = {"miniprogram": "JSAPI支付", "jsapi": "JSAPI支付", "h5": "H5支付"}
PRODUCTS |= {"native": "Native支付", "app": "APP支付"}
NO_RELATION = 268443701  # of a service provider and a sub merchant
#: an openid that is nobody's is refused after everything else was looked at
NOBODY = "somebody must log in first, then prove again 先让一个人登录一次，再来证明"


async def appsecrets(shop: Shop) -> list[Finding]:
    """Ask for each app's token, which its secret alone gives."""
    apps = [app for app in shop.settings.login.apps.values() if app.secret]
    return [await _appsecret(shop, app) for app in apps]


async def _appsecret(shop: Shop, app: App) -> Finding:
    name = f"SHOP_{app.kind.upper()}"
    host = {"host": shop.settings.sandbox_url} if shop.settings.sandbox_url else {}
    try:
        await login.stable_token(shop.http, appid=app.appid, secret=app.secret, **host)
    except errors.LoginRefused as error:
        return _token_refused(name, error)
    except errors.WeChatError as error:
        return Finding(None, f"{name}_SECRET", f"WeChat did not answer 没有应答: {error}")
    return Finding(True, f"{name}_SECRET opens the app {app.appid}")


def _token_refused(name: str, error: errors.LoginRefused) -> Finding:
    if error.errcode in (40125, 40001):
        return Finding(
            False,
            f"{name}_SECRET",
            f"is not this app's, or was reset AppSecret不对: {CONSOLE} > AppSecret > 重置",
        )
    if error.errcode == 40013:
        return Finding(False, f"{name}_APPID", f"WeChat knows no such app 没有这个AppID: {CONSOLE}")
    if error.errcode == 40164:
        allow = f"{CONSOLE} > IP白名单: add this machine's address 加上本机IP, then prove again"
        return Finding(None, f"{name}_SECRET", f"cannot be proved from here 此处无法证明: {allow}")
    return Finding(None, f"{name}_SECRET", f"WeChat refused to say 无法证明: {error}")


async def orders(shop: Shop, openids: Mapping[str, str]) -> list[Finding]:
    """Place, query and close one fen in each scene, and once for each further merchant.

    `openids` maps an appid to somebody who has logged in there.
    """
    tried = [
        (channel, scene, "")
        for channel in shop.checkout.channels.values()
        for scene in channel.scenes
        if channel.serves(scene, [""])
    ]
    further = {product.merchant for product in (await shop.products()).values()} - {""}
    for merchant in sorted(further):
        served = [(c, s) for c, s, _ in tried if c.serves(s, [merchant])]
        tried += [(channel, scene, merchant) for channel, scene in served[:1]]
    return [
        await _order(shop, Trial(channel, scene, merchant, openids))
        for channel, scene, merchant in tried
    ]


@dataclass(frozen=True)
class Trial:
    """One fen for a merchant, in a scene of a channel."""

    channel: Channel
    scene: str
    merchant: str
    openids: Mapping[str, str]

    @property
    def what(self) -> str:
        """Name it in the report."""
        merchant = f" for {self.merchant}" if self.merchant else ""
        return f"{self.scene}, {self.channel.name}: one fen{merchant}"

    @property
    def appid(self) -> str:
        """Return the app whose cashier it is."""
        return self.channel.scenes[self.scene]

    @property
    def needs_openid(self) -> bool:
        """Tell whether only a certain person can pay."""
        return known_scenes()[self.scene].payer == "openid"

    @property
    def payer(self) -> str:
        """Return somebody's openid, or one that is probably nobody's."""
        if not self.needs_openid:
            return ""
        return self.openids.get(self.appid) or f"o{secrets.token_hex(14)[:27]}"


async def _order(shop: Shop, trial: Trial) -> Finding:
    """Prove one scene."""
    payment, share = _payment(shop, trial)
    try:
        await trial.channel.prepay(payment)
    except ChannelError as error:
        return _refused(shop, trial, error)
    try:
        trade = await trial.channel.query(payment, [share])
        if trade.number != payment.number or trade.shares[0].total_fen not in (1, None):
            return Finding(False, trial.what, "the query tells of another order 查到的不是这一单")
        if trial.channel.close_after:
            return Finding(True, f"{trial.what} ordered, queried; it expires by itself 自行过期")
        await trial.channel.close(payment, [share])
    except ChannelError as error:
        return Finding(False, trial.what, f"was ordered, then 已下单，随后: {_words(error)}")
    return Finding(True, f"{trial.what} ordered, queried, closed 下单、查单、关单")


def _payment(shop: Shop, trial: Trial) -> tuple[Payment, Share]:
    """Build a payment that no table will hold."""
    now = shop.clock.now()
    number = f"{shop.checkout.config.trade_prefix}doctor{secrets.token_hex(8)}"
    draft = Draft(
        number=number,
        scene=trial.scene,
        payer=trial.payer,
        client_ip=shop.settings.client_ip or SOMEBODYS_ADDRESS,
        widget=False,
        created_at=now,
        expires_at=now + LASTS,
        shares=[DraftShare(number, trial.merchant, 1, "体检，随即关单 doctor, closed at once")],
    )
    prepared = trial.channel.prepare(draft)
    payment = Payment(
        number=number,
        channel=trial.channel.name,
        scene=trial.scene,
        product=prepared.product,
        payer=draft.payer,
        total_fen=1,
        state="NEW",
        parties=dict(prepared.parties),
        request=prepared.body,
        prepay={},
        expires_at=prepared.expires_at,
        request_id="doctor",
        created_at=now,
    )
    share = Share(
        out_trade_no=number,
        merchant=trial.merchant,
        channel=trial.channel.name,
        parties=dict(prepared.share_parties[0]),
        total_fen=1,
    )
    return payment, share


def _refused(shop: Shop, trial: Trial, error: ChannelError) -> Finding:
    """Name the setting that a refusal means, and what to click."""
    code = error.code.replace("_", "")
    explained = numbers.number_in(error.request_id)
    if code == "APPIDMCHIDNOTMATCH":
        return Finding(False, _appid_setting(shop, trial.appid), _not_bound(trial.merchant))
    if trial.needs_openid and trial.appid not in trial.openids and "openid" in str(error):
        return Finding(None, trial.what, NOBODY)
    if code == "NOAUTH" and explained == NO_RELATION:
        return Finding(False, "SHOP_SUB_MCHID", numbers.describe(NO_RELATION))
    if code == "NOAUTH" and not numbers.explain(explained or 0):
        return Finding(False, "SHOP_SCENES", _not_opened(trial.scene))
    return Finding(False, trial.what, _words(error))


def _not_bound(merchant: str) -> str:
    return (
        f"is not bound to {merchant or 'SHOP_MCHID'} 没有绑定商户号: pay.weixin.qq.com > 产品中心 >"
        " AppID账号管理 > 关联AppID, then confirm 再确认: mp.weixin.qq.com > 微信支付 > 商户号管理"
    )


def _not_opened(scene: str) -> str:
    product = PRODUCTS.get(scene, scene)
    return (
        f"{scene} is on, but {product} is not opened 产品没有开通: pay.weixin.qq.com > 产品中心 >"
        f" {product}; until then leave {scene} out 开通前不要写 {scene}"
    )


def _appid_setting(shop: Shop, appid: str) -> str:
    kinds: Mapping[str, str] = {id_: kind for kind, id_ in shop.checkout.config.appids.items()}
    return f"SHOP_{kinds[appid].upper()}_APPID" if appid in kinds else "SHOP_SP_APPID"


def _words(error: ChannelError) -> str:
    explained = numbers.explain(numbers.number_in(error.request_id) or 0)
    return numbers.describe(explained.number) if explained else f"{error.code} {error}".strip()
