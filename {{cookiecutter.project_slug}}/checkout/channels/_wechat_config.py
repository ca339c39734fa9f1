"""Whose orders we place at WeChat Pay, and with which keys.

Settings choose it: SHOP_SUB_MCHID makes SHOP_MCHID a service provider's number 服务商.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from checkout.channels._sandbox import (
    MARK,
    check_material,
    check_number,
    is_sandbox_certificate,
    is_sandbox_key,
)
from checkout.config import Config, ConfigError, Env, is_appid
from checkout.scenes import SCENES
from wechat import keys
from wechat.keys import Merchant

T = TypeVar("T")
SERIAL_EXAMPLE = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"


@dataclass(frozen=True)
class WeChatConfig:
    """The merchant's keys, and those of WeChat; all of it is parsed already.

    `public_keys` maps WeChat's key ids to keys; empty: platform certificates are downloaded.
    `sub_mchid` makes `merchant` a service provider; `sub_appid` is the sub merchant's own app,
    `sp_appid` the provider's. `others` are further merchants of ours, for combined orders.
    """

    merchant: Merchant
    public_keys: Mapping[str, RSAPublicKey] = field(default_factory=dict)
    sub_mchid: str = ""
    sub_appid: str = ""
    sp_appid: str = ""
    others: tuple[Merchant, ...] = ()


def check_world(config: WeChatConfig, own: Config) -> None:
    """Raise ConfigError when sandbox keys would be used in production, or the reverse."""
    sandbox = bool(own.sandbox_url)
    try:
        for merchant in (config.merchant, *config.others):
            _check_merchant(merchant, sandbox)
        for key_id, key in config.public_keys.items():
            _key_id(sandbox)(key_id)
            check_material(is_sandbox_key(key), sandbox=sandbox)
    except ValueError as error:
        raise ConfigError(f"a merchant number, key or key id {error}") from error


def _check_merchant(merchant: Merchant, sandbox: bool) -> None:
    merchant_number(sandbox)(merchant.mchid)
    check_material(is_sandbox_key(merchant.private_key), sandbox=sandbox)
    check_material(merchant.apiv3_key.startswith(MARK.encode()), sandbox=sandbox)


@dataclass(frozen=True)
class Parties:
    """The merchant numbers and appids of an order, by the names that WeChat gives them."""

    mchid: str
    appids: Mapping[str, str]
    sp_appid: str = ""
    sub_mchid: str = ""
    sub_appid: str = ""

    def scenes(self, wanted: Iterable[str]) -> dict[str, str]:
        """Return scene -> appid for every scene that an app of ours serves; `wanted` narrows."""
        served = {}
        for name, scene in SCENES.items():
            appid = self.appids.get(scene.app) if scene.app else self._any()
            if appid and (not wanted or name in wanted):
                served[name] = appid
        return served

    def of_order(self, appid: str, merchant: str) -> dict[str, str]:
        """Return the party fields of an order that is paid in this app, for this merchant."""
        if not self.sub_mchid:
            return {"appid": appid, "mchid": merchant or self.mchid}
        sub = {"sub_mchid": merchant or self.sub_mchid}
        if appid == self.sub_appid:
            sub = {"sub_appid": appid, **sub}
        own = self.sp_appid if appid == self.sub_appid else appid
        return {"sp_appid": own, "sp_mchid": self.mchid, **sub}

    def of_share(self, merchant: str) -> dict[str, str]:
        """Return the fields that name one merchant in answers about payments and refunds."""
        if not self.sub_mchid:
            return {"mchid": merchant or self.mchid}
        return {"sp_mchid": self.mchid, "sub_mchid": merchant or self.sub_mchid}

    def payer(self, appid: str, openid: str) -> dict[str, str]:
        """Return the payer by the name that fits the app which the openid belongs to."""
        if not self.sub_mchid:
            return {"openid": openid}
        return {"sub_openid" if appid == self.sub_appid else "sp_openid": openid}

    def _any(self) -> str:
        """Return an appid for scenes that need no certain app: one of the merchant's own."""
        own = [appid for appid in self.appids.values() if appid != self.sub_appid]
        return next(iter([*own, *self.appids.values()]), "")


def own_scenes(own: Config) -> dict[str, str]:
    """Return scene -> appid for a channel that knows no service providers."""
    return Parties("", own.appids).scenes(own.scenes)


def read(env: Env, own: Config) -> WeChatConfig | None:
    """Read the keys and the service provider's settings; None when something needed is wrong."""
    sandbox = bool(own.sandbox_url)
    mchid = env.need("SHOP_MCHID", merchant_number(sandbox), example="1900000001")
    serial = env.need("SHOP_MERCHANT_SERIAL", _serial, example=SERIAL_EXAMPLE)
    env.secret("SHOP_MERCHANT_KEY")
    own_key = _private_key(sandbox)
    private_key = env.need("SHOP_MERCHANT_KEY", own_key, example="certs/apiclient_key.pem")
    env.secret("SHOP_APIV3_KEY")
    secret = _apiv3_key(sandbox)
    apiv3_key = env.need("SHOP_APIV3_KEY", secret, example="the 32 characters you set 32位")
    public_keys = _public_keys(env, sandbox)
    sub_mchid, sub_appid, sp_appid = _provider(env, own, mchid or "")
    others = _others(env, sandbox)
    if mchid is None or serial is None or private_key is None or apiv3_key is None:
        return None
    return WeChatConfig(
        merchant=Merchant(mchid, serial, private_key, apiv3_key),
        public_keys=public_keys,
        sub_mchid=sub_mchid,
        sub_appid=sub_appid,
        sp_appid=sp_appid,
        others=others,
    )


def _provider(env: Env, own: Config, mchid: str) -> tuple[str, str, str]:
    """Read sub_mchid, sub_appid and sp_appid; half a pair is a problem noted in `env`."""
    sub_mchid = env.get("SHOP_SUB_MCHID")
    sub_appid = env.get("SHOP_SUB_APPID")
    providers = [appid for appid in own.appids.values() if appid != sub_appid]
    sp_appid = env.get("SHOP_SP_APPID") or next(iter(providers), "")
    for name, appid in (("SHOP_SUB_APPID", sub_appid), ("SHOP_SP_APPID", sp_appid)):
        if appid and not is_appid(appid):
            env.problem(name, "is not an appid", "wx8888888888888888")
    if not sub_mchid:
        if sub_appid:
            missing = "missing, but SHOP_SUB_APPID is set: which sub merchant's app is it"
            env.problem("SHOP_SUB_MCHID", missing, "1900000109")
        return "", "", ""
    env.need("SHOP_SUB_MCHID", merchant_number(bool(own.sandbox_url)), example="1900000109")
    if sub_mchid == mchid:
        env.problem("SHOP_SUB_MCHID", "is SHOP_MCHID itself", "1900000109")
    if own.appids and not sp_appid:
        missing = "missing: no app here is the service provider's own"
        env.problem("SHOP_SP_APPID", missing, "wx8888888888888888")
    return sub_mchid, sub_appid, sp_appid


def _others(env: Env, sandbox: bool) -> tuple[Merchant, ...]:
    """Read the keys of our further merchants: a JSON list, or the file that holds it."""
    name = "SHOP_OTHER_MERCHANTS"
    text = env.get(name, "[]")
    if not text.endswith(".json"):  # the keys themselves, however they are written
        env.secret(name)
    try:
        entries = enumerate(_entries(text), start=1)
        return tuple(_merchant(env, n, entry, sandbox) for n, entry in entries)
    except ValueError as error:
        env.problem(name, str(error), "certs/merchants.json")
        return ()


def _entries(text: str) -> list[dict[str, str]]:
    """Read the JSON list; raise ValueError that says where it is none, and repeats nothing."""
    try:
        content = text if text[0] in "[{" else Path(text).read_text("utf-8-sig")
        entries = json.loads(content)
    except OSError:
        raise ValueError("the file cannot be read: is its path right?") from None
    except UnicodeDecodeError:
        raise ValueError("the file is not UTF-8 不是 UTF-8") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"is not JSON: line {error.lineno}, column {error.colno}") from None
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ValueError('is not a list of {"mchid", "serial", "key", "apiv3_key"}')
    return entries


def _merchant(env: Env, n: int, entry: Mapping[str, str], sandbox: bool) -> Merchant:
    """Read the n-th merchant; raise ValueError that names the field."""

    def part(name: str, cast: Callable[[str], T]) -> T:
        text = entry.get(name)
        if not isinstance(text, str) or not text:
            raise ValueError(f"merchant {n} has no text {name}")
        try:
            return cast(text)
        except ValueError as error:
            raise ValueError(f"merchant {n}, {name}: {error}") from None

    env.secrets += [str(entry.get(name, "")) for name in ("apiv3_key", "key")]
    return Merchant(
        mchid=part("mchid", merchant_number(sandbox)),
        serial=part("serial", _serial),
        private_key=part("key", _private_key(sandbox)),
        apiv3_key=part("apiv3_key", _apiv3_key(sandbox)),
    )


def _public_keys(env: Env, sandbox: bool) -> dict[str, RSAPublicKey]:
    """Read WeChat's public key; without one the platform certificates are downloaded."""
    id_name = "SHOP_WECHATPAY_PUBLIC_KEY_ID"
    key_name = "SHOP_WECHATPAY_PUBLIC_KEY"
    if not env.get(id_name) and not env.get(key_name):
        return {}
    example = "PUB_KEY_ID_0119000000012024010100000000000000"
    key_id = env.need(id_name, _key_id(sandbox), example=example)
    key = env.need(key_name, _public_key(sandbox), example="certs/pub_key.pem")
    return {key_id: key} if key_id and key else {}


def merchant_number(sandbox: bool) -> Callable[[str], str]:
    """Return what checks an mchid 商户号; the sandbox's begin with 9, real ones do not."""

    def cast(text: str) -> str:
        if not re.fullmatch(r"[0-9]{8,10}", text):
            raise ValueError("is not a merchant number 商户号 of 8 to 10 digits")
        check_number(text.startswith("9"), sandbox=sandbox)
        return text

    return cast


def _key_id(sandbox: bool) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if not re.fullmatch(r"PUB_KEY_ID_[0-9]+", text):
            raise ValueError("is not a key id that begins with PUB_KEY_ID_")
        check_number(text.startswith("PUB_KEY_ID_9"), sandbox=sandbox)
        return text

    return cast


def _private_key(sandbox: bool) -> Callable[[str], RSAPrivateKey]:
    """Return what reads the merchant's key; the certificate beside it tells its world, too."""

    def cast(text: str) -> RSAPrivateKey:
        key = keys.private_key(text)
        check_material(is_sandbox_key(key) or _lies_by_sandbox(text), sandbox=sandbox)
        return key

    return cast


def _lies_by_sandbox(text: str) -> bool:
    """Tell whether a certificate of the sandbox lies beside the key's file."""
    if "-----BEGIN" in text or len(text) > 500:
        return False
    try:
        beside = Path(text).expanduser().with_name("apiclient_cert.pem")
        return beside.is_file() and is_sandbox_certificate(keys.certificate(str(beside)))
    except (OSError, ValueError, RuntimeError):
        return False  # nobody needs it here; the doctor says what is wrong with it


def _public_key(sandbox: bool) -> Callable[[str], RSAPublicKey]:
    def cast(text: str) -> RSAPublicKey:
        key = keys.public_key(text)
        check_material(is_sandbox_key(key), sandbox=sandbox)
        return key

    return cast


def _apiv3_key(sandbox: bool) -> Callable[[str], bytes]:
    def cast(text: str) -> bytes:
        key = keys.apiv3_key(text)
        check_material(key.startswith(MARK.encode()), sandbox=sandbox)
        return key

    return cast


def _serial(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{40}", text):
        raise ValueError("is not a certificate serial 证书序列号 of 40 hexadecimal digits")
    return text.upper()
