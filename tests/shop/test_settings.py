"""Settings: each bad value is named with an example, secrets stay secret, doctor finds the rest."""

import asyncio
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from checkout.config import ConfigError, Env, Secret, read_dotenv, unreadable_lines
from kit.running import RunningShop, settings
from shop.app import build
from shop.settings import ROOT, load

from shop import doctor, log

BAD = {
    "SHOP_PUBLIC_URL": ["shop.example.com", "http://shop.example.com", "https://a/b", "ftp://a"],
    "SHOP_SECRET_KEY": ["", "short"],
    "SHOP_ADMIN_TOKEN": ["short"],
    "SHOP_ORDER_TTL": ["0", "60", "-1", "1.5", "9999999", "an hour"],
    "SHOP_TRADE_PREFIX": ["-", "TOOLONG", "店"],
    "SHOP_PROXIES_COUNT": ["-1", "x", "99"],
    "SHOP_MCHID": ["", "abc", "1900000001"],
    "SHOP_MERCHANT_SERIAL": ["", "12"],
    "SHOP_MERCHANT_KEY": ["", "nonsense", "/nowhere/apiclient_key.pem"],
    "SHOP_APIV3_KEY": ["", "x" * 31],
    "SHOP_WECHATPAY_PUBLIC_KEY_ID": ["", "KEY_1", "PUB_KEY_ID_0111"],
    "SHOP_WECHATPAY_PUBLIC_KEY": ["", "nonsense"],
    "SHOP_MINIPROGRAM_APPID": ["", "wx1"],
    "SHOP_MINIPROGRAM_SECRET": [""],
    "SHOP_OFFICIAL_ACCOUNT_APPID": [""],
    "SHOP_OFFICIAL_ACCOUNT_SECRET": [""],
    "SHOP_CHANNELS": ["paypal"],
    "SHOP_SANDBOX_URL": ["localhost:9000", "ftp://x", "http://me:word@127.0.0.1:9000"],
    "SHOP_DEV_CLIENT_IP": ["localhost", "203.0.113"],
}


@pytest.fixture
def good(running: RunningShop) -> dict[str, str]:
    return settings(
        running.credentials, str(running.sandbox.base_url).rstrip("/"), running.origin, "sqlite://x"
    )


@pytest.mark.parametrize(("name", "value"), [(n, v) for n, vs in BAD.items() for v in vs])
async def test_a_bad_value_names_its_variable(good: dict[str, str], name: str, value: str) -> None:
    with pytest.raises(ConfigError) as refused:
        build(Env(good | {name: value}))
    lines = [line for line in str(refused.value).splitlines() if line.startswith(f"{name}: ")]
    assert lines
    assert "for example" in lines[0]


@pytest.mark.parametrize("name", ["SHOP_SECRET_KEY", "SHOP_ADMIN_TOKEN"])
async def test_the_example_of_a_secret_is_a_sentence_and_no_secret(
    good: dict[str, str], name: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        build(Env(good | {name: "short"}))
    example = str(refused.value).partition(f"{name}=")[2]
    assert set("$()\"'`").isdisjoint(example)
    with pytest.raises(ConfigError):
        build(Env(good | {name: example}))


async def test_all_that_is_wrong_is_told_at_once(good: dict[str, str]) -> None:
    with pytest.raises(ConfigError) as refused:
        build(Env(good | {"SHOP_MCHID": "x", "SHOP_SECRET_KEY": "", "SHOP_ORDER_TTL": "1"}))
    assert len(str(refused.value).splitlines()) == 3


@pytest.mark.parametrize("name", ["SHOP_MCHID", "SHOP_WECHATPAY_PUBLIC_KEY_ID"])
async def test_sandbox_keys_do_not_start_a_real_shop(good: dict[str, str], name: str) -> None:
    real = good | {"SHOP_SANDBOX_URL": "", "SHOP_PUBLIC_URL": "https://shop.example.com"}
    with pytest.raises(ConfigError) as refused:
        build(Env(real))
    assert f"{name}: belongs to the sandbox" in str(refused.value)


async def test_secrets_are_starred_in_every_repr(good: dict[str, str]) -> None:
    shop = build(Env(good | {"SHOP_ADMIN_TOKEN": "t" * 40}))
    shown = repr(shop.settings) + repr(shop)
    for name in ("SHOP_SECRET_KEY", "SHOP_MINIPROGRAM_SECRET", "SHOP_APIV3_KEY"):
        assert good[name] not in shown
    assert "t" * 40 not in shown
    assert repr(Secret("abc")) == "'***'"


async def test_logs_never_show_a_secret(good: dict[str, str]) -> None:
    build(Env(good))
    record = logging.LogRecord("shop", logging.INFO, "", 0, "event", None, None)
    record.fields = {name: good[name] for name in good if "SECRET" in name or "KEY" in name}
    record.fields["url"] = f"https://x/?secret={good['SHOP_MINIPROGRAM_SECRET']}"
    line = log.JsonLines().format(record)
    assert json.loads(line)["event"] == "event"
    for name in (
        "SHOP_SECRET_KEY",
        "SHOP_MINIPROGRAM_SECRET",
        "SHOP_APIV3_KEY",
        "SHOP_MERCHANT_KEY",
    ):
        assert good[name] not in line
        assert json.dumps(good[name])[1:-1] not in line


def test_a_dotenv_file_is_read_and_the_environment_wins(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("# a comment\nSHOP_TRADE_PREFIX=A\nexport SHOP_ORDER_TTL='600'\n\nX=\"a b\"\n")
    assert read_dotenv(file) == {"SHOP_TRADE_PREFIX": "A", "SHOP_ORDER_TTL": "600", "X": "a b"}
    env = Env({"SHOP_TRADE_PREFIX": "B", "SHOP_SECRET_KEY": "k" * 32}, file)
    engine = load(env).checkout
    assert (engine.trade_prefix, engine.order_ttl) == ("B", 600)


def test_a_comment_behind_a_value_is_none_of_it(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    file.write_text("A=1 # one\r\nB='2 # 3' # two\nC=x#y\nD= # nothing\nE=\n", newline="")
    assert read_dotenv(file) == {"A": "1", "B": "2 # 3", "C": "x#y", "D": "", "E": ""}


def test_the_doctor_names_lines_that_say_nothing(tmp_path: Path) -> None:
    file = tmp_path / ".env"
    key = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBg\n-----END PRIVATE KEY-----"
    file.write_text(f"# the key\n\nSHOP_MERCHANT_KEY={key}\nSHOP_MCHID: 1612345678\n")
    assert unreadable_lines(file) == [4, 5, 6]
    lines = [f.what for f in doctor.unread(Env({}, file)) if f.what.startswith(".env")]
    assert lines == [".env line 4", ".env line 5", ".env line 6"]


def test_names_are_separated_by_chinese_commas_too() -> None:
    env = Env({"SHOP_SCENES": "miniprogram，jsapi、h5, native app"})
    assert env.names_in("SHOP_SCENES") == ("miniprogram", "jsapi", "h5", "native", "app")


def test_an_appsecret_has_32_hexadecimal_digits() -> None:
    env = Env({"SHOP_MINIPROGRAM_SECRET": "a" * 31, "SHOP_OFFICIAL_ACCOUNT_SECRET": "0" * 32})
    assert [finding.what for finding in doctor.appsecrets(env)] == ["SHOP_MINIPROGRAM_SECRET"]


async def test_a_shop_without_any_appid_is_told_that_nobody_can_pay(good: dict[str, str]) -> None:
    apps = {name: "" for name in good if "APPID" in name or "_SECRET" in name}
    shop = build(Env(good | apps | {"SHOP_SECRET_KEY": "k" * 40}))
    [finding] = doctor.scenes(shop)
    assert (finding.ok, "nobody can pay" in finding.advice) == (False, True)
    await shop.aclose()


def command(*words: str, **env: str) -> subprocess.CompletedProcess[str]:
    """Run `python -m shop …` with no settings but these."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith("SHOP_")}
    return subprocess.run(
        [sys.executable, "-m", "shop", *words],
        cwd=ROOT, env=kept | env, capture_output=True, text=True, timeout=60,
    )  # fmt: skip


def test_serve_without_settings_names_what_is_missing_and_exits_2() -> None:
    done = command("serve")
    assert done.returncode == 2
    assert "SHOP_MCHID: is missing, for example" in done.stderr
    assert "Traceback" not in done.stderr


async def test_serve_says_in_a_sentence_that_its_port_is_taken(
    running: RunningShop, good: dict[str, str], database_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        words = ("serve", "--port", str(taken.getsockname()[1]))
        env = good | {"SHOP_DATABASE_URL": database_url}
        done = await asyncio.to_thread(command, *words, **env)
    assert done.returncode == 1
    assert "cannot listen on 127.0.0.1:" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_name_in_another_encoding_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "name.txt").write_bytes("茶香".encode("gbk"))
    monkeypatch.setattr("shop.settings.NAME", tmp_path / "name.txt")
    with pytest.raises(ConfigError, match=r"name\.txt is not UTF-8"):
        load(Env({}))


def test_the_command_alone_prints_the_commands() -> None:
    done = command()
    for name in ("serve", "demo", "migrate", "sweep", "doctor"):
        assert name in done.stdout + done.stderr


async def test_doctor_finds_nothing_wrong_with_a_healthy_shop(
    running: RunningShop, good: dict[str, str], database_url: str
) -> None:
    examined = await findings(good, database_url)
    assert [finding for finding in examined if not finding.ok] == []


async def findings(good: dict[str, str], url: str, **changes: str) -> list[Any]:
    """Examine a changed shop in a process of its own (Tortoise serves one database a process)."""
    code = "import asyncio, json, os; from shop import doctor; from shop.settings import Env;"
    code += "examined = asyncio.run(doctor.findings(Env(os.environ)));"
    code += "print(json.dumps([[f.ok, f.what, f.advice] for f in examined]))"
    env = os.environ | good | {"SHOP_DATABASE_URL": url} | changes
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=ROOT, env=env, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    return [doctor.Finding(*finding) for finding in json.loads(out)]


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"SHOP_MERCHANT_SERIAL": "0" * 40}, "SHOP_MERCHANT_SERIAL"),
        ({"SHOP_MCHID": "9999999999"}, "SHOP_MERCHANT_SERIAL"),
        ({"SHOP_MCH_ID": "1"}, "SHOP_MCH_ID"),
        ({"SHOP_APIV3_KEY": "short"}, "SHOP_APIV3_KEY"),
        ({"SHOP_DATABASE_URL": "sqlite:///tmp/no-such-folder-here/../shop-doctor.db"}, "schema"),
    ],
)
async def test_doctor_names_what_is_wrong(
    running: RunningShop,
    good: dict[str, str],
    database_url: str,
    changes: dict[str, str],
    expected: str,
) -> None:
    examined = await findings(good, database_url, **changes)
    wrong = {finding.what: finding.advice for finding in examined if not finding.ok}
    assert expected in wrong
    assert wrong[expected]


async def test_doctor_compares_key_and_certificate(
    running: RunningShop, good: dict[str, str], database_url: str, tmp_path: Path
) -> None:
    key = tmp_path / "apiclient_key.pem"
    certificate = tmp_path / "apiclient_cert.pem"
    certificate.write_text(running.credentials["merchant_certificate_pem"])
    key.write_text(running.credentials["merchant_private_key_pem"])
    right = await findings(good, database_url, SHOP_MERCHANT_KEY=str(key))
    assert all(finding.ok for finding in right)
    key.write_text(running.credentials["wechat_private_key_pem"])
    wrong = await findings(good, database_url, SHOP_MERCHANT_KEY=str(key))
    assert "key and certificate belong together" in [f.what for f in wrong if not f.ok]
