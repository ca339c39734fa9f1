"""What the doctor asks WeChat Pay, and which setting is wrong when WeChat does not agree."""

from collections.abc import Mapping
from dataclasses import dataclass

from checkout import channels as ch
from wechat import errors, transactions
from wechat.client import Client

NOBODYS_NUMBER = "doctor0000000000"
CONSOLE = "pay.weixin.qq.com > 账户中心 > API安全"
#: what is wrong when an answer of WeChat's does not hold, by the reason
UNPROVED = {
    "unknown_serial": (
        "SHOP_WECHATPAY_PUBLIC_KEY_ID",
        f"WeChat signs with a key of another id 公钥ID不对: copy it from {CONSOLE} > 微信支付公钥",
    ),
    "bad_signature": (
        "SHOP_WECHATPAY_PUBLIC_KEY",
        f"WeChat's signature does not fit it 公钥不对: download it, {CONSOLE} > 微信支付公钥",
    ),
    "stale": ("the clock of this machine", "is ahead 时钟快了: start an NTP client"),
    "future": ("the clock of this machine", "is behind 时钟慢了: start an NTP client"),
}
WRONG_SERIAL = (
    "is not the serial number of this merchant's certificate, or SHOP_MCHID is wrong"
    f" 序列号和商户号不匹配: {CONSOLE} > 商户API证书 > 管理证书"
)
WRONG_KEY = (
    "does not belong to the certificate that SHOP_MERCHANT_SERIAL names 私钥和证书不是一对:"
    f" apiclient_key.pem of the same download, {CONSOLE} > 商户API证书"
)
WRONG_APIV3_KEY = f"does not open what WeChat seals APIv3密钥不对: set it, {CONSOLE} > APIv3密钥"
NO_RELATION = (
    "has not authorised this service provider 特约商户未授权: pay.weixin.qq.com > 服务商 > 特约商户"
)


#: WeChat's own keys are the same for every merchant of ours
OF_WECHAT = ("SHOP_WECHATPAY_PUBLIC_KEY_ID", "SHOP_WECHATPAY_PUBLIC_KEY")


@dataclass(frozen=True)
class Keys:
    """One merchant's client, the fields that name the merchant, and where its settings stand."""

    client: Client
    parties: Mapping[str, str]
    other: bool

    def named(self, setting: str) -> str:
        """Name the setting; those of further merchants stand in one."""
        if not self.other or setting in OF_WECHAT:
            return setting
        return f"SHOP_OTHER_MERCHANTS, {self.client.merchant.mchid}, {setting}"


async def signature(keys: Keys) -> ch.Finding:
    """Ask for a number that nobody has: the answer proves mchid, serial, both keys."""
    whose = keys.client.merchant.mchid if keys.other else "our"
    accepted = ch.Finding(True, f"WeChat Pay accepts {whose} signature, and its own holds")
    try:
        await transactions.query(keys.client, keys.parties, NOBODYS_NUMBER)
    except errors.Refused as error:
        return accepted if error.is_code("ORDER_NOT_EXIST") else _refused(keys, error)
    except errors.AnswerNotProved as error:
        setting, advice = UNPROVED.get(error.signature_reason, ("WeChat Pay", str(error)))
        return ch.Finding(False, keys.named(setting), advice)
    except errors.WeChatError as error:
        if isinstance(error.__cause__, errors.DecryptFailed):
            return ch.Finding(False, keys.named("SHOP_APIV3_KEY"), WRONG_APIV3_KEY)
        return ch.Finding(False, "WeChat Pay answers", f"{error}: run the doctor again 再试一次")
    return accepted


def _refused(keys: Keys, error: errors.Refused) -> ch.Finding:
    """Read which setting a refusal means; SIGN_ERROR has many sentences."""
    if error.is_code("MCH_NOT_EXISTS"):
        return ch.Finding(False, keys.named("SHOP_MCHID"), "there is no such merchant 商户号不存在")
    if error.is_code("NO_AUTH"):
        return ch.Finding(False, keys.named("SHOP_SUB_MCHID"), NO_RELATION)
    if not error.is_code("SIGN_ERROR"):
        return ch.Finding(False, "WeChat Pay accepts our query", str(error))
    if "APIv3" in error.message:
        return ch.Finding(False, keys.named("SHOP_APIV3_KEY"), WRONG_APIV3_KEY)
    if "timestamp" in error.message:
        return ch.Finding(False, *UNPROVED["stale"])
    if "证书" in error.message:
        return ch.Finding(False, keys.named("SHOP_MERCHANT_SERIAL"), WRONG_SERIAL)
    return ch.Finding(False, keys.named("SHOP_MERCHANT_KEY"), WRONG_KEY)


async def apiv3_key(keys: Keys) -> ch.Finding:
    """Open what WeChat seals: platform certificates, which a merchant with a public key may lack.

    Nothing else proves the APIv3 key before the first notification.
    """
    setting = keys.named("SHOP_APIV3_KEY")
    try:
        await keys.client.refresh_certificates()
    except errors.DecryptFailed:
        return ch.Finding(False, setting, WRONG_APIV3_KEY)
    except errors.WeChatError:
        until = "cannot be proved before the first notification 收到第一条通知才知道: pay one fen"
        return ch.Finding(None, setting, until)
    return ch.Finding(True, f"{setting} opens what WeChat seals")
