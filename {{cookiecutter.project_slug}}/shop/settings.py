"""Settings: read once from the environment and `.env`, typed, frozen, secrets starred."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

T = TypeVar("T")
ROOT = Path(__file__).resolve().parent.parent
DATABASES = ("sqlite", "postgres", "asyncpg", "psycopg", "mysql")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
#: the example of a secret; who pastes it is told again
RANDOM = "your own 32 random characters, .env.example tells how 自己的随机串"


class SettingsError(Exception):
    """Raised when settings are missing or wrong; the message names each variable."""


class Secret(str):
    """A string that prints as stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class Env:
    """The environment over a `.env` file; collects what is wrong so that one start tells all.

    `read` holds every name that was asked for: the doctor calls the others typing errors.
    """

    def __init__(self, environ: Mapping[str, str], dotenv: Path | None = None) -> None:
        self._values = {**read_dotenv(dotenv), **environ}
        self.problems: list[str] = []
        self.read: set[str] = set()

    def names(self) -> set[str]:
        """Return every variable that begins with SHOP_."""
        return {name for name in self._values if name.startswith("SHOP_")}

    def get(self, name: str, default: str = "") -> str:
        """Return the text of a variable, stripped; an empty one counts as unset."""
        self.read.add(name)
        return self._values.get(name, "").strip() or default

    def cast(self, name: str, cast: Callable[[str], T], *, default: str, example: str) -> T:
        """Return the variable through `cast`; a ValueError becomes a problem with an example."""
        try:
            return cast(self.get(name, default))
        except ValueError as error:
            self.problem(name, str(error), example)
            return cast(example)

    def problem(self, name: str, what: str, example: str) -> None:
        """Note that a variable is missing or wrong."""
        self.problems.append(f"{name}: {what}, for example {name}={example}")

    def check(self) -> None:
        """Raise SettingsError when anything was noted."""
        if self.problems:
            raise SettingsError("\n".join(self.problems))


def read_dotenv(path: Path | None) -> dict[str, str]:
    """Read NAME=value lines; quotes around a value are taken off, `#` begins a comment line."""
    if path is None or not path.is_file():
        return {}
    pairs = re.findall(
        r"^[ \t]*(?:export[ \t]+)?(\w+)[ \t]*=[ \t]*(.*?)[ \t]*$", path.read_text("utf-8-sig"), re.M
    )
    return {name: re.sub(r"^(['\"])(.*)\1$", r"\2", value) for name, value in pairs}


@dataclass(frozen=True)
class App:
    """One WeChat app: its kind, appid and secret ("" where nobody logs in, as in an App)."""

    kind: str
    appid: str
    secret: Secret


@dataclass(frozen=True)
class Settings:
    """What the whole shop needs; a channel reads its own settings in its own file."""

    database_url: Secret
    public_url: str
    secret_key: Secret
    admin_token: Secret
    order_ttl: int
    trade_prefix: str
    proxies_count: int
    channels: tuple[str, ...]
    scenes: tuple[str, ...]
    collect_fen: range
    client_ip: str
    sandbox_url: str
    apps: Mapping[str, App]

    @property
    def secrets(self) -> list[str]:
        """Return what no log may show."""
        password = urlsplit(self.database_url).password or ""
        apps = [app.secret for app in self.apps.values()]
        return [self.secret_key, self.admin_token, self.database_url, password, *apps]

    @property
    def secure(self) -> bool:
        """Tell whether the public URL is https, so that cookies are Secure."""
        return self.public_url.startswith("https://")


def load(env: Env) -> Settings:
    """Read every general setting; problems are noted in `env`, `env.check()` raises them."""
    sandbox = env.cast(
        "SHOP_SANDBOX_URL", _sandbox_url, default="", example="http://127.0.0.1:9000"
    )
    return Settings(
        database_url=Secret(
            env.cast(
                "SHOP_DATABASE_URL",
                _database_url,
                default="sqlite://var/shop.db",
                example="postgres://shop:password@db:5432/shop",
            )
        ),
        public_url=env.cast(
            "SHOP_PUBLIC_URL",
            lambda text: _public_url(text, sandbox),
            default="http://127.0.0.1:8000",
            example="https://shop.example.com",
        ),
        secret_key=_secret(env, "SHOP_SECRET_KEY"),
        admin_token=_secret(env, "SHOP_ADMIN_TOKEN", optional=True),
        order_ttl=env.cast(
            "SHOP_ORDER_TTL", _between(120, 7 * 86400), default="1800", example="1800"
        ),
        trade_prefix=env.cast("SHOP_TRADE_PREFIX", _prefix, default="S", example="S"),
        proxies_count=env.cast("SHOP_PROXIES_COUNT", _between(0, 10), default="0", example="1"),
        channels=_names(env.get("SHOP_CHANNELS")),
        scenes=_names(env.get("SHOP_SCENES")),
        collect_fen=_collect(env),
        client_ip=_client_ip(env, sandbox),
        sandbox_url=sandbox,
        apps={app.kind: app for app in _apps(env)},
    )


def _apps(env: Env) -> list[App]:
    """Read the apps: an appid without its secret (or the reverse) is refused."""
    found = []
    for kind, log_in in (("miniprogram", True), ("official_account", True), ("app", False)):
        appid_name, secret_name = f"SHOP_{kind.upper()}_APPID", f"SHOP_{kind.upper()}_SECRET"
        appid, secret = env.get(appid_name), env.get(secret_name) if log_in else ""
        if log_in and bool(appid) != bool(secret):
            missing = secret_name if appid else appid_name
            example = "0123456789abcdef0123456789abcdef" if appid else "wx8888888888888888"
            env.problem(missing, "missing while its other half is set", example)
        elif appid and not is_appid(appid):
            env.problem(appid_name, "is not an appid", "wx8888888888888888")
        elif appid:
            found.append(App(kind, appid, Secret(secret)))
    return found


def is_appid(text: str) -> bool:
    """Tell whether this looks like an appid."""
    return bool(re.fullmatch(r"wx[0-9a-zA-Z]{16}", text))


def _names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, re.split(r"[,\s]+", text)))


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
    return text


def _parts(text: str) -> SplitResult:
    """Split an address; the error never repeats it, because it may hold a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("has a host or port that cannot be") from None
    return parts


def _database_url(text: str) -> str:
    scheme, _, place = text.partition("://")
    if scheme not in DATABASES or not place:
        raise ValueError(f"must begin with one of {', '.join(DATABASES)} and ://")
    if scheme != "sqlite":
        _parts(text)
    return text


def _sandbox_url(text: str) -> str:
    parts = _parts(text)
    if text and (parts.scheme not in ("http", "https") or not parts.hostname or parts.query):
        raise ValueError("is not the sandbox's address")
    return text.rstrip("/")


def _public_url(text: str, sandbox: str) -> str:
    """Return the origin as a browser writes it: lower case, without the usual port."""
    parts = _parts(text)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
        raise ValueError("is not an address that begins with https://")
    if parts.path not in ("", "/") or parts.query or parts.fragment:
        raise ValueError("has a path or query: give scheme and host only")
    if parts.scheme == "http" and not (sandbox and parts.hostname in LOOPBACK):
        raise ValueError("must be https: WeChat sends notifications only there")
    usual = ":443" if parts.scheme == "https" else ":80"
    return f"{parts.scheme}://{parts.netloc.lower().removesuffix(usual)}"


def _secret(env: Env, name: str, *, optional: bool = False) -> Secret:
    text = env.get(name)
    if text == RANDOM or (len(text) < 32 and (text or not optional)):
        env.problem(name, "needs at least 32 random characters", RANDOM)
    return Secret(text)


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
