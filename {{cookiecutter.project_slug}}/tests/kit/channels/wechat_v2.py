"""The contract test's other side of the channel wechat_v2."""

import re

from kit.channels._sandboxed import FALSE_BILLS, Sandboxed


class Kit(Sandboxed):
    """A mini program's buyer."""

    prepay = "/pay/unifiedorder"
    false_bills = FALSE_BILLS

    def lasting(self, body: str) -> str:
        """Take nonce and sign from the XML."""
        return re.sub(r"<(nonce_str|sign)>.*?</\1>", "", body)
