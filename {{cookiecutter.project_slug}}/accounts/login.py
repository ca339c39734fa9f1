"""Log buyers in: wx.login codes, the OAuth page of an official account, guests."""

import asyncio
import hashlib
import logging
import secrets
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import httpx
from tortoise.exceptions import IntegrityError

from accounts import errors
from accounts.models import Buyer, Identity, OAuthState
from wechat import login as wechat
from wechat.errors import LoginRefused, WeChatError

STATE_LASTS = timedelta(minutes=10)
FAILED = "failed"  # a code that was refused
NOBODY = ""  # a buyer who must not be one
GUEST_LASTS = timedelta(days=8)  # a day longer than the session
BATCH = 500  # rows that are forgotten at once
HavingOrdered = Callable[[set[str]], Awaitable[set[str]]]
TWIN_SECONDS = 5  # WeChat often loads the callback twice: the second waits for the first


_logger = logging.getLogger("accounts")


@dataclass(frozen=True)
class App:
    """One WeChat app: its kind, appid and secret ("" where nobody logs in, as in an App)."""

    kind: str
    appid: str
    secret: str = field(repr=False)


@dataclass(frozen=True)
class LoginConfig:
    """The apps by kind, where this shop is, and the sandbox that stands for WeChat's hosts."""

    apps: Mapping[str, App]
    public_url: str
    sandbox_url: str = ""


class Login:
    """Turn what WeChat says about a person into a buyer of ours."""

    def __init__(
        self, config: LoginConfig, http: httpx.AsyncClient, now: Callable[[], datetime]
    ) -> None:
        """`now` returns aware UTC times."""
        self._config = config
        self._http = http
        self._now = now

    async def guest(self) -> str:
        """Return the id of a new buyer without an openid."""
        now = self._now()
        return (await Buyer.create(created_at=now, guest_until=now + GUEST_LASTS)).id

    async def miniprogram(self, code: str) -> str:
        """Exchange a code of wx.login for a buyer's id.

        Raises LoginCodeInvalid, LoginRefused, TooManyLogins, LoginUnknown, AppRefused, NoSuchApp.
        """
        app = self._app("miniprogram")
        try:
            person = await wechat.code2session(
                self._http, appid=app.appid, secret=app.secret, code=code, **self._host()
            )
        except WeChatError as error:
            raise _translated(error) from error
        return await self._buyer(app, person.openid, person.unionid)

    async def begin(self, browser: str, return_to: str) -> str:
        """Return the address of WeChat's authorize page; the state waits ten minutes."""
        app = self._app("official_account")
        state = secrets.token_hex(32)
        await OAuthState.create(
            state=state,
            browser=_hash(browser),
            return_to=_own_path(return_to),
            expires_at=self._now() + STATE_LASTS,
        )
        host = {"host": self._config.sandbox_url} if self._config.sandbox_url else {}
        back = f"{self._config.public_url}/oauth/callback"
        return wechat.authorize_url(appid=app.appid, redirect_uri=back, state=state, **host)

    async def finish(self, browser: str, state: str, code: str) -> tuple[str, str]:
        """Return the buyer's id and where to go on; a second load of the same page gets the same.

        Raises StateRefused, SnapshotUser, and what `miniprogram` raises.
        """
        trip = await OAuthState.get_or_none(state=state, browser=_hash(browser))
        if trip is None or trip.expires_at < self._now():
            raise errors.StateRefused("this login began in another browser, or too long ago")
        rows = OAuthState.filter(state=state)
        if await rows.filter(code_hash=None).update(code_hash=_hash(code)):
            try:
                buyer_id = await self._exchange(code)
            except errors.AccountsError:
                await rows.update(code_hash=FAILED)  # its twin need not wait
                raise
            await rows.update(buyer_id=buyer_id)
        else:
            buyer_id = await self._twin(state, code)
        if buyer_id == NOBODY:
            raise errors.SnapshotUser("a snapshot page cannot buy: tap 使用完整服务")
        return buyer_id, trip.return_to

    async def way_back(self, browser: str, state: str) -> str:
        """Return where this browser's login was to end."""
        trip = await OAuthState.get_or_none(state=state, browser=_hash(browser))
        return trip.return_to if trip else "/"

    async def _exchange(self, code: str) -> str:
        app = self._app("official_account")
        try:
            person = await wechat.exchange_code(
                self._http, appid=app.appid, secret=app.secret, code=code, **self._host()
            )
        except WeChatError as error:
            raise _translated(error) from error
        if person.is_snapshotuser:
            return NOBODY
        return await self._buyer(app, person.openid, person.unionid)

    async def _twin(self, state: str, code: str) -> str:
        for _ in range(TWIN_SECONDS * 10):
            trip = await OAuthState.get(state=state)
            if trip.code_hash == FAILED:
                raise errors.LoginCodeInvalid("log in again: this code was refused")
            if trip.code_hash != _hash(code):
                break
            if trip.buyer_id is not None:
                return trip.buyer_id
            await asyncio.sleep(0.1)
        raise errors.StateRefused("this login was used already: start again")

    async def _buyer(self, app: App, openid: str, unionid: str | None) -> str:
        """Return the buyer known by this identity or by an equal unionid, or a new one."""
        identity = await Identity.get_or_none(appid=app.appid, openid=openid)
        if identity is not None:
            if unionid and identity.unionid != unionid:
                await Identity.filter(id=identity.id).update(unionid=unionid)
            return identity.buyer_id
        same = await Identity.filter(unionid=unionid).first() if unionid else None
        buyer_id = same.buyer_id if same else (await Buyer.create(created_at=self._now())).id
        try:
            await Identity.create(
                buyer_id=buyer_id, kind=app.kind, appid=app.appid, openid=openid, unionid=unionid
            )
        except IntegrityError:  # the same person logs in twice at once
            if same is None:
                await Buyer.filter(id=buyer_id).delete()
            return (await Identity.get(appid=app.appid, openid=openid)).buyer_id
        return buyer_id

    async def forget_states(self, *, older_than_seconds: int) -> int:
        """Delete trips that ended so long ago, a batch at most; return how many."""
        over = self._now() - timedelta(seconds=older_than_seconds)
        ended = OAuthState.filter(expires_at__lt=over).order_by("expires_at").limit(BATCH)
        states = [state async for (state,) in ended.values_list("state")]
        if states:
            await OAuthState.filter(state__in=states).delete()
        return len(states)

    async def forget_guests(self, having_ordered: HavingOrdered) -> int:
        """Delete guests whose time is over and who never ordered; return how many were looked at.

        That is a batch at most. `having_ordered` names those of some buyers who stay.
        """
        over = Buyer.filter(guest_until__lt=self._now()).order_by("guest_until").limit(BATCH)
        ids = {buyer_id async for (buyer_id,) in over.values_list("id")}
        if not ids:
            return 0
        kept = await having_ordered(ids)
        if kept:
            await Buyer.filter(id__in=kept).update(guest_until=None)
        if forgotten := ids - kept:
            await Buyer.filter(id__in=forgotten).delete()
        return len(ids)

    def _app(self, kind: str) -> App:
        app = self._config.apps.get(kind)
        if app is None:
            raise errors.NoSuchApp(f"this shop has no {kind.replace('_', ' ')}")
        return app

    def _host(self) -> Mapping[str, str]:
        return {"host": self._config.sandbox_url} if self._config.sandbox_url else {}


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _own_path(return_to: str) -> str:
    """Keep the way back on this origin: a path, no host, no backslash, no control character."""
    plain = return_to.isascii() and return_to.isprintable() and "\\" not in return_to
    ours = return_to.startswith("/") and not return_to.startswith("//")
    return return_to if plain and ours and len(return_to) <= 512 else "/"


def _translated(error: WeChatError) -> errors.AccountsError:
    if not isinstance(error, LoginRefused):
        return errors.LoginUnknown("WeChat did not answer the login: log in again", retry_after=2)
    fields = {"errcode": error.errcode, "sentence": error.sentence, "why": error.errmsg}
    if error.action != "fix_settings":
        _logger.warning("login refused", extra={"fields": fields})
    if error.action == "login_again":
        return errors.LoginCodeInvalid(f"log in again: {error.sentence}")
    if error.action == "refused":
        return errors.LoginBlocked(error.sentence)
    if error.errcode == 45011:
        return errors.TooManyLogins(error.sentence, retry_after=5)
    if error.action == "retry_later":
        return errors.LoginUnknown(f"log in again: {error.sentence}", retry_after=2)
    _logger.error(
        "WeChat refuses the app that buyers log in with",
        extra={"fields": {**fields, "code": str(error.errcode), "alarm": True}},
    )
    return errors.AppRefused(error.sentence, wechat_code=str(error.errcode))
