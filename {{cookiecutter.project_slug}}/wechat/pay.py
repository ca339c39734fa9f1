"""WeChat Pay of one merchant in one object: configure it once, then pay.

The functions of `transactions`, `invoke`, `refunds` and `notify` with the parties, the timestamp,
the nonce and the signature filled in, for a merchant's own number 直连商户 and for a sub merchant
特约商户 of a service provider. Combined orders 合单 are in `combine`. Without asyncio (Django,
Flask): `sync`.
"""

import asyncio
import os
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

import httpx

from . import fields, invoke, keys, notify, refunds, sign, transactions
from .client import HOST, STANDBY, Client
from .errors import MalformedAnswer
from .payment import Transaction as Transaction
from .refunds import RefundAnswer as RefundAnswer
from .transport import TIMEOUT
from .trust import Trust

EXPIRES_AFTER = timedelta(minutes=30)
#: setting -> environment variable
VARIABLES = {
    "mchid": "WECHATPAY_MCHID",
    "serial": "WECHATPAY_SERIAL",
    "private_key": "WECHATPAY_PRIVATE_KEY",
    "apiv3_key": "WECHATPAY_APIV3_KEY",
    "public_key_id": "WECHATPAY_PUBLIC_KEY_ID",
    "public_key": "WECHATPAY_PUBLIC_KEY",
    "appid": "WECHATPAY_APPID",
    "notify_url": "WECHATPAY_NOTIFY_URL",
    "sub_mchid": "WECHATPAY_SUB_MCHID",
    "sub_appid": "WECHATPAY_SUB_APPID",
}
#: settings that may be absent
OPTIONAL = {"public_key_id", "public_key", "sub_mchid", "sub_appid"}
SANDBOX = "WECHATPAY_SANDBOX"
NOTIFY_URL = VARIABLES["notify_url"]


class Headers(Protocol):
    """The headers of a request, in the form of any framework."""

    def items(self) -> Iterable[tuple[str, str]]:
        """Return names, in any case, and values."""


class Pay:
    """Take payments for one merchant and one app; money is in fen, times have a time zone.

    Keys are paths or texts. Without `public_key` 微信支付公钥 the platform certificates 平台证书
    are downloaded. An `http` of yours keeps its own timeouts, and closing it is up to you; no call
    takes longer than 20 s. Every call raises what Client.post raises; after OutcomeUnknown query.

    With `sub_mchid` the merchant is a service provider 服务商 who orders for this sub merchant, and
    `appid` is an app of the provider's. Buyers who pay in the sub merchant's own app: name that as
    `sub_appid`, too; openids are then of that app. One object for each sub merchant.
    """

    def __init__(
        self,
        *,
        mchid: str,
        serial: str,
        private_key: str,
        apiv3_key: str,
        appid: str,
        notify_url: str,
        public_key_id: str = "",
        public_key: str = "",
        sub_mchid: str = "",
        sub_appid: str = "",
        http: httpx.AsyncClient | None = None,
        host: str = HOST,
        now: Callable[[], float] = time.time,
    ) -> None:
        """Read the keys; raise ValueError naming what is wrong with one."""
        self.appid = fields.text("appid", sub_appid or appid, 32)  # that shows the cashier
        self.merchant = keys.Merchant(
            fields.text("mchid", mchid, 32),
            fields.text("serial", serial, 40),
            keys.private_key(private_key),
            keys.apiv3_key(apiv3_key),
        )
        self.http = http or httpx.AsyncClient(trust_env=False, timeout=TIMEOUT)
        self.client = Client(
            self.http,
            self.merchant,
            Trust(self.merchant.apiv3_key, public_keys=_public_keys(public_key_id, public_key)),
            host=host,
            standby=STANDBY if host == HOST else None,
            now=now,
            timeout=self.http.timeout,
        )
        self._parties = _parties(mchid, appid, sub_mchid, sub_appid)
        self._sub_mchid = sub_mchid or None
        self._notify_url = fields.url("notify_url", notify_url)
        self._now = now
        self._owns_http = http is None

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "Pay":
        """Read the WECHATPAY_* variables; raise ValueError naming what is missing.

        WECHATPAY_SANDBOX, the address of a sandbox, takes the place of all but the notify_url; it
        is refused beside real keys. Reading it waits for the sandbox's answer.
        """
        return cls(**settings_from_env(env))

    @classmethod
    async def for_sandbox(
        cls, url: str, *, notify_url: str, kind: str = "miniprogram", service_provider: bool = False
    ) -> "Pay":
        """Be the merchant of a running sandbox; `kind` is miniprogram, official_account or app.

        With `service_provider` be the sandbox's provider, for the first of its sub merchants.
        """
        settings = await asyncio.to_thread(
            sandbox_settings, url, kind, service_provider=service_provider
        )
        return cls(**settings, notify_url=notify_url)

    async def aclose(self) -> None:
        """Close the connections, unless they are those of an `http` of yours."""
        if self._owns_http:
            await self.http.aclose()

    # -- order 下单; each returns what the page, the App or the QR code needs

    async def miniprogram(
        self,
        *,
        description: str,
        out_trade_no: str,
        total_fen: int,
        openid: str,
        time_expire: datetime | None = None,
        attach: str | None = None,
    ) -> dict[str, str]:
        """Order, and return the fields of wx.requestPayment.

        The order can be paid until `time_expire`, by default for 30 minutes. To order the same
        number again, hand in the same `time_expire`: other parameters may be refused.
        """
        order = self._order(description, out_trade_no, total_fen, time_expire, attach)
        prepay_id = await self._prepay("jsapi", order | self._payer(openid))
        return invoke.miniprogram(self.merchant, self.appid, prepay_id, **self._stamp())

    async def jsapi(
        self,
        *,
        description: str,
        out_trade_no: str,
        total_fen: int,
        openid: str,
        time_expire: datetime | None = None,
        attach: str | None = None,
    ) -> dict[str, str]:
        """Order like miniprogram(), and return the fields of getBrandWCPayRequest."""
        order = self._order(description, out_trade_no, total_fen, time_expire, attach)
        prepay_id = await self._prepay("jsapi", order | self._payer(openid))
        return invoke.bridge(self.merchant, self.appid, prepay_id, **self._stamp())

    async def app(
        self,
        *,
        description: str,
        out_trade_no: str,
        total_fen: int,
        time_expire: datetime | None = None,
        attach: str | None = None,
    ) -> dict[str, str]:
        """Order like miniprogram(), and return the fields of the App SDK."""
        order = self._order(description, out_trade_no, total_fen, time_expire, attach)
        prepay_id = await self._prepay("app", order)
        return invoke.app(self.merchant, self.appid, prepay_id, **self._stamp())

    async def h5(
        self,
        *,
        description: str,
        out_trade_no: str,
        total_fen: int,
        payer_client_ip: str,
        time_expire: datetime | None = None,
        attach: str | None = None,
    ) -> str:
        """Order like miniprogram(), and return the h5_url, good for 5 minutes."""
        order = self._order(description, out_trade_no, total_fen, time_expire, attach)
        return await self._prepay(
            "h5", order | {"scene_info": fields.scene(payer_client_ip, h5=True)}
        )

    async def native(
        self,
        *,
        description: str,
        out_trade_no: str,
        total_fen: int,
        time_expire: datetime | None = None,
        attach: str | None = None,
    ) -> str:
        """Order like miniprogram(), and return the code_url, good for 2 hours, for a QR code."""
        order = self._order(description, out_trade_no, total_fen, time_expire, attach)
        return await self._prepay("native", order)

    # -- query 查单, close 关单, refund 退款

    async def query(self, out_trade_no: str) -> Transaction:
        """Ask what became of a number; Refused ORDER_NOT_EXIST when unknown."""
        return await transactions.query(self.client, self._parties, out_trade_no)

    async def close(self, out_trade_no: str) -> None:
        """Close an unpaid order; Refused ORDER_PAID when it was paid, TryAgain while it is."""
        await transactions.close(self.client, self._parties, out_trade_no)

    async def refund(
        self,
        *,
        out_trade_no: str,
        out_refund_no: str,
        refund_fen: int,
        total_fen: int,
        reason: str | None = None,
    ) -> RefundAnswer:
        """Ask for a refund; mostly PROCESSING at first, its notification comes to receive().

        The same number with the same amounts again is the same refund.
        """
        order = refunds.refund_order(
            out_trade_no=out_trade_no,
            out_refund_no=out_refund_no,
            refund_fen=refund_fen,
            total_fen=total_fen,
            reason=reason,
            notify_url=self._notify_url,
            sub_mchid=self._sub_mchid,
        )
        return await refunds.create(self.client, order)

    async def query_refund(self, out_refund_no: str) -> RefundAnswer:
        """Ask what became of a refund; Refused RESOURCE_NOT_EXISTS when unknown."""
        return await refunds.query(
            self.client, out_refund_no=out_refund_no, sub_mchid=self._sub_mchid
        )

    # -- notifications 通知

    async def receive(self, headers: Headers, body: bytes) -> Transaction | RefundAnswer:
        """Verify, parse and open a notification: the raw bytes, as they came.

        Store what it says, then answer 204; repeats come, so store it once. Raises
        SignatureInvalid: it is not WeChat's, answer 401. MalformedAnswer, DecryptFailed: it cannot
        be read or is another merchant's, answer 500 and look at it. After anything but 200 and 204
        WeChat sends it again, for about 24 hours.
        """
        await notify.verify(self.client, dict(headers.items()), body)
        envelope = notify.parse(body)
        received: Transaction | RefundAnswer
        if envelope.original_type == "refund":
            received = refunds.open_refund(self.merchant.apiv3_key, envelope)
        else:
            received = notify.open_payment(self.merchant.apiv3_key, envelope)
        for name in ("mchid", "sp_mchid", "sub_mchid"):
            if received.parties.get(name) != self._parties.get(name):
                raise MalformedAnswer(name, "not this merchant's")
        return received

    def _order(
        self,
        description: str,
        out_trade_no: str,
        total_fen: int,
        time_expire: datetime | None,
        attach: str | None,
    ) -> dict[str, Any]:
        return {
            "description": description,
            "out_trade_no": out_trade_no,
            "total_fen": total_fen,
            "time_expire": time_expire or datetime.fromtimestamp(self._now(), UTC) + EXPIRES_AFTER,
            "attach": attach,
        }

    def _payer(self, openid: str) -> dict[str, Any]:
        """Name the buyer after the app that the openid belongs to."""
        name = "openid"
        if self._sub_mchid:
            name = "sub_openid" if "sub_appid" in self._parties else "sp_openid"
        return {"payer": {name: openid}}

    async def _prepay(self, product: str, order: Mapping[str, Any]) -> str:
        body = transactions.order(product, self._parties, notify_url=self._notify_url, **order)
        return await transactions.prepay(self.client, product, self._parties, body)

    def _stamp(self) -> dict[str, Any]:
        return {"timestamp": int(self._now()), "nonce": sign.new_nonce()}


def settings_from_env(env: Mapping[str, str]) -> dict[str, Any]:
    """Read the arguments of Pay as Pay.from_env() says."""
    if not env.get(SANDBOX):
        if missing := [n for s, n in VARIABLES.items() if s not in OPTIONAL and not env.get(n)]:
            raise ValueError(f"missing: {', '.join(missing)}")
        return {setting: env.get(name, "") for setting, name in VARIABLES.items()}
    if beside := [n for n in VARIABLES.values() if n != NOTIFY_URL and env.get(n)]:
        raise ValueError(f"{SANDBOX}: set beside {', '.join(beside)}")
    if not env.get(NOTIFY_URL):
        raise ValueError(f"missing: {NOTIFY_URL}")
    return sandbox_settings(env[SANDBOX]) | {"notify_url": env[NOTIFY_URL]}


def sandbox_settings(
    url: str, kind: str = "miniprogram", *, service_provider: bool = False
) -> dict[str, Any]:
    """Fetch the arguments of Pay, without the notify_url, from a running sandbox."""
    host = url.rstrip("/")
    answer = httpx.get(f"{host}/_sandbox/credentials", trust_env=False, timeout=TIMEOUT)
    credentials = answer.raise_for_status().json()
    merchant = credentials["sp"] if service_provider else credentials
    sub = {"sub_mchid": credentials["sub"][0]["mchid"]} if service_provider else {}
    return {
        "mchid": merchant["mchid"],
        "serial": merchant["merchant_serial"],
        "private_key": merchant["merchant_private_key_pem"],
        "apiv3_key": merchant["apiv3_key"],
        "public_key_id": credentials["public_key_id"],
        "public_key": credentials["public_key_pem"],
        "appid": next(app["appid"] for app in merchant["apps"] if app["kind"] == kind),
        "host": host,
        **sub,
    }


def _parties(mchid: str, appid: str, sub_mchid: str, sub_appid: str) -> dict[str, str]:
    """Return whose order it is, by the names that WeChat gives them."""
    if not sub_mchid:
        if sub_appid:
            raise ValueError("sub_mchid: missing, sub_appid belongs to it")
        return {"appid": appid, "mchid": mchid}
    parties = {"sp_appid": appid, "sp_mchid": mchid, "sub_mchid": sub_mchid}
    return {**parties, "sub_appid": sub_appid} if sub_appid else parties


def _public_keys(public_key_id: str, public_key: str) -> dict[str, Any]:
    if bool(public_key_id) != bool(public_key):
        missing = "public_key" if public_key_id else "public_key_id"
        raise ValueError(f"{missing}: missing, the public key and its id belong together")
    return {public_key_id: keys.public_key(public_key)} if public_key else {}
