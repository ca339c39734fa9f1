"""Sessions: a signed token that says which buyer this is, in a header or a cookie."""

import time

import jwt

from accounts.errors import LoginRequired

SECONDS = 7 * 86400
COOKIE = "shop_session"


class Sessions:
    """Issue and read session tokens; their lifetime is measured in real time."""

    def __init__(self, secret_key: str, *, secure: bool) -> None:
        self._key = secret_key
        self._secure = secure

    def issue(self, buyer_id: str) -> str:
        """Return a token for this buyer that holds for seven days."""
        now = int(time.time())
        claims = {"sub": buyer_id, "aud": "shop", "iat": now, "exp": now + SECONDS}
        return jwt.encode(claims, self._key, "HS256")

    def read(self, token: str) -> str:
        """Return the buyer's id. Raises LoginRequired for a token that does not hold."""
        try:
            claims = jwt.decode(
                token,
                self._key,
                ["HS256"],
                audience="shop",
                leeway=30,
                options={"require": ["sub", "exp"]},
            )
        except jwt.InvalidTokenError as error:
            raise LoginRequired("log in again: the session does not hold") from error
        return str(claims["sub"])

    def cookie(self, name: str, value: str, *, seconds: int, path: str = "/") -> str:
        """Return a Set-Cookie header: HttpOnly, Lax, Secure when the shop is on https."""
        secure = "; Secure" if self._secure else ""
        return f"{name}={value}; Path={path}; Max-Age={seconds}; HttpOnly; SameSite=Lax{secure}"
