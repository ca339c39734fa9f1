"""Examine the shop 体检: each missing or wrong setting by name, and what to do about it.

Without `prove` nothing is ordered anywhere. The order of the findings is the order of mending.
"""

import difflib
import ipaddress
import re
from collections.abc import Iterable, Mapping
from email.utils import parsedate_to_datetime
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from accounts.models import Identity
from checkout import database as engine
from checkout.channels import Finding
from checkout.clock import Clock
from checkout.config import ConfigError, Env, unreadable_lines
from checkout.database import Unreachable
from shop import database, proof
from shop.app import build
from shop.settings import ROOT
from shop.shop import Shop
from wechat import keys
from wechat.errors import KeyMaterialError

WECHAT = "https://api.mch.weixin.qq.com"
SKEW_SECONDS = 60  # WeChat refuses 300; a server that drifts a minute will drift five
API_SECURITY = "pay.weixin.qq.com > 账户中心 > API安全"
APP_CONSOLE = "mp.weixin.qq.com > 开发管理 > 开发设置"
OPEN_CONSOLE = "open.weixin.qq.com > 管理中心 > 移动应用"
RANDOM_TEXT = 'python -c "import secrets; print(secrets.token_urlsafe(32))"'
#: where a setting is read or clicked; the names of others say it
WHERE = {
    "SHOP_MCHID": "pay.weixin.qq.com > 账户中心 > 商户信息",
    "SHOP_MERCHANT_SERIAL": f"{API_SECURITY} > 商户API证书 > 管理证书",
    "SHOP_MERCHANT_KEY": f"{API_SECURITY} > 商户API证书",
    "SHOP_APIV3_KEY": f"{API_SECURITY} > APIv3密钥",
    "SHOP_WECHATPAY_PUBLIC_KEY_ID": f"{API_SECURITY} > 微信支付公钥",
    "SHOP_WECHATPAY_PUBLIC_KEY": f"{API_SECURITY} > 微信支付公钥",
    "SHOP_MINIPROGRAM_APPID": APP_CONSOLE,
    "SHOP_MINIPROGRAM_SECRET": f"{APP_CONSOLE} > AppSecret",
    "SHOP_OFFICIAL_ACCOUNT_APPID": "mp.weixin.qq.com > 设置与开发 > 开发接口管理",
    "SHOP_OFFICIAL_ACCOUNT_SECRET": "mp.weixin.qq.com > 设置与开发 > 开发接口管理",
    "SHOP_APP_APPID": OPEN_CONSOLE,
    "SHOP_SUB_MCHID": "pay.weixin.qq.com > 服务商 > 特约商户",
    "SHOP_SECRET_KEY": RANDOM_TEXT,
    "SHOP_ADMIN_TOKEN": RANDOM_TEXT,
}
APPIDS = ("SHOP_MINIPROGRAM_APPID", "SHOP_OFFICIAL_ACCOUNT_APPID", "SHOP_APP_APPID")
#: what stands in .env.example and in our messages, and what people write to be replaced later
EXAMPLE = re.compile(
    r"\bexample\.(com|org|net)\b|^wx(0{10,}\d+|8{16})$|^19000001?0[129]$|^1900000(001|002|109)$"
    r"|^PUB_KEY_ID_(0+|01190000000120240101000{9,})$|^5157F09EFDC096DE15EBE81A47057A7232F1B8E1$"
    r"|:password@|^0123456789abcdef|change.?me|replace.?me|^x{6,}$|<[^>]+>|你的|填写",
    re.IGNORECASE,
)
#: what a scene must have
NEEDS = {
    "miniprogram": "SHOP_MINIPROGRAM_APPID and SHOP_MINIPROGRAM_SECRET",
    "jsapi": "SHOP_OFFICIAL_ACCOUNT_APPID and SHOP_OFFICIAL_ACCOUNT_SECRET",
    "app": "SHOP_APP_APPID",
}


async def findings(env: Env, *, prove: bool = False) -> list[Finding]:
    """Return everything that was looked at, in the order in which one would mend it."""
    try:
        shop = build(env)
    except ConfigError as error:
        return [*unread(env), *examples(env), *problems(env, error)]
    findings = [*unread(env), *examples(env), *doubles(env), *appsecrets(env)]
    findings += [*scenes(shop), *public_url(shop)]
    findings.append(Finding(True, f"settings: {len(env.names())} variables"))
    try:
        books, openids = await _database(shop)
        findings += books + certificate(env)
        wechat = await _wechat(shop, prove=prove)
        findings += wechat + (await _ordered(shop, wechat, openids) if prove else [])
    finally:
        await shop.aclose()
    return findings


# -- what the settings themselves tell


def unread(env: Env) -> list[Finding]:
    """Name every line of .env that says nothing, and every SHOP_ variable that nobody asked for."""
    advice = r"is not NAME=value; a key is one line, \n for each break 不是“名=值”；密钥要写成一行"
    lines = [Finding(False, f".env line {n}", advice) for n in unreadable_lines(env.dotenv)[:3]]
    names = sorted(env.names() - env.read - _of_example())
    return [*lines, *(Finding(False, name, _meant(name, env)) for name in names)]


def _of_example() -> set[str]:
    """Return the names in .env.example: a channel that is off asks for none of its own."""
    example = ROOT / ".env.example"
    text = example.read_text("utf-8") if example.is_file() else ""
    return set(re.findall(r"^#? ?(SHOP_[A-Z0-9_]+)=", text, re.MULTILINE))


def _meant(name: str, env: Env) -> str:
    similar = difflib.get_close_matches(name, env.read - env.names(), n=1, cutoff=0.8)
    meant = f"do you mean {similar[0]}" if similar else "a typing error"
    return f"nothing reads this: {meant}? 没有这个设置项，写错了？"


def problems(env: Env, error: ConfigError) -> list[Finding]:
    """Repeat what kept the shop from being built, each with the place where to click."""
    noted = [problem.split(": ", 1) for problem in env.problems]
    if not noted:
        return [Finding(False, "settings", str(error))]
    return [Finding(False, name, _with_place(name, what)) for name, what in noted]


def _with_place(name: str, what: str) -> str:
    place = WHERE.get(name, "")
    return what if not place or place in what else f"{what}; see 见 {place}"


def examples(env: Env) -> list[Finding]:
    """Name every value that is an example: of .env.example, or to be replaced later."""
    left = [name for name in sorted(env.names() & env.read) if EXAMPLE.search(env.get(name))]
    advice = "is still an example, put your own there 还是示例值，换成自己的"
    return [Finding(False, name, _with_place(name, advice)) for name in left]


def doubles(env: Env) -> list[Finding]:
    """Name secrets that are the same string, and appids that are."""
    return [*_same(env, env.secret_names, "secret 密钥"), *_same(env, APPIDS, "appid")]


def _same(env: Env, names: Iterable[str], kind: str) -> list[Finding]:
    findings = []
    first = dict[str, str]()
    for name in names:
        value = env.get(name)
        if value and first.setdefault(value, name) != name:
            advice = f"is the same {kind} as {first[value]}, each needs its own 不能相同"
            findings.append(Finding(False, name, _with_place(name, advice)))
    return findings


def appsecrets(env: Env) -> list[Finding]:
    """Name every AppSecret that cannot be one: WeChat's are 32 hexadecimal digits."""
    names = ("SHOP_MINIPROGRAM_SECRET", "SHOP_OFFICIAL_ACCOUNT_SECRET")
    wrong = [name for name in names if not re.fullmatch(r"([0-9a-fA-F]{32})?", env.get(name))]
    advice = "is not an AppSecret of 32 hexadecimal digits 不是 32 位的 AppSecret"
    return [Finding(False, name, _with_place(name, advice)) for name in wrong]


def scenes(shop: Shop) -> list[Finding]:
    """Name the scenes that SHOP_SCENES wants and nobody offers, and channels that are off."""
    channels = shop.checkout.channels.offered()
    if not channels:
        return [Finding(False, "SHOP_CHANNELS", "no channel that it names is set up 渠道没有配置")]
    offered = {scene for channel in channels for scene in channel.scenes}
    if not offered and not shop.checkout.config.scenes:
        advice = "no appid is set, nobody can pay 一个 appid 都没有，谁也付不了款"
        return [Finding(False, "SHOP_MINIPROGRAM_APPID", advice)]
    missing = [scene for scene in shop.checkout.config.scenes if scene not in offered]
    return [
        Finding(False, "SHOP_SCENES", f"{scene} needs 需要 {NEEDS.get(scene, 'an appid')}")
        for scene in missing
    ]


def public_url(shop: Shop) -> list[Finding]:
    """Say when WeChat cannot reach the shop, or its consoles do not take the address."""
    if shop.settings.sandbox_url:
        return []
    parts = urlsplit(shop.settings.public_url)
    host = parts.hostname or ""
    port = parts.port
    if wrong := _unreachable(host):
        return [Finding(False, "SHOP_PUBLIC_URL", wrong)]
    if port and "jsapi" in _offered(shop):
        advice = f"has the port {port}: the OAuth domain takes none 网页授权域名不带端口"
        return [Finding(False, "SHOP_PUBLIC_URL", advice)]
    if "h5" in _offered(shop) and not shop.settings.proxies_count:
        advice = "is 0: right only without a proxy in front; H5 compares addresses 前面没有代理才对"
        return [Finding(None, "SHOP_PROXIES_COUNT", advice)]
    return []


def _offered(shop: Shop) -> set[str]:
    return {scene for channel in shop.checkout.channels.offered() for scene in channel.scenes}


def _unreachable(host: str) -> str:
    if host == "localhost" or host.endswith((".localhost", ".local", ".internal", ".test")):
        return "is a name of this machine alone, WeChat cannot reach it 微信访问不到"
    try:
        ip = ipaddress.ip_address(host)
    except ValueError:
        return ""
    if not ip.is_global:
        return "is an address of this network alone, WeChat cannot reach it 微信访问不到"
    return "is an IP address: WeChat's consoles take a domain 后台只收备案过的域名"


# -- the database


async def _database(shop: Shop) -> tuple[list[Finding], dict[str, str]]:
    """Look at the database; return who has logged in there, too."""
    try:
        await database.connect(shop.settings.database_url)
    except Unreachable as error:
        return [Finding(False, "SHOP_DATABASE_URL", str(error))], {}
    try:
        await engine.reach()
        missing = await database.unapplied()
        await engine.check()
        openids = {} if missing else await _openids(shop)
        waiting = [] if missing else await _switched_off(shop)
    except Unreachable as error:
        return [Finding(False, "SHOP_DATABASE_URL", str(error))], {}
    except ConfigError as error:
        return [Finding(False, "database", str(error))], {}
    finally:
        await database.close()
    advice = f"run 运行 python -m shop migrate ({', '.join(missing)})"
    schema = Finding(not missing, "schema", advice)
    return [Finding(True, "database answers"), schema, *waiting], openids


async def _openids(shop: Shop) -> dict[str, str]:
    """Return the newest person of each app, in whose name one fen can be ordered."""
    openids = {}
    for app in shop.settings.login.apps.values():
        newest = await Identity.filter(appid=app.appid).order_by("-id").first()
        if newest is not None:
            openids[app.appid] = newest.openid
    return openids


# -- what lies beside the key


async def _switched_off(shop: Shop) -> list[Finding]:
    """Name the channels whose rows nobody finishes."""
    advice = "its settings are gone, rows wait for it: set them again until these are finished"
    rows = await shop.checkout.switched_off()
    return [Finding(False, f"channel {name}: {n} rows", advice) for name, n in rows.items()]


def certificate(env: Env) -> list[Finding]:
    """Compare the merchant's certificate, when it lies beside the key, with key and serial."""
    path = Path(env.get("SHOP_MERCHANT_KEY")[:1024]).with_name("apiclient_cert.pem")
    if not env.get("SHOP_MERCHANT_KEY").endswith(".pem") or not path.is_file():
        return []
    try:
        cert = keys.certificate(str(path))
    except KeyMaterialError as error:
        return [Finding(False, path.name, str(error))]
    private_key = keys.private_key(env.get("SHOP_MERCHANT_KEY"))
    fits = private_key.public_key() == cert.public_key()
    serial = keys.serial_of(cert)
    named = serial == env.get("SHOP_MERCHANT_SERIAL").upper()
    days = (cert.not_valid_after_utc.timestamp() - Clock.real()) / 86400
    pair = "take both from one download 私钥和证书不是一对，用同一次下载的"
    renew = f"renew it 更换证书: {API_SECURITY} > 商户API证书"
    return [
        Finding(fits, "key and certificate belong together", pair),
        Finding(named, "SHOP_MERCHANT_SERIAL", f"the certificate's is 证书上是 {serial}"),
        Finding(days > 30, f"certificate holds {days:.0f} more days", renew),
    ]


# -- what WeChat says


async def _wechat(shop: Shop, *, prove: bool) -> list[Finding]:
    clock = await clock_skew(shop.http, shop.settings.sandbox_url or WECHAT)
    if not clock.ok and clock.what.endswith("answers"):
        return [clock]
    findings = [clock]
    for channel in shop.checkout.channels.values():
        findings += await channel.examine(prove=prove)
    return findings + (await proof.appsecrets(shop) if prove else [])


async def _ordered(
    shop: Shop, findings: list[Finding], openids: Mapping[str, str]
) -> list[Finding]:
    if any(finding.ok is False for finding in findings):
        return [Finding(None, "one fen in each scene", "mend the above first 先改好上面的")]
    return await proof.orders(shop, openids)


async def clock_skew(http: httpx.AsyncClient, address: str) -> Finding:
    """Compare our clock with the Date of an answer; WeChat refuses 300 seconds."""
    try:
        answer = await http.head(address)
    except httpx.HTTPError as error:
        why = f"{type(error).__name__}: network, DNS, firewall? 网络不通"
        if address != WECHAT:
            why = "SHOP_SANDBOX_URL is set, but no sandbox runs there: python -m sandbox 沙箱没启动"
        return Finding(False, f"{address} answers", why)
    if "date" not in answer.headers:
        return Finding(True, f"{address} answers (it tells no time)")
    skew = parsedate_to_datetime(answer.headers["date"]).timestamp() - Clock.real()
    return Finding(abs(skew) <= SKEW_SECONDS, f"clock skew {skew:+.0f} s", "start an NTP client")


def report(findings: list[Finding]) -> str:
    """Return one line for each finding, ASCII marks, and the sum."""
    marks = {True: "ok   ", False: "WRONG", None: "?    "}
    findings = list(dict.fromkeys(findings))  # two merchants, one key of WeChat's
    lines = [f"{marks[f.ok]} {f.what}{'' if f.ok else f': {f.advice}'}" for f in findings]
    wrong = sum(finding.ok is False for finding in findings)
    total = f"{wrong} wrong 有 {wrong} 处要改" if wrong else "nothing is wrong 没有发现问题"
    return "\n".join([*lines, total])
