"""Examine the shop 体检: each missing or wrong setting by name, and what to do about it."""

from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx

from checkout import database as engine
from checkout.channels import Finding
from checkout.clock import Clock
from checkout.config import ConfigError, Env
from shop import database
from shop.app import Shop, build
from wechat import keys
from wechat.errors import KeyMaterialError

WECHAT = "https://api.mch.weixin.qq.com"
SKEW_SECONDS = 60  # WeChat refuses 300; a server that drifts a minute will drift five


async def findings(env: Env) -> list[Finding]:
    """Return everything that was looked at, in the order in which one would mend it."""
    try:
        shop = build(env)
    except ConfigError:
        return unread(env) + [Finding(False, *problem.split(": ", 1)) for problem in env.problems]
    found = unread(env)
    found.append(Finding(True, f"settings: {len(env.names())} variables"))
    try:
        found += await _database(shop)
        found += certificate(env)
        found.append(await clock_skew(shop.http, shop.settings.sandbox_url or WECHAT))
        for channel in shop.checkout.channels.values():
            found += await channel.examine()
    finally:
        await shop.aclose()
    return found


def unread(env: Env) -> list[Finding]:
    """Name every SHOP_ variable that nobody asked for while the shop was built."""
    names = sorted(env.names() - env.read)
    return [Finding(False, name, "nothing reads this: a typing error?") for name in names]


async def _database(shop: Shop) -> list[Finding]:
    try:
        await database.connect(shop.settings.database_url)
        missing = await database.unapplied()
        await engine.check()
        advice = f"run python -m shop migrate ({', '.join(missing)})" if missing else ""
        return [Finding(True, "database answers"), Finding(not missing, "schema", advice)]
    except ConfigError as error:
        return [Finding(False, "database", str(error))]
    except Exception as error:
        return [Finding(False, "database answers", f"{type(error).__name__}: SHOP_DATABASE_URL?")]
    finally:
        await database.close()


def certificate(env: Env) -> list[Finding]:
    """Compare the merchant's certificate, when it lies beside the key, with key and serial."""
    path = Path(env.get("SHOP_MERCHANT_KEY")[:1024]).with_name("apiclient_cert.pem")
    if not env.get("SHOP_MERCHANT_KEY").endswith(".pem") or not path.is_file():
        return []
    try:
        found = keys.certificate(str(path))
    except KeyMaterialError as error:
        return [Finding(False, path.name, str(error))]
    private_key = keys.private_key(env.get("SHOP_MERCHANT_KEY"))
    fits = private_key.public_key() == found.public_key()
    serial = keys.serial_of(found)
    named = serial == env.get("SHOP_MERCHANT_SERIAL").upper()
    days = (found.not_valid_after_utc.timestamp() - Clock.real()) / 86400
    renew = "renew it 更换证书: 商户平台 > 账户中心 > API安全"
    return [
        Finding(fits, "key and certificate belong together", "take both from one download"),
        Finding(named, "SHOP_MERCHANT_SERIAL", f"the certificate's is {serial}"),
        Finding(days > 30, f"certificate holds {days:.0f} more days", renew),
    ]


async def clock_skew(http: httpx.AsyncClient, address: str) -> Finding:
    """Compare our clock with the Date of an answer; WeChat refuses 300 seconds."""
    try:
        answer = await http.head(address)
    except httpx.HTTPError as error:
        return Finding(False, f"{address} answers", f"{type(error).__name__}: network, DNS, proxy?")
    if "date" not in answer.headers:
        return Finding(True, f"{address} answers (it tells no time)")
    skew = parsedate_to_datetime(answer.headers["date"]).timestamp() - Clock.real()
    return Finding(abs(skew) <= SKEW_SECONDS, f"clock skew {skew:+.0f} s", "start an NTP client")


def report(found: list[Finding]) -> str:
    """Return one line for each finding, ASCII marks."""
    return "\n".join(f"ok    {f.what}" if f.ok else f"WRONG {f.what}: {f.advice}" for f in found)
