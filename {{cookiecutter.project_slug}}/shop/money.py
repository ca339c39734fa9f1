"""The one gate through which an amount that a person typed becomes fen."""

import re
from decimal import Decimal

from checkout.errors import BadRequest


def fen(text: str, allowed: range, *, field: str) -> int:
    """Read yuan with at most two decimals, as text, exactly; `allowed` in fen.

    Raises BadRequest naming `field` for anything else: a sign, an exponent, other digits, a blank.
    """
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,2})?", text):
        raise BadRequest("an amount in yuan such as 12.34, as text", field=field)
    amount = int(Decimal(text) * 100)
    if amount not in allowed:
        least = Decimal(allowed[0]) / 100
        most = Decimal(allowed[-1]) / 100
        raise BadRequest(f"the amount must be from {least} to {most} yuan", field=field)
    return amount
