"""The README's program runs as printed, also after the folder was renamed."""

import ast
import importlib
import json
import re
import shutil
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization

import wechat
from wechat import sign

FOLDER = Path(str(wechat.__file__)).parent
README = (FOLDER / "README.md").read_text("utf-8")
ALLOWED = {"cryptography", "httpx"} | set(sys.stdlib_module_names)


def program() -> str:
    example = re.search(r"```python\n(.+?)```", README, re.DOTALL)
    assert example
    return example[1]


@pytest.fixture
def environment(world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = world.merchant.private_key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    public = world.wechat_key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    (tmp_path / "apiclient_key.pem").write_bytes(private)
    values = {
        "WECHATPAY_MCHID": world.merchant.mchid,
        "WECHATPAY_SERIAL": world.merchant.serial,
        "WECHATPAY_PRIVATE_KEY": str(tmp_path / "apiclient_key.pem"),
        "WECHATPAY_APIV3_KEY": world.merchant.apiv3_key.decode(),
        "WECHATPAY_PUBLIC_KEY_ID": next(iter(world.trust().public_keys)),
        "WECHATPAY_PUBLIC_KEY": public.decode(),
        "WECHATPAY_APPID": "wxd678efh567hg6787",
        "WECHATPAY_NOTIFY_URL": "https://shop.example.com/notify",
    }
    for name, value in values.items():
        monkeypatch.setenv(name, value)


async def test_the_program_of_the_readme_takes_a_payment(world: Any, environment: None) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        orders.append(json.loads(request.content))
        return httpx.Response(200, headers=world.signed(prepaid), content=prepaid)

    orders: list[dict[str, Any]] = []
    prepaid = b'{"prepay_id":"wx2014"}'
    shop: dict[str, Any] = {}
    exec(program(), shop)
    world.now = time.time()
    shop["pay"].client._http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    ends = datetime(2026, 11, 21, 12, tzinfo=UTC)
    fields = await shop["start"]("S2026112100000001", "oUpF8uMuAJO", ends)
    text = "\n".join(["wxd678efh567hg6787", fields["timeStamp"], fields["nonceStr"]])
    sign.check(
        world.merchant.private_key.public_key(),
        f"{text}\nprepay_id=wx2014\n",
        fields["paySign"],
    )
    payment = {**orders[0], "trade_state": "SUCCESS", "transaction_id": "42"}
    resource = world.sealed(json.dumps(payment).encode()) | {"original_type": "transaction"}
    times = {"id": "1", "event_type": "TRANSACTION.SUCCESS", "create_time": "2026-11-21T00:00:00Z"}
    body = json.dumps({**times, "resource": resource}).encode()
    assert await shop["notified"](world.signed(body), body) == "S2026112100000001"
    assert orders[0]["amount"] == {"total": 990, "currency": "CNY"}
    assert datetime.fromisoformat(orders[0]["time_expire"]) == ends


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 200


def test_both_languages_show_the_same_code() -> None:
    chinese = (FOLDER / "README.zh-CN.md").read_text("utf-8")
    blocks = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
    assert blocks.findall(README) == blocks.findall(chinese)


def test_the_folder_works_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(FOLDER, tmp_path / "weixin", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.syspath_prepend(tmp_path)
    for path in sorted((tmp_path / "weixin").glob("*.py")):
        module = importlib.import_module(f"weixin.{path.stem}".removesuffix(".__init__"))
        assert Path(str(module.__file__)).parent == tmp_path / "weixin"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.py")), ids=lambda path: path.stem)
def test_the_folder_imports_only_what_it_promises(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            assert {name.name.split(".")[0] for name in node.names} <= ALLOWED
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert str(node.module).split(".")[0] in ALLOWED
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 1
