"""Pay without asyncio, for Django and Flask: the same methods, called from any thread.

One event loop in one background thread of each process does the work, so all threads share one
pool of connections. A process that was forked (gunicorn --preload, uWSGI) starts its own.
"""

import asyncio
import os
import threading
import weakref
from collections.abc import Callable, Coroutine, Mapping
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

from .pay import Pay, sandbox_settings, settings_from_env
from .payment import Transaction as Transaction
from .refunds import RefundAnswer as RefundAnswer

P = ParamSpec("P")
T = TypeVar("T")
_everywhere: "weakref.WeakSet[PaySync]" = weakref.WeakSet()


def _waiting(
    method: Callable[Concatenate[Pay, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate["PaySync", P], T]:
    """Make a method that waits for the one of Pay."""

    @wraps(method)
    def call(self: "PaySync", /, *args: P.args, **kwargs: P.kwargs) -> T:
        return self.wait(lambda pay: method(pay, *args, **kwargs))

    return call


class PaySync:
    """Take payments from threads; every method does, returns and raises what Pay's does.

    `make` makes the Pay, at once and again in a process that was forked: connections cannot be
    shared. `PaySync(lambda: Pay(mchid=..., ...))`, or one of the two class methods.
    """

    def __init__(self, make: Callable[[], Pay]) -> None:
        self._make = make
        self._lock = threading.Lock()
        self._pay: Pay | None = make()  # wrong settings are told now
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        _everywhere.add(self)

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> "PaySync":
        """Read the WECHATPAY_* variables like Pay.from_env()."""
        settings = settings_from_env(env)
        return cls(lambda: Pay(**settings))

    @classmethod
    def for_sandbox(
        cls, url: str, *, notify_url: str, kind: str = "miniprogram", service_provider: bool = False
    ) -> "PaySync":
        """Be the merchant of a running sandbox like Pay.for_sandbox()."""
        settings = sandbox_settings(url, kind, service_provider=service_provider)
        return cls(lambda: Pay(**settings, notify_url=notify_url))

    miniprogram = _waiting(Pay.miniprogram)
    jsapi = _waiting(Pay.jsapi)
    app = _waiting(Pay.app)
    h5 = _waiting(Pay.h5)
    native = _waiting(Pay.native)
    query = _waiting(Pay.query)
    close = _waiting(Pay.close)
    refund = _waiting(Pay.refund)
    query_refund = _waiting(Pay.query_refund)
    receive = _waiting(Pay.receive)

    def wait(self, work: Callable[[Pay], Coroutine[Any, Any, T]]) -> T:
        """Do anything else of this folder, such as a login or a bill, with the same connections.

        `pay.wait(lambda pay: login.code2session(pay.http, appid=..., secret=..., code=code))`
        """
        pay, loop = self._running()
        return asyncio.run_coroutine_threadsafe(work(pay), loop).result()

    def shut_down(self) -> None:
        """Close the connections and end the thread; the next call would start them again."""
        with self._lock:
            pay = self._pay
            loop = self._loop
            thread = self._thread
            self._pay = self._loop = self._thread = None
        if pay and loop and thread:
            asyncio.run_coroutine_threadsafe(pay.aclose(), loop).result()
            loop.call_soon_threadsafe(loop.stop)
            thread.join()
            loop.close()

    def _running(self) -> tuple[Pay, asyncio.AbstractEventLoop]:
        with self._lock:
            self._pay = self._pay or self._make()
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._thread = threading.Thread(
                    target=self._loop.run_forever, name="wechat-pay", daemon=True
                )
                self._thread.start()
            return self._pay, self._loop

    def _forget(self) -> None:
        self._lock = threading.Lock()  # the old one may be held by a thread that is not here
        self._pay = self._loop = self._thread = None


def _forget_the_parent() -> None:
    """Leave the loop and the connections to the parent; the next call makes its own."""
    for pay in _everywhere:
        pay._forget()


if hasattr(os, "register_at_fork"):  # Windows has no fork
    os.register_at_fork(after_in_child=_forget_the_parent)
