"""The fault menu: what goes wrong on purpose, how often, and who signs."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CALLS = (
    *("prepay", "query", "close", "refund", "refund_query", "certificates", "bill"),
    *("code2session", "oauth", "token", "wxa", "any"),
)
LOGINS = ("code2session", "oauth", "token", "wxa")
OF_SIGNED_ANSWERS = ("202", "signtest", "wrong_key")
#: refusals of an order that WeChat has in several forms, or for which nothing here is wrong
OF_PREPAY = (
    *("openid_mismatch", "openid_not_matching", "openid_invalid", "number_used", "already_paid"),
    *("product_off", "receiving_restricted", "merchant_unavailable", "service_unavailable"),
)
ANSWERS = (
    *("500", "429", "hang", "reset_before", "reset_after", "refuse"),
    *OF_SIGNED_ANSWERS,
    *OF_PREPAY,
)
NOTIFICATIONS = ("send", "drop", "duplicate", "reverse")
SIGNATURES = ("good", "signtest", "unknown_serial", "wrong_key", "stale")
#: refunds that are put off, each channel says so in its own words
POSTPONED = (
    *("not_enough", "order_not_ready", "frequency_limited"),
    *("invalid_req_too_much", "bizerr_need_retry"),
)
#: the same by a protocol that has numbers; all others say order_not_ready instead
POSTPONED_BY_NUMBER = ("90000000", "23000003", "10000001", "30000000")
NOT_ACCEPTED = (*POSTPONED, *POSTPONED_BY_NUMBER, "user_account_abnormal")
REFUNDS = ("success", "abnormal", "closed", *NOT_ACCEPTED)
ROWS = ("missing_row", "extra_row", "wrong_amount", "wrong_state")
REFUND_ROWS = ("missing_refund", "extra_refund", "wrong_refund_amount")
BILLS = ("good", "wrong_hash", "truncated", "cut", *ROWS, *REFUND_ROWS)
SIGNINGS = ("public_key", "certificate", "mixed")
CHOICES = {
    "notification_signature": SIGNATURES,
    "refunds": REFUNDS,
    "bill": BILLS,
    "signing": SIGNINGS,
}
DEFAULTS: dict[str, Any] = {
    "notifications": "send",
    "notification_signature": "good",
    "notification_amount_delta_fen": 0,
    "answers": {},
    "refunds": "success",
    "bill": "good",
    "times": None,
    "signing": "public_key",
    "rotate_certificates": False,
    "leading_zero_serials": False,
}
ACTS = ("rotate_certificates", "leading_zero_serials")  # done at once, and then False again


@dataclass(frozen=True)
class NotificationFault:
    """What to do with one notification; `delivery` is a name or seconds of delay."""

    delivery: str | int
    signature: str
    delta_fen: int


class Faults:
    """The menu's state; `times` counts down with every fault that was used."""

    def __init__(self) -> None:
        self.menu = DEFAULTS.copy()

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Set the named keys, all or none; {} resets. Raises ValueError naming key and value."""
        checked = {key: _check(key, value) for key, value in wanted.items()}
        self.menu = self.menu | checked if wanted else DEFAULTS.copy()
        self.menu |= dict.fromkeys(ACTS, False)

    def for_call(self, call: str) -> str | None:
        """Take the fault for the answer to this call, its own before that of `any`."""
        answers = self.menu["answers"]
        fault: str | None = answers.get(call, answers.get("any"))
        if fault is None or (call in LOGINS and fault in OF_SIGNED_ANSWERS):
            return None
        self._count_down()
        return fault

    def for_notification(self) -> NotificationFault:
        """Take the faults for one notification."""
        menu = self.menu
        fault = NotificationFault(
            menu["notifications"],
            menu["notification_signature"],
            menu["notification_amount_delta_fen"],
        )
        if fault != NotificationFault("send", "good", 0):
            self._count_down()
        return fault

    def take(self, key: str) -> str:
        """Take the fault for one of `refunds` or one `bill`."""
        fault = str(self.menu[key])
        if fault != DEFAULTS[key]:
            self._count_down()
        return fault

    def _count_down(self) -> None:
        if self.menu["times"] is None:
            return
        self.menu["times"] -= 1
        if not self.menu["times"]:
            self.menu = DEFAULTS | {"signing": self.menu["signing"]}


def _check(key: str, value: Any) -> Any:
    if key == "answers":
        return _check_answers(value)
    if key not in DEFAULTS:
        raise ValueError(f"{key} is not in the menu: {', '.join(DEFAULTS)}")
    if not _fits(key, value):
        raise ValueError(f"{key} cannot be {value!r}")
    return value


def _fits(key: str, value: Any) -> bool:
    is_integer = isinstance(value, int) and not isinstance(value, bool)
    match key:
        case "notifications":
            return value in NOTIFICATIONS or (is_integer and 0 <= value <= 86_400)
        case "notification_amount_delta_fen":
            return is_integer
        case "times":
            return value is None or (is_integer and value > 0)
        case str() if key in ACTS:
            return isinstance(value, bool)
    return value in CHOICES[key]


def _check_answers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("answers must be an object {call: fault}")
    for call, fault in value.items():
        if call not in CALLS:
            raise ValueError(f"answers.{call} is not a call: {', '.join(CALLS)}")
        if str(fault) not in ANSWERS:
            raise ValueError(f"answers.{call} cannot be {fault!r}: {', '.join(ANSWERS)}")
        if call in LOGINS and str(fault) in OF_SIGNED_ANSWERS:
            raise ValueError(f"answers.{call} cannot be {fault!r}: logins are not signed")
        if call != "prepay" and str(fault) in OF_PREPAY:
            raise ValueError(f"answers.{call} cannot be {fault!r}: that is of prepay alone")
    return {call: str(fault) for call, fault in value.items()}
