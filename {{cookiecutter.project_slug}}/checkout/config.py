"""What the engine is told: one frozen Config, and Env, which reads it from the environment.

An embedder fills the dataclasses and needs no environment variable; the shop reads them with Env.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import SplitResult, urlsplit

T = TypeVar("T")
#: a line of .env that says something, and one that says nothing
_SETTING = re.compile(r"\s*(?:export\s+)?(\w+)\s*=\s*(.*?)\s*$")
_NOTHING = re.compile(r"\s*(?:#.*)?$")


class ConfigError(Exception):
    """Raised when settings are missing or wrong; the message names each of them on a line."""


class Secret(str):
    """A string that prints as stars."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'" if self else "''"


@dataclass(frozen=True)
class Config:
    """What every channel and every verb of the engine needs; channels have configs of their own.

    `public_url` is the origin where notifications arrive. `sandbox_url`, when set, replaces every
    host of WeChat. `appids` maps the kind of an app (miniprogram, official_account, app) to its
    appid. `channels` and `scenes` narrow what is offered, empty: everything. The payer reads
    `shop_name` before what was bought.
    """

    public_url: str
    sandbox_url: str = ""
    appids: Mapping[str, str] = field(default_factory=dict)
    trade_prefix: str = "S"
    order_ttl: int = 1800
    """Seconds for which an unpaid order holds."""
    scenes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    shop_name: str = ""

    def __post_init__(self) -> None:
        """Raise ConfigError unless `public_url` is an origin; a last slash does no harm."""
        for name in ("public_url", "sandbox_url"):
            object.__setattr__(self, name, getattr(self, name).rstrip("/"))
        parts = address(self.public_url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path:
            raise ConfigError("public_url: an origin such as https://shop.example.com")


class Env:
    """The environment over a `.env` file; collects what is wrong so that one start tells all.

    `read` holds every name that was asked for: the doctor calls the others typing errors.
    `secrets` holds the values that no log may show, `secret_names` the names of secrets.
    """

    def __init__(self, environ: Mapping[str, str], dotenv: Path | None = None) -> None:
        self._values = {**read_dotenv(dotenv), **environ}
        self.dotenv = dotenv
        self.problems: list[str] = []
        self.read: set[str] = set()
        self.secrets: list[str] = []
        self.secret_names: list[str] = []

    def names(self) -> set[str]:
        """Return every variable that begins with SHOP_."""
        return {name for name in self._values if name.startswith("SHOP_")}

    def get(self, name: str, default: str = "") -> str:
        """Return the text of a variable, stripped; an empty one counts as unset."""
        self.read.add(name)
        return self._values.get(name, "").strip() or default

    def secret(self, name: str, default: str = "") -> Secret:
        """Return the text of a variable that no log may show."""
        text = self.get(name, default)
        self.secrets.append(text)
        self.secret_names.append(name)
        return Secret(text)

    def names_in(self, name: str) -> tuple[str, ...]:
        """Return the names in a variable, which commas (Chinese ones, too) or blanks separate."""
        return tuple(filter(None, re.split(r"[,，、\s]+", self.get(name))))

    def cast(self, name: str, cast: Callable[[str], T], *, default: str, example: str) -> T:
        """Return the variable through `cast`; a ValueError becomes a problem with an example."""
        try:
            return cast(self.get(name, default))
        except ValueError as error:
            self.problem(name, str(error), example)
            return cast(example)

    def need(self, name: str, cast: Callable[[str], T], *, example: str) -> T | None:
        """Return a variable that must be set, through `cast`; None when that is a problem."""
        text = self.get(name)
        try:
            if text:
                return cast(text)
            self.problem(name, "is missing", example)
        except OSError as error:  # its message would repeat the text
            self.problem(name, f"cannot be read ({type(error).__name__})", example)
        except ValueError as error:
            self.problem(name, str(error), example)
        return None

    def problem(self, name: str, what: str, example: str) -> None:
        """Note that a variable is missing or wrong; `what` never repeats its value."""
        self.problems.append(f"{name}: {what}, for example {name}={example}")

    def check(self) -> None:
        """Raise ConfigError when anything was noted."""
        if self.problems:
            raise ConfigError("\n".join(self.problems))


def read_dotenv(path: Path | None) -> dict[str, str]:
    """Read NAME=value lines; quotes around a value are taken off, ` #` begins a comment.

    Raises ConfigError when the file is in another encoding than UTF-8.
    """
    matches = [_SETTING.match(line) for line in _lines(path)]
    return {match[1]: _unquoted(match[2]) for match in matches if match}


def unreadable_lines(path: Path | None) -> list[int]:
    """Return the numbers of the lines that are neither a setting nor a comment."""
    lines = enumerate(_lines(path), start=1)
    return [n for n, line in lines if not _SETTING.match(line) and not _NOTHING.match(line)]


def _lines(path: Path | None) -> list[str]:
    if path is None or not path.is_file():
        return []
    try:
        return path.read_text("utf-8-sig").split("\n")
    except UnicodeDecodeError:
        other = f"{path.name} is not UTF-8 (GBK?): save it as UTF-8 不是 UTF-8，请另存为 UTF-8"
        raise ConfigError(other) from None


def _unquoted(value: str) -> str:
    """Take off the quotes, or the comment behind a value without quotes."""
    quoted = re.match(r"(['\"])(.*)\1\s*(?:#.*)?$", value)
    return quoted[2] if quoted else re.split(r"(?:^|\s)#", value)[0].strip()


def is_appid(text: str) -> bool:
    """Tell whether this looks like an appid."""
    return bool(re.fullmatch(r"wx[0-9a-zA-Z]{16}", text))


def address(text: str) -> SplitResult:
    """Split an address; the error never repeats it, because it may hold a password."""
    try:
        parts = urlsplit(text)
        _ = parts.port
    except ValueError:
        raise ValueError("has a host or port that cannot be") from None
    return parts
