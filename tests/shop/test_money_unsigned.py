"""Rules 7 and 10: what nobody signed ends no watch and rejects no refund, whatever code it has."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from checkout.models import Order, Payment, Refund, Share
from kit.buyers import bought, give_back, paying
from kit.databases import EVERY_DATABASE
from kit.logs import Diary
from kit.running import RunningShop

from tests.shop.proxy import Proxy, proxy_to

PRICE = 9900


@pytest.fixture
async def proxy(sandbox_url: str) -> AsyncIterator[Proxy]:
    async with proxy_to(sandbox_url) as proxy:
        yield proxy


@pytest.fixture
def more_settings(proxy: Proxy) -> Any:
    return lambda _: {"SHOP_SANDBOX_URL": proxy.url}


async def refunds_there(running: RunningShop, number: str) -> list[tuple[int, str]]:
    return [
        (made["refund"], made["status"]) for made in (await running.at_wechat(number))["refunds"]
    ]


@EVERY_DATABASE
async def test_rule_7_an_unsigned_404_at_close_and_query_ends_no_watch_over_a_closed_payment(
    running: RunningShop, proxy: Proxy
) -> None:
    buyer, order, started = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"], force=True)
    proxy.unsigned("ORDER_NOT_EXIST", 404, "query", "close")
    await running.sweeps(12, 601)
    payment = await Payment.get()
    assert (payment.state, payment.looks) == ("CLOSED", 0)
    assert payment.due_at is not None
    proxy.mend()
    await running.sweeps(6, 61)
    assert ((await Payment.get()).state, (await Order.get()).state) == ("PAID", "CLOSED")
    assert await refunds_there(running, started["out_trade_no"]) == [(PRICE, "SUCCESS")]


async def test_rule_7_order_paid_keeps_a_closed_payment_due_while_the_query_says_something_else(
    running: RunningShop, proxy: Proxy, diary: Diary
) -> None:
    buyer, order, _ = await paying(running)
    await buyer.post(f"/api/orders/{order['order_no']}/cancel")
    proxy.unsigned("ORDER_PAID", 400, "close")  # and the signed query says CLOSED
    await running.sweeps(6, 601)
    payment = await Payment.get()
    assert (payment.state, payment.looks) == ("CLOSED", 0)
    assert payment.due_at is not None
    assert diary.alarms.count("WeChat says that a closed payment is paid") == 6
    proxy.mend()
    await running.sweeps(3, 601)
    assert (await Payment.get()).due_at is None


@EVERY_DATABASE
@pytest.mark.parametrize("refused", ["json", "html"])
async def test_rule_10_a_refund_that_was_done_is_not_rejected_by_what_nobody_signed(
    running: RunningShop, proxy: Proxy, diary: Diary, refused: str
) -> None:
    """It was done there, its answer became a 403 and its query a 404: never paid back twice."""
    _, order_no, number = await bought(running)
    await running.control("faults", notifications="drop")
    proxy.done_first = True
    if refused == "html":
        proxy.html("refund")
    else:
        proxy.unsigned("INVALID_REQUEST", 403, "refund")
    proxy.unsigned("RESOURCE_NOT_EXISTS", 404, "refund_query")
    await give_back(running, order_no, 300)
    await running.sweeps(8, 301)
    assert (await Refund.get()).state == "PENDING"
    refusals = diary.fields("refund refused, but nobody signs it")
    assert bool(refusals) is (refused == "json"), "a page of a web server is no refusal"
    assert {fields["code"] for fields in refusals} <= {"INVALID_REQUEST"}
    again = await give_back(running, order_no, PRICE - 299)
    assert (again.status_code, again.json()["code"]) == (409, "REFUND_EXCEEDS")
    proxy.mend()
    await running.sweeps(4, 301)
    assert [refund.state for refund in await Refund.all()] == ["SUCCESS"]
    assert await refunds_there(running, number) == [(300, "SUCCESS")]
    share = await Share.get()
    assert (share.reserved_fen, share.refunded_fen) == (300, 300)


async def test_rule_10_a_refusal_with_wechats_code_counts_unsigned_and_a_signed_query_rejects_it(
    running: RunningShop, proxy: Proxy
) -> None:
    """§States: a signed refusal or WeChat's code, five minutes, and a query that is proved."""
    _, order_no, number = await bought(running)
    proxy.unsigned("INVALID_REQUEST", 403, "refund")
    await give_back(running, order_no, 300)
    await running.sweeps(1, 200)
    assert (await Refund.get()).state == "PENDING"
    await running.sweeps(1, 101)
    assert (await Refund.get()).state == "REJECTED"
    assert (await Share.get()).reserved_fen == 0
    assert await refunds_there(running, number) == []
