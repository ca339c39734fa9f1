"""What a channel's verbs raise; shop.channels offers all of it."""


class ChannelError(Exception):
    """The base of what a channel's verbs raise; the cause is the protocol's own error."""

    def __init__(self, message: str, *, code: str = "", request_id: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id


class Unknown(ChannelError):
    """Raised when nobody knows whether the call was done: ask, then repeat the same number."""


class Refused(ChannelError):
    """Raised when the call was refused; an unsigned word, so it decides nothing about money."""


class NoSuchTrade(Refused):
    """Raised when they do not know the number (404)."""


class AlreadyPaid(Refused):
    """Raised when they say the number is paid: query it."""


class NumberClosed(Refused):
    """Raised when they say the number is closed, or taken by other parameters: query it."""


class AnswerLost(Refused):
    """Raised when they have the number, but give the answer of its prepay only once."""


class Busy(ChannelError):
    """Raised when the buyer is typing the password, or we ask too often: come back later."""


class NotNow(ChannelError):
    """Raised when a refund must wait for the merchant: no funds, no permission, wrong keys."""


class NotProved(ChannelError):
    """Raised when a notification's signature does not hold; `code` is the reason."""


class Unreadable(ChannelError):
    """Raised when a proved notification cannot be decrypted: wrong APIv3 key?"""


class NoBillYet(ChannelError):
    """Raised when the bill of a day is not written yet: come back later."""


class BillBroken(ChannelError):
    """Raised when a bill cannot be fetched whole, or must not be believed."""
