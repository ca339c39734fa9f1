"""Start a sandbox and the shop, pay twice, and show every step 演示."""

import contextlib
import json
import os
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from typing import Any

import httpx

from checkout.config import Env
from shop import processes
from shop.processes import CannotGoOn
from shop.settings import ROOT

PATIENCE = 30  # seconds to wait for a payment
WIDTH = 92
LOG = "demo.log"


def run(*, host: str, port: int, sandbox_port: int, once: bool, full: bool) -> int:
    """Show the demo; exit 0 when both payments were PAID. `full` cuts no signed string."""
    processes.interrupt_on_signals()
    try:
        for flag, number in (("--port", port), ("--sandbox-port", sandbox_port)):
            processes.check_free(flag, number, f'make demo ARGS="{flag} {number + 1}"')
        running = _running(host, port, sandbox_port)
        sandbox = f"http://127.0.0.1:{sandbox_port}"
        with running as (shop, env), httpx.Client(trust_env=False) as http:
            story = Story(http, shop, sandbox, env["SHOP_MINIPROGRAM_APPID"], full=full)
            paid = story.tell()
            if once or not paid:
                return 0 if paid else 1
            _farewell(shop, sandbox, env["SHOP_ADMIN_TOKEN"], story.order_no)
            while True:
                time.sleep(3600)
    except CannotGoOn as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


@contextlib.contextmanager
def _running(host: str, port: int, sandbox_port: int) -> Iterator[tuple[str, dict[str, str]]]:
    """Run both servers; gives the shop's address and its environment.

    In a container they listen on 0.0.0.0 and have the same addresses outside.
    """
    shop = f"http://127.0.0.1:{port}"
    sandbox = f"http://127.0.0.1:{sandbox_port}"
    children = []
    try:
        at = ("--host", host, "--port")
        children.append(processes.start("sandbox", *at, str(sandbox_port), env=os.environ, log=LOG))
        processes.wait_for(f"{sandbox}/healthz", children, LOG)
        env = environment(shop, sandbox)
        if processes.start("shop", "migrate", env=env, log=LOG).wait() != 0:
            raise processes.ended("the shop could not be prepared", LOG)
        children.append(processes.start("shop", "serve", *at, str(port), env=env, log=LOG))
        processes.wait_for(f"{shop}/readyz", children, LOG)
        print(f"sandbox {sandbox}\nshop {shop}", flush=True)
        yield shop, env
    finally:
        processes.stop(children)


def environment(shop: str, sandbox: str) -> dict[str, str]:
    """Return the environment of the shop: what is set stays, the sandbox's keys fill the rest.

    The addresses that `python -m shop dev` wrote into .env are those of other ports.
    """
    env = Env(os.environ, ROOT / ".env")
    provider = bool(env.get("SHOP_SUB_MCHID"))
    credentials = processes.credentials(sandbox)
    # before any database is touched
    processes.check_merchant(env, credentials, provider=provider)
    values = {
        **processes.sandbox_settings(credentials, shop, sandbox, provider=provider),
        "SHOP_SECRET_KEY": processes.kept_secret("demo-secret"),
        "SHOP_ADMIN_TOKEN": processes.kept_secret("demo-admin-token"),
    }
    chosen = {name: env.get(name, value) for name, value in values.items()}
    for name, address in (("SHOP_SANDBOX_URL", sandbox), ("SHOP_PUBLIC_URL", shop)):
        if name not in os.environ and chosen[name].startswith("http://"):
            chosen[name] = address
    return {**os.environ, **chosen}


class Story:
    """Pay as a mini program, then as a page inside WeChat, and print each step."""

    def __init__(
        self, http: httpx.Client, shop: str, sandbox: str, appid: str, *, full: bool
    ) -> None:
        self.http = http
        self.show = _all_of if full else _beginning_of
        self.appid = appid
        self.shop = shop
        self.sandbox = sandbox
        self.seen = 0
        self.order_no = ""

    def tell(self) -> bool:
        """Return whether both orders ended PAID."""
        print(f"{'A mini program pays':<70}小程序支付")
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
        sku = self._first_product(scene)
        cart = {"items": [{"sku": sku, "quantity": 1}]}
        order = self._post(f"{self.shop}/api/orders", cart, {**session, **key})
        _line("POST /api/orders", f"1 x {sku}", f"{order['total_fen']} fen, {order['state']}")
        self.order_no = order["order_no"]
        path = f"/api/orders/{self.order_no}"
        started = self._post(f"{self.shop}{path}/payments", {"scene": scene}, session)
        invoke = started["invoke"]
        _line(f"POST {path}/payments", scene, invoke["package"])
        in_v3 = self._signed("the shop signed", "transactions/jsapi")
        covers = f"{invoke['appId']}\n{invoke['timeStamp']}\n{invoke['nonceStr']}\n"
        self.show("paySign covers", f"{covers}{invoke['package']}\n")
        answer = self._post(f"{self.sandbox}/_sandbox/pay", invoke)
        _line("the buyer taps pay", "", answer["err_msg"])
        state = self._wait_until_paid(path, session)
        if in_v3:
            self._signed("WeChat signed", "/notify/wechat/payment", patience=PATIENCE)
        _line(f"GET  {path}", "", f"{state} in {time.monotonic() - began:.1f} s")
        return state == "PAID"

    def _first_product(self, scene: str) -> str:
        """Choose what the shop offers first and what may be paid in this scene."""
        products = self.http.get(f"{self.shop}/api/products").json()["products"]
        fitting = [p for p in products if scene != "miniprogram" or p["kind"] != "virtual"]
        if not fitting:
            raise CannotGoOn(f"nothing in shop/catalogue.py can be paid in scene {scene}")
        return str(fitting[0]["sku"])

    def _wait_until_paid(self, path: str, session: dict[str, str]) -> str:
        until = time.monotonic() + PATIENCE
        while True:
            state = str(self.http.get(f"{self.shop}{path}", headers=session).json()["state"])
            if state == "PAID" or time.monotonic() > until:
                return state
            time.sleep(0.05)

    def _signed(self, what: str, part: str, *, patience: float = 0) -> bool:
        """Print the newest signed string of this kind from the sandbox's log, if there is one.

        A notification is logged after its answer: wait for it, `patience` seconds at most.
        """
        entries = self._entries(part)
        until = time.monotonic() + patience
        while not entries and time.monotonic() < until:
            time.sleep(0.05)
            entries = self._entries(part)
        if entries:
            self.seen = entries[-1]["n"]
            self.show(what, entries[-1]["signed_message"])
        return bool(entries)

    def _entries(self, part: str) -> list[dict[str, Any]]:
        log = self.http.get(f"{self.sandbox}/_sandbox/log", params={"after": self.seen}).json()
        return [entry for entry in log["entries"] if part in entry["url"]]

    def _post(
        self, url: str, body: dict[str, Any], headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        answer = self.http.post(url, json=body, headers=headers)
        if answer.status_code >= 300:
            raise CannotGoOn(f"{url} answered {answer.status_code}: {answer.text[:300]}")
        content: dict[str, Any] = answer.json()
        return content


def _line(call: str, sent: str, answer: str) -> None:
    print(f"  {call:<41} {sent:<16} -> {answer}", flush=True)


def _beginning_of(what: str, text: str) -> None:
    """Print as much of a signed string as fits into one line."""
    shown = text.replace("\n", "\\n")
    print(f"    {what:<16} {shown[:WIDTH]}{'..' if len(shown) > WIDTH else ''}", flush=True)


def _all_of(what: str, text: str) -> None:
    """Print a signed string line by line; each line ends with a newline, the last one, too."""
    print(f"    {what}")
    for line in text.split("\n")[:-1]:
        print(f"      {line}\\n", flush=True)


def _farewell(shop: str, sandbox: str, admin_token: str, order_no: str) -> None:
    """Print where to go on; every address and folder is there, whichever frontends were chosen."""
    print()
    if (ROOT / "pages" / "h5").is_dir():
        _place("店铺 the shop", shop)
    if (ROOT / "pages" / "miniprogram").is_dir():
        _place("小程序 the mini program", "pages/miniprogram, docs/miniprogram.md")
    _place("接口文档 the API", f"{shop}/docs")
    _place("沙箱控制台 what WeChat saw", sandbox)
    _place("管理令牌 the admin token", admin_token)
    _place("退款一分 refund one fen", _refund_command(shop, admin_token, order_no))
    print("Ctrl-C 同时停止两者 stops both.", flush=True)


def _refund_command(shop: str, admin_token: str, order_no: str) -> str:
    headers = (
        "Content-Type: application/json",
        "Idempotency-Key: 1",
        f"Authorization: Bearer {admin_token}",
    )
    body = json.dumps({"refund_fen": 1, "reason": "demo"})
    words = [*(f"-H '{header}'" for header in headers), f"-d '{body}'"]
    return f"curl {' '.join(words)} {shop}/api/admin/orders/{order_no}/refunds"


def _place(name: str, where: str) -> None:
    wide = sum(ord(character) > 0x2E80 for character in name)  # shown in two columns
    print(f"{name}{' ' * (30 - len(name) - wide)}{where}")
