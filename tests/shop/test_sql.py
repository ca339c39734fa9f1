"""Rows that our own statements read are what Tortoise would have read."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from checkout import sql
from checkout.models import Event, Notification, Order, OrderItem, Payment, Refund, Share
from kit.buyers import bought, give_back
from kit.databases import EACH_SERVER_TOO
from kit.running import RunningShop
from tortoise.models import Model

TABLES = (Order, OrderItem, Payment, Share, Refund, Notification, Event)


def values_of(row: Model) -> dict[str, tuple[type, Any]]:
    """Return every attribute that a row has, with its type: True is not 1."""
    attributes = row._meta.fields_db_projection
    held = {name: getattr(row, name) for name in attributes if hasattr(row, name)}
    return {name: (type(value), value) for name, value in held.items()}


async def bought_and_given_back(running: RunningShop) -> None:
    _, order_no, _ = await bought(running)
    assert (await give_back(running, order_no, 100)).status_code == 202


@EACH_SERVER_TOO
@pytest.mark.parametrize("table", TABLES)
async def test_a_row_is_the_same_whoever_reads_it(running: RunningShop, table: type[Model]) -> None:
    await bought_and_given_back(running)
    read = sql.Read(f"SELECT {{r}} FROM {table._meta.db_table} r ORDER BY r.id", r=table)
    ours = [row for (row,) in await read.rows()]
    theirs = await table.all().order_by("id")
    assert ours
    assert [values_of(row) for row in ours] == [values_of(row) for row in theirs]
    assert [vars(row).keys() for row in ours] == [vars(row).keys() for row in theirs]


@EACH_SERVER_TOO
async def test_a_row_that_lacks_columns_says_so_and_is_not_saved_whole(
    running: RunningShop,
) -> None:
    _, _, out_trade_no = await bought(running)
    rows = await sql.payment_rows(out_trade_no)
    assert rows
    stored = values_of(await Payment.get())
    assert values_of(rows.payment).items() <= stored.items()
    assert values_of(rows.payment).keys() < stored.keys()
    with pytest.raises(AttributeError, match="request"):
        _ = rows.payment.request
    with pytest.raises(Exception, match="partial model"):
        await rows.payment.save()
    await rows.order.save()  # whole: an owner's hook may do this


@EACH_SERVER_TOO
async def test_times_are_utc_and_a_naive_one_is_refused(running: RunningShop) -> None:
    await bought(running)
    order = await Order.get()
    assert order.created_at.tzinfo is UTC
    assert abs(order.created_at - datetime.now(UTC)) < timedelta(minutes=1)
    order.created_at = datetime(2026, 11, 22, 12, 0)
    with pytest.raises(ValueError, match="naive"):
        await order.save()
