"""Two shops on a Galera cluster, one on each node: what collides fails at COMMIT, and runs again.

Both nodes accept a transaction at first; the later one to certify gets the deadlock 1213.
"""

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from checkout.models import Payment
from kit.databases import absent

from foreign import forging
from shop import database
from tests.chaos import galera
from tests.chaos.fleet import Fleet, Instance
from tests.chaos.judge import judge
from tests.chaos.storm import Storm, unfinished

ORDERS = 40
AT_ONCE = 6
NOTIFY = "/notify/wechat/payment"


@dataclass
class TwoNodes(Fleet):
    """A fleet whose instances have a node each."""

    nodes: list[str] = field(default_factory=list)

    def environment(self, shop: Instance) -> dict[str, str]:
        url = self.nodes[self.shops.index(shop)] if shop in self.shops else self.nodes[0]
        return {**super().environment(shop), "SHOP_DATABASE_URL": url}


@dataclass
class Collisions(Storm):
    """Buyers who do everything on both nodes at once."""

    statuses: Counter[int] = field(default_factory=Counter)

    async def _faults(self) -> None:
        """Keep WeChat's own notifications back: the buyers deliver them, to both nodes."""
        await self.fleet.control("faults", notifications="drop")

    async def _clock(self) -> None:
        """Let time stand still while they collide."""

    async def _buyers(self) -> None:
        slots = asyncio.Semaphore(AT_ONCE)
        async with (
            httpx.AsyncClient(trust_env=False, timeout=30) as http,
            asyncio.TaskGroup() as buyers,
        ):
            for n in range(self.orders):
                await slots.acquire()
                buyers.create_task(self._collide(http, n)).add_done_callback(
                    lambda _: slots.release()
                )
                self.begun += 1

    async def _collide(self, http: httpx.AsyncClient, n: int) -> None:
        """Order twice, start twice, then pay, cancel and look at once, on both nodes."""
        luck = random.Random(f"{self.seed}-{n}")
        headers = await self._log_in(http, n)
        cart = {"items": [{"sku": "longjing", "quantity": 1}]}
        key = {**headers, "Idempotency-Key": f"galera-{n}"}
        placed = await self._both(http, "POST", "/api/orders", cart, key)
        path = f"/api/orders/{placed['order_no']}"
        started = await self._both(http, "POST", f"{path}/payments", {"scene": "native"}, headers)
        again = self._both(http, "POST", f"{path}/payments", {"scene": "native"}, headers)
        calls: list[Coroutine[Any, Any, Any]] = [again]
        if luck.random() < 0.6:
            paid = await self.fleet.control("scan", code_url=started["code_url"], force=True)
            number = started["out_trade_no"]
            transaction_id = paid["transaction_id"]
            calls.append(self._tell(http, number, transaction_id))
        if luck.random() < 0.6:
            calls.append(self._both(http, "POST", f"{path}/cancel", {}, headers))
        await asyncio.gather(*calls)
        await self._both(http, "GET", f"{path}?refresh=1", None, headers)

    async def _log_in(self, http: httpx.AsyncClient, n: int) -> dict[str, str]:
        person = {"appid": self.fleet.miniprogram, "openid": f"oGalera{n:04}"}
        code = await self.fleet.control("login-code", **person)
        url = f"{self.fleet.shops[0].url}/api/sessions/miniprogram"
        token = (await http.post(url, json=code)).json()["token"]
        return {"Authorization": f"Bearer {token}"}

    async def _both(
        self,
        http: httpx.AsyncClient,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
    ) -> dict[str, Any]:
        """Ask both nodes at once, again after a 503; a success of one of them."""
        calls = [self._ask(http, shop, method, path, body, headers) for shop in self.fleet.shops]
        answers = [answer.json() for answer in await asyncio.gather(*calls)]
        return min(answers, key=lambda answer: "code" in answer)

    async def _ask(
        self,
        http: httpx.AsyncClient,
        shop: Instance,
        method: str,
        path: str,
        body: Any,
        headers: dict[str, str],
    ) -> httpx.Response:
        for _ in range(20):
            answer = await http.request(method, shop.url + path, json=body, headers=headers)
            self.statuses[answer.status_code] += 1
            if answer.status_code != 503:
                break
            assert int(answer.headers["Retry-After"]) > 0
            await asyncio.sleep(0.2)
        return answer

    async def _tell(self, http: httpx.AsyncClient, number: str, transaction_id: str) -> None:
        """Deliver the notification of a payment to both nodes at once until both have taken it."""
        keys = self.fleet.credentials
        payment = await Payment.get(number=number)
        trade = forging.payment(keys, payment.parties["appid"], number, payment.total_fen)
        body = forging.seal(keys, {**trade, "transaction_id": transaction_id})
        await asyncio.gather(*[self._deliver(http, shop, body) for shop in self.fleet.shops])

    async def _deliver(self, http: httpx.AsyncClient, shop: Instance, body: bytes) -> None:
        keys = self.fleet.credentials
        for _ in range(20):
            headers = forging.sign(keys, body, int(time.time()))
            answer = await http.post(shop.url + NOTIFY, content=body, headers=headers)
            if answer.status_code == 204:
                return
            await asyncio.sleep(0.2)
        raise AssertionError(f"never taken: {answer.status_code} {answer.text}")


@pytest.mark.thorough
async def test_what_collides_on_two_nodes_runs_again_and_no_buyer_sees_a_500(
    tmp_path: Path,
) -> None:
    if missing := galera.missing():
        absent(f"no Galera here: {', '.join(missing)}")
    async with galera.cluster() as nodes:
        await database.migrate(nodes[0])
        async with TwoNodes(tmp_path, nodes[0], instances=2, nodes=nodes) as fleet:
            await database.connect(nodes[0])
            try:
                storm = Collisions(fleet, seed=7, orders=ORDERS, kills=0)
                late = await storm.rage()
                wrong = [*late, *await judge(fleet)]
                left = await unfinished()
            finally:
                await database.close()
    assert wrong == []
    assert left == {}
    assert 500 not in storm.statuses, storm.statuses
    assert collisions(tmp_path / "shop.log") > 0, "nothing collided: this proves nothing"


def collisions(log: Path) -> int:
    """Count the transactions that ran again."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
    return sum(line["event"] == "collision" for line in lines)
