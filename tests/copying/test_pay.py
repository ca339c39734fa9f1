"""One object takes payments: Pay with asyncio and PaySync without, against a sandbox until paid."""

import asyncio
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
from sandbox.testing import running_sandbox
from wechat import login, meanings
from wechat.errors import (
    DecryptFailed,
    MalformedAnswer,
    OutcomeUnknown,
    Refused,
    SignatureInvalid,
)
from wechat.pay import OPTIONAL, VARIABLES, Pay, sandbox_settings
from wechat.payment import Transaction
from wechat.refunds import RefundAnswer
from wechat.sync import PaySync

from bakes import PROJECT
from running import JSON, Notified

FORKED = """
import os, signal, sys
from wechat.sync import PaySync
pay = PaySync.for_sandbox(sys.argv[1], notify_url="http://127.0.0.1:9/notify")
order = {"description": "tea", "total_fen": 990}
print(pay.native(**order, out_trade_no="F-PARENT1"), flush=True)
child = os.fork()
signal.alarm(40)  # whoever hangs leaves nothing behind
print(pay.native(**order, out_trade_no=f"F-AFTER-{bool(child)}"), flush=True)
if child:
    print(os.waitpid(child, 0)[1])
"""


@pytest.fixture
async def sandbox() -> AsyncIterator[httpx.AsyncClient]:
    """A running sandbox, as a client whose base_url is its address."""
    async with (
        running_sandbox() as url,
        httpx.AsyncClient(base_url=url, trust_env=False, timeout=20) as http,
    ):
        yield http


@pytest.fixture
async def pay(sandbox: httpx.AsyncClient, notified: Notified) -> AsyncIterator[Pay]:
    """A mini program's payments; notifications go to `notified`."""
    made = await Pay.for_sandbox(str(sandbox.base_url), notify_url=notified.url)
    yield made
    await made.aclose()


def order(**more: Any) -> dict[str, Any]:
    return {
        "description": "一盒茶",
        "out_trade_no": f"P{secrets.token_hex(8)}",
        "total_fen": 990,
        **more,
    }


async def control(sandbox: httpx.AsyncClient, name: str, **form: Any) -> JSON:
    answer = await sandbox.post(f"/_sandbox/{name}", json=form)
    assert answer.is_success, answer.text
    result: JSON = answer.json()
    return result


async def buyer(sandbox: httpx.AsyncClient, pay: Pay) -> str:
    """Let somebody log in; return the openid."""
    openid = f"o{secrets.token_hex(8)}"
    await control(sandbox, "login-code", appid=pay.appid, openid=openid)
    return openid


async def arrived(pay: Pay, notified: Notified) -> Transaction | RefundAnswer:
    """Receive the next notification."""
    return await pay.receive(*await asyncio.to_thread(notified.next))


async def test_a_mini_program_s_payment_is_ordered_paid_and_received(
    sandbox: httpx.AsyncClient, pay: Pay, notified: Notified
) -> None:
    asked = order(openid=await buyer(sandbox, pay))
    invoke = await pay.miniprogram(**asked)
    done = await control(sandbox, "pay", appId=pay.appid, **invoke)
    assert done["err_msg"] == "requestPayment:ok", done
    received = await arrived(pay, notified)
    assert isinstance(received, Transaction)
    assert (received.trade_state, received.total_fen) == ("SUCCESS", 990)
    assert received.out_trade_no == asked["out_trade_no"]
    assert received.transaction_id == done["transaction_id"]
    assert (await pay.query(asked["out_trade_no"])).transaction_id == done["transaction_id"]


@pytest.mark.parametrize("product", ["jsapi", "app"])
async def test_what_jsapi_and_app_return_opens_the_cashier(
    sandbox: httpx.AsyncClient, notified: Notified, product: str
) -> None:
    kind = {"jsapi": "official_account", "app": "app"}[product]
    pay = await Pay.for_sandbox(str(sandbox.base_url), notify_url=notified.url, kind=kind)
    openid = {"openid": "oBuyer"} if product == "jsapi" else {}
    if openid:
        await control(sandbox, "oauth-code", appid=pay.appid, **openid)
    invoke = await getattr(pay, product)(**order(**openid))
    done = await control(sandbox, "pay", **invoke)
    assert "transaction_id" in done, done
    assert isinstance(await arrived(pay, notified), Transaction)
    await pay.aclose()


async def test_a_native_order_returns_what_is_drawn_as_a_qr_code(
    sandbox: httpx.AsyncClient, pay: Pay, notified: Notified
) -> None:
    code_url = await pay.native(**order(attach="table 7"))
    await control(sandbox, "scan", code_url=code_url)
    received = await arrived(pay, notified)
    assert isinstance(received, Transaction)
    assert received.attach == "table 7"


async def test_an_h5_order_returns_a_link(sandbox: httpx.AsyncClient, pay: Pay) -> None:
    link = await pay.h5(**order(payer_client_ip="192.0.2.7"))
    assert link.startswith(str(sandbox.base_url))


async def test_an_order_lasts_half_an_hour_or_until_time_expire(
    pay: Pay, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies: list[Any] = []
    post = pay.client.post

    async def keep(path: str, body: Any) -> Any:
        bodies.append(body)
        return await post(path, body)

    monkeypatch.setattr(pay.client, "post", keep)
    end = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    await pay.native(**order())
    await pay.native(**order(time_expire=end))
    half_an_hour = datetime.now(UTC) + timedelta(minutes=30)
    expires = [datetime.fromisoformat(body["time_expire"]) for body in bodies]
    assert timedelta() <= half_an_hour - expires[0] < timedelta(seconds=30)
    assert expires[1] == end


async def test_a_number_is_ordered_again_with_the_same_time_expire_only(pay: Pay) -> None:
    end = datetime.now(UTC) + timedelta(hours=1)
    asked = order(time_expire=end)
    for _ in range(2):
        assert (await pay.native(**asked)).startswith("weixin://")
    with pytest.raises(Refused) as caught:
        await pay.native(**asked | {"time_expire": end + timedelta(minutes=1)})
    assert meanings.is_same_number_other_parameters(caught.value)


async def test_close_ends_an_unpaid_order(pay: Pay) -> None:
    asked = order()
    await pay.native(**asked)
    await pay.close(asked["out_trade_no"])
    assert (await pay.query(asked["out_trade_no"])).trade_state == "CLOSED"


async def test_a_refund_is_asked_received_and_queried(
    sandbox: httpx.AsyncClient, pay: Pay, notified: Notified
) -> None:
    asked = order()
    await control(sandbox, "scan", code_url=await pay.native(**asked))
    await arrived(pay, notified)
    numbers = {"out_trade_no": asked["out_trade_no"], "out_refund_no": "R1"}
    refund = await pay.refund(**numbers, refund_fen=90, total_fen=990, reason="broken")
    assert refund.refund_fen == 90
    received = await arrived(pay, notified)
    assert isinstance(received, RefundAnswer)
    assert (received.status, received.out_refund_no) == ("SUCCESS", "R1")
    assert (await pay.query_refund("R1")).status == "SUCCESS"


@pytest.mark.parametrize("own_app", [False, True])
async def test_a_service_provider_orders_refunds_and_receives_for_its_sub_merchant(
    sandbox: httpx.AsyncClient, notified: Notified, own_app: bool
) -> None:
    url = str(sandbox.base_url)
    settings = await asyncio.to_thread(sandbox_settings, url, service_provider=True)
    if own_app:
        [sub, *_] = (await sandbox.get("/_sandbox/credentials")).json()["sub"]
        settings["sub_appid"] = next(a["appid"] for a in sub["apps"] if a["kind"] == "miniprogram")
    pay = Pay(**settings, notify_url=notified.url)
    asked = order(openid=await buyer(sandbox, pay))
    done = await control(
        sandbox, "pay", appId=settings.get("sub_appid", pay.appid), **await pay.miniprogram(**asked)
    )
    assert done["err_msg"] == "requestPayment:ok", done
    received = await arrived(pay, notified)
    assert isinstance(received, Transaction)
    assert received.parties["sub_mchid"] == settings["sub_mchid"]
    assert received.parties["sp_mchid"] == settings["mchid"]
    assert (await pay.query(asked["out_trade_no"])).trade_state == "SUCCESS"
    numbers = {"out_trade_no": asked["out_trade_no"], "out_refund_no": f"R{asked['out_trade_no']}"}
    await pay.refund(**numbers, refund_fen=90, total_fen=990)
    assert isinstance(await arrived(pay, notified), RefundAnswer)
    assert (await pay.query_refund(numbers["out_refund_no"])).status == "SUCCESS"
    await pay.aclose()


async def test_a_notification_of_another_sub_merchant_is_not_this_one_s(
    sandbox: httpx.AsyncClient, notified: Notified
) -> None:
    settings = await asyncio.to_thread(
        sandbox_settings, str(sandbox.base_url), service_provider=True
    )
    pay = Pay(**settings, notify_url=notified.url)
    await control(sandbox, "scan", code_url=await pay.native(**order()))
    other = Pay(**settings | {"sub_mchid": "1900000109"}, notify_url=notified.url)
    with pytest.raises(MalformedAnswer, match="sub_mchid"):
        await other.receive(*await asyncio.to_thread(notified.next))
    await pay.aclose()
    await other.aclose()


async def test_a_sub_appid_without_its_merchant_is_refused(sandbox: httpx.AsyncClient) -> None:
    settings = await asyncio.to_thread(sandbox_settings, str(sandbox.base_url))
    with pytest.raises(ValueError, match=r"^sub_mchid: missing"):
        Pay(**settings, sub_appid="wx1", notify_url="https://shop.example.com/notify")


async def test_a_notification_that_somebody_changed_is_refused(
    sandbox: httpx.AsyncClient, pay: Pay, notified: Notified
) -> None:
    await control(sandbox, "scan", code_url=await pay.native(**order()))
    headers, body = await asyncio.to_thread(notified.next)
    for forged in (({}, body), (headers, body.replace(b"SUCCESS", b"SUCCEED", 1))):
        with pytest.raises(SignatureInvalid):
            await pay.receive(*forged)


async def test_a_notification_of_another_merchant_is_not_this_one_s(
    sandbox: httpx.AsyncClient, pay: Pay, notified: Notified
) -> None:
    await control(sandbox, "scan", code_url=await pay.native(**order()))
    message = await asyncio.to_thread(notified.next)
    settings = await asyncio.to_thread(sandbox_settings, str(sandbox.base_url))
    settings["notify_url"] = notified.url
    other_key = Pay(**settings | {"apiv3_key": "x" * 32})
    with pytest.raises(DecryptFailed):
        await other_key.receive(*message)
    other_number = Pay(**settings | {"mchid": "1900000001"})
    with pytest.raises(MalformedAnswer, match="mchid"):
        await other_number.receive(*message)
    await other_key.aclose()
    await other_number.aclose()


async def test_a_client_that_is_handed_in_keeps_its_timeouts_and_stays_open(
    sandbox: httpx.AsyncClient,
) -> None:
    asked: list[JSON] = []

    async def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.extensions["timeout"])
        raise httpx.ReadTimeout("")

    settings = await asyncio.to_thread(sandbox_settings, str(sandbox.base_url))
    timeout = httpx.Timeout(1.25, connect=0.5)
    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), timeout=timeout) as http:
        pay = Pay(**settings, notify_url="https://shop.example.com/notify", http=http)
        with pytest.raises(OutcomeUnknown):
            await pay.query("P0000001")
        await pay.aclose()
        assert asked == [timeout.as_dict()]
        assert http.is_closed is False


async def test_wechat_s_own_words_of_refusal_come_through(
    sandbox: httpx.AsyncClient, pay: Pay
) -> None:
    with pytest.raises(Refused) as caught:
        await pay.query("P-NOT-ORDERED")
    assert caught.value.is_code("ORDER_NOT_EXIST")


async def test_platform_certificates_are_downloaded_when_there_is_no_public_key(
    sandbox: httpx.AsyncClient, notified: Notified
) -> None:
    await control(sandbox, "faults", signing="certificate")
    settings = await asyncio.to_thread(sandbox_settings, str(sandbox.base_url))
    pay = Pay(**settings | {"public_key": "", "public_key_id": ""}, notify_url=notified.url)
    await control(sandbox, "scan", code_url=await pay.native(**order()))
    assert isinstance(await arrived(pay, notified), Transaction)
    await pay.aclose()


@pytest.mark.parametrize("lacking", [name for name in VARIABLES if name not in OPTIONAL])
async def test_a_variable_that_is_missing_is_named(lacking: str) -> None:
    env = {name: "x" for setting, name in VARIABLES.items() if setting != lacking}
    with pytest.raises(ValueError, match=f"^missing: {VARIABLES[lacking]}$"):
        Pay.from_env(env)


@pytest.mark.parametrize("lacking", ["public_key", "public_key_id"])
async def test_half_a_public_key_is_refused(sandbox: httpx.AsyncClient, lacking: str) -> None:
    settings = await asyncio.to_thread(sandbox_settings, str(sandbox.base_url))
    with pytest.raises(ValueError, match=f"^{lacking}: missing"):
        Pay(**settings | {lacking: ""}, notify_url="https://shop.example.com/notify")


async def test_the_environment_makes_a_merchant_or_a_sandbox_never_both(
    sandbox: httpx.AsyncClient,
) -> None:
    url = str(sandbox.base_url)
    notify_url = "https://shop.example.com/notify"
    settings = await asyncio.to_thread(sandbox_settings, url)
    env = {n: settings[s] for s, n in VARIABLES.items() if s in settings}
    env["WECHATPAY_NOTIFY_URL"] = notify_url
    assert Pay.from_env(env).merchant.mchid == settings["mchid"]
    with pytest.raises(ValueError, match="WECHATPAY_SANDBOX: set beside WECHATPAY_MCHID"):
        Pay.from_env(env | {"WECHATPAY_SANDBOX": url})
    with pytest.raises(ValueError, match=r"^missing: WECHATPAY_NOTIFY_URL$"):
        Pay.from_env({"WECHATPAY_SANDBOX": url})
    sandboxed = {"WECHATPAY_SANDBOX": url, "WECHATPAY_NOTIFY_URL": notify_url}
    made = await asyncio.to_thread(Pay.from_env, sandboxed)
    assert made.appid == settings["appid"]


async def test_threads_share_one_loop_and_each_gets_its_own_answer(
    sandbox: httpx.AsyncClient, notified: Notified
) -> None:
    url = str(sandbox.base_url)
    pay = await asyncio.to_thread(PaySync.for_sandbox, url, notify_url=notified.url)

    def work(n: int) -> tuple[str, str, int]:
        asked = order(total_fen=100 + n)
        code_url = pay.native(**asked)
        trade = pay.query(asked["out_trade_no"])
        assert trade.out_trade_no == asked["out_trade_no"]
        return code_url, trade.trade_state, n

    loop = asyncio.get_running_loop()
    with ThreadPoolExecutor(16) as threads:
        done = await asyncio.gather(*(loop.run_in_executor(threads, work, n) for n in range(64)))
    assert {state for _, state, _ in done} == {"NOTPAY"}
    assert len({code_url for code_url, _, _ in done}) == 64
    await control(sandbox, "scan", code_url=done[7][0])
    headers, body = await asyncio.to_thread(notified.next)
    received = await asyncio.to_thread(pay.receive, headers, body)
    assert isinstance(received, Transaction)
    assert received.total_fen == 107
    await asyncio.to_thread(pay.shut_down)


async def test_an_error_reaches_the_thread_that_asked(sandbox: httpx.AsyncClient) -> None:
    url = str(sandbox.base_url)
    notify_url = "https://shop.example.com/notify"
    pay = await asyncio.to_thread(PaySync.for_sandbox, url, notify_url=notify_url)
    with pytest.raises(Refused):
        await asyncio.to_thread(pay.query, "P-NOT-ORDERED")
    with pytest.raises(ValueError, match="total_fen"):
        await asyncio.to_thread(lambda: pay.native(**order(total_fen=0)))
    with pytest.raises(SignatureInvalid):
        await asyncio.to_thread(pay.receive, {}, b"{}")
    await asyncio.to_thread(pay.shut_down)


async def test_a_thread_reaches_the_rest_of_the_folder(sandbox: httpx.AsyncClient) -> None:
    url = str(sandbox.base_url)
    notify_url = "https://shop.example.com/notify"
    pay = await asyncio.to_thread(PaySync.for_sandbox, url, notify_url=notify_url)
    apps = (await sandbox.get("/_sandbox/credentials")).json()["apps"]
    app = {name: apps[0][name] for name in ("appid", "secret")}
    code = await control(sandbox, "login-code", appid=app["appid"], openid="oThread")

    def log_in() -> login.MiniProgramLogin:
        asked = {**app, "code": code["code"], "host": url}
        return pay.wait(lambda pay: login.code2session(pay.http, **asked))

    assert (await asyncio.to_thread(log_in)).openid == "oThread"
    await asyncio.to_thread(pay.shut_down)


async def test_a_process_that_was_forked_pays_with_connections_of_its_own(
    sandbox: httpx.AsyncClient,
) -> None:
    command = [sys.executable, "-c", FORKED, str(sandbox.base_url)]
    done = await asyncio.to_thread(
        subprocess.run, command, cwd=PROJECT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    lines = done.stdout.split()
    assert len([line for line in lines if line.startswith("weixin://")]) == 3
    assert lines[-1] == "0"


def test_pay_sync_has_every_method_of_pay() -> None:
    public = {name for name in vars(Pay) if not name.startswith("_")}
    assert public - {"aclose"} <= vars(PaySync).keys()
