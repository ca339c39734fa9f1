"""Bills 账单: apply for the bill of a virtual day that is over, then download it.

docs/merchant/apis/bill-download/trade-bill/get-trade-bill.html; `bill_lines` writes the file.
"""

import gzip
import hashlib
import re
import secrets
from collections.abc import Callable
from datetime import date, datetime, time, timedelta

from .addresses import bill_origin
from .bill_lines import fund_flow, trade_bill
from .clock import BEIJING
from .models import Bill
from .state import State
from .wire import Answer, Call, RefusalError, api_headers, json_answer, parameter_error

LIFETIME = 300  # seconds in which a link can be used
DOWNLOAD = "/v3/billdownload/file"
TRADE_BILL = ("bill_date", "bill_type", "sub_mchid", "tar_type")
FUND_FLOW = ("bill_date", "account_type", "tar_type")
READY = time(10, tzinfo=BEIJING)
MONTHS = 92  # days
BILL_TYPES = ("ALL", "SUCCESS", "REFUND")
ACCOUNTS = ("BASIC", "OPERATION", "FEES")


def apply_trade_bill(state: State, call: Call) -> Answer:
    """Answer GET /v3/bill/tradebill (申请交易账单): hash of the unpacked bytes and a link."""
    kind = _choice(call, "bill_type", BILL_TYPES)
    sub_mchid = _sub_mchid(state, call)

    def write(day: date) -> bytes:
        return trade_bill(state, call.mchid, sub_mchid, day, kind)

    return _apply(state, call, write)


def apply_fund_flow(state: State, call: Call) -> Answer:
    """Answer GET /v3/bill/fundflowbill (申请资金账单): every movement is in the account BASIC."""
    account = _choice(call, "account_type", ACCOUNTS)

    def write(day: date) -> bytes:
        return fund_flow(state, call.mchid, day) if account == "BASIC" else b""

    return _apply(state, call, write)


def download(state: State, call: Call) -> Answer:
    """Answer GET /v3/billdownload/file?token= (下载账单): raw bytes, which nobody signs."""
    bill = state.bills.get(call.query.get("token", ""))
    if bill is not None and bill.mchid != call.mchid:
        raise RefusalError(403, "NO_AUTH", "只能下载本商户申请的账单")
    if bill is None or state.clock.now() >= bill.expires_at:
        raise RefusalError(400, "INVALID_REQUEST", "下载链接无效或已过期，请重新申请")
    headers = api_headers() | {"Content-Type": bill.media}
    return Answer(200, bill.content, headers, signed=False, cut=bill.cut)


def _apply(state: State, call: Call, write: Callable[[date], bytes]) -> Answer:
    packed = _choice(call, "tar_type", ("", "GZIP")) == "GZIP"
    content = write(_day(state, call))
    if not content:
        raise RefusalError(400, "NO_STATEMENT_EXIST", "请求的账单文件不存在")
    fault = state.faults.take("bill")
    digest = hashlib.sha1(content, usedforsecurity=False).hexdigest()
    if fault == "wrong_hash":
        digest = secrets.token_hex(20)
    if packed:
        content = gzip.compress(content)
    if fault == "truncated":
        content = content[: len(content) // 2]
    token = secrets.token_urlsafe(24)
    state.bills[token] = Bill(
        mchid=call.mchid,
        content=content,
        expires_at=state.clock.now() + LIFETIME,
        cut=fault == "cut",
        # no page tells; SDKs that work with WeChat read a plain file only as text/plain
        media="application/octet-stream" if packed else "text/plain",
    )
    answer = {
        "hash_type": "SHA1",
        "hash_value": digest,
        "download_url": f"{bill_origin(call.headers['host'])}{DOWNLOAD}?token={token}",
    }
    return json_answer(200, answer)


def _sub_mchid(state: State, call: Call) -> str | None:
    """Read the sub merchant to which a service provider narrows its bill."""
    sub_mchid = call.query.get("sub_mchid")
    merchant = state.keys.merchant(call.mchid)
    if sub_mchid is not None and not (merchant and sub_mchid in merchant.subs):
        raise RefusalError(403, "NO_AUTH", "特约商户未授权该服务商")
    return sub_mchid


def _day(state: State, call: Call) -> date:
    """Return the asked day in Beijing if its bill can exist: over, written, three months old."""
    text = call.query.get("bill_date", "")
    now = datetime.fromtimestamp(state.clock.now(), BEIJING)
    try:
        day = date.fromisoformat(text if re.fullmatch(r"\d{4}-\d\d-\d\d", text, re.ASCII) else "")
    except ValueError:
        raise parameter_error("/query/bill_date", text, "应为yyyy-MM-DD格式") from None
    if not now.date() - timedelta(days=MONTHS) <= day < now.date():
        raise RefusalError(400, "INVALID_REQUEST", "账单日期无效：只能是三个月内且早于今天的日期")
    if now < datetime.combine(day + timedelta(days=1), READY):
        raise RefusalError(400, "STATEMENT_CREATING", "账单文件正在生成中，请10点后重试")
    return day


def _choice(call: Call, name: str, choices: tuple[str, ...]) -> str:
    value = call.query.get(name, choices[0])
    if value not in choices:
        raise parameter_error(f"/query/{name}", value, f"值应为 {'、'.join(choices)} 之一")
    return value
