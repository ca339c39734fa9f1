"""Everything this folder raises.

HuifuError
├── HuifuSignatureInvalid   a message is not proved to come from Huifu
├── Malformed          it is proved, but not what Huifu documents
├── HuifuRefused            nothing was done; `code` is resp_code
│   ├── HuifuLater          a refund that waits: the same number again, later
│   └── HuifuCannotClose    a code of this kind ends by its own time_expire, never by a close
└── HuifuUnknown     nobody knows: query before anything else
    └── HuifuNotProved   an answer came whose sign is missing or does not fit
"""

#: what a refund's resp_code says when the same number shall be tried again later 稍后用原流水号重试
REFUND_LATER = ("90000000", "23000003", "10000001", "30000000")
#: what resp_code says of any call when the same number shall be tried again later
TRY_LATER = ("30000000",)
#: what resp_code says when Huifu or its channel failed and nobody knows what was done
FAILED = ("91111119", "98888888", "99999999")
#: what a close's resp_code says of codes that cannot be closed (UnionPay 银联二维码)
CANNOT_CLOSE = ("23000004",)
#: what a query's resp_code says of a number that Huifu does not know
UNKNOWN_NUMBER = ("20000004", "23000001")
#: what an order's resp_code says when the number was sent before on that day
NUMBER_USED = ("20000000",)


class HuifuError(Exception):
    """Raised when anything in this folder goes wrong; catch it to catch all of them."""


class HuifuSignatureInvalid(HuifuError):
    """Raised when a message must not be believed; `reason` is a stable word for logs."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Malformed(HuifuError):
    """Raised when `field` is missing or is not what it should be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class HuifuRefused(HuifuError):
    """Raised when Huifu did nothing; branch on `code`, never on the words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code} {words}")
        self.code = code
        self.words = words


class HuifuLater(HuifuRefused):
    """Raised by a refund that is not refused, only early: keep its number and try again later."""


class HuifuCannotClose(HuifuRefused):
    """Raised by the close of a payment that only its own time_expire ends."""


class HuifuUnknown(HuifuError):
    """Raised when a call may or may not have worked; `code` is resp_code if one came."""

    def __init__(self, reason: str, *, code: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.code = code


class HuifuNotProved(HuifuUnknown):
    """Raised when an answer came, but nobody can tell that it is Huifu's.

    When it repeats, the public key is wrong: that is an alarm, not an outage.
    """
