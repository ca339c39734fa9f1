"""What a channel's verbs raise; checkout.channels offers all of it."""


class ChannelError(Exception):
    """The base of what a channel's verbs raise; the cause is the protocol's own error.

    `code` and `request_id` are theirs, "" where they sent none. `advice` says to a person what the
    answer means and what to do. `proved`: they signed the answer. `alarm`: only the merchant can
    mend it.
    """

    alarm = False

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        request_id: str = "",
        advice: str = "",
        proved: bool = False,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.request_id = request_id
        self.advice = advice
        self.proved = proved


class Unknown(ChannelError):
    """Raised when nobody knows whether the call was done: ask, then repeat the same number."""


class Failed(Unknown):
    """Raised when they failed with a code of their own, such as a 5xx.

    The same code again is a refusal, not an outage.
    """


class Unproved(Unknown):
    """Raised when they answered, but the signature does not hold: a wrong public key?"""

    alarm = True


class Later(ChannelError):
    """Raised when nothing was done and the same number may succeed later.

    `seconds` is how long to wait. `alarm`: no funds, no permission, wrong keys.
    """

    def __init__(
        self,
        message: str,
        *,
        code: str = "",
        request_id: str = "",
        advice: str = "",
        proved: bool = False,
        seconds: int = 60,
        alarm: bool = False,
    ) -> None:
        super().__init__(message, code=code, request_id=request_id, advice=advice, proved=proved)
        self.seconds = seconds
        self.alarm = alarm


class CannotClose(ChannelError):
    """Raised when this kind of payment cannot be closed: it ends by its own time_expire."""


class Declined(ChannelError):
    """Raised when the call was refused with their code; alone it decides nothing."""


class NoSuchTrade(Declined):
    """Raised when they do not know the number (404); unless `proved`, it ends no watch."""


class AlreadyPaid(Declined):
    """Raised when they say the number is paid: query it."""


class NumberTaken(Declined):
    """Raised when they say the number has ended, or is taken by other parameters: query it."""


class AnswerLost(Declined):
    """Raised when they have the number, but give the answer of its prepay only once."""


class NotProved(ChannelError):
    """Raised when a notification's signature does not hold; `code` is the reason."""


class Unreadable(ChannelError):
    """Raised when a proved notification cannot be decrypted: wrong APIv3 key?

    `key` is what makes the notification unique.
    """

    def __init__(self, message: str, *, key: str = "") -> None:
        super().__init__(message)
        self.key = key


class MalformedNotification(Unreadable):
    """Raised when a proved notification could be decrypted, but is not what is documented."""


class NoBillYet(ChannelError):
    """Raised when the bill of a day is not written yet: come back later."""


class BillBroken(ChannelError):
    """Raised when a bill cannot be fetched whole, or must not be believed."""
