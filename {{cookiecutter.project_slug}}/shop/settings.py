"""Settings: every SHOP_ name, read once from the environment and `.env`, handed on as configs."""

import ipaddress
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from accounts.login import App, LoginConfig
from checkout.config import Config, ConfigError, Env, Secret, address, is_appid
from checkout.database import SCHEMES

ROOT = Path(__file__).resolve().parent.parent
NAME = ROOT / "shop" / "name.txt"
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
#: the example of a secret; who pastes it is told again
RANDOM = "your own 32 random characters, .env.example tells how 自己的随机串"
#: names that a channel had before
FORMER_CHANNELS = {"wechat_combine": "wechat"}


@dataclass(frozen=True)
class Settings:
    """What the shop needs around the engine; a channel reads its own settings in its own file."""

    checkout: Config
    login: LoginConfig
    database_url: Secret
    secret_key: Secret
    admin_token: Secret
    proxies_count: int
    collect_fen: range
    client_ip: str

    @property
    def name(self) -> str:
        """Return what buyers read: the name in shop/name.txt."""
        return self.checkout.shop_name

    @property
    def public_url(self) -> str:
        """Return the origin where buyers and WeChat reach the shop."""
        return self.checkout.public_url

    @property
    def sandbox_url(self) -> str:
        """Return the sandbox that stands for WeChat's hosts, "" in production."""
        return self.checkout.sandbox_url

    @property
    def secure(self) -> bool:
        """Tell whether the public URL is https, so that cookies are Secure."""
        return self.public_url.startswith("https://")


def environment() -> Env:
    """Return the process's environment over the `.env` file."""
    return Env(os.environ, ROOT / ".env")


def load(env: Env) -> Settings:
    """Read every general setting; problems are noted in `env`, `env.check()` raises them."""
    sandbox = env.cast(
        "SHOP_SANDBOX_URL", _sandbox_url, default="", example="http://127.0.0.1:9000"
    )
    public_url = env.cast(
        "SHOP_PUBLIC_URL",
        lambda text: _public_url(text, sandbox),
        default="http://127.0.0.1:8000" if sandbox else "",
        example="https://shop.example.com",
    )
    apps = {app.kind: app for app in _apps(env)}
    return Settings(
        checkout=_checkout(env, public_url, sandbox, apps),
        login=LoginConfig(apps=apps, public_url=public_url, sandbox_url=sandbox),
        database_url=_database(env),
        secret_key=_secret(env, "SHOP_SECRET_KEY"),
        admin_token=_secret(env, "SHOP_ADMIN_TOKEN", optional=True),
        proxies_count=env.cast("SHOP_PROXIES_COUNT", _between(0, 10), default="0", example="1"),
        collect_fen=_collect(env),
        client_ip=_client_ip(env, sandbox),
    )


def _checkout(env: Env, public_url: str, sandbox_url: str, apps: Mapping[str, App]) -> Config:
    """Read what the engine is told."""
    ttl = _between(120, 7 * 86400)
    channels = [FORMER_CHANNELS.get(name, name) for name in env.names_in("SHOP_CHANNELS")]
    return Config(
        shop_name=_name(NAME),
        public_url=public_url,
        sandbox_url=sandbox_url,
        appids={app.kind: app.appid for app in apps.values()},
        trade_prefix=env.cast("SHOP_TRADE_PREFIX", _prefix, default="S", example="S"),
        order_ttl=env.cast("SHOP_ORDER_TTL", ttl, default="1800", example="1800"),
        scenes=env.names_in("SHOP_SCENES"),
        channels=tuple(dict.fromkeys(channels)),
    )


def _name(path: Path) -> str:
    """Return the first line of shop/name.txt; an owner's editor may have left a BOM."""
    try:
        text = path.read_text("utf-8-sig").strip() if path.is_file() else ""
    except UnicodeDecodeError:
        other = f"shop/{path.name} is not UTF-8 (GBK?): save it as UTF-8 不是 UTF-8，请另存为 UTF-8"
        raise ConfigError(other) from None
    return text.splitlines()[0].strip() if text else "小店"


def _database(env: Env) -> Secret:
    """Read the database's address; neither it nor its password may be logged."""
    url = env.cast(
        "SHOP_DATABASE_URL",
        _database_url,
        default="sqlite://var/shop.db",
        example="postgres://shop:password@db:5432/shop",
    )
    env.secrets += [url, urlsplit(url).password or ""]
    return Secret(url)


def _apps(env: Env) -> list[App]:
    """Read the apps: an appid without its secret (or the reverse) is refused."""
    apps = []
    for kind, log_in in (("miniprogram", True), ("official_account", True), ("app", False)):
        appid_name = f"SHOP_{kind.upper()}_APPID"
        secret_name = f"SHOP_{kind.upper()}_SECRET"
        appid = env.get(appid_name)
        secret = env.secret(secret_name) if log_in else ""
        if log_in and bool(appid) != bool(secret):
            missing = secret_name if appid else appid_name
            example = "0123456789abcdef0123456789abcdef" if appid else "wx8888888888888888"
            env.problem(missing, "missing while its other half is set", example)
        elif appid and not is_appid(appid):
            env.problem(appid_name, "is not an appid", "wx8888888888888888")
        elif appid:
            apps.append(App(kind, appid, secret))
    return apps


def _collect(env: Env) -> range:
    """Read the amounts that a buyer may type, in fen."""
    cast = _between(1, 99_999_999)
    least = env.cast("SHOP_COLLECT_MIN_FEN", cast, default="1", example="1")
    most = env.cast("SHOP_COLLECT_MAX_FEN", cast, default="1000000", example="1000000")
    if least > most:
        env.problem("SHOP_COLLECT_MAX_FEN", "is less than SHOP_COLLECT_MIN_FEN", "1000000")
    return range(least, most + 1)


def _client_ip(env: Env, sandbox: str) -> str:
    """Read the address that every buyer has in the demo: WeChat refuses 127.0.0.1 for H5."""
    text = env.get("SHOP_DEV_CLIENT_IP")
    if text and not sandbox:
        env.problem("SHOP_DEV_CLIENT_IP", "is set, but SHOP_SANDBOX_URL is not", "")
    elif text and not _is_ip(text):
        env.problem("SHOP_DEV_CLIENT_IP", "is not an IP address", "203.0.113.10")
    return text


def _is_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False


def _database_url(text: str) -> str:
    scheme, _, place = text.partition("://")
    if scheme not in SCHEMES or not place:
        raise ValueError(f"must begin with one of {', '.join(SCHEMES)} and ://")
    if scheme != "sqlite":
        address(text)
    return text


def _sandbox_url(text: str) -> str:
    parts = address(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ValueError("is not the sandbox's address")
    if parts.username is not None:  # the doctor shows this address
        raise ValueError("holds a user or a password: the sandbox has none")
    return text.rstrip("/")


def _public_url(text: str, sandbox: str) -> str:
    """Return the origin as a browser writes it: lower case, without the usual port."""
    parts = address(text)
    if not text:
        raise ValueError("is missing: where buyers and WeChat reach you 买家和微信访问的地址")
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("is not an address that begins with https://")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("has a path or query: give scheme and host only")
    if parts.scheme == "http" and not (sandbox and parts.hostname in LOOPBACK):
        raise ValueError("must be https: WeChat sends notifications only there")
    usual = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"


def _secret(env: Env, name: str, *, optional: bool = False) -> Secret:
    text = env.secret(name)
    if text == RANDOM or (len(text) < 32 and (text or not optional)):
        what = "needs at least 32 random characters" if text else "is missing"
        env.problem(name, what, RANDOM)
    return text


def _between(low: int, high: int) -> Callable[[str], int]:
    def cast(text: str) -> int:
        if not re.fullmatch(r"\d{1,9}", text) or not low <= int(text) <= high:
            raise ValueError(f"must be a whole number from {low} to {high}")
        return int(text)

    return cast


def _prefix(text: str) -> str:
    if not re.fullmatch(r"[0-9A-Za-z]{1,4}", text):
        raise ValueError("must be 1 to 4 letters or digits")
    return text
