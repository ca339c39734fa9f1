"""The README's program runs as printed against the sandbox, also after the folder was renamed."""

import asyncio
import os
import re
import shutil
import sys
from pathlib import Path

import httpx
import pytest

import huifu
from kit.fixtures import keys, sandbox_url  # noqa: F401  fixtures

FOLDER = Path(str(huifu.__file__)).parent


@pytest.mark.parametrize("name", ["huifu", "aggregator"])
async def test_it_orders_and_queries(sandbox_url: str, tmp_path: Path, name: str) -> None:  # noqa: F811
    readme = (FOLDER / "README.md").read_text("utf-8")
    example = re.search(r"```python\n(.+?)```", readme, re.DOTALL)
    assert example
    shutil.copytree(FOLDER, tmp_path / name)
    (tmp_path / "main.py").write_text(example[1].replace("from huifu", f"from {name}"), "utf-8")
    async with httpx.AsyncClient(base_url=sandbox_url, verify=False) as http:
        credentials = (await http.get("/_sandbox/credentials")).json()
    account = credentials["huifu"]
    values = {
        "SYS_ID": account["sys_id"],
        "PRODUCT_ID": account["product_id"],
        "HUIFU_ID": account["huifu_id"],
        "PRIVATE_KEY": account["merchant_private_key"],
        "PUBLIC_KEY": account["huifu_public_key"],
        "GATEWAY": sandbox_url,
        "NUMBER": "README0001",
        "APPID": credentials["apps"][0]["appid"],
        "OPENID": "oReader",
        "NOTIFY_URL": "https://shop.example.com/notify",
    }
    program = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "main.py"),
        cwd=tmp_path,
        env={**os.environ, **values},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    shown, complaint = await program.communicate()
    assert program.returncode == 0, complaint.decode()
    assert "wx.requestPayment gets prepay_id=wx" in shown.decode()
    assert "trans_stat is P" in shown.decode()


def test_both_languages_show_the_same_code() -> None:
    blocks = re.compile(r"^```.*?^```$", re.DOTALL | re.MULTILINE)
    english, chinese = (
        blocks.findall((FOLDER / name).read_text("utf-8"))
        for name in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese
