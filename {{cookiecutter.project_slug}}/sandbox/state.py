"""The state of one sandbox, all of it in memory."""

import os
import re
import secrets
from pathlib import Path
from typing import Any

from .app_tokens import Tokens
from .clock import Clock
from .faults import Faults
from .keys import App, Keys, open_keys, stable_openid
from .log import Log
from .models import Bill, Code, Notification, Order, Purchase, Refund, Token
from .notifications import Outbox

CODE_LIFETIME = 300  # seconds
OPENID = r"o[0-9A-Za-z_-]{3,127}"


class State:
    """One sandbox; tests make one each around the same keys.

    Orders, combined orders and refunds are found by merchant number and the merchant's own
    number; `prepays` by what opens the cashier: a prepay_id or a code_url.
    """

    def __init__(self, keys: Keys) -> None:
        self.keys = keys
        self.clock = Clock()
        self.faults = Faults()
        self.log = Log(self.clock)
        self.outbox = Outbox(keys, self.clock, self.faults, self.log)
        # what is paid
        self.orders: dict[tuple[str, str], Order] = {}
        self.combined: dict[tuple[str, str], Purchase] = {}
        self.closed_unordered: set[tuple[str, str]] = set()
        self.prepays: dict[str, tuple[Purchase, float]] = {}
        self.h5_packages: dict[str, str] = {}
        self.first_openers: dict[str, str] = {}
        self.refunds: dict[tuple[str, str], tuple[Order, Refund]] = {}
        self.bills: dict[str, Bill] = {}
        self.notifications: dict[str, Notification] = {}
        # who logs in
        self.people: dict[tuple[str, str], str | None] = {}
        self.codes: dict[str, Code] = {}
        self.used_codes: set[str] = set()
        self.session_keys: dict[tuple[str, str], str] = {}
        self.app_tokens = Tokens()
        self.access_tokens: dict[str, Token] = {}
        self.refresh_tokens: dict[str, Token] = {}
        # what other protocols add to GET /_sandbox/credentials
        self.credentials: dict[str, Any] = {}
        for app in keys.apps:
            self.people[app.appid, self.default_openid(app.appid)] = None

    @classmethod
    def open(cls) -> "State":
        """Start with the keys in $SANDBOX_VAR, or in var/sandbox."""
        return cls(open_keys(Path(os.environ.get("SANDBOX_VAR") or "var/sandbox")))

    def app(self, appid: str) -> App | None:
        """Find an app."""
        return next((app for app in self.keys.apps if app.appid == appid), None)

    def default_openid(self, appid: str) -> str:
        """Name the person who is there when nobody else is named."""
        return stable_openid(appid, "default")

    def add_person(self, appid: str, openid: str, unionid: str | None) -> None:
        """Remember that this openid is a person of this app."""
        self.people[appid, openid] = unionid or self.people.get((appid, openid))

    def has_person(self, appid: str, openid: str) -> bool:
        """Tell whether this openid belongs to this app.

        A plausible openid that nobody has seen is a new person of the first app that names it.
        """
        if (appid, openid) in self.people:
            return True
        is_new = all(openid != other for _, other in self.people)
        if is_new and re.fullmatch(OPENID, openid):
            self.add_person(appid, openid, None)
            return True
        return False

    def new_login_code(self, appid: str, openid: str) -> str:
        """Issue the code of wx.login for a person of this app."""
        until = self.clock.now() + CODE_LIFETIME
        return self._new_code(Code(kind="login", appid=appid, openid=openid, expires_at=until))

    def new_oauth_code(self, appid: str, openid: str, *, scope: str, snapshot: bool) -> str:
        """Issue the code of the OAuth page for a person of this app."""
        code = Code(
            kind="oauth",
            appid=appid,
            openid=openid,
            expires_at=self.clock.now() + CODE_LIFETIME,
            scope=scope,
            snapshot=snapshot,
        )
        return self._new_code(code)

    def _new_code(self, code: Code) -> str:
        text = secrets.token_hex(16)
        self.codes[text] = code
        return text

    def add_purchase(self, purchase: Purchase, order: Order) -> None:
        """Remember a purchase of one order."""
        purchase.orders = [order]
        self.orders[order.mchid, order.out_trade_no] = order

    def find_order(self, out_trade_no: str) -> Order | None:
        """Find an order by its number, whoever's it is."""
        for (_, number), order in self.orders.items():
            if number == out_trade_no:
                return order
        return None
