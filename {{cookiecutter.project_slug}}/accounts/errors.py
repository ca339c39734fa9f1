"""What a login can end with besides success; a web layer gives each code its HTTP status."""

from typing import Any


class AccountsError(Exception):
    """The base of everything that this folder raises on purpose; `retry_after` is in seconds."""

    code = "INTERNAL"

    def __init__(self, message: str, *, retry_after: int | None = None, **more: Any) -> None:
        super().__init__(message)
        self.retry_after = retry_after
        self.more = more


class LoginRequired(AccountsError):
    """Raised when there is no session, or one that does not hold."""

    code = "LOGIN_REQUIRED"


class LoginCodeInvalid(AccountsError):
    """Raised when WeChat does not take the login code (40029, 40163): log in again."""

    code = "LOGIN_CODE_INVALID"


class LoginBlocked(AccountsError):
    """Raised when WeChat blocks this person's login (40226)."""

    code = "LOGIN_REFUSED"


class SnapshotUser(LoginBlocked):
    """Raised for a snapshot page 快照页: its openid is virtual, so nobody may buy with it."""


class StateRefused(AccountsError):
    """Raised when a callback's state is unknown, used, expired or another browser's."""

    code = "BAD_REQUEST"


class NoSuchApp(AccountsError):
    """Raised when this shop has no app of the kind that is to log in."""

    code = "SCENE_OFF"


class TooManyLogins(AccountsError):
    """Raised when WeChat asks us to slow down (45011)."""

    code = "TOO_MANY_REQUESTS"


class LoginUnknown(AccountsError):
    """Raised when WeChat did not answer: log in again, with a fresh code."""

    code = "OUTCOME_UNKNOWN"


class AppRefused(AccountsError):
    """Raised when WeChat refuses the app itself: a wrong secret, perhaps."""

    code = "WECHAT_REFUSED"
