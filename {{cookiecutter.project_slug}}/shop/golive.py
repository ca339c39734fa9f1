"""Go live 上线: each step of docs/going-live.md as done, open, or not to be seen from here.

The steps stand in the document alone; here is how each one's state is found out. A step without
a function here is one that only its owner can see.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from checkout import database as engine
from checkout.channels import Finding
from checkout.config import ConfigError, Env
from checkout.models import Notification, Payment, Refund
from checkout.scenes import SCENES
from shop import database, doctor
from shop.app import build
from shop.settings import ROOT
from shop.shop import Shop

DOCUMENT = ROOT / "docs" / "going-live.md"
ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (.+?) \| (.+?) \| (.+?) \|$", re.MULTILINE)
LINK = re.compile(r"\[([^\]]*)\]\(([^)]*)\)")
MINIPROGRAM_API = re.compile(r"API: *['\"](.*?)['\"]")
#: True: done, False: open, None: cannot be seen from here
State = bool | None | Literal["not needed"]


@dataclass(frozen=True)
class Step:
    """One row of the document; `page` is where to go on, "" when it is no address."""

    name: str
    what: str
    where: str
    page: str


@dataclass(frozen=True)
class Facts:
    """What can be seen from here; without a database its numbers are 0.

    While the settings are wrong every scene counts as wanted.
    """

    env: Env
    wrong: frozenset[str]
    scenes: frozenset[str]
    sandbox: bool
    public_url: str
    virtual_goods: bool
    notifications: int = 0
    paid: int = 0
    refunded: int = 0
    findings: tuple[Finding, ...] = field(default=())

    def has(self, *names: str) -> bool:
        """Tell whether these settings are there, and nothing is known against them."""
        return all(self.env.get(name) and name not in self.wrong for name in names)


def steps() -> list[Step]:
    """Read the document's rows, in their order."""
    return [
        Step(name, _plain(what), _plain(where), _page(where))
        for name, what, where, _ in ROW.findall(DOCUMENT.read_text("utf-8"))
    ]


def _plain(cell: str) -> str:
    return LINK.sub(r"\1", cell).replace("`", "")


def _page(cell: str) -> str:
    link = LINK.search(cell)
    return link[2] if link else ""


# -- what can be seen


async def facts(env: Env) -> Facts:
    """Examine the shop as the doctor does, and count what has happened in it."""
    findings = await doctor.findings(env)
    wrong = frozenset(finding.what for finding in findings if finding.ok is False)
    try:
        shop = build(env)
    except ConfigError:
        return Facts(env, wrong, frozenset(SCENES), False, "", False, findings=tuple(findings))
    try:
        virtual = any(p.kind == "virtual" for p in (await shop.products()).values())
        return Facts(
            env=env,
            wrong=wrong,
            scenes=frozenset(s for c in shop.checkout.channels.values() for s in c.scenes),
            sandbox=bool(shop.settings.sandbox_url),
            public_url=shop.settings.public_url,
            virtual_goods=virtual,
            findings=tuple(findings),
            **await _counted(shop),
        )
    finally:
        await shop.aclose()


async def _counted(shop: Shop) -> dict[str, int]:
    """Look for one notification, one payment, one refund: the second of each proves no more."""
    try:
        await database.ready(shop.settings.database_url)
        await database.connect(shop.settings.database_url)
    except engine.Unreachable:
        return {}
    try:
        return {
            "notifications": len(await Notification.filter(outcome="APPLIED").limit(1)),
            "paid": len(await Payment.filter(state="PAID").limit(1)),
            "refunded": len(await Refund.filter(state="SUCCESS").limit(1)),
        }
    finally:
        await database.close()


# -- the state of each step


def _keys(*names: str) -> Callable[[Facts], State]:
    """Ask for settings that WeChat has accepted."""

    def check(seen: Facts) -> State:
        accepted = any("accepts our signature" in f.what and f.ok for f in seen.findings)
        return seen.has(*names) and (accepted or None)

    return check


def _for(scene: str, check: Callable[[Facts], State]) -> Callable[[Facts], State]:
    """Leave a step out where its scene is off."""
    return lambda seen: "not needed" if scene not in seen.scenes else check(seen)


def _unseen(_: Facts) -> State:
    return None


def _pair(kind: str) -> Callable[[Facts], State]:
    return lambda seen: seen.has(f"SHOP_{kind}_APPID", f"SHOP_{kind}_SECRET")


def _https(seen: Facts) -> State:
    right = seen.public_url.startswith("https://") and "SHOP_PUBLIC_URL" not in seen.wrong
    return right and not seen.sandbox


def _public_key(seen: Facts) -> State:
    names = ("SHOP_WECHATPAY_PUBLIC_KEY_ID", "SHOP_WECHATPAY_PUBLIC_KEY")
    set_up = any(seen.env.get(name) for name in names)
    return _keys(*names)(seen) if set_up else _keys("SHOP_MERCHANT_KEY")(seen)


def _verify_file(_: Facts) -> State:
    return any((ROOT / "pages").glob("MP_verify_*.txt"))


def _config_js(_: Facts) -> State:
    file = ROOT / "pages" / "miniprogram" / "config.js"
    if not file.is_file():
        return "not needed"
    address = MINIPROGRAM_API.search(file.read_text("utf-8"))
    return bool(address and address[1].startswith("https://"))


CHECKS: Mapping[str, Callable[[Facts], State]] = {
    "mchid": _keys("SHOP_MCHID"),
    "miniprogram": _for("miniprogram", _pair("MINIPROGRAM")),
    "official-account": _for("jsapi", _pair("OFFICIAL_ACCOUNT")),
    "certificate": _keys("SHOP_MERCHANT_KEY", "SHOP_MERCHANT_SERIAL"),
    "apiv3-key": lambda seen: seen.has("SHOP_APIV3_KEY") and (bool(seen.notifications) or None),
    "public-key": _public_key,
    "secrets": lambda seen: seen.has("SHOP_SECRET_KEY", "SHOP_ADMIN_TOKEN"),
    "production": lambda seen: bool(seen.public_url) and not seen.sandbox,
    "https": _https,
    "verify-file": _for("jsapi", _verify_file),
    "oauth-domain": _for("jsapi", _unseen),
    "payment-directory": _for("jsapi", _unseen),
    "h5-domain": _for("h5", _unseen),
    "web-view": _for("miniprogram", _unseen),
    "request-domain": _for("miniprogram", _unseen),
    "notify-url": lambda seen: bool(seen.notifications) or None,
    "icp-record": _for("miniprogram", _unseen),
    "privacy": _for("miniprogram", _unseen),
    "shipping": _for("miniprogram", _unseen),
    "virtual-goods": _for("miniprogram", lambda seen: not seen.virtual_goods),
    "gold-plan": lambda seen: None if seen.env.get("SHOP_SUB_MCHID") else "not needed",
    "database": lambda seen: any(f.what == "schema" and f.ok for f in seen.findings),
    "doctor": lambda seen: not seen.wrong,
    "config-js": _for("miniprogram", _config_js),
    "first-payment": lambda seen: bool(seen.paid) and not seen.sandbox,
    "first-refund": lambda seen: bool(seen.refunded) and not seen.sandbox,
}


def states(seen: Facts) -> list[tuple[Step, State]]:
    """Return every step with its state."""
    return [(step, CHECKS.get(step.name, _unseen)(seen)) for step in steps()]


def report(steps: list[tuple[Step, State]]) -> str:
    """Return a line for each step, and where to go on for those that are not done."""
    marks: dict[State, str] = {True: "done", False: "OPEN", None: "?   ", "not needed": "-   "}
    lines = []
    for step, state in steps:
        lines.append(f"{marks[state]} {step.name:<17} {step.what}")
        if not state:
            lines.append(f"{'':22} -> {step.where}{f'  {step.page}' if step.page else ''}")
    opened = sum(state is False for _, state in steps)
    unseen = sum(state is None for _, state in steps)
    lines.append(
        f"{opened} open 未完成; {unseen} cannot be seen from here, ask yourself 自己确认 (?)"
    )
    return "\n".join(lines)
