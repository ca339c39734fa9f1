"""openapi.json is good enough for a machine: it validates, and a client made from it pays an order.

openapi-python-client and the validator live in an environment of their own; nothing of ours is in it.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from running import Demo

PACKAGES = ("openapi-python-client==0.29.1", "openapi-spec-validator==0.9.0")
#: what an integrator writes: log in, order, start to pay, and look whether it is paid
STORY = """
import json, os, secrets, sys, time
import httpx
from client import AuthenticatedClient, Client
from client.api.login import miniprogram_session
from client.api.orders import get_order, place_order
from client.api.payments import start_payment
from client.api.shop import list_products
from client.models import Failure, GetOrderRefresh, LoginCode, NewOrder, NewOrderItem, NewPayment
from client.models import NewPaymentScene

shop, sandbox, appid = sys.argv[1:]
world = httpx.Client(trust_env=False)  # what WeChat does, played by the sandbox


def control(name, form):
    return world.post(f"{sandbox}/_sandbox/{name}", json=form).raise_for_status().json()


anyone = Client(base_url=shop, httpx_args={"trust_env": False})
code = control("login-code", {"appid": appid, "openid": "o" + secrets.token_hex(8)})["code"]
session = miniprogram_session.sync(client=anyone, body=LoginCode(code=code))
again = miniprogram_session.sync(client=anyone, body=LoginCode(code=code))
assert isinstance(again, Failure) and again.code == "LOGIN_CODE_INVALID", again

buyer = AuthenticatedClient(base_url=shop, token=session.token, httpx_args={"trust_env": False})
product = list_products.sync(client=anyone).products[0]
cart = NewOrder(items=[NewOrderItem(sku=product.sku, quantity=1)])
order = place_order.sync(client=buyer, body=cart, idempotency_key=secrets.token_hex(8))
assert order.total_fen == product.price_fen
wanted = NewPayment(scene=NewPaymentScene.MINIPROGRAM)
started = start_payment.sync(order.order_no, client=buyer, body=wanted)
assert control("pay", started.invoke.to_dict())["err_msg"] == "requestPayment:ok"

for _ in range(200):
    seen = get_order.sync(order.order_no, client=buyer, refresh=GetOrderRefresh.VALUE_0)
    if seen.state == "PAID":
        break
    time.sleep(0.1)
print(json.dumps([seen.state, seen.paid_fen, seen.paid_at.isoformat()]))
"""


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the two tools alone; return its bin."""
    folder = tmp_path_factory.mktemp("tools") / ".venv"
    subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True, timeout=300)
    command = [str(folder / "bin" / "python"), "-m", "pip", "install", "-q", *PACKAGES]
    subprocess.run(command, check=True, timeout=600)
    return folder / "bin"


@pytest.fixture(scope="module")
def document(demo: Demo, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shop's openapi.json as a file."""
    file = tmp_path_factory.mktemp("document") / "openapi.json"
    file.write_bytes(demo.http.get(f"{demo.shop}/openapi.json").content)
    return file


@pytest.fixture(scope="module")
def client(tools: Path, document: Path) -> Path:
    """A client made from the document without a warning; return the folder it lies in."""
    command = [
        *(str(tools / "openapi-python-client"), "generate", "--fail-on-warning"),
        *("--path", str(document), "--meta", "none", "--output-path", "client"),
    ]
    path = f"{tools}{os.pathsep}{os.environ['PATH']}"  # it formats with its own ruff
    subprocess.run(
        command, cwd=document.parent, env={**os.environ, "PATH": path}, check=True, timeout=300
    )
    return document.parent


@pytest.mark.thorough
def test_the_document_validates_as_openapi(tools: Path, document: Path) -> None:
    command = [str(tools / "python"), "-m", "openapi_spec_validator", str(document)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(document.read_text("utf-8"))["openapi"] == "3.1.0"


@pytest.mark.thorough
def test_a_generated_client_logs_in_orders_and_sees_its_payment(
    demo: Demo, tools: Path, client: Path
) -> None:
    (client / "story.py").write_text(STORY, "utf-8")
    words = [demo.shop, demo.sandbox, demo.app("miniprogram")["appid"]]
    done = subprocess.run(
        [str(tools / "python"), "story.py", *words],
        cwd=client,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    state, paid_fen, _ = json.loads(done.stdout)
    assert state == "PAID"
    assert paid_fen > 0


@pytest.mark.thorough
def test_the_generated_names_are_typed_without_a_clash(client: Path, tmp_path: Path) -> None:
    """In client.py, which is the generator's own, mypy has something to say: not about our names."""
    command = [sys.executable, "-m", "mypy", "--strict", "--cache-dir", str(tmp_path), "client"]
    done = subprocess.run(command, cwd=client, capture_output=True, text=True, timeout=300)
    lines = [line for line in done.stdout.splitlines() if ": error:" in line]
    assert "checked" in done.stdout, done.stdout + done.stderr
    assert [line for line in lines if not line.startswith("client/client.py:")] == []
