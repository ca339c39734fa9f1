"""What another process may do between our read and our write; SQLite has one writer at a time."""

import asyncio

import pytest
from checkout.writes import Writes
from kit.books import history, outcomes
from kit.buyers import paying
from kit.databases import SERVERS, Servers
from kit.running import RunningShop
from kit.wechat import WeChat

pytestmark = pytest.mark.parametrize("database_kind", SERVERS, indirect=True)


async def test_the_ledger_sees_what_another_process_did_to_the_order_meanwhile(
    running: RunningShop, servers: Servers, database_kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The order is not as it was read: all of it is undone and runs again."""
    buyer, order, started = await paying(running)
    server = await servers.get(database_kind)
    wechat = WeChat(running)
    inside = Writes.commit
    others = ["UPDATE checkout_order SET state = 'CLOSING'"]

    async def late(writes: Writes) -> None:
        if others:
            await server.run(others.pop(), database=server.database)
        await inside(writes)

    monkeypatch.setattr(Writes, "commit", late)
    async with asyncio.timeout(3):
        answer = await wechat.notify(await wechat.trade(started["out_trade_no"]))
    assert answer.status_code == 204
    assert others == []
    assert await buyer.state(order["order_no"]) == "PAID"
    assert await history(started["out_trade_no"]) == [("OPEN", "PAID")]
    assert await history(order["order_no"]) == [("CLOSING", "PAID")]
    assert await outcomes() == [("APPLIED", "")]
