"""Sessions: a signed token that says which buyer this is."""

import time

import jwt

from accounts.errors import LoginRequired

SECONDS = 7 * 86400


class Sessions:
    """Issue and read session tokens; their lifetime is measured in real time."""

    def __init__(self, secret_key: str) -> None:
        self._key = secret_key

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
