"""The sandbox's own handles: who may use them, what they refuse, what is kept on disk."""

import asyncio
import os
import signal
import sys
from dataclasses import asdict

import httpx
import pytest
from cryptography.x509 import load_pem_x509_certificate
from kit.wechat import load_key
from sandbox.keys import open_keys

from bakes import PROJECT


async def test_the_keys_are_recognisably_of_the_sandbox(merchant):
    keys = merchant.credentials
    assert keys["mchid"].startswith("9")
    assert len(keys["mchid"]) == 10
    assert keys["public_key_id"].startswith("PUB_KEY_ID_9")
    assert len(keys["apiv3_key"]) == len(keys["apiv2_key"]) == 32
    certificate = load_pem_x509_certificate(keys["merchant_certificate_pem"].encode())
    assert "O=SANDBOX" in certificate.subject.rfc4514_string()
    assert f"{certificate.serial_number:040X}" == keys["merchant_serial"]
    merchant_key = load_key(keys["merchant_private_key_pem"]).public_key()
    assert certificate.public_key() == merchant_key
    load_key(keys["wechat_private_key_pem"])
    for party in (keys, keys["sp"], *keys["sub"], *keys["others"]):
        assert party["mchid"].startswith("9")
        assert {app["kind"] for app in party["apps"]} == {"miniprogram", "official_account", "app"}
    assert len({party["mchid"] for party in (keys, keys["sp"], *keys["sub"], *keys["others"])}) == 5


def test_keys_are_made_once_and_only_their_owner_reads_them(tmp_path):
    made = open_keys(tmp_path / "sandbox")
    assert (tmp_path / "sandbox" / "keys.json").stat().st_mode & 0o777 == 0o600
    read = open_keys(tmp_path / "sandbox")
    assert [merchant.signer.private_pem() for merchant in read.merchants] == [
        merchant.signer.private_pem() for merchant in made.merchants
    ]
    assert read.merchants[2].subs == made.merchants[2].subs
    assert read.platform[0].serial == made.platform[0].serial
    assert [asdict(app) for app in read.apps] == [asdict(app) for app in made.apps]
    for secret in (made.merchants[0].apiv3_key, made.apiv2_key, made.apps[0].secret):
        assert secret not in repr(made)


@pytest.mark.parametrize(
    ("name", "form", "message"),
    [
        ("login-code", {"appid": "wx0", "openid": "o"}, "appid"),
        ("login-code", {"openid": "o"}, "appid"),
        ("clock", {"advance_seconds": -1}, "advance_seconds"),
        ("clock", {"advance_seconds": True}, "advance_seconds"),
        ("clock", {"advance_seconds": 1.5}, "advance_seconds"),
        ("clock", {"advance_seconds": 10**12}, "advance_seconds"),
        ("clock", {"seconds": 1}, "advance_seconds"),
    ],
)
async def test_a_control_that_is_called_wrongly_says_so(merchant, name, form, message):
    answer = await merchant.http.post(f"/_sandbox/{name}", json=form)
    assert answer.status_code == 400
    assert message in answer.json()["message"]


@pytest.mark.parametrize("wrong", [{"openid": ""}, {"openid": "<b>"}, {"unionid": 1}, {"x": 1}])
async def test_a_person_needs_a_proper_openid(merchant, wrong):
    form = {"appid": merchant.mini["appid"], "openid": "o"} | wrong
    assert (await merchant.http.post("/_sandbox/login-code", json=form)).status_code == 400


@pytest.mark.parametrize("body", [b"{", b"[]", b"[" * 100_000])
async def test_a_control_takes_a_json_object(merchant, body):
    assert (await merchant.http.post("/_sandbox/pay", content=body)).status_code == 400


async def test_the_clock_tells_its_offset_on_every_answer(merchant):
    answer = await merchant.control("clock", advance_seconds=90)
    assert answer["offset_seconds"] == 90
    assert answer["now"].endswith("+08:00")
    for path in ("/healthz", "/v3/certificates", "/nowhere", "/_sandbox/orders", "/sns/auth"):
        assert (await merchant.http.get(path)).headers["X-Sandbox-Offset"] == "90"


async def test_orders_are_listed_as_they_are_and_paged_by_next(merchant, shop, until):
    first, prepay_id = await merchant.prepay()
    second, _ = await merchant.prepay()
    paid = await merchant.pay(prepay_id, coupon_fen=90)
    await until(lambda: len(shop.received) == 1)
    await asyncio.sleep(0.02)
    page = await merchant.control("orders")
    assert page["orders"][0] == {
        "mchid": merchant.mchid,
        "out_trade_no": first["out_trade_no"],
        "transaction_id": paid["transaction_id"],
        "trade_state": "SUCCESS",
        "total": 990,
        "payer_total": 900,
        "refunds": [],
        "notified": True,
    }
    rest = (await merchant.http.get("/_sandbox/orders?after=1")).json()
    assert [row["out_trade_no"] for row in rest["orders"]] == [second["out_trade_no"]]
    after = (await merchant.http.get(f"/_sandbox/orders?after={rest['next']}")).json()
    assert after == {"orders": [], "next": None}
    assert (await merchant.http.get("/_sandbox/orders?after=x")).status_code == 400


async def test_the_log_is_read_from_where_one_left_off(merchant):
    await merchant.prepay()
    page = await merchant.control("log")
    entry = page["entries"][-1]
    assert (entry["method"], entry["url"]) == ("POST", "/v3/pay/transactions/jsapi")
    assert entry["signed_message"] == (
        "POST\n/v3/pay/transactions/jsapi\n"
        + entry["request_headers"]["authorization"].split('timestamp="')[1].split('"')[0]
        + "\n"
        + entry["request_headers"]["authorization"].split('nonce_str="')[1].split('"')[0]
        + f"\n{entry['request_body']}\n"
    )
    assert entry["status"] == 200
    assert entry["verdict"].startswith("passed: the merchant's certificate verifies")
    rest = (await merchant.http.get(f"/_sandbox/log?after={page['next']}")).json()
    assert rest == {"entries": [], "next": None}


@pytest.mark.parametrize(
    ("origin", "status"),
    [
        ("http://127.0.0.1:8000", 200),
        ("http://localhost:8000", 200),
        ("https://evil.example.com", 403),
        ("http://127.0.0.1.example.com", 403),
        ("null", 403),
    ],
)
async def test_only_loopback_pages_use_the_controls(merchant, origin, status):
    headers = {"Origin": origin}
    answer = await merchant.http.get("/_sandbox/credentials", headers=headers)
    assert answer.status_code == status
    allowed = answer.headers.get("Access-Control-Allow-Origin")
    assert allowed == (origin if status == 200 else None)


async def test_a_loopback_page_may_ask_first(merchant):
    headers = {"Origin": "http://127.0.0.1:8000", "Access-Control-Request-Method": "POST"}
    answer = await merchant.http.options("/_sandbox/pay", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["Access-Control-Allow-Headers"] == "content-type"
    assert answer.headers["Access-Control-Allow-Credentials"] == "true"


@pytest.mark.parametrize("path", ["/", "/console.js", "/console.css"])
async def test_the_console_is_served_without_foreign_resources(merchant, path):
    answer = await merchant.http.get(path)
    assert answer.status_code == 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "default-src 'self'" in answer.headers["Content-Security-Policy"]
    assert "https://" not in answer.text
    assert "innerHTML" not in answer.text


async def test_the_bridge_is_served_as_a_script_when_it_is_there(merchant):
    answer = await merchant.http.get("/bridge.js")
    there = (PROJECT / "sandbox" / "bridge.js").exists()
    assert answer.status_code == (200 if there else 404)
    if there:
        assert answer.headers["Content-Type"] == "application/javascript"
        assert answer.headers["Cache-Control"] == "no-store"


async def start(tmp_path, *options):
    root = PROJECT
    environment = os.environ | {"SANDBOX_VAR": str(tmp_path), "PYTHONPATH": str(root)}
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sandbox", *options),
        cwd=tmp_path,
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
async def test_the_command_says_where_it_is_and_stops_at_once_even_when_hanging(
    tmp_path, how, until
):
    process = await start(tmp_path, "--port", "0")
    url = (await process.stdout.readline()).decode().split()[1]
    async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
        assert (await http.get("/healthz")).text == "ok"
        await http.post("/_sandbox/faults", json={"answers": {"code2session": "hang"}})
        hanging = asyncio.create_task(http.get("/sns/jscode2session"))

        async def arrived():
            return bool((await http.get("/_sandbox/log")).json()["entries"])

        await until(arrived)
        process.send_signal(how)
        async with asyncio.timeout(2):
            out, error = await process.communicate()
        with pytest.raises(httpx.HTTPError):
            await hanging
    assert process.returncode == 0
    assert error == b""
    assert out.decode().count("relaxed: ") == 3


async def test_a_taken_port_is_one_sentence(tmp_path, sandbox_url):
    process = await start(tmp_path, "--port", sandbox_url.rsplit(":", 1)[1])
    _, error = await process.communicate()
    assert process.returncode == 1
    assert error.decode().startswith("cannot listen on 127.0.0.1:")
    assert len(error.decode().splitlines()) == 1
