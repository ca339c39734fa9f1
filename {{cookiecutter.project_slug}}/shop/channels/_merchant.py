"""Our side of WeChat Pay APIv3: the keys from the settings, the clients, errors translated."""

import json
import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from shop import log
from shop.channels import (
    AlreadyPaid,
    Busy,
    ChannelError,
    Finding,
    NoSuchTrade,
    NumberClosed,
    Parts,
    Refused,
    Unknown,
)
from shop.channels._parties import Parties
from shop.channels._parties import read as read_parties
from shop.models import Payment
from shop.settings import Env
from wechat import errors, keys, transactions
from wechat.client import Client, Exchange
from wechat.trust import Trust

T = TypeVar("T")
NOBODYS_NUMBER = "doctor0000000000"
SERIAL_EXAMPLE = "5157F09EFDC096DE15EBE81A47057A7232F1B8E1"


@dataclass(frozen=True)
class House:
    """Everything that WeChat's channels share: the clients, and whose orders we place.

    `others` are further merchants of ours, for combined orders; each signs with its own keys.
    """

    client: Client
    parties: Parties
    others: Mapping[str, Client]

    @property
    def clients(self) -> list[Client]:
        """Every merchant's client, our own first."""
        return [self.client, *self.others.values()]

    def client_for(self, payment: Payment) -> Client:
        """Return the client of the merchant that got the payment's money."""
        return self.others.get(payment.parties.get("mchid", ""), self.client)


def house_for(parts: Parts) -> House | None:
    """Build what the settings say, once for all channels; None when `parts.env` has problems."""
    if "wechat" not in parts.shared:
        parts.shared["wechat"] = _house(parts)
    found: House | None = parts.shared["wechat"]
    return found


def read_merchant(env: Env, sandbox: bool) -> str:
    """Read SHOP_MCHID for a channel that needs it alone; "" when it is noted as a problem."""
    text = env.get("SHOP_MCHID")
    try:
        return _mchid(sandbox)(text)
    except ValueError:
        return ""


def _house(parts: Parts) -> House | None:
    env, sandbox = parts.env, bool(parts.settings.sandbox_url)
    mchid = _read(env, "SHOP_MCHID", _mchid(sandbox), "1900000001")
    serial = _read(env, "SHOP_MERCHANT_SERIAL", _serial, SERIAL_EXAMPLE)
    private_key = _read(env, "SHOP_MERCHANT_KEY", keys.private_key, "certs/apiclient_key.pem")
    apiv3_key = _read(env, "SHOP_APIV3_KEY", keys.apiv3_key, "the 32 characters you set 32位")
    public_keys = _public_keys(env, sandbox)
    parties = read_parties(env, parts.settings, mchid or "")
    if parties.sub_mchid:
        _read(env, "SHOP_SUB_MCHID", _mchid(sandbox), "1900000109")
    others = _others(env, sandbox)
    log.hide([env.get("SHOP_APIV3_KEY"), env.get("SHOP_MERCHANT_KEY")])
    if mchid is None or serial is None or private_key is None or apiv3_key is None:
        return None
    own = keys.Merchant(mchid, serial, private_key, apiv3_key)
    clients = {one.mchid: _client(parts, one, public_keys) for one in (own, *others)}
    return House(clients.pop(mchid), parties, clients)


def _client(parts: Parts, merchant: keys.Merchant, public_keys: dict[str, Any]) -> Client:
    trust, sandbox = Trust(merchant.apiv3_key, public_keys=public_keys), parts.settings.sandbox_url
    if sandbox:
        return Client(
            parts.http, merchant, trust, host=sandbox, standby=None, on_exchange=_exchanged
        )
    return Client(parts.http, merchant, trust, on_exchange=_exchanged)


def _others(env: Env, sandbox: bool) -> list[keys.Merchant]:
    """Read the keys of our further merchants: a JSON list, or the file that holds it."""
    name, example = "SHOP_OTHER_MERCHANTS", "certs/merchants.json"
    text, found = env.get(name, "[]"), []
    try:
        for one in json.loads(text if text.startswith("[") else Path(text).read_text()):
            log.hide([one["apiv3_key"], one["key"]])
            mchid, serial = _mchid(sandbox)(one["mchid"]), _serial(one["serial"])
            key, secret = keys.private_key(one["key"]), keys.apiv3_key(one["apiv3_key"])
            found.append(keys.Merchant(mchid, serial, key, secret))
    except (ValueError, KeyError, TypeError, OSError) as error:
        what = f"is not a list of mchid, serial, key, apiv3_key ({type(error).__name__}: {error})"
        env.problem(name, what, example)
    return found


def _read(env: Env, name: str, cast: Callable[[str], T], example: str) -> T | None:
    text = env.get(name)
    try:
        if text:
            return cast(text)
        env.problem(name, "is missing", example)
    except (ValueError, OSError) as error:
        env.problem(name, str(error), example)
    return None


def _public_keys(env: Env, sandbox: bool) -> dict[str, Any]:
    """Read WeChat's public key; without one the platform certificates are downloaded."""
    id_name, key_name = "SHOP_WECHATPAY_PUBLIC_KEY_ID", "SHOP_WECHATPAY_PUBLIC_KEY"
    if not env.get(id_name) and not env.get(key_name):
        return {}
    key_id = _read(env, id_name, _key_id(sandbox), "PUB_KEY_ID_0119000000012024010100000000000000")
    key = _read(env, key_name, keys.public_key, "certs/pub_key.pem")
    return {key_id: key} if key_id and key else {}


def _mchid(sandbox: bool) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if not re.fullmatch(r"\d{8,10}", text):
            raise ValueError("is not a merchant number 商户号 of 8 to 10 digits")
        _same_world(text.startswith("9"), sandbox)
        return text

    return cast


def _key_id(sandbox: bool) -> Callable[[str], str]:
    def cast(text: str) -> str:
        if not re.fullmatch(r"PUB_KEY_ID_\d+", text):
            raise ValueError("is not a key id that begins with PUB_KEY_ID_")
        _same_world(text.startswith("PUB_KEY_ID_9"), sandbox)
        return text

    return cast


def _same_world(made_by_sandbox: bool, sandbox: bool) -> None:
    """Keep sandbox keys out of production and real keys out of the sandbox."""
    if made_by_sandbox and not sandbox:
        raise ValueError("belongs to the sandbox, but SHOP_SANDBOX_URL is not set")
    if sandbox and not made_by_sandbox:
        raise ValueError("is a real one, but SHOP_SANDBOX_URL is set")


def _serial(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Fa-f]{40}", text):
        raise ValueError("is not a certificate serial 证书序列号 of 40 hexadecimal digits")
    return text.upper()


def _exchanged(exchange: Exchange) -> None:
    log.info(
        "wechat",
        call=f"{exchange.method} {exchange.target}",
        status=exchange.status,
        ms=round(exchange.seconds * 1000),
        wechat_request_id=exchange.request_id,
        error=exchange.error,
    )


@contextmanager
def translated() -> Iterator[None]:
    """Turn WeChat's errors into the channel protocol's."""
    try:
        yield
    except errors.Refused as error:
        raise _refused(error) from error
    except errors.TryAgain as error:
        said = {"code": error.code, "request_id": error.request_id or ""}
        raise (Busy if error.is_code("USER_PAYING") else Unknown)(str(error), **said) from error
    except errors.OutcomeUnknown as error:
        raise Unknown(str(error), request_id=error.request_id or "") from error
    except (errors.NotSent, errors.MalformedAnswer, errors.SignatureInvalid) as error:
        raise Unknown(str(error)) from error


def _refused(error: errors.Refused) -> ChannelError:
    said = {"code": error.code, "request_id": error.request_id or ""}
    if isinstance(error, errors.RateLimited):
        return Busy(error.message, **said)
    if error.is_code("ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS", "REFUND_NOT_EXIST"):
        return NoSuchTrade(error.message, **said)
    if error.is_code("ORDER_PAID"):
        return AlreadyPaid(error.message, **said)
    if error.is_code("ORDER_CLOSED", "OUT_TRADE_NO_USED"):
        return NumberClosed(error.message, **said)
    return Refused(error.message, **said)


async def examine(house: House) -> list[Finding]:
    """Say how answers are trusted, and let WeChat check every merchant's keys."""
    by_key = bool(house.client.trust.public_keys)
    kind = "public key 微信支付公钥" if by_key else "platform certificates 平台证书"
    found = [Finding(True, f"trust mode: {kind}")]
    found.append(await _accepted(house.client, house.parties.named("", ""), "our"))
    for mchid, client in house.others.items():
        found.append(await _accepted(client, {"mchid": mchid}, f"{mchid}'s"))
    return found


async def _accepted(client: Client, named: Mapping[str, str], whose: str) -> Finding:
    """Ask for a number that nobody has: the answer says whether mchid, serial and key fit."""
    what, advice = f"WeChat Pay accepts {whose} signature", ""
    try:
        await transactions.query(client, named, NOBODYS_NUMBER)
    except errors.Refused as error:
        if not error.is_code("ORDER_NOT_EXIST"):
            advice = f"{error}: compare SHOP_MCHID, SHOP_MERCHANT_SERIAL, SHOP_MERCHANT_KEY"
    except errors.WeChatError as error:
        advice = str(error)
    return Finding(not advice, what, advice)
