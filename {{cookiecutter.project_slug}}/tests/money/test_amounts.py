"""Rule 1: integer fen everywhere, and the price comes from the catalogue."""

import secrets
from collections.abc import Callable
from typing import Any

import pytest

from checkout.models import Order
from kit import owner
from kit.buyers import JSON
from kit.running import RunningShop, partner

NO_INTEGERS = {
    "a float": b"1.0",
    "an exponent": b"1e2",
    "a string": b'"1"',
    "a bool": b"true",
    "null": b"null",
    "zero": b"0",
    "below zero": b"-1",
    "huge": b"9" * 400,
}
NO_AMOUNTS = ("12.345", "12,34", "1e2", "-1.00", "0.00", " 1.00", "１.00", "", "1" * 40)


@pytest.mark.parametrize("case", NO_INTEGERS)
async def test_rule_1_an_amount_that_is_no_integer_is_refused_and_the_field_is_named(
    running: RunningShop, case: str
) -> None:
    buyer = await running.buyer()
    body = b'{"items":[{"sku":"sample","quantity":%s}]}' % NO_INTEGERS[case]
    headers = {**buyer.headers, **JSON, "Idempotency-Key": secrets.token_hex(8)}
    answer = await running.http.post("/api/orders", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert answer.json()["field"] == "items[0].quantity"
    assert await Order.all().count() == 0


async def test_rule_1_the_price_is_the_catalogue_s_whatever_a_client_sends(
    running: RunningShop,
) -> None:
    buyer = await running.buyer()
    for field in ("price_fen", "total_fen", "price"):
        body = {"items": [{"sku": "cup", "quantity": 2, field: 1}]}
        answer = await buyer.post("/api/orders", body, **{"Idempotency-Key": secrets.token_hex(8)})
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    price_fen = (await owner.products())["cup"].price_fen
    assert (await buyer.order("cup", 2))["total_fen"] == 2 * price_fen


@pytest.mark.parametrize("amount", NO_AMOUNTS)
async def test_rule_1_what_a_buyer_types_is_yuan_with_two_digits_or_refused(
    running: RunningShop, amount: str
) -> None:
    buyer = await running.buyer()
    body = {"amount_yuan": amount, "scene": "miniprogram"}
    answer = await buyer.post("/api/collect", body, **{"Idempotency-Key": secrets.token_hex(8)})
    assert (answer.status_code, answer.json()["field"]) == (400, "amount_yuan")


class TestAsServiceProvider:
    """Typed amounts are a product for service providers 服务商."""

    @pytest.fixture
    def more_settings(self) -> Callable[[dict[str, Any]], dict[str, str]]:
        return partner

    async def test_rule_1_a_typed_amount_becomes_exactly_its_fen(
        self, running: RunningShop
    ) -> None:
        buyer = await running.buyer()
        body = {"amount_yuan": "12.34", "scene": "miniprogram"}
        answer = await buyer.post("/api/collect", body, **{"Idempotency-Key": secrets.token_hex(8)})
        assert answer.status_code == 201, answer.text
        assert (await Order.get()).total_fen == 1234
