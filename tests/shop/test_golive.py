"""`python -m shop golive`: what is done is seen, what is open names its page, the rest is asked."""

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from bakes import PROJECT
from shell import PATIENCE, Development, copied, developing, sandbox, settings_of, shop
from shop import golive

WANTED = {
    "icp-record": "小程序备案",
    "privacy": "用户隐私保护指引",
    "shipping": "订单发货管理",
    "ip-allow-list": "IP白名单",
    "source-ranges": "出口网段",
    "virtual-goods": "虚拟支付",
    "gold-plan": "点金计划",
    "payment-directory": "支付授权目录",
    "h5-domain": "H5支付域名",
    "oauth-domain": "网页授权域名",
    "verify-file": "MP_verify",
    "https": "https",
}


def test_every_step_stands_once_and_knows_what_weixin_asks_for() -> None:
    steps = {step.name: step for step in golive.steps()}
    assert len(steps) == len(golive.steps())
    for name, word in WANTED.items():
        assert word in steps[name].what + steps[name].where
    assert set(golive.CHECKS) <= set(steps)


def test_every_page_is_an_official_one() -> None:
    hosts = {re.sub(r"^https://([^/]+).*$", r"\1", s.page) for s in golive.steps() if s.page}
    assert hosts <= {"pay.weixin.qq.com", "mp.weixin.qq.com", "developers.weixin.qq.com"}
    named = [step.name for step in golive.steps() if "weixin.qq.com" in step.where]
    assert [step.name for step in golive.steps() if step.name in named and not step.page] == []


def test_steps_that_only_the_owner_can_see_say_so() -> None:
    unseen = {step.name for step in golive.steps()} - set(golive.CHECKS)
    assert unseen == {"binding", "products", "source-ranges", "ip-allow-list", "bill", "alarms"}


@pytest.fixture(scope="module")
def address(shop_folder: Path) -> Iterator[str]:
    with sandbox(shop_folder) as url:
        yield url


def read(folder: Path, **env: str) -> dict[str, str]:
    """Run the command; return the mark of each step."""
    done = shop(folder, "golive", seconds=PATIENCE, env=env)
    assert done.stderr == ""
    marks = re.findall(r"^(done|OPEN|\?|-) +([a-z0-9-]+) ", done.stdout, re.MULTILINE)
    assert len(marks) == len(golive.steps())
    assert done.returncode == (1 if "OPEN" in done.stdout else 0)
    return {name: mark for mark, name in marks}


def test_without_settings_nothing_is_done_and_nothing_breaks(shop_folder: Path) -> None:
    marks = read(shop_folder)
    assert {marks[name] for name in ("mchid", "certificate", "secrets", "https", "database")} == {
        "OPEN"
    }
    assert marks["privacy"] == "?"


def test_at_the_sandbox_keys_are_done_and_going_live_is_open(
    shop_folder: Path, address: str, tmp_path: Path
) -> None:
    url = f"sqlite://{tmp_path}/shop.db"
    env = dict(settings_of(address, SHOP_DATABASE_URL=url, SHOP_ADMIN_TOKEN="t" * 40))
    assert shop(shop_folder, "migrate", seconds=PATIENCE, env=env).returncode == 0
    marks = read(shop_folder, **env)
    done = ("mchid", "certificate", "public-key", "secrets", "database", "doctor", "miniprogram")
    assert {marks[name] for name in done} == {"done"}
    assert {marks[name] for name in ("production", "https", "first-payment")} == {"OPEN"}
    assert marks["notify-url"] == "?"


def test_a_scene_that_is_off_needs_no_step(shop_folder: Path, address: str, tmp_path: Path) -> None:
    url = f"sqlite://{tmp_path}/shop.db"
    env = settings_of(address, SHOP_DATABASE_URL=url, SHOP_SCENES="native")
    marks = read(shop_folder, **env)
    off = ("miniprogram", "privacy", "icp-record", "oauth-domain", "h5-domain", "gold-plan")
    assert {marks[name] for name in off} == {"-"}


def test_virtual_goods_in_a_mini_program_are_an_open_step(
    tmp_path: Path, shop_folder: Path, address: str
) -> None:
    folder = Path(shutil.copytree(shop_folder, tmp_path / "shop"))
    with (folder / "shop" / "catalogue.py").open("a", encoding="utf-8") as catalogue:
        catalogue.write("\nPRODUCTS = (Product('pass', 'A pass', 100, kind='virtual'),)\n")
    env = settings_of(address, SHOP_DATABASE_URL=f"sqlite://{tmp_path}/shop.db")
    assert read(folder, **env)["virtual-goods"] == "OPEN"


def test_a_notification_that_arrived_is_seen(tmp_path: Path) -> None:
    folder = copied(tmp_path / "shop")
    with developing(folder) as dev:
        dev.until(lambda: dev.http.get("/readyz").is_success)
        assert read(folder)["notify-url"] == "?"
        pay(dev)
        marks = dev.until(lambda: notified(folder))
        assert marks["apiv3-key"] == "done"


def notified(folder: Path) -> dict[str, str] | None:
    marks = read(folder)
    return marks if marks["notify-url"] == "done" else None


def pay(dev: Development) -> None:
    """Pay one order in the mini program."""
    sandbox_at = f"http://127.0.0.1:{dev.ports[1]}"
    with httpx.Client(trust_env=False) as http:
        keys = http.get(f"{sandbox_at}/_sandbox/credentials").json()
        person = {"appid": keys["apps"][0]["appid"], "openid": "oBuyer-of-golive"}
        code = http.post(f"{sandbox_at}/_sandbox/login-code", json=person).json()
        token = dev.http.post("/api/sessions/miniprogram", json=code).json()["token"]
        buyer = {"Authorization": f"Bearer {token}", "Idempotency-Key": "golive"}
        cart = {"items": [{"sku": dev.skus()[0], "quantity": 1}]}
        order = dev.http.post("/api/orders", json=cart, headers=buyer).json()["order_no"]
        path = f"/api/orders/{order}/payments"
        scene = {"scene": "miniprogram"}
        invoke = dev.http.post(path, json=scene, headers=buyer).json()["invoke"]
        paid = http.post(f"{sandbox_at}/_sandbox/pay", json=invoke).json()
        assert paid["err_msg"] == "requestPayment:ok"


def test_the_quality_list_names_a_test_or_the_owner_in_every_row() -> None:
    text = (PROJECT / "docs" / "quality.md").read_text("utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "---" not in line]
    checked = [row for row in rows if not row.startswith("| area")]
    assert len(checked) >= 9
    assert [row for row in checked if "`test_" not in row and "店主" not in row] == []
