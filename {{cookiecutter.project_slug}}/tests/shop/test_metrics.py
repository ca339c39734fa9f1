"""/metrics: behind the admin token, and every number is the truth of the moment."""

import re
from datetime import timedelta

import pytest

from checkout.models import Payment, Refund
from tests.shop.conftest import Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import ADMIN, WeChat, bought, give_back, paying, until


async def metrics(stage: Stage) -> dict[str, float]:
    answer = await stage.http.get("/metrics", headers=ADMIN)
    assert answer.status_code == 200, answer.text
    return {
        name: float(value) for name, value in re.findall(r"^(shop_\S+) (\S+)$", answer.text, re.M)
    }


async def test_metrics_need_the_admin_token(stage: Stage) -> None:
    assert (await stage.http.get("/metrics")).status_code == 401
    wrong = {"Authorization": "Bearer " + "x" * 40}
    assert (await stage.http.get("/metrics", headers=wrong)).status_code == 401


class TestWithoutToken:
    @pytest.fixture
    def more_settings(self) -> dict[str, str]:
        return {"SHOP_ADMIN_TOKEN": ""}

    async def test_without_a_token_there_are_none(self, stage: Stage) -> None:
        assert (await stage.http.get("/metrics", headers=ADMIN)).status_code == 404


@EVERY_DATABASE
async def test_payments_refunds_and_ages_are_counted(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: object) -> None:
        raise RuntimeError("not now")

    monkeypatch.setattr("shop.on_paid.on_refunded", fails)
    _, order_no, _ = await bought(stage)
    await give_back(stage, order_no, 100)
    await paying(stage)
    await stage.advance(400)
    await until(lambda: Refund.exists(state="SUCCESS"))
    await stage.shop.checkout.work.drain(seconds=5)
    numbers = await metrics(stage)
    assert numbers['shop_payments{state="PAID"}'] == numbers['shop_payments{state="OPEN"}'] == 1
    assert numbers['shop_payments{state="HELD"}'] == numbers['shop_refunds{state="ABNORMAL"}'] == 0
    assert numbers['shop_refunds{state="SUCCESS"}'] == 1
    assert numbers['shop_open_payments{seconds="300"}'] == 0
    assert numbers['shop_open_payments{seconds="900"}'] == 1
    assert numbers["shop_events_waiting"] == 1
    assert numbers['shop_inbox{outcome="APPLIED"}'] >= 1


async def test_notifications_are_counted_by_outcome_and_reason(stage: Stage) -> None:
    _, _, started = await paying(stage)
    wechat = WeChat(stage)
    body = wechat.seal(await wechat.trade(started["out_trade_no"]))
    await wechat.send(body, signature="WECHATPAY/SIGNTEST/AAAA")
    await wechat.send(body, signature="AAAA")
    await wechat.send(body, age=600)
    await wechat.send(body, serial="PUB_KEY_ID_900000")
    await wechat.send(wechat.seal(await wechat.trade(started["out_trade_no"]), key="k" * 32))
    await wechat.send(body)
    numbers, name = await metrics(stage), "shop_notifications_total"
    assert numbers[f'{name}{{outcome="NOT_PROVED",reason="probe"}}'] == 1
    assert numbers[f'{name}{{outcome="NOT_PROVED",reason="attack"}}'] == 2
    assert numbers[f'{name}{{outcome="NOT_PROVED",reason="wrong_key"}}'] == 1
    assert numbers[f'{name}{{outcome="UNDECRYPTABLE",reason="wrong_key"}}'] == 1
    assert numbers[f'{name}{{outcome="APPLIED",reason=""}}'] == 1


async def test_the_lag_is_that_of_the_most_overdue_row(stage: Stage) -> None:
    await paying(stage)
    assert (await metrics(stage))["shop_sweep_lag_seconds"] == 0
    await Payment.all().update(due_at=stage.shop.clock.now() - timedelta(seconds=90))
    assert 90 <= (await metrics(stage))["shop_sweep_lag_seconds"] < 100
    assert not await Refund.exists()


async def test_the_skew_is_read_off_signed_answers(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    await paying(stage)
    assert abs((await metrics(stage))["shop_clock_skew_seconds"]) < 5
    real = stage.shop.clock.real
    monkeypatch.setattr("checkout.clock.Clock.real", staticmethod(lambda: real() - 100))
    await paying(stage)
    assert 95 < (await metrics(stage))["shop_clock_skew_seconds"] < 105
