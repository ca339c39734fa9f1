"""A channel that is switched off while rows of it live: it finishes, or a person hears of it."""

import importlib
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from checkout.models import Notification, Order, Payment, Refund, Share
from kit.books import compare, next_noon
from kit.buyers import ADMIN, give_back
from kit.channels import exercise
from kit.logs import Diary
from kit.running import RunningShop
from kit.waiting import until

from shop import doctor


class TestItsSettingsAreThere:
    """SHOP_CHANNELS leaves it out: it takes no new payments, and finishes what it began."""

    @pytest.fixture
    def more_settings(self) -> Iterator[Any]:
        with exercise():
            yield {"SHOP_CHANNELS": "wechat"}

    @pytest.fixture
    def bank(self, running: RunningShop) -> Any:
        return importlib.import_module("checkout.channels.voucher").BANK

    async def begun(
        self, running: RunningShop, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Any, str, str]:
        """Start a payment before it is switched off."""
        buyer = await running.buyer()
        order_no = (await buyer.order())["order_no"]
        with monkeypatch.context() as patch:
            patch.setattr(running.shop.checkout.channels, "wanted", ["voucher"])
            path = f"/api/orders/{order_no}/payments"
            answer = await buyer.post(path, {"scene": "native", "channel": "voucher"})
        assert answer.status_code == 201
        return buyer, order_no, answer.json()["out_trade_no"]

    async def test_a_new_payment_is_refused(self, running: RunningShop) -> None:
        buyer = await running.buyer()
        path = f"/api/orders/{(await buyer.order())['order_no']}/payments"
        answer = await buyer.post(path, {"scene": "native", "channel": "voucher"})
        assert (answer.status_code, answer.json()["code"]) == (409, "SCENE_OFF")
        assert not await Payment.exists()

    async def test_its_notification_pays_and_its_refund_goes_back(
        self, running: RunningShop, bank: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        buyer, order_no, number = await self.begun(running, monkeypatch)
        answer = await running.http.post("/notify/voucher", content=bank.pay(number))
        assert answer.status_code == 200
        assert await buyer.state(order_no) == "PAID"
        assert (await give_back(running, order_no, 100)).status_code == 202
        assert (await Refund.get()).state == "SUCCESS"

    async def test_the_sweep_closes_it_and_another_channel_takes_its_place(
        self, running: RunningShop, bank: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        buyer, order_no, number = await self.begun(running, monkeypatch)
        answer = await buyer.start(order_no)
        assert answer.status_code == 201
        assert bank.vouchers[number].state == "CLOSED"

    async def test_nothing_waits_for_it(
        self, running: RunningShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        await self.begun(running, monkeypatch)
        assert await running.shop.checkout.switched_off() == {}


async def vanish() -> None:
    """Let every row be of a channel that is not set up any more."""
    for table in (Payment, Share, Refund, Notification):
        await table.all().update(channel="gone")


async def started(running: RunningShop) -> tuple[Any, str, dict[str, Any]]:
    """Start a payment of a channel that is gone then."""
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    answer = await buyer.start(order_no)
    await vanish()
    return buyer, order_no, answer.json()


async def paid(running: RunningShop) -> tuple[Any, str, str]:
    """Pay by a channel that is gone then."""
    buyer = await running.buyer()
    order_no = (await buyer.order())["order_no"]
    answer = (await buyer.start(order_no)).json()
    await buyer.pay(answer["invoke"])
    await until(lambda: Order.exists(order_no=order_no, state="PAID"))
    await vanish()
    return buyer, order_no, answer["out_trade_no"]


async def test_a_buyer_reads_and_refreshes_the_order(running: RunningShop) -> None:
    buyer, order_no, _ = await started(running)
    for path in (f"/api/orders/{order_no}", f"/api/orders/{order_no}?refresh=1"):
        answer = await buyer.get(path)
        assert answer.status_code == 200
        assert answer.json()["payments"][0]["channel"] == "gone"


async def test_a_payment_that_nobody_can_close_keeps_others_out(running: RunningShop) -> None:
    buyer, order_no, _ = await started(running)
    for scene in ("miniprogram", "native"):
        answer = await buyer.start(order_no, scene)
        assert (answer.status_code, answer.json()["code"]) == (409, "PAYMENT_IN_PROGRESS")
        assert int(answer.headers["Retry-After"]) > 0


async def test_a_cancel_waits_for_it(running: RunningShop) -> None:
    buyer, order_no, _ = await started(running)
    answer = await buyer.post(f"/api/orders/{order_no}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")


async def test_a_refund_is_refused_and_nothing_is_reserved(running: RunningShop) -> None:
    _, order_no, _ = await paid(running)
    answer = await give_back(running, order_no, 100)
    assert (answer.status_code, answer.json()["code"]) == (409, "SCENE_OFF")
    assert not await Refund.exists()
    assert (await Share.get()).reserved_fen == 0


async def test_its_notifications_are_not_taken(running: RunningShop) -> None:
    assert (await running.http.post("/notify/gone", content=b"{}")).status_code == 404


async def test_an_operator_asks_and_replays_without_effect(running: RunningShop) -> None:
    _, _, answer = await started(running)
    path = f"/api/admin/payments/{answer['out_trade_no']}/query"
    asked = await running.http.post(path, json={}, headers=ADMIN)
    assert (asked.status_code, asked.json()["state"]) == (200, "OPEN")
    row = await open_notification(running)
    path = f"/api/admin/notifications/{row.id}/replay"
    replayed = await running.http.post(path, json={}, headers=ADMIN)
    assert replayed.status_code == 200
    assert replayed.json()["outcome"] == "UNMATCHED"


async def test_a_person_closes_a_held_one(running: RunningShop) -> None:
    _, _, answer = await started(running)
    await Payment.all().update(state="HELD", due_at=None)
    path = f"/api/admin/payments/{answer['out_trade_no']}/close"
    closed = await running.http.post(path, json={"reason": "looked there"}, headers=ADMIN)
    assert (closed.status_code, closed.json()["state"]) == (200, "CLOSED")


async def test_the_sweep_alarms_and_goes_on(running: RunningShop, diary: Diary) -> None:
    _, order_no, _ = await started(running)
    await open_notification(running)
    other = await running.buyer("oOther")
    await other.start((await other.order())["order_no"])
    await running.advance(1800 + 61)
    await running.shop.checkout.sweep_once()
    assert (await Order.get(order_no=order_no)).state == "CLOSING"
    assert await Order.exists(state="CLOSED"), "the other one"
    assert "a channel is switched off, rows of it wait" in diary.alarms
    assert diary.fields("a channel is switched off, rows of it wait")[0]["rows"] == 2
    assert diary.fields("sweep of one row failed") == []


async def test_readyz_metrics_and_the_doctor_show_what_waits(running: RunningShop) -> None:
    ready = await running.http.get("/readyz")
    assert ready.json()["channels"] == "ok"
    await started(running)
    ready = await running.http.get("/readyz")
    assert ready.status_code == 200, "others can pay"
    assert ready.json()["channels"] == {"gone": "switched off, 1 rows wait"}
    metrics = await running.http.get("/metrics", headers=ADMIN)
    assert 'shop_switched_off_rows{channel="gone"} 1.0' in metrics.text
    [finding] = await doctor._switched_off(running.shop)
    assert (finding.ok, finding.what) == (False, "channel gone: 1 rows")
    await Payment.all().update(due_at=None)
    metrics = await running.http.get("/metrics", headers=ADMIN)
    assert "shop_switched_off_rows{" not in metrics.text


async def test_the_bill_knows_rows_of_a_channel_with_the_same_books(running: RunningShop) -> None:
    _, order_no, _ = await paid(running)
    await Order.filter(order_no=order_no).update(due_at=None)
    assert (await compare(running, await next_noon(running)))[0] == []


async def open_notification(running: RunningShop) -> Notification:
    now = running.shop.clock.now()
    return await Notification.create(
        channel="gone",
        kind="payment",
        key="k",
        headers={},
        body=b"{}",
        outcome="UNMATCHED",
        received_at=now,
        due_at=now + timedelta(seconds=1),
    )
