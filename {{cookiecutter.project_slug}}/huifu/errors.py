"""Everything this folder raises.

HuifuError
├── SignatureInvalid   a message is not proved to come from Huifu
├── Malformed          it is proved, but not what Huifu documents
├── Refused            nothing was done; `code` is resp_code
└── OutcomeUnknown     nobody knows: query before anything else
"""


class HuifuError(Exception):
    """Raised when anything in this folder goes wrong; catch it to catch all of them."""


class SignatureInvalid(HuifuError):
    """Raised when a message must not be believed; `reason` is a stable word for logs."""

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class Malformed(HuifuError):
    """Raised when `field` is missing or is not what it should be."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class Refused(HuifuError):
    """Raised when Huifu did nothing; branch on `code`, never on the words."""

    def __init__(self, code: str, words: str) -> None:
        super().__init__(f"{code} {words}")
        self.code = code


class OutcomeUnknown(HuifuError):
    """Raised when a call may or may not have worked."""
