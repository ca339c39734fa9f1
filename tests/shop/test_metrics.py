"""/metrics: behind the admin token, and every number is the truth of the moment."""

import re
from datetime import timedelta

import pytest
from checkout.models import BillDifference, Notification, Payment, Refund
from kit.buyers import ADMIN, bought, give_back, paying
from kit.databases import EVERY_DATABASE
from kit.running import RunningShop
from kit.waiting import until
from kit.wechat import WeChat


async def metrics(running: RunningShop) -> dict[str, float]:
    answer = await running.http.get("/metrics", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return {
        name: float(value) for name, value in re.findall(r"^(shop_\S+) (\S+)$", answer.text, re.M)
    }


async def test_metrics_need_the_admin_token(running: RunningShop) -> None:
    assert (await running.http.get("/metrics")).status_code == 401
    wrong = {"Authorization": "Bearer " + "x" * 40}
    assert (await running.http.get("/metrics", headers=wrong)).status_code == 401


class TestWithoutToken:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_ADMIN_TOKEN": ""}

    async def test_without_a_token_there_are_none(self, running: RunningShop) -> None:
        assert (await running.http.get("/metrics", headers=ADMIN)).status_code == 404


@EVERY_DATABASE
async def test_payments_refunds_and_ages_are_counted(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("not now")

    monkeypatch.setattr("kit.owner.on_refunded", fails)
    _, order_no, _ = await bought(running)
    await give_back(running, order_no, 100)
    await paying(running)
    await running.advance(400)
    await until(lambda: Refund.exists(state="SUCCESS"))
    await running.shop.checkout.work.drain(seconds=5)
    numbers = await metrics(running)
    assert numbers['shop_payments{state="OPEN"}'] == 1
    assert numbers['shop_payments{state="HELD"}'] == numbers['shop_refunds{state="ABNORMAL"}'] == 0
    assert numbers['shop_open_payments{seconds="300"}'] == 0
    assert numbers['shop_open_payments{seconds="900"}'] == 1
    assert numbers["shop_events_waiting"] == 1
    assert numbers['shop_inbox{outcome="UNMATCHED"}'] == 0


async def test_what_is_over_was_counted_when_it_happened(running: RunningShop) -> None:
    _, order_no, _ = await bought(running)
    await give_back(running, order_no, 9900)
    await running.advance(400)
    await until(lambda: Refund.exists(state="SUCCESS"))
    await running.shop.checkout.work.drain(seconds=5)
    numbers = await metrics(running)
    moved = {name: count for name, count in numbers.items() if name.startswith("shop_moves_total")}
    assert moved == {
        f'shop_moves_total{{subject="{subject}",to_state="{state}"}}': 1
        for subject, state in (
            ("payment", "PAID"),
            ("order", "PAID"),
            ("refund", "PROCESSING"),
            ("refund", "SUCCESS"),
            ("order", "REFUNDED"),
        )
    }


async def test_an_open_notification_is_shown_as_long_as_it_is_tried_again(
    running: RunningShop,
) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    trade = await wechat.trade(started["out_trade_no"])
    await wechat.notify(trade | {"out_trade_no": "Snobody000001"})
    name = 'shop_inbox{outcome="UNMATCHED"}'
    assert (await metrics(running))[name] == 1
    await Notification.all().update(due_at=None)
    assert (await metrics(running))[name] == 0


async def test_differences_are_shown_for_a_month(running: RunningShop) -> None:
    today = running.shop.clock.now().date()
    for days in (1, 40):
        await BillDifference.create(
            channel="wechat",
            date=today - timedelta(days=days),
            kind="amount",
            number="S1",
            here="1",
            there="2",
            found_at=running.shop.clock.now(),
        )
    assert (await metrics(running))["shop_bill_differences"] == 1


async def test_notifications_are_counted_by_outcome_and_reason(running: RunningShop) -> None:
    _, _, started = await paying(running)
    wechat = WeChat(running)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    await wechat.send(body, signature="WECHATPAY/SIGNTEST/AAAA")
    await wechat.send(body, signature="AAAA")
    await wechat.send(body, age=600)
    await wechat.send(body, serial="PUB_KEY_ID_900000")
    await wechat.send(wechat.seal(await wechat.trade(started["out_trade_no"]), key="k" * 32))
    await wechat.send(body)
    numbers = await metrics(running)
    name = "shop_notifications_total"
    assert numbers[f'{name}{{outcome="NOT_PROVED",reason="probe"}}'] == 1
    assert numbers[f'{name}{{outcome="NOT_PROVED",reason="attack"}}'] == 2
    assert numbers[f'{name}{{outcome="NOT_PROVED",reason="wrong_key"}}'] == 1
    assert numbers[f'{name}{{outcome="UNDECRYPTABLE",reason="wrong_key"}}'] == 1
    assert numbers[f'{name}{{outcome="APPLIED",reason=""}}'] == 1


async def test_the_lag_is_that_of_the_most_overdue_row(running: RunningShop) -> None:
    await paying(running)
    assert (await metrics(running))["shop_sweep_lag_seconds"] == 0
    await Payment.all().update(due_at=running.shop.clock.now() - timedelta(seconds=90))
    assert 90 <= (await metrics(running))["shop_sweep_lag_seconds"] < 100
    assert not await Refund.exists()


async def test_the_skew_is_read_off_signed_answers(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paying(running)
    assert abs((await metrics(running))["shop_clock_skew_seconds"]) < 5
    real = running.shop.clock.real
    monkeypatch.setattr("checkout.clock.Clock.real", staticmethod(lambda: real() - 100))
    await paying(running)
    assert 95 < (await metrics(running))["shop_clock_skew_seconds"] < 105
