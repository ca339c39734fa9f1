"""Notifications: what counts as received, the ladder on the virtual clock, the faults."""

import asyncio
import base64
import json
import time
from datetime import datetime
from itertools import pairwise

import httpx
import pytest
from cryptography.exceptions import InvalidSignature

LADDER = [15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600]


async def paid(merchant, **changes):
    """Pay an order, and give its number."""
    body, prepay_id = await merchant.prepay(merchant.order(**changes))
    assert "transaction_id" in await merchant.pay(prepay_id)
    return body["out_trade_no"]


async def sent(merchant):
    """List what the log says of every sending so far."""
    entries = (await merchant.control("log"))["entries"]
    return [entry for entry in entries if entry["kind"] == "notification"]


@pytest.fixture
def logged(merchant, until):
    """Wait until so many sendings are in the log, and give them."""

    async def wait(count):
        async def enough():
            return len(await sent(merchant)) >= count

        await until(enough)
        entries = await sent(merchant)
        assert len(entries) == count
        return entries

    return wait


async def test_the_envelope_is_wechats(merchant, shop, until):
    await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    headers, body = shop.received[0]
    envelope = json.loads(body)
    assert headers["content-type"] == "application/json"
    assert headers["request-id"].endswith("-0")
    assert len(envelope["id"]) == 36
    assert envelope["create_time"].endswith("+08:00")
    assert envelope["event_type"] == "TRANSACTION.SUCCESS"
    assert envelope["resource_type"] == "encrypt-resource"
    resource = envelope["resource"]
    assert (resource["original_type"], resource["associated_data"]) == ("transaction",) * 2
    assert len(resource["nonce"]) == 12


@pytest.mark.parametrize(
    ("status", "counts"),
    [
        (200, True),
        (204, True),
        (201, False),
        (202, False),
        (302, False),
        (401, False),
        (500, False),
    ],
)
async def test_only_200_and_204_count(merchant, shop, logged, status, counts):
    shop.statuses = [status]
    await paid(merchant)
    verdict = (await logged(1))[0]["verdict"]
    assert verdict.startswith(f"received: answered {status}" if counts else "not received")
    assert (await merchant.control("orders"))["orders"][0]["notified"] is counts


async def test_the_ladder_is_the_official_one(merchant, shop, logged):
    shop.statuses = [500] * 17
    await paid(merchant)
    await logged(1)
    for count, pause in enumerate(LADDER, start=1):
        await merchant.control("clock", advance_seconds=pause - 10)
        assert len(await sent(merchant)) == count
        await merchant.control("clock", advance_seconds=10)
        await logged(count + 1)
    times = [datetime.fromisoformat(entry["at"]).timestamp() for entry in await sent(merchant)]
    for pause, (before, after) in zip(LADDER, pairwise(times), strict=True):
        assert after - before == pytest.approx(pause, abs=3)
    await merchant.control("clock", advance_seconds=30 * 24 * 3600)
    entries = await logged(16)
    assert entries[-1]["verdict"].endswith("that was the last repeat")
    assert sum(LADDER) == 24 * 3600 + 4 * 60
    assert len({body for _, body in shop.received}) == 1
    assert len({headers["wechatpay-nonce"] for headers, _ in shop.received}) == 16
    for message in shop.received:
        merchant.verify(message)


async def test_one_jump_over_the_whole_ladder_sends_every_repeat(merchant, shop, logged):
    shop.statuses = [500] * 17
    await paid(merchant)
    await logged(1)
    await merchant.control("clock", advance_seconds=sum(LADDER))
    await logged(16)


async def test_after_a_receipt_there_are_no_repeats(merchant, shop, logged):
    shop.statuses = [500, 204]
    await paid(merchant)
    await logged(1)
    await merchant.control("clock", advance_seconds=15)
    await logged(2)
    await merchant.control("clock", advance_seconds=24 * 3600)
    await paid(merchant)
    await logged(3)
    assert (await merchant.control("orders"))["orders"][0]["notified"] is True


async def test_a_shop_that_is_down_is_tried_again(merchant, shop, logged):
    await paid(merchant, notify_url="http://127.0.0.1:9/notify")
    first = (await logged(1))[0]
    assert first["status"] is None
    assert "ConnectError" in first["verdict"]


async def test_a_shop_that_dies_while_it_is_called_is_tried_again(
    merchant, shop, logged, monkeypatch
):
    """A transport may raise what is no error of httpx, as when the peer is gone at once."""
    post = httpx.AsyncClient.post
    broken = [AttributeError("no peer")]

    async def dying(self, url, **more):
        if "content" in more and broken:
            raise broken.pop()
        return await post(self, url, **more)

    monkeypatch.setattr(httpx.AsyncClient, "post", dying)
    await paid(merchant)
    assert "AttributeError" in (await logged(1))[0]["verdict"]
    await merchant.control("clock", advance_seconds=15)
    assert (await logged(2))[1]["verdict"].startswith("received")


async def test_an_answer_that_comes_too_late_does_not_count(merchant, shop, logged, monkeypatch):
    monkeypatch.setattr("sandbox.notifications.DEADLINE", 0.4)
    shop.open.clear()
    await paid(merchant)
    assert "the answer took longer" in (await logged(1))[0]["verdict"]
    shop.open.set()
    await merchant.control("clock", advance_seconds=15)
    assert (await logged(2))[1]["verdict"].startswith("received")


async def test_in_certificate_mode_the_newest_certificate_in_use_signs(merchant, shop, until):
    for _ in range(2):  # listed, then used
        await merchant.faults(signing="certificate", rotate_certificates=True)
    merchant.credentials = await merchant.control("credentials")
    await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    newest = merchant.credentials["platform_certificates"][-1]["serial"]
    assert merchant.verify(shop.received[0]) == newest


async def test_it_can_be_sent_again_by_hand(merchant, shop, until):
    number = await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    await merchant.control("notify", out_trade_no=number)
    await until(lambda: len(shop.received) == 2)
    assert shop.received[0][1] == shop.received[1][1]
    unknown = await merchant.http.post("/_sandbox/notify", json={"out_trade_no": "S0000000"})
    assert unknown.status_code == 404


async def test_the_log_has_the_text_that_was_signed(merchant, shop, logged):
    await paid(merchant)
    entry = (await logged(1))[0]
    headers = entry["request_headers"]
    timestamp = headers["Wechatpay-Timestamp"]
    nonce = headers["Wechatpay-Nonce"]
    assert entry["signed_message"] == f"{timestamp}\n{nonce}\n{entry['request_body']}\n"


async def test_a_dropped_notification_never_comes_but_can_be_sent(merchant, shop, until):
    await merchant.faults(notifications="drop", times=1)
    lost = await paid(merchant)
    assert (await sent(merchant))[0]["verdict"].startswith("dropped")
    await merchant.control("clock", advance_seconds=24 * 3600)
    later = await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    await merchant.control("notify", out_trade_no=lost)
    await until(lambda: len(shop.received) == 2)
    assert [merchant.open(body)["out_trade_no"] for _, body in shop.received] == [later, lost]


async def test_a_duplicate_is_the_same_notification_twice(merchant, shop, until):
    await merchant.faults(notifications="duplicate")
    await paid(merchant)
    await until(lambda: len(shop.received) == 2)
    assert shop.received[0][1] == shop.received[1][1]


async def test_a_failed_copy_is_not_repeated_once_the_other_was_received(merchant, shop, logged):
    shop.statuses = [500, 204]
    await merchant.faults(notifications="duplicate", times=1)
    first = await paid(merchant)
    await logged(2)
    await merchant.control("clock", advance_seconds=15)
    second = await paid(merchant)
    await logged(3)
    notified = [merchant.open(body)["out_trade_no"] for _, body in shop.received]
    assert notified == [first, first, second]


async def test_reversed_notifications_overtake_each_other(merchant, shop, until):
    await merchant.faults(notifications="reverse")
    first, second, alone = [await paid(merchant) for _ in range(3)]
    await until(lambda: len(shop.received) == 2)
    notified = [merchant.open(body)["out_trade_no"] for _, body in shop.received]
    assert notified == [second, first]
    await merchant.control("clock", advance_seconds=60)
    await until(lambda: len(shop.received) == 3)
    assert merchant.open(shop.received[2][1])["out_trade_no"] == alone


async def test_a_delay_runs_on_the_virtual_clock(merchant, shop, until):
    await merchant.faults(notifications=600, times=1)
    late = await paid(merchant)
    await merchant.control("clock", advance_seconds=590)
    prompt = await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    await merchant.control("clock", advance_seconds=10)
    await until(lambda: len(shop.received) == 2)
    assert [merchant.open(body)["out_trade_no"] for _, body in shop.received] == [prompt, late]


async def test_the_virtual_clock_never_touches_signatures(merchant, shop, until):
    await merchant.control("clock", advance_seconds=365 * 24 * 3600)
    await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    merchant.verify(shop.received[0])


async def test_a_false_amount_is_in_the_notification_only(merchant, shop, until):
    await merchant.faults(notification_amount_delta_fen=-989)
    number = await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    merchant.verify(shop.received[0])
    assert merchant.open(shop.received[0][1])["amount"]["total"] == 1
    assert (await merchant.query(number)).json()["amount"]["total"] == 990


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("wrong_key", InvalidSignature),
        ("signtest", (InvalidSignature, ValueError)),
        ("unknown_serial", LookupError),
        ("stale", AssertionError),
    ],
)
async def test_a_false_signature_does_not_verify_and_the_repeat_does(
    merchant, shop, until, logged, fault, error
):
    shop.statuses = [401]
    await merchant.faults(notification_signature=fault, times=1)
    await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    with pytest.raises(error):
        merchant.verify(shop.received[0])
    assert fault in (await logged(1))[0]["verdict"]
    await merchant.control("clock", advance_seconds=15)
    await until(lambda: len(shop.received) == 2)
    merchant.verify(shop.received[1])


async def test_a_repeat_is_signed_by_the_menu_of_its_own_moment(merchant, shop, until, logged):
    shop.statuses = [500]
    await paid(merchant)
    await logged(1)
    await merchant.faults(notification_signature="wrong_key")
    await merchant.control("clock", advance_seconds=15)
    await until(lambda: len(shop.received) == 2)
    merchant.verify(shop.received[0])
    with pytest.raises(InvalidSignature):
        merchant.verify(shop.received[1])


async def test_some_probes_are_not_even_base64(merchant, shop, until):
    await merchant.faults(notification_signature="signtest")
    for _ in range(20):
        await paid(merchant)
    await until(lambda: len(shop.received) == 20)
    signatures = [headers["wechatpay-signature"] for headers, _ in shop.received]
    assert all(text.startswith("WECHATPAY/SIGNTEST/") for text in signatures)
    assert {len(text) % 4 for text in signatures} == {0, 3}


async def test_a_hundred_payments_at_once_are_all_notified(merchant, shop, until):
    numbers = await asyncio.gather(*(paid(merchant) for _ in range(100)))
    await until(lambda: len(shop.received) == 100)
    notified = {merchant.open(body)["out_trade_no"] for _, body in shop.received}
    assert notified == set(numbers)


async def test_a_stale_signature_is_genuine_but_old(merchant, shop, until):
    await merchant.faults(notification_signature="stale")
    await paid(merchant)
    await until(lambda: len(shop.received) == 1)
    headers = httpx.Headers(shop.received[0][0])
    assert time.time() - int(headers["wechatpay-timestamp"]) > 300
    assert base64.b64decode(headers["wechatpay-signature"], validate=True)
