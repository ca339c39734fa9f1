"""However many orders there were, no statement reads a table from end to end.

Every route, the sweep, the metrics and the bill run over tables with a past; whatever reaches the
driver meanwhile is explained by the database itself.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any

import accounts.models
import checkout.models
import httpx
import pytest
from checkout.models import Payment
from kit.answers import document
from kit.books import compare, next_noon
from kit.buyers import ADMIN, Browser, bought, give_back, guest, paying
from kit.databases import EVERY_DATABASE
from kit.running import BuyerClient, RunningShop
from kit.wechat import WeChat
from tortoise.models import Model

from tests.bench.history import fill
from tests.shop.plans import MANY, Explain, Sent, Statement, explaining, indexes, without

ORDERS = 20_000


@pytest.fixture(autouse=True)
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    sent = Sent()
    sent.watch(monkeypatch)
    return sent


async def every_call(running: RunningShop) -> None:
    """Call every route, answer every notification, sweep, and compare a day."""
    called: set[str] = set()
    paths = (await document(running))["paths"]
    patterns = {path: re.sub(r"{\w+}", "[^/]+", path) for path in paths}

    async def note(answer: httpx.Response) -> None:
        path = answer.request.url.path
        if path.startswith("/api/admin") and answer.status_code == 401:
            return  # it did nothing
        called.update(p for p, pattern in patterns.items() if re.fullmatch(pattern, path))

    running.http.event_hooks["response"].append(note)
    for path in [path for path, verbs in paths.items() if "get" in verbs]:
        await running.http.get(path)
    await log_in(running)
    await buy(running)
    await operate(running)
    await sweep(running)
    await compare(running, await next_noon(running))
    assert called == set(patterns)


async def log_in(running: RunningShop) -> None:
    """Log in as each kind of buyer, and twice."""
    browser = Browser(running, "oPlans")
    await browser.http.get(await browser.start())
    await browser.me()
    await browser.http.aclose()
    appid = running.app("miniprogram")["appid"]
    person = {"appid": appid, "openid": "oPlans", "unionid": "uPlans"}
    for _ in range(2):
        code = (await running.control("login-code", **person))["code"]
        await running.http.post("/api/sessions/miniprogram", json={"code": code})
    buyer = await running.buyer("oPlans")
    await buyer.get("/api/me")
    await buyer.post("/api/sessions/end")


async def buy(running: RunningShop) -> None:
    """Let an order be placed, handed over, started twice, shown, paid, told twice; cancel one."""
    browser = await guest(running)
    buyer = await running.buyer()
    order_no = (await browser.order())["order_no"]
    key = {"Idempotency-Key": "k"}
    item = {"sku": "cup", "quantity": 1}
    for _ in range(2):
        await buyer.post("/api/orders", {"items": [item]}, **key)
    token = (await browser.post(f"/api/orders/{order_no}/handover")).json()["token"]
    await buyer.post("/api/handover", {"token": token})
    for _ in range(2):
        started = (await buyer.start(order_no)).json()
    for path in (f"/{order_no}", f"/{order_no}?refresh=1", "", f"?after={order_no}"):
        assert (await buyer.get(f"/api/orders{path}")).status_code == 200
    await notify_payment(running, buyer, started)
    await buyer.post("/api/collect", {"amount_yuan": "1.00", "scene": "miniprogram"}, **key)
    _, cancelled, _ = await paying(running)
    await buyer.post(f"/api/orders/{cancelled['order_no']}/cancel")


async def notify_payment(running: RunningShop, buyer: BuyerClient, started: dict[str, Any]) -> None:
    """Let the notification of a payment come twice, one of nobody's number, and one for others."""
    wechat = WeChat(running)
    number = started["out_trade_no"]
    await running.control("faults", notifications="drop")
    await buyer.pay(started["invoke"])
    await running.control("faults")
    transaction_id = (await running.at_wechat(number))["transaction_id"]
    body = wechat.seal(await wechat.trade(number, transaction_id=transaction_id))
    for _ in range(2):
        assert (await wechat.send(body)).status_code == 204
    await wechat.notify(await wechat.trade(number) | {"out_trade_no": "Snobody000001"})
    await wechat.notify(await wechat.trade(number), original_type="profitsharing")
    for kind in ("combine", "refund"):
        await running.http.post(f"/notify/wechat/{kind}", json={})


async def operate(running: RunningShop) -> None:
    """Do what an operator and their monitoring do."""
    lists = {
        "orders": ("state", ("OPEN", "PAID", "REFUNDED")),
        "payments": ("state", ("OPEN", "PAID", "CLOSED", "HELD")),
        "refunds": ("state", ("SUCCESS", "ABNORMAL")),
        "notifications": ("outcome", ("APPLIED", "UNMATCHED")),
        "differences": ("date", ("2026-01-31",)),
    }
    for name, (argument, values) in lists.items():
        queries = ["", "?after=9000", *(f"?{argument}={value}&after=9000" for value in values)]
        for query in [*queries, *(f"?{argument}={value}" for value in values)]:
            answer = await running.http.get(f"/api/admin/{name}{query}", headers=ADMIN)
            assert answer.status_code == 200, answer.text
    _, order_no, number = await bought(running)
    for fen in (100, 200):
        await give_back(running, order_no, fen, key=f"k{fen}")
    await give_back(running, order_no, 100, key="k100")
    unmatched = await running.http.get("/api/admin/notifications?outcome=UNMATCHED", headers=ADMIN)
    row, *_ = unmatched.json()["notifications"]
    for path in (f"notifications/{row['id']}/replay", f"payments/{number}/query"):
        await running.http.post(f"/api/admin/{path}", json={}, headers=ADMIN)
    await hold(running)
    for path in ("/metrics", "/readyz", "/healthz"):
        assert (await running.http.get(path, headers=ADMIN)).status_code == 200


async def hold(running: RunningShop) -> None:
    """Close a held payment by a person's word."""
    _, _, started = await paying(running)
    number = started["out_trade_no"]
    await Payment.filter(number=number).update(state="HELD", due_at=None)
    path = f"/api/admin/payments/{number}/close"
    answer = await running.http.post(path, json={"reason": "refunded by hand"}, headers=ADMIN)
    assert answer.status_code == 200


async def sweep(running: RunningShop) -> None:
    """Let everything that the calls left behind be due, some of it twice; the past is not."""
    await paying(running)
    await running.shop.checkout.work.drain(seconds=5)
    for seconds in (400, 1_500, 700):
        await running.advance(seconds)
        await running.shop.checkout.sweep_once()
    await running.shop.forget()


async def complaints(explain: Explain, statements: Iterable[Statement]) -> list[str]:
    """Return what the database would read from end to end."""
    return [
        f"{access.table}: {access.how}, {access.rows} rows: {statement.text}"
        for statement in statements
        for access in await explain(statement)
        if access.reads_all or access.rows > MANY
    ]


def references() -> Iterator[Statement]:
    """Give what a database asks itself before it deletes a row: who refers to it?"""
    for module in (accounts.models, checkout.models):
        for table in vars(module).values():
            if isinstance(table, type) and issubclass(table, Model) and table is not Model:
                for name in table._meta.fk_fields:
                    yield Statement(f"SELECT 1 FROM {table._meta.db_table} WHERE {name}_id = '1'")


@pytest.mark.thorough
@EVERY_DATABASE
async def test_no_statement_reads_a_table_that_grows_from_end_to_end(
    running: RunningShop, sent: Sent
) -> None:
    url = str(running.shop.settings.database_url)
    await fill(url, ORDERS)
    sent.by_shape.clear()
    await every_call(running)
    async with explaining(url) as explain:
        wrong = await complaints(explain, [*sent.by_shape.values(), *references()])
    assert not wrong, "\n".join(wrong)


async def test_every_index_serves_a_statement_and_none_is_missing(
    running: RunningShop, sent: Sent
) -> None:
    """SQLite without statistics chooses by the schema alone: nobody runs ANALYZE on a small file.

    That the loss of an index is seen is tried with each of them, and shown for every table.
    """
    url = str(running.shop.settings.database_url)
    await every_call(running)
    statements = [*sent.by_shape.values(), *references()]
    async with explaining(url) as explain:
        wrong = await complaints(explain, statements)
        plans = [access.how for statement in statements for access in await explain(statement)]
    assert not wrong, "\n".join(wrong)
    useless = [name for name, _ in indexes(url) if not any(name in how for how in plans)]
    assert not useless, "\n".join(useless)
    missed = set[str]()
    for name, table in indexes(url):
        with without(url, name):
            async with explaining(url) as explain:
                wrong = await complaints(explain, statements)
        missed |= {table for line in wrong if line.startswith(f"{table}:")}
    assert missed == {table for _, table in indexes(url)}
