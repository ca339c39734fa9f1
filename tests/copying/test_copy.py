"""wechat/ copied into somebody else's project takes a payment there, whatever its folder is called."""

import base64
import json
import os
import secrets
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from shutil import copytree, ignore_patterns

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate

from bakes import PROJECT, ROOT
from running import JSON, Demo, answers, free_port, until

APPS = [("flask", "wechat"), ("fastapi", "weixin_pay")]
NEW_ROOTS = """
import importlib, json, pkgutil, sys
import cryptography.x509, cryptography.hazmat.primitives.ciphers.aead, httpx
before = {name.partition(".")[0] for name in sys.modules}
import {folder}
for one in pkgutil.walk_packages({folder}.__path__, "{folder}."):
    importlib.import_module(one.name)
now = {name.partition(".")[0] for name in sys.modules}
print(json.dumps(sorted(now - before - set(sys.stdlib_module_names))))
"""


@dataclass(frozen=True)
class Project:
    """Somebody else's app: its address and what stands in its `/paid`."""

    url: str
    http: httpx.Client

    def post(self, path: str, **form: str) -> JSON:
        """Post JSON; the answer has to be a success."""
        answer = self.http.post(self.url + path, json=form, timeout=20)
        assert answer.is_success, answer.text
        result: JSON = answer.json()
        return result


def copy(folder: Path) -> Path:
    """Copy the folder, and nothing else of the shop."""
    return Path(copytree(PROJECT / "wechat", folder, ignore=ignore_patterns("__pycache__")))


@pytest.fixture(params=APPS, ids=" with ".join)
def project(demo: Demo, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Project]:
    """A package with nothing in it but one app and the copied folder, run as a module."""
    framework, name = request.param
    package = tmp_path / "other"
    package.mkdir()
    (package / "__init__.py").touch()
    copy(package / name)
    source = (ROOT / "tests" / "copying" / f"{framework}_app.py").read_text(encoding="utf-8")
    (package / "app.py").write_text(source.replace("from .wechat", f"from .{name}"), "utf-8")
    settings = {
        **demo.credentials,
        **demo.app("miniprogram"),
        "host": demo.sandbox,
        "port": free_port(),
    }
    process = subprocess.Popen(
        [sys.executable, "-W", "error", "-m", "other.app"],
        cwd=tmp_path,
        env={**os.environ, "PAYMENT": json.dumps(settings)},
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    app = Project(f"http://127.0.0.1:{settings['port']}", demo.http)
    try:
        ready = f"{app.url}/paid"
        until(lambda: answers(app.http, ready) or process.poll(), "the app's first answer")
        assert process.poll() is None, "the app did not start"
        yield app
    finally:
        process.terminate()
        process.wait(20)


def test_it_takes_a_payment_beside_another_framework(demo: Demo, project: Project) -> None:
    number = f"C{secrets.token_hex(10)}"
    code, openid = demo.login_code()
    assert project.post("/login", code=code) == {"openid": openid}
    invoke = project.post("/pay", number=number, openid=openid)
    assert_signed(demo.credentials["merchant_certificate_pem"], invoke)
    done = demo.control("pay", **invoke)
    assert done["err_msg"] == "requestPayment:ok", done
    paid = until(lambda: project.http.get(f"{project.url}/paid").json().get(number), "payment")
    assert paid == done["transaction_id"]


def test_it_refuses_a_notification_that_somebody_else_signed(
    demo: Demo, project: Project, faults: Callable[..., JSON]
) -> None:
    faults(notification_signature="wrong_key")
    number = f"C{secrets.token_hex(10)}"
    _, openid = demo.login_code()
    demo.control("pay", **project.post("/pay", number=number, openid=openid))
    sent = until(lambda: demo.wire("notification", project.url), "a notification")
    assert [notification["status"] for notification in sent] == [401]
    assert project.http.get(f"{project.url}/paid").json() == {}


@pytest.mark.parametrize("name", ["wechat", "weixin_pay"])
def test_it_needs_nothing_but_cryptography_and_httpx(tmp_path: Path, name: str) -> None:
    copy(tmp_path / name)
    code = NEW_ROOTS.replace("{folder}", name)
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [name]


def assert_signed(certificate_pem: str, invoke: JSON) -> None:
    """paySign has to fit the merchant's certificate."""
    key = load_pem_x509_certificate(certificate_pem.encode()).public_key()
    assert isinstance(key, rsa.RSAPublicKey)
    names = ("appId", "timeStamp", "nonceStr", "package")
    text = "".join(f"{invoke[name]}\n" for name in names).encode()
    raw = base64.b64decode(invoke["paySign"], validate=True)
    key.verify(raw, text, padding.PKCS1v15(), hashes.SHA256())
