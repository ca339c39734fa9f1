"""The fault menu: what goes wrong on purpose, how often, and who signs."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

SIGNED_CALLS = ("prepay", "query", "close", "refund", "refund_query", "certificates", "bill")
LOGINS = ("code2session", "oauth", "token", "wxa")
CALLS = (*SIGNED_CALLS, *LOGINS, "any")
OF_SIGNED_ANSWERS = ("202", "signtest", "wrong_key")
#: refusals of an order that WeChat has in several forms, or for which nothing here is wrong
OF_PREPAY = (
    "openid_mismatch",
    "openid_not_matching",
    "openid_invalid",
    "number_used",
    "already_paid",
    "product_off",
    "receiving_restricted",
    "merchant_unavailable",
    "service_unavailable",
)
OF_EVERY_CALL = ("500", "429", "hang", "reset_before", "reset_after", "refuse")
ANSWERS = (*OF_EVERY_CALL, *OF_SIGNED_ANSWERS, *OF_PREPAY)
NOTIFICATIONS = ("send", "drop", "duplicate", "reverse")
SIGNATURES = ("good", "signtest", "unknown_serial", "wrong_key", "stale")
OUTCOMES = ("success", "abnormal", "closed")
#: refunds that are put off, or refused; each protocol says so in its own words
POSTPONED = (
    "not_enough",
    "order_not_ready",
    "frequency_limited",
    "invalid_req_too_much",
    "bizerr_need_retry",
)
REFUNDS = (*OUTCOMES, *POSTPONED, "user_account_abnormal")
ROWS = ("missing_row", "extra_row", "wrong_amount", "wrong_state")
REFUND_ROWS = ("missing_refund", "extra_refund", "wrong_refund_amount")
BILLS = ("good", "wrong_hash", "truncated", "cut", *ROWS, *REFUND_ROWS)
SIGNINGS = ("public_key", "certificate", "mixed")
LONGEST_DELAY = 86_400  # seconds
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
        self._choices: dict[str, tuple[str, ...]] = {
            "notifications": NOTIFICATIONS,
            "notification_signature": SIGNATURES,
            "refunds": REFUNDS,
            "bill": BILLS,
            "signing": SIGNINGS,
        }

    def choices(self) -> dict[str, Any]:
        """List what each key can be: values, for `answers` by call, or the type that it takes."""
        return {
            **self._choices,
            "notifications": [*NOTIFICATIONS, "seconds"],
            "notification_amount_delta_fen": ["fen"],
            "answers": {call: _answers_of(call) for call in CALLS},
            "times": ["number", None],
            "rotate_certificates": [True],
            "leading_zero_serials": [True],
        }

    def add_refunds(self, reasons: Iterable[str]) -> None:
        """Let a protocol offer more reasons why a refund is not accepted."""
        self._choices["refunds"] = (*self._choices["refunds"], *reasons)

    def set(self, wanted: Mapping[str, Any]) -> None:
        """Set the named keys, all or none; {} resets. Raises ValueError naming key and value."""
        checked = {key: self._check(key, value) for key, value in wanted.items()}
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

    def _check(self, key: str, value: Any) -> Any:
        if key == "answers":
            return _check_answers(value)
        if key not in DEFAULTS:
            raise ValueError(f"{key} is not in the menu: {', '.join(DEFAULTS)}")
        if not self._fits(key, value):
            raise ValueError(f"{key} cannot be {value!r}")
        return value

    def _fits(self, key: str, value: Any) -> bool:
        is_integer = isinstance(value, int) and not isinstance(value, bool)
        match key:
            case "notifications" if is_integer:
                return 0 <= int(value) <= LONGEST_DELAY
            case "notification_amount_delta_fen":
                return is_integer
            case "times":
                return value is None or (is_integer and value > 0)
            case str() if key in ACTS:
                return isinstance(value, bool)
        return value in self._choices[key]


def _answers_of(call: str) -> tuple[str, ...]:
    if call in LOGINS:
        return OF_EVERY_CALL
    if call == "prepay":
        return ANSWERS
    return (*OF_EVERY_CALL, *OF_SIGNED_ANSWERS)


def _check_answers(value: Any) -> dict[str, str]:
    if not isinstance(value, dict):
        raise ValueError("answers must be an object {call: fault}")
    answers = {call: str(fault) for call, fault in value.items()}
    for call, fault in answers.items():
        if call not in CALLS:
            raise ValueError(f"answers.{call} is not a call: {', '.join(CALLS)}")
        choices = _answers_of(call)
        if fault not in choices:
            raise ValueError(f"answers.{call} cannot be {fault!r}: {', '.join(choices)}")
    return answers
