"""The amount widget 金额控件: an amount typed by the buyer passes one gate, exactly, or not at all."""

from decimal import Decimal
from typing import Any

import pytest
from checkout.errors import BadRequest
from checkout.models import Order, Payment
from hypothesis import given
from hypothesis import strategies as st
from kit.answers import document, fits
from kit.books import calls
from kit.running import BuyerClient, RunningShop, partner
from kit.waiting import until

from shop import money

ALLOWED = range(1, 1_000_001)


class TestProvider:
    @pytest.fixture
    def more_settings(self) -> Any:
        return lambda credentials: {**partner(credentials), "SHOP_COLLECT_MAX_FEN": "500000"}

    async def test_a_typed_amount_is_ordered_by_scannedpos_and_paid(
        self, running: RunningShop
    ) -> None:
        buyer = await running.buyer()
        answer = await collect(buyer, "12.34")
        assert answer.status_code == 201, answer.text
        collected = answer.json()
        assert set(collected) == {"order_no", "out_trade_no", "invoke"}
        [sent] = await calls(running, "/scannedpos")
        assert '"total":1234' in sent["request_body"]
        assert collected["invoke"]["package"].startswith("prepay_id=up_wx")
        assert (await buyer.pay(collected["invoke"]))["err_msg"] == "requestPayment:ok"

        async def paid() -> bool:
            return await buyer.state(collected["order_no"]) == "PAID"

        await until(paid)
        assert (await Order.get()).total_fen == 1234
        shapes = await document(running)
        schema = {"$ref": "#/components/schemas/Collected"}
        assert fits(collected, schema, shapes["components"]["schemas"])

    async def test_the_same_key_is_the_same_order(self, running: RunningShop) -> None:
        buyer = await running.buyer()
        first, again = await collect(buyer, "5", key="k"), await collect(buyer, "5", key="k")
        assert (first.status_code, again.status_code) == (201, 200)
        assert first.json()["order_no"] == again.json()["order_no"]
        other = await collect(buyer, "5.01", key="k")
        assert (other.status_code, other.json()["code"]) == (409, "IDEMPOTENCY_KEY_REUSED")
        assert await Payment.all().count() == 1

    async def test_without_the_widget_the_amount_is_paid_by_jsapi(
        self, running: RunningShop
    ) -> None:
        buyer = await running.buyer()
        answer = await collect(buyer, "0.01", widget=False)
        assert answer.status_code == 201, answer.text
        assert await calls(running, "/scannedpos") == []
        assert len(await calls(running, "/jsapi")) == 1

    @pytest.mark.parametrize("amount", [12.34, 12, True, None, ["1"], {"yuan": 1}])
    async def test_a_json_number_is_refused_by_name(
        self, running: RunningShop, amount: object
    ) -> None:
        answer = await collect(await running.buyer(), amount)
        assert (answer.status_code, answer.json()["field"]) == (400, "amount_yuan")
        assert await Order.all().count() == 0

    @pytest.mark.parametrize("amount", ["0.1+0.2", "1e2", "５", "-1", "0", "5000.01", "999999.99"])
    async def test_a_strange_amount_is_refused_by_name(
        self, running: RunningShop, amount: str
    ) -> None:
        answer = await collect(await running.buyer(), amount)
        assert (answer.status_code, answer.json()["field"]) == (400, "amount_yuan")
        assert await Order.all().count() == 0

    async def test_a_silent_wechat_is_503_and_nothing_is_lost(
        self, running: RunningShop, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from shop.web import api

        assert api.UNIT_SECONDS <= 25
        monkeypatch.setattr(api, "UNIT_SECONDS", 0.3)
        await running.control("faults", answers={"prepay": "hang"}, times=1)
        buyer = await running.buyer()
        answer = await collect(buyer, "3", key="k")
        assert (answer.status_code, answer.json()["code"]) == (503, "OUTCOME_UNKNOWN")
        assert "retry-after" in answer.headers
        assert await Payment.all().count() == 1

    async def test_other_scenes_have_no_widget(self, running: RunningShop) -> None:
        answer = await collect(await running.buyer(), "1", scene="native")
        assert (answer.status_code, answer.json()["code"]) == (409, "SCENE_OFF")
        assert await Order.all().count() == 0


async def test_a_direct_merchant_collects_nothing(running: RunningShop) -> None:
    answer = await collect(await running.buyer(), "1")
    assert (answer.status_code, answer.json()["code"]) == (409, "SCENE_OFF")
    assert await Order.all().count() == 0


async def test_collecting_needs_a_key(running: RunningShop) -> None:
    buyer = await running.buyer()
    answer = await buyer.post("/api/collect", {"amount_yuan": "1", "scene": "miniprogram"})
    assert answer.json()["code"] == "IDEMPOTENCY_KEY_REQUIRED"


async def collect(
    buyer: BuyerClient, amount: object, key: str = "k1", scene: str = "miniprogram", **more: Any
) -> Any:
    body = {"amount_yuan": amount, "scene": scene, **more}
    return await buyer.post("/api/collect", body, **{"Idempotency-Key": key})


@given(st.integers(1, 1_000_000))
def test_every_amount_of_whole_fen_passes_exactly(fen: int) -> None:
    assert money.fen(f"{fen // 100}.{fen % 100:02}", ALLOWED, field="x") == fen
    assert money.fen(str(Decimal(fen) / 100), ALLOWED, field="x") == fen


@pytest.mark.parametrize(
    "text",
    [
        *("", " ", "1 ", " 1", "1\n", "+1", "-1", "-0.01", "0", "0.00", "1.", ".5", "1.234", "1,5"),
        *("1_0", "1e2", "1E2", "0x10", "１", "٣", "NaN", "Infinity", "0.1+0.2", "¥5", "10000.01"),
        *("1000000", "1234567.00", "0.30000000000000004", "99999999999999999999"),
    ],
)
def test_every_other_text_is_refused_by_name(text: str) -> None:
    with pytest.raises(BadRequest) as caught:
        money.fen(text, ALLOWED, field="amount_yuan")
    assert caught.value.more == {"field": "amount_yuan"}


@given(st.text(max_size=12))
def test_whatever_passes_is_what_decimal_says(text: str) -> None:
    try:
        fen = money.fen(text, ALLOWED, field="x")
    except BadRequest:
        return
    assert Decimal(text) * 100 == fen
