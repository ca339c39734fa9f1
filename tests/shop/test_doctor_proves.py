"""The doctor names what is wrong: the setting, what to click, never the value.

Each case changes one thing of a shop in which everything is right; all of them are examined in one
process, one after the other.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

from shell import clean, sandbox, settings_of, shop

SECONDS = 120
EXAMINE = """
import asyncio, json, logging, sys
from pathlib import Path
from checkout.config import ConfigError, Env
from shop import doctor
logging.disable()
doctor.WECHAT = "http://127.0.0.1:2"  # a real shop is examined without the network
async def examine(case):
    try:
        env = Env(case["settings"], Path(case["dotenv"]) if case["dotenv"] else None)
        findings = await doctor.findings(env, prove=case["prove"])
    except ConfigError as error:
        return [[False, str(error), ""]]
    return [[one.ok, one.what, one.advice] for one in findings]
async def main():
    cases = json.load(sys.stdin)
    print(json.dumps({name: await examine(case) for name, case in cases.items()}))
asyncio.run(main())
"""
OTHER = rsa.generate_private_key(65537, 2048)
OTHER_PRIVATE = OTHER.private_bytes(
    serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
).decode()
OTHER_PUBLIC = (
    OTHER.public_key()
    .public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    .decode()
)
#: a real merchant's look, as far as form goes
REAL = {
    "SHOP_SANDBOX_URL": "",
    "SHOP_PUBLIC_URL": "https://tea.liangzhu.cn",
    "SHOP_MCHID": "1612345678",
    "SHOP_WECHATPAY_PUBLIC_KEY_ID": "PUB_KEY_ID_0116123456782024010100000000000000",
    "SHOP_MINIPROGRAM_APPID": "wx3f9c2b7a5d1e8046",
    "SHOP_OFFICIAL_ACCOUNT_APPID": "wx7d2e9a4c6b1f3058",
    "SHOP_APP_APPID": "",
    "SHOP_MERCHANT_SERIAL": "3775B6A45ACD588826D15E583A95F5DD0A1B2C3D",
    "SHOP_MERCHANT_KEY": OTHER_PRIVATE,
    "SHOP_APIV3_KEY": "a1B2c3D4" * 4,
    "SHOP_WECHATPAY_PUBLIC_KEY": OTHER_PUBLIC,
    "SHOP_MINIPROGRAM_SECRET": "8c1e5a30" * 4,
    "SHOP_OFFICIAL_ACCOUNT_SECRET": "6d2f4b97" * 4,
}


@dataclass(frozen=True)
class Case:
    """What is changed, and what the doctor must say: the name first, then these words."""

    changed: Mapping[str, str]
    name: str
    words: str
    prove: bool = False
    faults: Mapping[str, Any] = field(default_factory=dict)


Findings = list[tuple[bool | None, str, str]]
JSON = dict[str, str]
MINIPROGRAM = "SHOP_MINIPROGRAM"
ACCOUNT = "SHOP_OFFICIAL_ACCOUNT"
KEYS = "API安全"
#: without WeChat's word
CASES = {
    "a typing error": Case({"SHOP_MCH_ID": "1"}, "SHOP_MCH_ID", "nothing reads this"),
    "no merchant": Case({"SHOP_MCHID": ""}, "SHOP_MCHID", "is missing"),
    "a merchant of letters": Case({"SHOP_MCHID": "tea-shop"}, "SHOP_MCHID", "8 to 10 digits"),
    "full-width digits": Case({"SHOP_MCHID": "９１２３４５６７８９"}, "SHOP_MCHID", "digits"),
    "an example merchant": Case(REAL | {"SHOP_MCHID": "1900000001"}, "SHOP_MCHID", "example"),
    "a real merchant in the sandbox": Case(
        {"SHOP_MCHID": "1612345678"}, "SHOP_MCHID", "SHOP_SANDBOX_URL is set"
    ),
    "the sandbox's merchant in production": Case(
        {"SHOP_SANDBOX_URL": "", "SHOP_PUBLIC_URL": "https://tea.liangzhu.cn"},
        "SHOP_MCHID",
        "SHOP_SANDBOX_URL is not set",
    ),
    "a short serial": Case({"SHOP_MERCHANT_SERIAL": "12"}, "SHOP_MERCHANT_SERIAL", "40"),
    "a key id as serial": Case(
        {"SHOP_MERCHANT_SERIAL": "PUB_KEY_ID_01"}, "SHOP_MERCHANT_SERIAL", KEYS
    ),
    "no key": Case({"SHOP_MERCHANT_KEY": ""}, "SHOP_MERCHANT_KEY", KEYS),
    "a key that is not there": Case(
        {"SHOP_MERCHANT_KEY": "certs/nowhere.pem"}, "SHOP_MERCHANT_KEY", KEYS
    ),
    "a public key as private key": Case(
        {"SHOP_MERCHANT_KEY": OTHER_PUBLIC}, "SHOP_MERCHANT_KEY", "apiclient_key.pem"
    ),
    "a private key as public key": Case(
        {"SHOP_WECHATPAY_PUBLIC_KEY": OTHER_PRIVATE}, "SHOP_WECHATPAY_PUBLIC_KEY", "pub_key.pem"
    ),
    "a public key without id": Case(
        {"SHOP_WECHATPAY_PUBLIC_KEY_ID": ""}, "SHOP_WECHATPAY_PUBLIC_KEY_ID", "is missing"
    ),
    "an id without public key": Case(
        {"SHOP_WECHATPAY_PUBLIC_KEY": ""}, "SHOP_WECHATPAY_PUBLIC_KEY", "is missing"
    ),
    "a short APIv3 key": Case({"SHOP_APIV3_KEY": "x" * 31}, "SHOP_APIV3_KEY", KEYS),
    "a short secret": Case({"SHOP_SECRET_KEY": "short"}, "SHOP_SECRET_KEY", "token_urlsafe"),
    "one secret twice": Case(
        {"SHOP_ADMIN_TOKEN": "a-secret-of-the-tests-0123456789abcdef"},
        "SHOP_ADMIN_TOKEN",
        "the same secret 密钥 as SHOP_SECRET_KEY",
    ),
    "a secret to be replaced": Case(
        {"SHOP_SECRET_KEY": "change-me-change-me-change-me-change-me"}, "SHOP_SECRET_KEY", "example"
    ),
    "an appid without secret": Case(
        {f"{MINIPROGRAM}_SECRET": ""}, f"{MINIPROGRAM}_SECRET", "mp.weixin.qq.com"
    ),
    "a secret without appid": Case(
        {f"{ACCOUNT}_APPID": ""}, f"{ACCOUNT}_APPID", "mp.weixin.qq.com"
    ),
    "no appid": Case({f"{MINIPROGRAM}_APPID": "tea"}, f"{MINIPROGRAM}_APPID", "is not an appid"),
    "an example appid": Case(
        REAL | {f"{MINIPROGRAM}_APPID": "wx0000000000000001"}, f"{MINIPROGRAM}_APPID", "example"
    ),
    "jsapi without official account": Case(
        {"SHOP_SCENES": "jsapi", f"{ACCOUNT}_APPID": "", f"{ACCOUNT}_SECRET": ""},
        "SHOP_SCENES",
        f"jsapi needs 需要 {ACCOUNT}_APPID and {ACCOUNT}_SECRET",
    ),
    "a scene that is none": Case(
        {"SHOP_SCENES": "facepay"}, "SHOP_SCENES", "names a scene that is not there"
    ),
    "a channel that is none": Case({"SHOP_CHANNELS": "paypal"}, "SHOP_CHANNELS", "channel"),
    "a shop on this machine": Case(
        REAL | {"SHOP_PUBLIC_URL": "https://127.0.0.1"}, "SHOP_PUBLIC_URL", "微信访问不到"
    ),
    "a shop in this network": Case(
        REAL | {"SHOP_PUBLIC_URL": "https://10.0.0.8"}, "SHOP_PUBLIC_URL", "微信访问不到"
    ),
    "a shop called localhost": Case(
        REAL | {"SHOP_PUBLIC_URL": "https://localhost"}, "SHOP_PUBLIC_URL", "微信访问不到"
    ),
    "a shop with a port": Case(
        REAL | {"SHOP_PUBLIC_URL": "https://tea.liangzhu.cn:8443"},
        "SHOP_PUBLIC_URL",
        "网页授权域名",
    ),
    "an example address": Case(
        REAL | {"SHOP_PUBLIC_URL": "https://shop.example.com"}, "SHOP_PUBLIC_URL", "example"
    ),
    "http in production": Case(
        REAL | {"SHOP_PUBLIC_URL": "http://tea.liangzhu.cn"}, "SHOP_PUBLIC_URL", "https"
    ),
    "an address with a path": Case(
        {"SHOP_PUBLIC_URL": "https://tea.liangzhu.cn/shop"}, "SHOP_PUBLIC_URL", "path"
    ),
    "a sub appid without sub merchant": Case(
        {"SHOP_SUB_APPID": "wx3f9c2b7a5d1e8046"}, "SHOP_SUB_MCHID", "missing"
    ),
    "a database of another kind": Case(
        {"SHOP_DATABASE_URL": "oracle://a:b@c/d"}, "SHOP_DATABASE_URL", "must begin with"
    ),
    "an example password": Case(
        {"SHOP_DATABASE_URL": "postgres://shop:password@127.0.0.1:1/shop"},
        "SHOP_DATABASE_URL",
        "example",
    ),
    "a database without tables": Case(
        {"SHOP_DATABASE_URL": "sqlite://{tmp}/empty.db"}, "schema", "python -m shop migrate"
    ),
    "a sandbox that is not started": Case(
        {"SHOP_SANDBOX_URL": "http://127.0.0.1:1"},
        "http://127.0.0.1:1 answers",
        "python -m sandbox",
    ),
    "amounts upside down": Case(
        {"SHOP_COLLECT_MIN_FEN": "9", "SHOP_COLLECT_MAX_FEN": "3"}, "SHOP_COLLECT_MAX_FEN", "less"
    ),
    "an hour in words": Case({"SHOP_ORDER_TTL": "an hour"}, "SHOP_ORDER_TTL", "whole number"),
}
#: by WeChat's word
ASKED = {
    "another serial": Case(
        {"SHOP_MERCHANT_SERIAL": "0" * 39 + "1"}, "SHOP_MERCHANT_SERIAL", "管理证书"
    ),
    "another merchant": Case({"SHOP_MCHID": "9999999999"}, "SHOP_MERCHANT_SERIAL", "SHOP_MCHID"),
    "another private key": Case(
        {"SHOP_MERCHANT_KEY": OTHER_PRIVATE}, "SHOP_MERCHANT_KEY", "商户API证书"
    ),
    "another public key": Case(
        {"SHOP_WECHATPAY_PUBLIC_KEY": OTHER_PUBLIC}, "SHOP_WECHATPAY_PUBLIC_KEY", "微信支付公钥"
    ),
    "another public key id": Case(
        {"SHOP_WECHATPAY_PUBLIC_KEY_ID": "PUB_KEY_ID_9" + "0" * 27},
        "SHOP_WECHATPAY_PUBLIC_KEY_ID",
        "微信支付公钥",
    ),
    "another APIv3 key with certificates": Case(
        {
            "SHOP_WECHATPAY_PUBLIC_KEY": "",
            "SHOP_WECHATPAY_PUBLIC_KEY_ID": "",
            "SHOP_APIV3_KEY": "fedcba98" * 4,
        },
        "SHOP_APIV3_KEY",
        "APIv3密钥",
        faults={"signing": "certificate"},
    ),
}
#: found by --prove alone
PROVED = {
    "a sub merchant that never agreed": Case(
        {
            "SHOP_MCHID": "{sp.mchid}",
            "SHOP_MERCHANT_SERIAL": "{sp.merchant_serial}",
            "SHOP_MERCHANT_KEY": "{sp.merchant_private_key_pem}",
            "SHOP_APIV3_KEY": "{sp.apiv3_key}",
            "SHOP_SUB_MCHID": "9876543210",
        },
        "SHOP_SUB_MCHID",
        "子商户",
    ),
    "another APIv3 key": Case(
        {"SHOP_APIV3_KEY": "fedcba98" * 4},
        "SHOP_APIV3_KEY",
        "APIv3密钥",
        faults={"signing": "mixed"},
    ),
    "another secret of the mini program": Case(
        {f"{MINIPROGRAM}_SECRET": "fedcba98" * 4}, f"{MINIPROGRAM}_SECRET", "AppSecret"
    ),
    "another secret of the official account": Case(
        {f"{ACCOUNT}_SECRET": "fedcba98" * 4}, f"{ACCOUNT}_SECRET", "AppSecret"
    ),
    "an app that WeChat does not know": Case(
        {f"{MINIPROGRAM}_APPID": "wx3f9c2b7a5d1e8046"}, f"{MINIPROGRAM}_APPID", "没有这个AppID"
    ),
    "an app that is not bound": Case(
        {"SHOP_APP_APPID": "wx3f9c2b7a5d1e8046"}, "SHOP_APP_APPID", "AppID账号管理"
    ),
    "a product that is not opened": Case(
        {"SHOP_SCENES": "h5"},
        "SHOP_SCENES",
        "H5支付",
        faults={"answers": {"prepay": "product_off"}},
    ),
    "a merchant who may not receive": Case(
        {"SHOP_SCENES": "native"},
        "native, wechat: one fen",
        "商户收款功能被限制",
        faults={"answers": {"prepay": "receiving_restricted"}},
    ),
}
PROVED = {
    name: Case(case.changed, case.name, case.words, prove=True, faults=case.faults)
    for name, case in PROVED.items()
}
ALL = CASES | ASKED | PROVED


@contextmanager
def faults(address: str, **menu: Any) -> Iterator[None]:
    """Set the sandbox's fault menu for a while."""
    httpx.post(f"{address}/_sandbox/faults", json=menu, trust_env=False)
    yield
    httpx.post(f"{address}/_sandbox/faults", json={}, trust_env=False)


@pytest.fixture(scope="module")
def address(shop_folder: Path) -> Iterator[str]:
    with sandbox(shop_folder) as url:
        yield url


@pytest.fixture(scope="module")
def good(address: str, shop_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> JSON:
    """Settings in which nothing is wrong."""
    file = tmp_path_factory.mktemp("books") / "shop.db"
    right = dict(settings_of(address, SHOP_DATABASE_URL=f"sqlite://{file}"))
    assert shop(shop_folder, "migrate", seconds=SECONDS, env=right).returncode == 0
    return right


def examine(folder: Path, cases: dict[str, Any]) -> dict[str, Findings]:
    """Let one process examine several shops."""
    done = subprocess.run(
        [sys.executable, "-c", EXAMINE],
        cwd=folder,
        env=clean(),
        input=json.dumps(cases),
        capture_output=True,
        encoding="utf-8",
        timeout=SECONDS,
    )
    assert done.returncode == 0, done.stderr
    report: dict[str, Findings] = json.loads(done.stdout)
    return report


@pytest.fixture(scope="module")
def reports(
    address: str, good: JSON, shop_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Findings]:
    """What the doctor says of every case; those with faults are examined with them."""
    tmp = tmp_path_factory.mktemp("cases")
    credentials = httpx.get(f"{address}/_sandbox/credentials", trust_env=False).json()

    def filled(value: str) -> str:
        value = value.replace("{tmp}", str(tmp))
        return re.sub(r"\{sp\.(\w+)\}", lambda match: str(credentials["sp"][match[1]]), value)

    def asked(case: Case) -> dict[str, Any]:
        changed = {name: filled(value) for name, value in case.changed.items()}
        return {"settings": good | changed, "dotenv": "", "prove": case.prove}

    plain = {name: asked(case) for name, case in ALL.items() if not case.faults}
    report = examine(shop_folder, plain)
    for name, case in ALL.items():
        if case.faults:
            with faults(address, **case.faults):
                report |= examine(shop_folder, {name: asked(case)})
    return report


@pytest.mark.parametrize("name", ALL)
def test_a_wrong_setting_is_named_with_what_to_do_and_never_repeated(
    reports: dict[str, Findings], name: str
) -> None:
    case = ALL[name]
    wrong = [(what, advice) for ok, what, advice in reports[name] if ok is False]
    assert any(what == case.name and case.words in advice for what, advice in wrong), wrong
    shown = " ".join(what + advice for what, advice in wrong)
    for changed, value in case.changed.items():
        if re.search("KEY$|SECRET|TOKEN|DATABASE", changed) and len(value) > 20:
            assert value not in shown


def test_forty_wrong_settings_are_told_apart() -> None:
    assert len(ALL) >= 40


def proved(folder: Path, settings: JSON) -> Findings:
    """Let the doctor prove one shop."""
    (findings,) = examine(
        folder, {"one": {"settings": settings, "dotenv": "", "prove": True}}
    ).values()
    return findings


def unseen(findings: Findings) -> JSON:
    """Return what cannot be seen from here, and why; nothing may be wrong."""
    assert not [what for ok, what, _ in findings if ok is False]
    return {what: advice for ok, what, advice in findings if ok is None}


def test_nothing_is_wrong_in_a_shop_where_nothing_is_and_what_was_ordered_is_closed(
    shop_folder: Path, good: JSON, address: str
) -> None:
    with faults(address, signing="mixed"):
        findings = proved(shop_folder, good)
    assert [finding for finding in findings if finding[0] is not True] == []
    ordered = [what for _, what, _ in findings if "closed 下单、查单、关单" in what]
    scenes = [what.partition(",")[0] for what in ordered if ", wechat:" in what]
    assert sorted(scenes) == ["app", "h5", "jsapi", "miniprogram", "native"]
    orders = httpx.get(f"{address}/_sandbox/orders", trust_env=False).json()["orders"]
    assert len(orders) >= len(scenes)
    assert {(order["trade_state"], order["total"]) for order in orders} == {("CLOSED", 1)}


def test_without_prove_nothing_is_ordered(shop_folder: Path, good: JSON) -> None:
    with sandbox(shop_folder) as url:
        case = {"settings": good | {"SHOP_SANDBOX_URL": url}, "dotenv": "", "prove": False}
        (findings,) = examine(shop_folder, {"right": case}).values()
        assert all(ok for ok, _, _ in findings)
        assert httpx.get(f"{url}/_sandbox/orders", trust_env=False).json()["orders"] == []
        seen = httpx.get(f"{url}/_sandbox/log", trust_env=False).json()["entries"]
        assert not [entry["url"] for entry in seen if "certificates" in entry["url"]]


def test_a_merchant_without_certificates_is_told_what_cannot_be_proved(
    shop_folder: Path, good: JSON
) -> None:
    assert "first notification" in unseen(proved(shop_folder, good))["SHOP_APIV3_KEY"]


def test_a_machine_outside_the_allow_list_is_told_so(
    shop_folder: Path, good: JSON, address: str
) -> None:
    with faults(address, answers={"token": "refuse"}):
        findings = proved(shop_folder, good | {"SHOP_SCENES": "native"})
    assert "IP白名单" in unseen(findings)["SHOP_MINIPROGRAM_SECRET"]


def test_an_openid_that_is_nobodys_is_told_so(shop_folder: Path, good: JSON, address: str) -> None:
    with faults(address, answers={"prepay": "openid_invalid"}):
        findings = proved(shop_folder, good | {"SHOP_SCENES": "miniprogram"})
    assert "somebody must log in first" in unseen(findings)["miniprogram, wechat: one fen"]


@pytest.mark.parametrize("encoding", ["gbk", "utf-16"])
def test_an_env_file_of_another_encoding_is_one_sentence(shop_folder: Path, encoding: str) -> None:
    file = shop_folder / ".env"
    file.write_bytes("# 商户号\nSHOP_MCHID=1900000001\n".encode(encoding))
    done = shop(shop_folder, "doctor", seconds=SECONDS)
    file.unlink()
    assert done.returncode == 2
    assert done.stderr.startswith(".env is not UTF-8")
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_a_typing_error_comes_before_its_consequences(shop_folder: Path, good: JSON) -> None:
    misspelt = {name: value for name, value in good.items() if name != "SHOP_MCHID"}
    misspelt["SHOP_MCHlD"] = good["SHOP_MCHID"]
    done = shop(shop_folder, "doctor", seconds=SECONDS, env=misspelt)
    assert done.returncode == 1
    first, second = done.stdout.splitlines()[:2]
    assert first.startswith("WRONG SHOP_MCHlD: nothing reads this: do you mean SHOP_MCHID?")
    assert second.startswith("WRONG SHOP_MCHID: is missing")


def test_the_report_stands_alone(shop_folder: Path, good: JSON) -> None:
    """No log line between its lines, none beside them."""
    done = shop(shop_folder, "doctor", "--prove", seconds=SECONDS, env=good)
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert {line[:5] for line in lines[:-1]} == {"ok   ", "?    "}
    assert lines[-1].startswith("nothing is wrong")
