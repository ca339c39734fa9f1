"""A shop and its sandbox, started with the command that people type; one pair per session."""

import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from queue import Queue
from threading import Thread
from typing import Any, TypeVar

import httpx
import pytest

from bakes import Bake

T = TypeVar("T")
JSON = dict[str, Any]
SECONDS = 20  # longer than anything here takes
ADMIN_TOKEN = "admin-token-of-the-tests-0123456789abcdef"


@dataclass(frozen=True)
class Demo:
    """A running demo: `folder` is the baked shop, the rest its addresses and a client."""

    folder: Path
    shop: str
    sandbox: str
    http: httpx.Client
    settings: Mapping[str, str] = field(default_factory=dict)

    def app(self, kind: str) -> JSON:
        """Return the app of this kind that the shop uses: appid and secret."""
        keys = self.credentials
        merchants = (keys["sp"], *keys["sub"]) if self.settings else (keys,)
        apps = [app for merchant in merchants for app in merchant["apps"] if app["kind"] == kind]
        wanted = self.settings.get(f"SHOP_{kind.upper()}_APPID", apps[0]["appid"])
        return next(app for app in apps if app["appid"] == wanted)

    @cached_property
    def credentials(self) -> JSON:
        """Every key of both sides."""
        credentials: JSON = self.http.get(f"{self.sandbox}/_sandbox/credentials").json()
        return credentials

    def control(self, name: str, **form: Any) -> JSON:
        """Turn a control of the sandbox."""
        return self.post(f"{self.sandbox}/_sandbox/{name}", form)

    def post(self, url: str, form: JSON, headers: dict[str, str] | None = None) -> JSON:
        """Post JSON; the answer has to be a success."""
        answer = self.http.post(url, json=form, headers=headers)
        assert answer.is_success, answer.text
        result: JSON = answer.json()
        return result

    def admin(self, path: str, form: JSON) -> JSON:
        """Call an admin route."""
        key = {"Idempotency-Key": secrets.token_hex(8)}
        token = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
        return self.post(f"{self.shop}/api/admin/{path}", form, key | token)

    def login_code(self) -> tuple[str, str]:
        """Let somebody new open the mini program; return the code of wx.login and the openid."""
        openid = f"o{secrets.token_hex(8)}"
        person = {"appid": self.app("miniprogram")["appid"], "openid": openid}
        return self.control("login-code", **person)["code"], openid

    def wire(self, kind: str, part: str = "") -> list[JSON]:
        """List what the sandbox saw, oldest first; `part` is somewhere in the URL or the body."""
        entries = self.http.get(f"{self.sandbox}/_sandbox/log").json()["entries"]
        wanted = [entry for entry in entries if entry["kind"] == kind]
        return [entry for entry in wanted if part in entry["url"] + str(entry["request_body"])]

    def logged(self, event: str) -> list[JSON]:
        """List the shop's log lines of this event, oldest first."""
        text = (self.folder / "var" / "demo.log").read_text(encoding="utf-8")
        lines = [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return [line for line in lines if line["event"] == event]


@dataclass(frozen=True)
class Buyer:
    """Somebody with a session in the shop, as a mini program or as a page inside WeChat."""

    demo: Demo
    headers: dict[str, str]

    @classmethod
    def of_miniprogram(cls, demo: Demo) -> "Buyer":
        """Log in with the code of wx.login."""
        code, _ = demo.login_code()
        token = demo.post(f"{demo.shop}/api/sessions/miniprogram", {"code": code})["token"]
        return cls(demo, {"Authorization": f"Bearer {token}"})

    @classmethod
    def of_jsapi(cls, demo: Demo) -> "Buyer":
        """Go through the OAuth page and keep the cookie, outside the shared client."""
        with httpx.Client(trust_env=False) as http:
            at_wechat = http.get(f"{demo.shop}/oauth/start", params={"return_to": "/"})
            back = http.get(at_wechat.headers["location"].partition("#")[0])
            assert http.get(back.headers["location"]).is_redirect
            cookie = "; ".join(f"{name}={value}" for name, value in http.cookies.items())
        return cls(demo, {"Cookie": cookie, "Origin": demo.shop})

    def order(self, *skus: str) -> str:
        """Place an order of one of each and return its number."""
        headers = {**self.headers, "Idempotency-Key": secrets.token_hex(8)}
        cart = {"items": [{"sku": sku, "quantity": 1} for sku in skus or ("longjing",)]}
        number: str = self.demo.post(f"{self.demo.shop}/api/orders", cart, headers)["order_no"]
        return number

    def call(self, method: str, path: str, form: JSON | None = None) -> httpx.Response:
        """Call the shop's API about orders."""
        url = f"{self.demo.shop}/api/orders/{path}"
        return self.demo.http.request(method, url, json=form, headers=self.headers)

    def start(self, number: str, scene: str) -> JSON:
        """Start a payment: out_trade_no and invoke."""
        answer = self.call("POST", f"{number}/payments", {"scene": scene})
        assert answer.is_success, answer.text
        started: JSON = answer.json()
        return started

    def state(self, number: str) -> str:
        """Return the order's state."""
        return str(self.call("GET", number).json()["state"])


@dataclass(frozen=True)
class Notified:
    """A place for notifications: what came is in `inbox` as (headers, body)."""

    url: str
    inbox: "Queue[tuple[dict[str, str], bytes]]"

    def next(self) -> tuple[dict[str, str], bytes]:
        """Wait for the next notification."""
        return self.inbox.get(timeout=SECONDS)


def until(ask: Callable[[], T | None], what: str) -> T:
    """Ask another process again and again until it says something."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        if answer := ask():
            return answer
        time.sleep(0.02)
    raise AssertionError(f"{what} did not happen within {SECONDS} s")


def answers(http: httpx.Client, url: str) -> bool:
    """Tell whether somebody answers there."""
    with suppress(httpx.TransportError):
        return http.get(url).is_success
    return False


def free_port() -> int:
    """Find a port that nobody has."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def started(folder: Path, **settings: str) -> Iterator[Demo]:
    """Run `python -m shop demo` in a shop, and stop it with Ctrl-C, on which it has to exit 0."""
    port, sandbox_port = free_port(), free_port()
    command = ("shop", "demo", "--port", str(port), "--sandbox-port", str(sandbox_port))
    clean = {name: value for name, value in os.environ.items() if not name.startswith("SHOP_")}
    clean |= {"SHOP_ADMIN_TOKEN": ADMIN_TOKEN, **settings}
    process = subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=clean, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout
    shop, sandbox = (f"http://127.0.0.1:{number}" for number in (port, sandbox_port))
    try:
        shown = []
        for line in process.stdout:
            shown.append(line)
            if line.startswith("Ctrl-C"):
                break
        else:
            raise AssertionError("the demo stopped: " + "".join(shown))
        with httpx.Client(trust_env=False, timeout=SECONDS) as http:
            yield Demo(folder, shop, sandbox, http, settings)
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(SECONDS) == 0
        process.stdout.close()


@pytest.fixture(scope="session")
def demo(bake: Bake) -> Iterator[Demo]:
    """A running demo in a fresh shop, shared by all tests."""
    with started(bake()) as running:
        yield running


@pytest.fixture
def faults(demo: Demo) -> Iterator[Callable[..., JSON]]:
    """Return a function that sets the sandbox's fault menu, which is reset afterwards."""
    yield lambda **menu: demo.control("faults", **menu)
    demo.control("faults")


@pytest.fixture
def notified() -> Iterator[Notified]:
    """A notify_url on a free port that answers 204."""
    inbox: Queue[tuple[dict[str, str], bytes]] = Queue()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            inbox.put((dict(self.headers), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}).start()
        yield Notified(f"http://127.0.0.1:{server.server_port}/notify", inbox)
        server.shutdown()
