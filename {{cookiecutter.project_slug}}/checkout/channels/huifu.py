"""Huifu 汇付斗拱, an aggregator: WeChat pages and mini programs, Alipay and UnionPay by QR code.

Accepted is not paid: only trans_stat S of a proved notification or query is. Nothing is found
without the day (req_date) that a number was sent on: it is the day in Beijing of its row.
"""

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any
from urllib.parse import quote

import httpx
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey

from checkout import channels as ch
from checkout import log
from checkout.channels._sandbox import MARK, check_material, check_number, is_sandbox_key
from checkout.clock import Clock
from checkout.config import Config, ConfigError, Env
from checkout.models import Payment, Refund, Share
from checkout.scenes import SCENES as WECHAT_SCENES
from checkout.scenes import Scene
from huifu import errors, payments, sign, statements
from huifu.client import HuifuClient
from huifu.payments import BEIJING, HuifuTrade

PATH = "/notify/huifu/payment"
REFUND_PATH = "/notify/huifu/refund"
#: what Huifu adds to WeChat's scenes
SCENES = {"alipay": Scene("alipay"), "unionpay": Scene("unionpay")}
#: scene -> trade_type, and what its answer has
TRADE_TYPES = {
    "jsapi": ("T_JSAPI", "pay_info"),
    "miniprogram": ("T_MINIAPP", "pay_info"),
    "alipay": ("A_NATIVE", "qr_code"),
    "unionpay": ("U_NATIVE", "qr_code"),
}
STATES: Mapping[str, ch.TradeState] = {"S": "PAID", "F": "CLOSED"}
REFUND_STATES: Mapping[str, ch.RefundState] = {"S": "SUCCESS", "F": "CLOSED"}
#: the number is in a final state, paid or closed: query it
FINAL = ("23000000", "10000016")
#: a refund that is answered so waits until the merchant has money
NO_FUNDS = ("90000000", "23000003")
#: a UnionPay code cannot be closed: it ends soon by itself
UNIONPAY_LASTS = timedelta(minutes=5)
ALIPAY_SCANNER = "alipays://platformapi/startapp?saId=10000007&qrcode="
SETTINGS = (
    "SHOP_HUIFU_SYS_ID",
    "SHOP_HUIFU_PRODUCT_ID",
    "SHOP_HUIFU_ID",
    "SHOP_HUIFU_PRIVATE_KEY",
    "SHOP_HUIFU_PUBLIC_KEY",
)


@dataclass(frozen=True)
class HuifuConfig:
    """The merchant's numbers at Huifu, our key, and Huifu's."""

    sys_id: str
    product_id: str
    huifu_id: str
    private_key: RSAPrivateKey = field(repr=False)
    public_key: RSAPublicKey


class Huifu:
    """Translate between our Payment and Huifu's data; every value is a string."""

    name = "huifu"
    books = "huifu"
    rank = 9
    close_after = 60
    least_seconds = 60
    widget_scenes: Sequence[str] = ()
    notifications: Mapping[str, str] = {PATH: "payment", REFUND_PATH: "refund"}

    def __init__(self, own: Config, client: HuifuClient, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._url = own.public_url
        scenes = {**WECHAT_SCENES, **SCENES}
        self.scenes: Mapping[str, str] = {
            scene: own.appids.get(scenes[scene].app, "")
            for scene in TRADE_TYPES
            if (not own.scenes or scene in own.scenes)
            and (not scenes[scene].app or scenes[scene].app in own.appids)
        }

    def serves(self, scene: str, merchants: Sequence[str]) -> bool:
        """Tell whether all is ours, in a scene that Huifu knows."""
        return scene in self.scenes and list(merchants) == [""]

    # -- order 下单, open the cashier 调起

    def prepare(self, draft: ch.Draft) -> ch.Prepared:
        """Build the data of POST /v2/trade/payment/jspay 聚合正扫."""
        [share] = draft.shares
        trade_type, _ = TRADE_TYPES[draft.scene]
        expires_at = draft.expires_at
        if draft.scene == "unionpay":
            expires_at = min(expires_at, draft.created_at + UNIONPAY_LASTS)
        data = {
            "req_date": _day(draft.created_at),
            "req_seq_id": share.out_trade_no,
            "huifu_id": self._client.huifu_id,
            "goods_desc": share.description,
            "trade_type": trade_type,
            "trans_amt": payments.yuan(share.total_fen),
            "time_expire": f"{expires_at.astimezone(BEIJING):%Y%m%d%H%M%S}",
            "notify_url": self._url + PATH,
        }
        if draft.payer:  # sub_appid with sub_openid, or openid: never neither
            payer = {"sub_appid": self.scenes[draft.scene], "sub_openid": draft.payer}
            data["wx_data"] = _compact(payer)
        parties = {"huifu_id": self._client.huifu_id}
        return ch.Prepared(
            product=trade_type,
            body=_compact(data),
            parties=parties,
            share_parties=[parties],
            expires_at=expires_at,
        )

    def lasts(self, payment: Payment) -> int:
        """Return for how many seconds pay_info or qr_code opens the cashier."""
        if payment.scene == "unionpay":
            return int(UNIONPAY_LASTS.total_seconds())
        return {**WECHAT_SCENES, **SCENES}[payment.scene].lasts

    async def prepay(self, payment: Payment) -> dict[str, str]:
        """Send the stored data; a repeat of a number that was accepted has nothing to give back."""
        _, name = TRADE_TYPES[payment.scene]
        with _translated():
            answer = await payments.create(self._client, json.loads(payment.request))
        if not isinstance(answer.get(name), str):
            raise ch.Unknown(f"accepted without {name}")
        return {name: answer[name]}

    def invoke(self, payment: Payment, order_no: str) -> dict[str, Any]:
        """Pass pay_info on unchanged: the channel signed it; or give the code and its app link."""
        prepay = payment.prepay
        if "pay_info" in prepay:
            return {"invoke": json.loads(prepay["pay_info"])}
        opens = {"code_url": prepay["qr_code"]}
        if payment.scene == "alipay":
            opens["app_url"] = ALIPAY_SCANNER + quote(prepay["qr_code"], safe="")
        return opens

    # -- query 查单, close 关单

    async def query(self, payment: Payment, shares: Sequence[Share]) -> ch.Trade:
        """Ask by our own number and its day 查单."""
        day = _day(payment.created_at)
        with _translated():
            return _trade(await payments.query(self._client, day, payment.number))

    async def close(self, payment: Payment, shares: Sequence[Share]) -> None:
        """Close by our own number and its day 关单; returning means trans_stat S."""
        now = self._clock.now()
        data = {
            "req_date": _day(now),
            "req_seq_id": f"{payment.number}C{int(now.timestamp())}",
            "huifu_id": self._client.huifu_id,
            "org_req_date": _day(payment.created_at),
            "org_req_seq_id": payment.number,
        }
        with _translated():
            if await payments.close(self._client, data) == "S":
                return
            query = {**data, "req_seq_id": f"{data['req_seq_id']}Q"}
            if await payments.close_query(self._client, query) == "S":
                return
        raise ch.Later("the close is under way")

    # -- refund 退款, statement 对账单

    def prepare_refund(self, refund: Refund, share: Share, payment: Payment) -> str:
        """Build the data of a refund 退款."""
        return _compact(
            {
                "req_date": _day(refund.created_at),
                "req_seq_id": refund.out_refund_no,
                "huifu_id": self._client.huifu_id,
                "ord_amt": payments.yuan(refund.refund_fen),
                "org_req_date": _day(payment.created_at),
                "org_req_seq_id": share.out_trade_no,
                "remark": refund.reason,
                "notify_url": self._url + REFUND_PATH,
            }
        )

    async def refund(self, refund: Refund, share: Share) -> ch.RefundTrade:
        """Send the stored data; the same number again is the same refund."""
        with _translated():
            answer = await payments.refund(self._client, json.loads(refund.request))
        return _refund_trade(answer, share)

    async def query_refund(
        self, share: Share, out_refund_no: str, request: str = ""
    ) -> ch.RefundTrade:
        """Ask by the refund's own number and day 查退款."""
        if not request:
            raise ch.NoSuchTrade("a refund of which we do not know the day")
        day = str(json.loads(request)["req_date"])
        with _translated():
            answer = await payments.refund_query(self._client, day, out_refund_no)
        return _refund_trade(answer, share)

    async def bill(self, day: date) -> AsyncIterator[ch.BillRow]:
        """Fetch the statement files 对账单 of a day and yield their rows."""
        now = self._clock.now()
        data = {
            "req_date": _day(now),
            "req_seq_id": f"B{int(now.timestamp() * 1000)}",
            "huifu_id": self._client.huifu_id,
        }
        try:
            with _translated():
                files = await statements.fetch(self._client, day, data)
            for file in files:
                for line in statements.lines(file):
                    yield _bill_row(line)
        except statements.NotReady as error:
            raise ch.NoBillYet(str(error)) from error
        except errors.Malformed as error:
            raise ch.BillBroken(str(error)) from error

    # -- notifications 通知

    async def prove(
        self, kind: str, headers: Mapping[str, str], body: bytes
    ) -> ch.Proved | ch.NotOurs | ch.ReasonToAsk:
        """Prove a notification 验签; two come for one payment, from channel and accounting."""
        try:
            notified = payments.read_notification(self._client.public_key, body)
        except errors.HuifuSignatureInvalid as error:
            raise ch.NotProved(str(error), code=error.reason) from error
        except errors.Malformed as error:
            raise ch.NotProved(str(error), code="undecodable") from error
        return ch.Proved(notified.key, _heard(notified))

    def read(self, body: bytes) -> ch.Trade | ch.RefundTrade | None:
        """Read a stored, proved notification again."""
        try:
            return _heard(payments.read_notification(self._client.public_key, body))
        except errors.HuifuError as error:
            raise ch.Unreadable(str(error)) from error

    def received(self, body: bytes) -> ch.Reply:
        """Say the one text that ends the repeats."""
        notified = payments.read_notification(self._client.public_key, body)
        return ch.Reply(200, "text/plain", notified.received)

    def failed(self, status: int, message: str) -> ch.Reply:
        """Say anything else, so that it comes again."""
        return ch.Reply(status, "text/plain", f"FAIL {message}")

    # -- for the doctor

    async def examine(self, *, prove: bool = False) -> list[ch.Finding]:
        """Say what is offered, and let the gateway check the keys with a number nobody has."""
        what = "Huifu accepts our signature"
        advice = ""
        try:
            await payments.query(self._client, _day(self._clock.now()), "doctor0000000000")
        except errors.HuifuRefused as error:
            if error.code not in errors.UNKNOWN_NUMBER:
                advice = f"{error}: compare SHOP_HUIFU_ID, SHOP_HUIFU_SYS_ID and the keys"
        except errors.HuifuError as error:
            advice = str(error)
        scenes = ", ".join(self.scenes)
        return [ch.Finding(True, f"Huifu scenes: {scenes}"), ch.Finding(not advice, what, advice)]

    async def aclose(self) -> None:
        """Close nothing: the http client belongs to whoever gave it."""


def _trade(answer: HuifuTrade) -> ch.Trade:
    """Translate their trade; their hf_seq_id is our transaction_id."""
    _tell_failure("not paid", answer)
    parties = {"huifu_id": answer.huifu_id}
    share = ch.TradeShare(
        out_trade_no=answer.req_seq_id,
        state=STATES.get(answer.trans_stat, "OPEN"),
        parties=parties,
        transaction_id=answer.hf_seq_id or None,
        total_fen=answer.fen,
        currency="CNY",
    )
    return ch.Trade(
        number=answer.req_seq_id,
        word=answer.trans_stat,
        parties=parties,
        shares=[share],
        paid_at=answer.end_time,
    )


def _heard(notified: payments.Notified) -> ch.Trade | ch.RefundTrade:
    """Translate a notification; a refund's names the payment in its org_ fields, if it does."""
    if not notified.is_refund:
        return _trade(notified.trade)
    trade = notified.trade
    original = notified.original
    _tell_failure("not refunded", trade)
    return ch.RefundTrade(
        out_refund_no=trade.req_seq_id,
        refund_id=trade.hf_seq_id,
        out_trade_no=original.req_seq_id if original else "",
        transaction_id=original.hf_seq_id if original else "",
        state=REFUND_STATES.get(trade.trans_stat, "PROCESSING"),
        word=trade.trans_stat,
        refund_fen=trade.fen or 0,
        total_fen=_original_fen(trade),
        parties={"huifu_id": trade.huifu_id},
        refunded_at=trade.end_time,
        request=_compact({"req_date": trade.req_date}) if trade.req_date else "",
    )


def _tell_failure(event: str, answer: HuifuTrade) -> None:
    """Log the bank's own reason of a failure."""
    if answer.trans_stat == "F" and answer.bank_message:
        log.warning(event, number=answer.req_seq_id, bank_message=answer.bank_message)


def _original_fen(trade: HuifuTrade) -> int | None:
    """Return what the whole payment cost, where a refund's notification says it."""
    text = trade.raw.get("org_ord_amt")
    return payments.fen(str(text)) if text else None


def _refund_trade(answer: HuifuTrade, share: Share) -> ch.RefundTrade:
    """Translate a refund that was asked for by its own number."""
    _tell_failure("not refunded", answer)
    return ch.RefundTrade(
        out_refund_no=answer.req_seq_id,
        refund_id=answer.hf_seq_id,
        out_trade_no=share.out_trade_no,
        transaction_id=share.transaction_id or "",
        state=REFUND_STATES.get(answer.trans_stat, "PROCESSING"),
        word=answer.trans_stat,
        refund_fen=answer.fen or 0,
        total_fen=share.total_fen,
        parties={"huifu_id": answer.huifu_id} if answer.huifu_id else {},
        refunded_at=answer.end_time,
        request=_compact({"req_date": answer.req_date}) if answer.req_date else "",
    )


def _bill_row(line: statements.Line) -> ch.BillRow:
    """Translate a line of their statement."""
    state = "PAID" if line.state == "S" else "CLOSED"
    if line.org_req_seq_id:
        numbers = (line.org_req_seq_id, line.org_hf_seq_id)
        return ch.BillRow(*numbers, state, 0, line.req_seq_id, line.fen)
    return ch.BillRow(line.req_seq_id, line.hf_seq_id, state, line.fen)


@contextmanager
def _translated() -> Iterator[None]:
    """Turn Huifu's errors into the channel protocol's."""
    try:
        yield
    except errors.HuifuRefused as error:
        raise _refused(error) from error
    except errors.HuifuNotProved as error:
        raise ch.Unproved(str(error), code=error.code) from error
    except errors.HuifuUnknown as error:
        kind = ch.Failed if error.code in errors.FAILED else ch.Unknown
        raise kind(str(error), code=error.code) from error
    except errors.HuifuError as error:
        raise ch.Unknown(str(error)) from error


def _refused(error: errors.HuifuRefused) -> ch.ChannelError:
    code = error.code
    if isinstance(error, errors.HuifuLater):
        no_funds = code in NO_FUNDS
        return ch.Later(str(error), code=code, seconds=300 if no_funds else 60, alarm=no_funds)
    if code in errors.TRY_LATER:
        return ch.Later(str(error), code=code)
    if isinstance(error, errors.HuifuCannotClose):
        return ch.CannotClose(str(error), code=code)
    if code in errors.UNKNOWN_NUMBER:
        return ch.NoSuchTrade(str(error), code=code, proved=True)
    if code in errors.NUMBER_USED:
        return ch.AnswerLost(str(error), code=code)
    kind = ch.NumberTaken if code in FINAL else ch.Declined
    return kind(str(error), code=code)


def _day(moment: datetime) -> str:
    """Write a day in Beijing."""
    return f"{moment.astimezone(BEIJING):%Y%m%d}"


def _compact(data: Mapping[str, Any]) -> str:
    """Write data as it is stored and signed."""
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def read(env: Env, own: Config) -> HuifuConfig | None:
    """Read the settings if one of them is set; what is wrong is noted in `env`."""
    values = [env.get(name) for name in SETTINGS]
    if not any(values) and "huifu" not in own.channels:
        return None
    for name, text in zip(SETTINGS, values, strict=True):
        if not text:
            env.problem(name, "is missing while the others are set", "see docs/huifu.md")
    sys_id, product_id, huifu_id, _, public = values
    private = env.secret("SHOP_HUIFU_PRIVATE_KEY")
    try:
        keys = sign.private_key(private), sign.public_key(public)
    except ValueError:
        env.problem("SHOP_HUIFU_PRIVATE_KEY", "or _PUBLIC_KEY is not an RSA key", "base64 or PEM")
        return None
    config = HuifuConfig(sys_id, product_id, huifu_id, *keys)
    try:
        check_world(config, own)
    except ValueError as error:
        env.problem("SHOP_HUIFU_PRODUCT_ID", f"or a key {error}", "see docs/huifu.md")
        return None
    return config


def check_world(config: HuifuConfig, own: Config) -> None:
    """Raise ValueError when sandbox material would be used in production, or the reverse."""
    sandbox = bool(own.sandbox_url)
    check_number(config.product_id == MARK, sandbox=sandbox)
    for key in (config.private_key, config.public_key):
        check_material(is_sandbox_key(key), sandbox=sandbox)


def build(config: HuifuConfig, own: Config, http: httpx.AsyncClient, clock: Clock) -> ch.Channel:
    """Build the channel. Raises ConfigError for sandbox material in production."""
    try:
        check_world(config, own)
    except ValueError as error:
        raise ConfigError(f"Huifu's product or a key {error}") from error
    host = {"host": own.sandbox_url} if own.sandbox_url else {}
    client = HuifuClient(
        http,
        config.sys_id,
        config.product_id,
        config.huifu_id,
        config.private_key,
        config.public_key,
        **host,
    )
    return Huifu(own, client, clock)


def demo_settings(credentials: Mapping[str, Any]) -> dict[str, str]:
    """Take the sandbox's own keys."""
    huifu = credentials["huifu"]
    names = ("sys_id", "product_id", "huifu_id", "merchant_private_key", "huifu_public_key")
    return dict(zip(SETTINGS, (huifu[name] for name in names), strict=True))
