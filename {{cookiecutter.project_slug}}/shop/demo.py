"""Start a sandbox and the shop, pay twice, and show every step 演示."""

import contextlib
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from checkout.channels import demo_settings
from checkout.config import Env
from shop.settings import ROOT

PATIENCE = 30  # seconds to wait for a process or a payment
WIDTH = 92


class DemoError(Exception):
    """Raised when the demo cannot go on; the message is one sentence."""


def run(*, port: int, sandbox_port: int, once: bool) -> int:
    """Show the demo; exit 0 when both payments were PAID."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):  # a shell may start us with SIGINT ignored
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _interrupt)
    try:
        for flag, number in (("--port", port), ("--sandbox-port", sandbox_port)):
            _check_free(flag, number)
        running = _running(port, sandbox_port)
        with running as (shop, appid), httpx.Client(trust_env=False) as http:
            paid = Story(http, shop, f"http://127.0.0.1:{sandbox_port}", appid).tell()
            if once or not paid:
                return 0 if paid else 1
            _farewell(shop, sandbox_port)
            while True:
                time.sleep(3600)
    except DemoError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt


def _check_free(flag: str, port: int) -> None:
    with socket.socket() as probe:
        if os.name == "posix":
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            raise DemoError(
                f"port {port} is taken: choose another with {flag}, "
                f'for example make demo ARGS="{flag} {port + 1}"'
            ) from None


@contextlib.contextmanager
def _running(port: int, sandbox_port: int) -> Iterator[tuple[str, str]]:
    """Run both servers in sessions of their own, so that Ctrl-C reaches only this process.

    Gives the shop's address and its mini program's appid.
    """
    shop, sandbox = f"http://127.0.0.1:{port}", f"http://127.0.0.1:{sandbox_port}"
    children = []
    try:
        children.append(_start("sandbox", "--port", str(sandbox_port), env=os.environ))
        _wait_for(f"{sandbox}/healthz", children)
        env = environment(shop, sandbox)
        if _start("shop", "migrate", env=env).wait() != 0:
            raise DemoError("the database could not be prepared: see var/demo.log")
        children.append(_start("shop", "serve", "--port", str(port), env=env))
        _wait_for(f"{shop}/readyz", children)
        print(f"sandbox {sandbox}\nshop {shop}", flush=True)
        yield shop, env["SHOP_MINIPROGRAM_APPID"]
    finally:
        for child in children:
            child.terminate()
        for child in children:
            try:
                child.wait(15)
            except subprocess.TimeoutExpired:
                child.kill()


def _start(module: str, *args: str, env: Mapping[str, str]) -> subprocess.Popen[bytes]:
    """Start `python -m module args`; what it says goes to var/demo.log."""
    (ROOT / "var").mkdir(exist_ok=True)
    with (ROOT / "var" / "demo.log").open("ab") as log:
        return subprocess.Popen(  # noqa: S603
            [sys.executable, "-m", module, *args],
            cwd=ROOT,
            env=dict(env),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )


def _wait_for(address: str, children: list[subprocess.Popen[bytes]]) -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        if any(child.poll() is not None for child in children):
            break
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(address, trust_env=False, timeout=2).status_code == 200:
                return
        time.sleep(0.05)
    tail = (ROOT / "var" / "demo.log").read_text("utf-8", "replace").splitlines()[-5:]
    raise DemoError("\n".join([f"{address} does not answer; var/demo.log ends with:", *tail]))


def environment(shop: str, sandbox: str) -> dict[str, str]:
    """Return the environment of the shop: what is set stays, the sandbox's keys fill the rest."""
    known = httpx.get(f"{sandbox}/_sandbox/credentials", trust_env=False).json()
    given = Env(os.environ, ROOT / ".env")
    own = known["sp"] if given.get("SHOP_SUB_MCHID") else known  # a service provider has its own
    apps = {app["kind"].upper(): app for app in own["apps"]}
    values = {
        "SHOP_SANDBOX_URL": sandbox,
        "SHOP_PUBLIC_URL": shop,
        "SHOP_SECRET_KEY": _kept_secret(),
        "SHOP_MCHID": own["mchid"],
        "SHOP_MERCHANT_SERIAL": own["merchant_serial"],
        "SHOP_MERCHANT_KEY": own["merchant_private_key_pem"],
        "SHOP_APIV3_KEY": own["apiv3_key"],
        "SHOP_WECHATPAY_PUBLIC_KEY_ID": known["public_key_id"],
        "SHOP_WECHATPAY_PUBLIC_KEY": known["public_key_pem"],
        "SHOP_MINIPROGRAM_APPID": apps["MINIPROGRAM"]["appid"],
        "SHOP_MINIPROGRAM_SECRET": apps["MINIPROGRAM"]["secret"],
        "SHOP_OFFICIAL_ACCOUNT_APPID": apps["OFFICIAL_ACCOUNT"]["appid"],
        "SHOP_OFFICIAL_ACCOUNT_SECRET": apps["OFFICIAL_ACCOUNT"]["secret"],
        "SHOP_APP_APPID": apps["APP"]["appid"],
        "SHOP_OTHER_MERCHANTS": json.dumps([_keys(one) for one in known["others"]]),
        "SHOP_DEV_CLIENT_IP": "203.0.113.10",
        **demo_settings(known),
    }
    return {**os.environ, **{name: given.get(name, value) for name, value in values.items()}}


def _keys(merchant: Mapping[str, Any]) -> dict[str, str]:
    return {
        "mchid": merchant["mchid"],
        "serial": merchant["merchant_serial"],
        "key": merchant["merchant_private_key_pem"],
        "apiv3_key": merchant["apiv3_key"],
    }


def _kept_secret() -> str:
    """Return the demo's session key, the same in every run until var/ is deleted."""
    path = ROOT / "var" / "demo-secret"
    if not path.exists():
        path.write_text(secrets.token_hex(32))
        path.chmod(0o600)
    return path.read_text()


class Story:
    """Pay as a mini program, then as a page inside WeChat, and print each step."""

    def __init__(self, http: httpx.Client, shop: str, sandbox: str, appid: str) -> None:
        self.http = http
        self.appid = appid
        self.shop = shop
        self.sandbox = sandbox
        self.seen = 0

    def tell(self) -> bool:
        """Return whether both orders ended PAID."""
        print(f"\n{'A mini program pays':<70}小程序支付")
        mini = self._pay("miniprogram", self._miniprogram_session())
        print(f"\n{'A page inside WeChat pays':<70}公众号网页支付")
        return self._pay("jsapi", self._web_session()) and mini

    def _miniprogram_session(self) -> dict[str, str]:
        person = {"appid": self.appid, "openid": "omini-demo-buyer-0000000001"}
        code = self._post(f"{self.sandbox}/_sandbox/login-code", person)["code"]
        token = self._post(f"{self.shop}/api/sessions/miniprogram", {"code": code})["token"]
        _line("POST /api/sessions/miniprogram", f"code {code[:8]}..", "token")
        return {"Authorization": f"Bearer {token}"}

    def _web_session(self) -> dict[str, str]:
        answer = self.http.get(f"{self.shop}/oauth/start", params={"return_to": "/"})
        answer = self.http.get(answer.headers["location"].partition("#")[0])
        _line("GET  /oauth/start -> WeChat", "snsapi_base", "302, code and state")
        answer = self.http.get(answer.headers["location"])
        _line("GET  /oauth/callback", "code -> openid", f"{answer.status_code}, session cookie")
        return {"Origin": self.shop}

    def _pay(self, scene: str, session: dict[str, str]) -> bool:
        began = time.monotonic()
        key = {"Idempotency-Key": secrets.token_hex(16)}
        cart = {"items": [{"sku": "longjing", "quantity": 1}]}
        order = self._post(f"{self.shop}/api/orders", cart, {**session, **key})
        _line("POST /api/orders", "1 x longjing", f"{order['total_fen']} fen, {order['state']}")
        path = f"/api/orders/{order['order_no']}"
        started = self._post(f"{self.shop}{path}/payments", {"scene": scene}, session)
        invoke = started["invoke"]
        _line(f"POST {path}/payments", scene, invoke["package"])
        self._signed("the shop signed", "transactions/jsapi")
        covers = f"{invoke['appId']}\n{invoke['timeStamp']}\n{invoke['nonceStr']}\n"
        _signed_text("paySign covers", f"{covers}{invoke['package']}\n")
        said = self._post(f"{self.sandbox}/_sandbox/pay", invoke)
        _line("the buyer taps pay", "", said["err_msg"])
        state = self._wait_until_paid(path, session)
        self._signed("WeChat signed", "/notify/wechat/payment")
        _line(f"GET  {path}", "", f"{state} in {time.monotonic() - began:.1f} s")
        return state == "PAID"

    def _wait_until_paid(self, path: str, session: dict[str, str]) -> str:
        until = time.monotonic() + PATIENCE
        while True:
            state = str(self.http.get(f"{self.shop}{path}", headers=session).json()["state"])
            if state == "PAID" or time.monotonic() > until:
                return state
            time.sleep(0.05)

    def _signed(self, what: str, part: str) -> None:
        """Print the newest signed string of this kind from the sandbox's log."""
        log = self.http.get(f"{self.sandbox}/_sandbox/log", params={"after": self.seen}).json()
        found = [entry for entry in log["entries"] if part in entry["url"]]
        if found:
            self.seen = found[-1]["n"]
            _signed_text(what, found[-1]["signed_message"])

    def _post(
        self, url: str, body: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        answer = self.http.post(url, json=body, headers=headers)
        if answer.status_code >= 300:
            raise DemoError(f"{url} answered {answer.status_code}: {answer.text[:300]}")
        said: dict[str, Any] = answer.json()
        return said


def _line(call: str, given: str, got: str) -> None:
    print(f"  {call:<41} {given:<16} -> {got}", flush=True)


def _signed_text(what: str, text: str) -> None:
    shown = text.replace("\n", "\\n")
    print(f"    {what:<16} {shown[:WIDTH]}{'..' if len(shown) > WIDTH else ''}", flush=True)


def _farewell(shop: str, sandbox_port: int) -> None:
    print(f"\nOpen  {shop}  the shop          Read  {ROOT.name}/ (README.md)")
    print(f"      http://127.0.0.1:{sandbox_port}  what WeChat saw")
    print("Ctrl-C stops both.", flush=True)
