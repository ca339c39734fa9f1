"""The contract test's other side of the channel huifu."""

from kit.channels._sandboxed import Sandboxed


class Kit(Sandboxed):
    """A mini program's buyer; UnionPay's codes cannot be closed."""

    scene_without_close = "unionpay"
    prepay = "/payment/jspay"
    tells = 2  # the channel and the accounting
    later = (503, "OUTCOME_UNKNOWN")  # "too frequent" does not say that nothing was done
    answers_again = False
    false_bills = {"missing_row": "missing_there"}  # noqa: RUF012
