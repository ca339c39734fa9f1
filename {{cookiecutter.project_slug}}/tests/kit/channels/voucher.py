"""The contract test's other side of the exercise: a bank that lives in this process."""

import importlib
from collections.abc import Mapping
from typing import Any

from kit.channels._sandboxed import Sandboxed
from kit.running import BuyerClient, RunningShop

PATH = "/notify/voucher"
FAULTS = {
    "prepay later": ("prepay", "BUSY"),
    "prepay refused": ("prepay", "NEVER"),
    "prepay lost on the way": ("prepay", "LOST"),
    "answer of prepay lost": ("prepay", "CUT"),
    "refund later": ("refund", "BUSY"),
}


class Kit(Sandboxed):
    """Somebody with a link of the bank; the bank tells over HTTP, and notes how it was answered."""

    scene = "native"

    def __init__(self, name: str, running: RunningShop) -> None:
        super().__init__(name, running)
        self._module = importlib.import_module(f"checkout.channels.{name}")
        self._bank = self._module.BANK
        self._notifications: dict[str, bytes] = {}
        self._statuses: list[int] = []
        self._fault = ""

    async def pay(self, buyer: BuyerClient, started: Mapping[str, Any]) -> bool:
        number = started["code_url"].removeprefix("bank://")
        try:
            self._notifications[number] = self._bank.pay(number)
        except self._module.BankSays:
            return False
        if self._fault == "notification forged":
            await self._tell(self._notifications[number].replace(b'"sign": "', b'"sign": "0'))
        elif self._fault != "notification lost":
            await self._tell(self._notifications[number])
        return True

    async def fault(self, name: str) -> None:
        self._fault = name
        if name in FAULTS:
            self._bank.faults[FAULTS[name]] = 100

    async def mend(self) -> None:
        self._fault = ""
        self._bank.faults.clear()

    async def copy(self, number: str) -> None:
        await self._tell(self._notifications[number])

    async def state(self, number: str) -> str:
        voucher = self._bank.vouchers.get(number)
        return str(voucher.state) if voucher else "UNKNOWN"

    async def refunds(self, number: str) -> list[tuple[str, int]]:
        return [(no, fen) for no, (paid, fen) in self._bank.refunds.items() if paid == number]

    async def prepays(self) -> list[str]:
        return [f"{number} {body}" for number, body in self._bank.asked]

    async def answered(self) -> list[int]:
        return list(self._statuses)

    async def _tell(self, body: bytes) -> None:
        answer = await self.running.http.post(PATH, content=body)
        self._statuses.append(answer.status_code)
