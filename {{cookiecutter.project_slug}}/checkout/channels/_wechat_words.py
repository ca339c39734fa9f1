"""WeChat's answers in the words of the channel protocol, for APIv3 and the old APIv2 alike."""

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from checkout import channels as ch
from wechat import bill_rows, errors, meanings, numbers

STATES: Mapping[str, ch.TradeState] = {
    "SUCCESS": "PAID",
    "REFUND": "PAID",  # refunded in part or whole: it was paid
    "CLOSED": "CLOSED",
    "REVOKED": "CLOSED",
}


@contextmanager
def translated(until_mended: Collection[str] = ()) -> Iterator[None]:
    """Turn WeChat's errors into the channel protocol's.

    `until_mended` are codes that mean "later" because the merchant has something to mend.
    """
    try:
        yield
    except errors.WeChatError as error:
        raise _in_our_words(error, until_mended) from error


def _in_our_words(error: errors.WeChatError, until_mended: Collection[str]) -> ch.ChannelError:
    if not isinstance(error, errors.ApiError | errors.OutcomeUnknown):
        return ch.Unknown(str(error))  # nothing was sent, or what came has another form
    words: dict[str, Any] = {
        "code": error.code,
        "request_id": error.request_id or "",
        "advice": _advice(error),
        "proved": error.proved,
    }
    if isinstance(error, errors.AnswerNotProved):
        return ch.Unproved(str(error), **words)
    if meanings.is_openid_mismatch(error):  # one of its forms is a 500; it never gets better
        return ch.Declined(error.message, **words)
    if isinstance(error, errors.OutcomeUnknown):
        return _unknown(error, words)
    if until_mended and (error.code in until_mended or meanings.is_no_funds(error)):
        return ch.Later(error.message, seconds=300, alarm=True, **words)
    if error.status == 202 and not error.code:
        return ch.Unknown(str(error), **words)
    if meanings.is_later(error):
        return ch.Later(error.message or str(error), **words)
    return _refused(error, words)


def _unknown(error: errors.OutcomeUnknown, words: Mapping[str, Any]) -> ch.Unknown:
    """Tell a failure with WeChat's own code, a 5xx or APIv2's SYSTEMERROR, from an outage."""
    if meanings.is_code(error.code):
        return ch.Failed(str(error), **words)
    return ch.Unknown(str(error), **words)


def _refused(error: errors.ApiError, words: Mapping[str, Any]) -> ch.Declined:
    if meanings.is_unknown_number(error):
        return ch.NoSuchTrade(error.message, **words)
    if meanings.is_paid(error):
        return ch.AlreadyPaid(error.message, **words)
    if meanings.is_closed(error) or meanings.is_same_number_other_parameters(error):
        return ch.NumberTaken(error.message, **words)
    return ch.Declined(error.message, **words)


def _advice(error: errors.ApiError | errors.OutcomeUnknown) -> str:
    """Explain the number at the end of Request-ID, if there is one."""
    return numbers.describe(error.wechat_number) if error.wechat_number else ""


@contextmanager
def of_bills() -> Iterator[None]:
    """Turn the errors of bills into the channel protocol's."""
    with translated():
        try:
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
