"""The contract test's other side of the channel wechat."""

from kit.channels._sandboxed import FALSE_BILLS, Sandboxed


class Kit(Sandboxed):
    """A mini program's buyer."""

    prepay = "transactions/jsapi"  # alone or combined
    false_bills = FALSE_BILLS
