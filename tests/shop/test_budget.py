"""One fact, one transaction: how many statements and commits each call may cost."""

from contextvars import ContextVar
from typing import Any

import pytest
from checkout import writes
from checkout.events import Events
from checkout.models import Order
from kit.databases import EACH_SERVER_TOO
from kit.running import ADMIN_TOKEN, BuyerClient, RunningShop
from kit.wechat import WeChat

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
METHODS = ("execute_query", "execute_query_dict", "execute_insert", "execute_many")
#: statements and commits; BEGIN, COMMIT, and what runs after the answer are not counted
BUDGET = {
    "place an order": (4, 1),
    "start a payment": (6, 2),
    "the same again": (2, 0),
    "read an order": (3, 0),
    "a notification": (7, 1),
    "its copy": (2, 0),
    "start a refund": (8, 2),
}
#: a server gets in one message what is written together
MESSAGES = {"place an order": 2, "start a payment": 4, "a notification": 2}
ALONE = ("UPDATE checkout_payment SET state = 'OPEN'", "WITH ", "BEGIN; ")
is_afterwards: ContextVar[bool] = ContextVar("is_afterwards", default=False)


class Counter:
    """Counts what reaches the driver, and the transactions that wrote something."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0
        self._inside = False
        self.dialect = Order._meta.db.capabilities.dialect

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = Order._meta.db
        context: Any = connection._in_transaction()
        wrapper = type(getattr(context, "client", None) or context.connection)
        for owner in (type(connection), wrapper):
            for name in METHODS:
                if name in vars(owner):
                    monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))
        monkeypatch.setattr(wrapper, "commit", self._committed(wrapper.commit))
        monkeypatch.setattr(writes, "_send", self._sent(writes._send))
        for name in ("_run", "_write_done"):
            monkeypatch.setattr(Events, name, _marked(getattr(Events, name)))

    def _counted(self, method: Any) -> Any:
        async def counted(client: Any, query: str, *values: Any) -> Any:
            if self._inside or is_afterwards.get():
                return await method(client, query, *values)
            self.statements.append(query)
            self._inside = True  # a client's method may call another one
            try:
                return await method(client, query, *values)
            finally:
                self._inside = False

        return counted

    def _sent(self, send: Any) -> Any:
        async def sent(client: Any, together: Any) -> None:
            if not is_afterwards.get():
                self.statements.append("BEGIN; " + "; ".join(write.text for write in together))
            await send(client, together)

        return sent

    def _committed(self, method: Any) -> Any:
        async def committed(client: Any) -> None:
            self.commits += not is_afterwards.get()
            await method(client)

        return committed

    def take(self) -> tuple[int, int, list[str]]:
        """Return statements, commits and the texts since the last time."""
        texts = self.statements
        commits = self.commits
        if self.dialect != "sqlite":  # there each of them is a transaction that was counted
            commits += sum(text.startswith(ALONE) for text in texts)
        self.statements = []
        self.commits = 0
        return len(texts), commits, texts


def _marked(method: Any) -> Any:
    async def marked(*args: Any) -> None:
        is_afterwards.set(True)
        await method(*args)

    return marked


@pytest.fixture
def counter(running: RunningShop, monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter = Counter()
    counter.watch(monkeypatch)
    return counter


@EACH_SERVER_TOO
async def test_each_call_costs_no_more_statements_and_commits_than_its_budget(
    running: RunningShop, counter: Counter
) -> None:
    buyer = await running.buyer()
    wechat = WeChat(running)
    counter.take()
    spent: dict[str, tuple[int, int, list[str]]] = {}
    order = await buyer.order()
    spent["place an order"] = counter.take()
    started = (await buyer.start(order["order_no"])).json()
    spent["start a payment"] = counter.take()
    assert (await buyer.start(order["order_no"])).status_code == 200
    spent["the same again"] = counter.take()
    await buyer.get(f"/api/orders/{order['order_no']}")
    spent["read an order"] = counter.take()
    body = wechat.seal(await paid_there(running, buyer, wechat, started))
    counter.take()
    assert (await wechat.send(body)).status_code == 204
    spent["a notification"] = counter.take()
    assert (await wechat.send(body)).status_code == 204
    spent["its copy"] = counter.take()
    await running.shop.checkout.work.drain(seconds=5)
    counter.take()
    await give_back(running, order["order_no"])
    spent["start a refund"] = counter.take()
    for call, (statements, commits) in BUDGET.items():
        used, committed, texts = spent[call]
        most = statements if counter.dialect == "sqlite" else MESSAGES.get(call, statements)
        assert used <= most, (call, texts)
        assert committed <= commits, (call, texts)


async def paid_there(
    running: RunningShop, buyer: BuyerClient, wechat: WeChat, started: dict[str, Any]
) -> dict[str, Any]:
    """Pay at the sandbox, which tells nobody; return what its notification would say."""
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    number = started["out_trade_no"]
    trade = await running.at_wechat(number)
    return await wechat.trade(number, transaction_id=trade["transaction_id"])


async def give_back(running: RunningShop, order_no: str) -> None:
    """Refund one fen of an order that the sandbox knows as paid."""
    answer = await running.http.post(
        f"/api/admin/orders/{order_no}/refunds",
        json={"refund_fen": 1, "reason": "test"},
        headers={**ADMIN, "Idempotency-Key": "budget"},
    )
    assert answer.status_code == 202, answer.text
