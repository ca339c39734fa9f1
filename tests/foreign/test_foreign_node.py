"""Two SDKs from npm, unchanged, are merchants of the sandbox: wechatpay-axios-plugin and -node-v3.

The versions are in node/package.json; npm puts them into build/, once.
"""

import base64
import hashlib
import json
import secrets
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from kit.databases import absent

from bakes import ROOT
from foreign.sandbox_alone import Sandbox
from running import JSON, Notified

NODE = ROOT / "tests" / "foreign" / "node"
VERIFY_ANSWERS = ("wechatpay-axios-plugin public_key", "wechatpay-axios-plugin certificate")
MODES = (*VERIFY_ANSWERS, "wechatpay-node-v3 certificate")


class SdkError(Exception):
    """Raised when the SDK raised."""


class Sdk:
    """One SDK in a Node process, and the merchant's fields that it does not fill in itself."""

    def __init__(self, process: "subprocess.Popen[str]", sandbox: Sandbox, notify_url: str) -> None:
        self.process = process
        self.sandbox = sandbox
        self.notify_url = notify_url

    def __call__(self, verb: str, *arguments: Any) -> Any:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps([verb, *arguments]) + "\n")
        self.process.stdin.flush()
        answer = json.loads(self.process.stdout.readline())
        if "error" in answer:
            raise SdkError(answer["error"])
        return answer.get("result")

    def order(self) -> tuple[str, dict[str, str]]:
        """Order with the SDK; return the number, and what it signs for the cashier."""
        number = f"N{secrets.token_hex(10)}"
        _, openid = self.sandbox.login_code()
        body = {
            "description": "一盒茶 & more",
            "out_trade_no": number,
            "notify_url": self.notify_url,
            "amount": {"total": 990, "currency": "CNY"},
            "payer": {"openid": openid},
        }
        appid = self.sandbox.app("miniprogram")["appid"]
        package = f"prepay_id={self('order', body)}"
        signed = [appid, "1700000000", secrets.token_hex(16), package]
        names = ("appId", "timeStamp", "nonceStr", "package")
        invoke = dict(zip(names, signed, strict=True))
        return number, {**invoke, "signType": "RSA", "paySign": self("sign", *signed)}


@pytest.fixture(scope="session")
def installed() -> Path:
    """The folder where npm put the SDKs."""
    npm = shutil.which("npm")
    folder = ROOT / "build" / "node"
    if not (npm and shutil.which("node")):
        absent("Node.js and npm are not installed: no SDK for Node is tried")
    wanted = (NODE / "package.json").read_bytes()
    done = folder / "installed.json"
    if not done.exists() or done.read_bytes() != wanted:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_bytes(wanted)
        command = [str(npm), "install", "--no-package-lock", "--no-audit", "--no-fund"]
        run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
        if run.returncode:
            absent(f"npm cannot install the SDKs: {run.stderr[-500:]}")
        done.write_bytes(wanted)
    return folder


@contextmanager
def running(command: list[str], cwd: Path) -> Iterator["subprocess.Popen[str]"]:
    """Run a process that ends when its input ends."""
    pipe = subprocess.PIPE
    with subprocess.Popen(command, cwd=cwd, stdin=pipe, stdout=pipe, text=True) as process:
        yield process


@pytest.fixture(params=MODES)
def sdk(
    sandbox: Sandbox,
    installed: Path,
    notified: Notified,
    set_faults: Callable[..., JSON],
    request: pytest.FixtureRequest,
) -> Iterator[Sdk]:
    """Each SDK, in each trust mode that it knows."""
    set_faults(signing=request.param.split()[1])
    script = [str(NODE / "sdks.mjs"), request.param, sandbox.url, json.dumps(sandbox.credentials)]
    with running(["node", *script], installed) as process:
        yield Sdk(process, sandbox, notified.url)


def test_it_orders_pays_and_queries_by_both_numbers(sandbox: Sandbox, sdk: Sdk) -> None:
    number, invoke = sdk.order()
    assert sdk("query", number)["trade_state"] == "NOTPAY"
    paid = sandbox.control("pay", **invoke)
    assert paid["err_msg"] == "requestPayment:ok", paid
    for trade in (sdk("query", number), sdk("queryId", paid["transaction_id"])):
        assert (trade["trade_state"], trade["amount"]["total"]) == ("SUCCESS", 990)
        assert (trade["out_trade_no"], trade["transaction_id"]) == (number, paid["transaction_id"])


def test_it_closes(sdk: Sdk) -> None:
    number, _ = sdk.order()
    assert sdk("close", number) == 204
    assert sdk("query", number)["trade_state"] == "CLOSED"


def test_it_reads_a_notification_that_was_really_sent(
    sandbox: Sandbox, sdk: Sdk, notified: Notified
) -> None:
    number, invoke = sdk.order()
    transaction_id = sandbox.control("pay", **invoke)["transaction_id"]
    headers, body = notified.next()
    lower = {name.lower(): value for name, value in headers.items()}
    trade = sdk("read", lower, body.decode())
    assert (trade["out_trade_no"], trade["transaction_id"]) == (number, transaction_id)
    with pytest.raises(SdkError, match="the signature does not fit"):
        sdk("read", lower, body.decode().replace("SUCCESS", "SUCCEED", 1))


@pytest.mark.parametrize("sdk", VERIFY_ANSWERS, indirect=True)
def test_it_refuses_an_answer_that_somebody_else_signed(
    sdk: Sdk, set_faults: Callable[..., JSON]
) -> None:
    """Otherwise the tests above would say nothing about our signatures."""
    number, _ = sdk.order()
    set_faults(answers={"query": "wrong_key"})
    with pytest.raises(SdkError, match="EV3_RES_HEADER_SIGNATURE_DIGEST"):
        sdk("query", number)


H5 = {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}


@pytest.mark.parametrize("sdk", VERIFY_ANSWERS, indirect=True)
@pytest.mark.parametrize(("product", "control"), [("native", "scan"), ("h5", "h5")])
def test_it_orders_other_products(sandbox: Sandbox, sdk: Sdk, product: str, control: str) -> None:
    number = f"N{secrets.token_hex(10)}"
    order: JSON = {
        "description": "茶",
        "out_trade_no": number,
        "notify_url": sdk.notify_url,
        "amount": {"total": 990},
        **({"scene_info": H5} if product == "h5" else {}),
    }
    assert sandbox.control(control, **sdk("product", product, order))["err_msg"] == "ok"
    assert sdk("query", number)["trade_state"] == "SUCCESS"


@pytest.mark.parametrize("sdk", VERIFY_ANSWERS, indirect=True)
def test_it_is_a_service_provider(sandbox: Sandbox, sdk: Sdk) -> None:
    number = f"N{secrets.token_hex(10)}"
    apps = sandbox.credentials["sub"][0]["apps"]
    appid = next(app["appid"] for app in apps if app["kind"] == "miniprogram")
    order: JSON = {
        "sp_appid": sandbox.credentials["sp"]["apps"][0]["appid"],
        "sub_appid": appid,
        "description": "茶",
        "out_trade_no": number,
        "notify_url": sdk.notify_url,
        "amount": {"total": 990},
        "payer": {"sub_openid": f"o{secrets.token_hex(8)}"},
    }
    assert sdk("partner", "jsapi", order)["prepay_id"].startswith("wx")
    assert sdk("partnerQuery", number)["sub_appid"] == appid
    assert sdk("partnerClose", number) == 204


@pytest.mark.parametrize("sdk", VERIFY_ANSWERS, indirect=True)
def test_it_combines_orders(sandbox: Sandbox, sdk: Sdk) -> None:
    number = f"N{secrets.token_hex(9)}"
    subs = [
        {
            "mchid": merchant["mchid"],
            "out_trade_no": f"{number}{n}",
            "attach": "shop",
            "amount": {"total_amount": 100, "currency": "CNY"},
            "description": "茶",
        }
        for n, merchant in enumerate((sandbox.credentials, sandbox.credentials["others"][0]))
    ]
    order: JSON = {
        "combine_out_trade_no": number,
        "sub_orders": subs,
        "notify_url": sdk.notify_url,
        "scene_info": {"payer_client_ip": "203.0.113.7", "device_id": "shop0001"},
    }
    code = sdk("combine", "native", order)
    assert sandbox.control("scan", **code, outcome="cancel")["err_msg"] == "cancel"
    assert len(sdk("combineQuery", number)["sub_orders"]) == 2
    named = [{name: sub[name] for name in ("mchid", "out_trade_no")} for sub in subs]
    with pytest.raises(SdkError):
        sdk("combineClose", number, named[:1])
    assert sdk("combineClose", number, named) == 204


def test_it_downloads_a_bill_by_the_address_that_it_is_given(sandbox: Sandbox, sdk: Sdk) -> None:
    number, invoke = sdk.order()
    sandbox.control("pay", **invoke)
    bill = sdk("bill", sandbox.write_bill())
    address = "https://api.mch.weixin.qq.com/v3/billdownload/file?token="
    assert bill["download_url"].startswith(address)
    file = base64.b64decode(bill["file"])
    assert hashlib.sha1(file).hexdigest() == bill["hash_value"]
    assert number.encode() in file
