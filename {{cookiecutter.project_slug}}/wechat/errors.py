"""Everything this folder raises.

WeChatError
├── KeyMaterialError   a key or certificate is wrong; also a ValueError
├── SignatureInvalid   a notification or answer is not proved to come from WeChat
├── DecryptFailed      wrong APIv3 key, or the ciphertext was changed
├── MalformedAnswer    the signature holds, the JSON is not what WeChat documents
├── ApiError           WeChat answered with an error; `proved` tells whether it was signed
│   ├── Refused        4xx with WeChat's own code: nothing was done
│   │   └── RateLimited   429 or FREQUENCY_LIMITED: later, with the same number
│   └── TryAgain       202, or "not yet": repeat the same call later, with the same number
├── OutcomeUnknown     sent, but nobody knows what happened: query before anything else
│   ├── AnswerNotProved   an answer came whose signature is missing or does not hold
│   └── NotExplained   4xx without WeChat's code, such as a proxy's HTML
├── NotSent            no connection was made: nothing happened
├── BillError          a bill cannot be had, or must not be believed
│   ├── BillNotReady   WeChat is still writing it
│   ├── Cut            the download broke off: apply again, the link may have expired
│   ├── Truncated      the gzip data ends too early or is damaged
│   ├── TooBig         more bytes than any bill has
│   ├── HashMismatch   the bytes are not those WeChat announced
│   └── BadLine        a line is not what the documents describe
└── LoginRefused       api.weixin.qq.com answered with an errcode
"""

from typing import Any, Literal

from .numbers import number_in

Action = Literal["login_again", "retry_later", "refused", "fix_settings"]


class WeChatError(Exception):
    """Raised when anything in this folder goes wrong; catch it to catch all of them."""


class KeyMaterialError(WeChatError, ValueError):
    """Raised when a key is unusable; the message says which part is wrong and what to click."""


class SignatureInvalid(WeChatError):
    """Raised when a message must not be believed; `reason` is a stable word for logs.

    One of missing_header, malformed_header, stale, future, unknown_serial, signtest, undecodable,
    bad_signature.
    """

    def __init__(self, reason: str, sentence: str) -> None:
        super().__init__(sentence)
        self.reason = reason


class DecryptFailed(WeChatError):
    """Raised when an encrypted resource or field cannot be opened with the key at hand."""


class MalformedAnswer(WeChatError):
    """Raised when a message from WeChat lacks `field`, or has another type there."""

    def __init__(self, field: str, problem: str) -> None:
        super().__init__(f"{field}: {problem}")
        self.field = field


class ApiError(WeChatError):
    """Raised when WeChat answered with an error; branch on status and code, or ask `meanings`.

    `proved` tells whether its signature was there and held. `detail` is as it came: an object with
    any fields of any type, a list, text, or None. numbers.describe() explains `wechat_number`.
    """

    def __init__(
        self,
        status: int,
        code: str = "",
        message: str = "",
        *,
        request_id: str | None = None,
        detail: Any = None,
        proved: bool = False,
    ) -> None:
        super().__init__(f"HTTP {status} {code} {message} (Request-ID {request_id or 'none'})")
        self.status = status
        self.code = code
        self.message = message
        self.request_id = request_id
        self.detail = detail
        self.proved = proved

    @property
    def wechat_number(self) -> int | None:
        """Return the number at the end of Request-ID, which names the error exactly."""
        return number_in(self.request_id)

    def is_code(self, *codes: str) -> bool:
        """Compare without underscores: WeChat writes both ORDERPAID and ORDER_PAID."""
        return same_code(self.code, codes)


class Refused(ApiError):
    """Raised on 4xx with WeChat's own code: nothing was done.

    Unless `proved`, nobody signed it, and it decides nothing about money.
    """


class RateLimited(Refused):
    """Raised on 429 and FREQUENCY_LIMITED: repeat later, with the same numbers."""


class TryAgain(ApiError):
    """Raised when the same call with the same number works later.

    202 (USER_PAYING: the buyer is typing the password), or an order that is still being processed.
    """


class OutcomeUnknown(WeChatError):
    """Raised when a call may or may not have worked: no answer, 5xx, or an answer not proved.

    `status` is None when no answer came. What came is kept as in ApiError, for alarms and logs.
    """

    def __init__(
        self,
        reason: str,
        *,
        status: int | None = None,
        request_id: str | None = None,
        code: str = "",
        message: str = "",
        detail: Any = None,
        proved: bool = False,
    ) -> None:
        super().__init__(f"{reason} (HTTP {status or '-'}, Request-ID {request_id or 'none'})")
        self.reason = reason
        self.status = status
        self.request_id = request_id
        self.code = code
        self.message = message
        self.detail = detail
        self.proved = proved

    @property
    def wechat_number(self) -> int | None:
        """Return the number at the end of Request-ID, which names the error exactly."""
        return number_in(self.request_id)

    def is_code(self, *codes: str) -> bool:
        """Compare without underscores, like ApiError.is_code()."""
        return same_code(self.code, codes)


class AnswerNotProved(OutcomeUnknown):
    """Raised when an answer came, but nobody can tell that it is WeChat's.

    `signature_reason` is the word of SignatureInvalid. When it repeats, the public key or its id is
    wrong, and calling again cannot help: that is an alarm, not an outage.
    """

    def __init__(self, reason: str, *, signature_reason: str, **answer: Any) -> None:
        super().__init__(reason, **answer)
        self.signature_reason = signature_reason


class NotExplained(OutcomeUnknown):
    """Raised on 4xx without WeChat's own code: a proxy's page, or a path that does not exist."""


class NotSent(WeChatError):
    """Raised when nothing left this machine: repeating the call is safe."""


class BillError(WeChatError):
    """Raised when a bill cannot be used; nothing was compared with it."""


class BillNotReady(BillError):
    """Raised on STATEMENT_CREATING: come back after 10:00 in Beijing, then every 30 minutes."""


class Cut(BillError):
    """Raised when a download ends before it is complete, or takes far too long."""


class Truncated(BillError):
    """Raised when all bytes came, but their gzip data is incomplete or damaged."""


class TooBig(BillError):
    """Raised when a bill grows beyond the limit while it is unpacked."""


class HashMismatch(BillError):
    """Raised when the SHA1 of the unpacked bill is not the one WeChat announced."""


class BadLine(BillError):
    """Raised when a bill cannot be read at `line` (1 is the header; negative: from the end)."""

    def __init__(self, line: int, column: str, problem: str) -> None:
        super().__init__(f"line {line}, {column or 'all columns'}: {problem}")
        self.line = line
        self.column = column


class LoginRefused(WeChatError):
    """Raised when WeChat refuses a login code or token; `action` says whose turn it is."""

    def __init__(self, errcode: int, errmsg: str, sentence: str, action: Action) -> None:
        super().__init__(f"{sentence} (errcode {errcode}: {errmsg})")
        self.errcode = errcode
        self.errmsg = errmsg
        self.sentence = sentence
        self.action: Action = action


def same_code(text: str, codes: tuple[str, ...]) -> bool:
    """Compare codes without underscores: ORDERPAID is ORDER_PAID."""
    plain = text.replace("_", "")
    return any(plain == code.replace("_", "") for code in codes)
