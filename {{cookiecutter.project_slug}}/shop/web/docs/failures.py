"""Which errors a call can give, and what docs/errors.md says about each.

A call's errors follow from what it takes; only what its own verb can refuse is listed here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from shop import explain
from shop.web.docs.words import Sentence
from shop.web.errors import STATUS

STATUSES = {**STATUS, "METHOD_NOT_ALLOWED": 405, "INTERNAL": 500}
#: what any call can end with, whatever it does
GENERAL = (
    "BAD_REQUEST",
    "METHOD_NOT_ALLOWED",
    "BODY_TOO_LARGE",
    "UNSUPPORTED_MEDIA_TYPE",
    "INTERNAL",
    "OUTCOME_UNKNOWN",
)
_LOGIN = (
    "LOGIN_CODE_INVALID",
    "LOGIN_REFUSED",
    "SCENE_OFF",
    "TOO_MANY_REQUESTS",
    "WECHAT_REFUSED",
    "OUTCOME_UNKNOWN",
)
_START = (
    "OPENID_REQUIRED",
    "PAYMENT_IN_PROGRESS",
    "ORDER_PAID",
    "ORDER_CLOSED",
    "ORDER_EXPIRED",
    "SCENE_OFF",
    "VIRTUAL_GOODS",
    "TOO_MANY_REQUESTS",
    "WECHAT_REFUSED",
    "WECHAT_UNPROVED",
    "OUTCOME_UNKNOWN",
)
#: operationId -> what its verb refuses
OWN: Mapping[str, Sequence[str]] = {
    "miniprogram_session": _LOGIN,
    "oauth_start": ("SCENE_OFF", "TOO_MANY_REQUESTS"),
    "oauth_callback": ("BAD_REQUEST", "LOGIN_REQUIRED", *_LOGIN),
    "guest_session": ("LOGIN_REQUIRED", "TOO_MANY_REQUESTS"),
    "end_session": ("LOGIN_REQUIRED",),
    "place_order": ("TOO_MANY_REQUESTS", "OUTCOME_UNKNOWN"),
    "list_orders": ("NOT_FOUND",),
    "cancel_order": ("ORDER_PAID", "OUTCOME_UNKNOWN"),
    "start_payment": _START,
    "collect": _START,
    "refund_order": (
        "PART_REQUIRED",
        "REFUND_EXCEEDS",
        "REFUND_LIMIT",
        "SCENE_OFF",
        "OUTCOME_UNKNOWN",
    ),
    "query_payment": ("OUTCOME_UNKNOWN",),
    "close_held_payment": ("OUTCOME_UNKNOWN",),
    "metrics": ("LOGIN_REQUIRED", "NOT_FOUND"),
    "verify_domain": ("NOT_FOUND",),
}


@dataclass(frozen=True)
class Remedy:
    """One code of the shop: its status, why it comes, and what to do then."""

    code: str
    status: int
    cause: Sentence
    advice: Sentence


def codes_of(
    call: str, *, who: str, keyed: bool, has_body: bool, has_query: bool, has_path: bool
) -> list[str]:
    """Return the codes that a call can give, by status, without those that any call can give."""
    codes = set(OWN.get(call, ()))
    if has_body or has_query:
        codes.add("BAD_REQUEST")
    if keyed:
        codes |= {"IDEMPOTENCY_KEY_REQUIRED", "IDEMPOTENCY_KEY_REUSED"}
    if who in ("buyer", "admin"):
        codes.add("LOGIN_REQUIRED")
    if has_path or who == "admin":
        codes.add("NOT_FOUND")
    return sorted(codes, key=lambda code: (STATUSES[code], code))


def remedies() -> Iterator[Remedy]:
    """Read the table "From this shop" of docs/errors.md, in its order: by status."""
    for row in explain.table_rows():
        match = re.fullmatch(r"(\d{3}) `(\w+)`", row.names)
        if match and match[2] in STATUSES:
            cause, advice = (_both(text) for _, text in row.columns)
            yield Remedy(match[2], int(match[1]), cause, advice)


def _both(cell: str) -> Sentence:
    """Split a cell: English / 中文."""
    english, _, chinese = cell.partition(" / ")
    return english, chinese or english
