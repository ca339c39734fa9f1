"""One fact, one transaction: how many statements and commits each call may cost."""

from contextvars import ContextVar
from typing import Any

import pytest

from checkout.events import Events
from checkout.models import Order
from tests.shop.conftest import ADMIN_TOKEN, BuyerClient, Stage
from tests.shop.databases import EVERY_DATABASE
from tests.shop.kit import WeChat

ADMIN = {"Authorization": f"Bearer {ADMIN_TOKEN}"}
METHODS = ("execute_query", "execute_query_dict", "execute_insert", "execute_many")
#: BEGIN, COMMIT, and what runs after the answer are not counted
BUDGET = {
    "place an order": (4, 1),
    "start a payment": (6, 2),
    "the same again": (2, 0),
    "read an order": (3, 0),
    "a notification": (7, 1),
    "its copy": (2, 0),
    "start a refund": (8, 2),
}
is_afterwards: ContextVar[bool] = ContextVar("is_afterwards", default=False)


class Counter:
    """Counts what reaches the driver, and the transactions that wrote something."""

    def __init__(self) -> None:
        self.statements: list[str] = []
        self.commits = 0
        self._inside = False

    def watch(self, monkeypatch: pytest.MonkeyPatch) -> None:
        connection = Order._meta.db
        context: Any = connection._in_transaction()
        wrapper = type(getattr(context, "client", None) or context.connection)
        for owner in (type(connection), wrapper):
            for name in METHODS:
                if name in vars(owner):
                    monkeypatch.setattr(owner, name, self._counted(getattr(owner, name)))
        monkeypatch.setattr(wrapper, "commit", self._committed(wrapper.commit))
        monkeypatch.setattr(Events, "_run", _marked(Events._run))

    def _counted(self, method: Any) -> Any:
        async def counted(client: Any, query: str, *values: Any) -> Any:
            if self._inside or is_afterwards.get():  # MySQL's read calls another method
                return await method(client, query, *values)
            self.statements.append(query)
            self._inside = "mysql" in type(client).__module__
            try:
                return await method(client, query, *values)
            finally:
                self._inside = False

        return counted

    def _committed(self, method: Any) -> Any:
        async def committed(client: Any) -> None:
            self.commits += not is_afterwards.get()
            await method(client)

        return committed

    def take(self) -> tuple[int, int, list[str]]:
        """Return statements, commits and the texts since the last time."""
        texts, commits = self.statements, self.commits
        alone = [
            text for text in texts if text.startswith("UPDATE checkout_payment SET state = 'OPEN'")
        ]
        self.statements, self.commits = [], 0
        return len(texts), commits + len(alone), texts


def _marked(method: Any) -> Any:
    async def marked(*args: Any) -> None:
        is_afterwards.set(True)
        await method(*args)

    return marked


@pytest.fixture
def counter(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Counter:
    counter = Counter()
    counter.watch(monkeypatch)
    return counter


@EVERY_DATABASE
async def test_each_call_costs_no_more_statements_and_commits_than_its_budget(
    stage: Stage, counter: Counter
) -> None:
    buyer, wechat = await stage.buyer(), WeChat(stage)
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
    body = wechat.seal(await paid_there(stage, buyer, wechat, started))
    counter.take()
    assert (await wechat.send(body)).status_code == 204
    spent["a notification"] = counter.take()
    assert (await wechat.send(body)).status_code == 204
    spent["its copy"] = counter.take()
    await stage.shop.checkout.work.drain(seconds=5)
    counter.take()
    await give_back(stage, order["order_no"])
    spent["start a refund"] = counter.take()
    for call, (statements, commits) in BUDGET.items():
        used, committed, texts = spent[call]
        assert used <= statements, (call, texts)
        assert committed <= commits, (call, texts)


async def paid_there(
    stage: Stage, buyer: BuyerClient, wechat: WeChat, started: dict[str, Any]
) -> dict[str, Any]:
    """Pay at the sandbox, which tells nobody; return what its notification would say."""
    await stage.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    number = started["out_trade_no"]
    trade = await stage.truth(number)
    return await wechat.trade(number, transaction_id=trade["transaction_id"])


async def give_back(stage: Stage, order_no: str) -> None:
    """Refund one fen of an order that the sandbox knows as paid."""
    answer = await stage.http.post(
        f"/api/admin/orders/{order_no}/refunds",
        json={"refund_fen": 1, "reason": "test"},
        headers={**ADMIN, "Idempotency-Key": "budget"},
    )
    assert answer.status_code == 202, answer.text
