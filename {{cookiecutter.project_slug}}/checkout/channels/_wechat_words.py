"""WeChat's answers in the words of the channel protocol, for APIv3 and the old APIv2 alike."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from checkout import channels as ch
from wechat import bill_rows, errors

STATES: Mapping[str, ch.TradeState] = {
    "SUCCESS": "PAID",
    "REFUND": "PAID",  # refunded in part or whole: it was paid
    "CLOSED": "CLOSED",
    "REVOKED": "CLOSED",
}
UNKNOWN_NUMBER = ("ORDER_NOT_EXIST", "RESOURCE_NOT_EXISTS", "REFUND_NOT_EXIST")
#: the same number came with other parameters; pages and practice differ about the code
OTHER_PARAMETERS = "268498688"
#: an order that WeChat is still working on can be refunded a little later
IN_WORK = "订单处理中"


@contextmanager
def translated() -> Iterator[None]:
    """Turn WeChat's errors into the channel protocol's."""
    try:
        yield
    except errors.Refused as error:
        raise _refused(error) from error
    except errors.TryAgain as error:
        kind = ch.Later if error.is_code("USER_PAYING") else ch.Unknown
        request_id = error.request_id or ""
        raise kind(str(error), code=error.code, request_id=request_id) from error
    except errors.OutcomeUnknown as error:
        unproved = isinstance(error.__cause__, errors.SignatureInvalid)
        kind = ch.Unproved if unproved else ch.Unknown
        raise kind(str(error), request_id=error.request_id or "") from error
    except (errors.NotSent, errors.MalformedAnswer) as error:
        raise ch.Unknown(str(error)) from error


def _refused(error: errors.Refused) -> ch.ChannelError:
    words: dict[str, Any] = {"code": error.code, "request_id": error.request_id or ""}
    if isinstance(error, errors.RateLimited):
        return ch.Later(error.message, **words)
    if not error.code:  # not WeChat's own words: a proxy's page, perhaps
        return ch.Unknown(str(error), **words)
    if error.is_code(*UNKNOWN_NUMBER):
        return ch.NoSuchTrade(error.message, **words)
    if error.is_code("ORDER_PAID"):
        return ch.AlreadyPaid(error.message, **words)
    if error.is_code("ORDER_CLOSED", "OUT_TRADE_NO_USED"):
        return ch.NumberTaken(error.message, **words)
    if (error.request_id or "").endswith(f"-{OTHER_PARAMETERS}"):
        return ch.NumberTaken(error.message, **words)
    return ch.Refused(error.message, **words)


@contextmanager
def postponed(later: Collection[str], merchant: Collection[str]) -> Iterator[None]:
    """Turn refusals of a refund that mean "later" into Later; `merchant` ones need the merchant."""
    try:
        yield
    except ch.Refused as error:
        words: dict[str, Any] = {"code": error.code, "request_id": error.request_id}
        if error.code in merchant:
            raise ch.Later(str(error), seconds=300, alarm=True, **words) from error
        if error.code in later or IN_WORK in str(error):
            raise ch.Later(str(error), **words) from error
        raise


@contextmanager
def of_bills() -> Iterator[None]:
    """Turn the errors of bills into the channel protocol's."""
    try:
        with translated():
            yield
    except errors.BillNotReady as error:
        raise ch.NoBillYet(str(error)) from error
    except errors.BillError as error:
        raise ch.BillBroken(str(error)) from error


def rows_of(file: Path) -> Iterator[ch.BillRow]:
    """Read a bill row by row; raise BillBroken at the line that is not one."""
    rows = bill_rows.rows(file)
    while True:
        with of_bills():
            row = next(rows, None)
        if row is None:
            return
        yield bill_row(row)


def bill_row(row: bill_rows.TradeRow) -> ch.BillRow:
    """Translate a line of their bill."""
    return ch.BillRow(
        out_trade_no=row.out_trade_no,
        transaction_id=row.transaction_id,
        state="CLOSED" if row.trade_state == "REVOKED" else "PAID",
        total_fen=row.total_fen,
        out_refund_no=row.out_refund_no or "",
        refund_fen=row.refund_fen,
    )


def with_way_back(link: str, order_no: str, shop_url: str) -> str:
    """Tell WeChat's H5 page where to send the buyer back to; coming back proves nothing."""
    back = quote(f"{shop_url}/?order={order_no}&back=1", safe="")
    return f"{link}&redirect_url={back}"
