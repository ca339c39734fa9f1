"""Notifications 通知: sealed once, signed afresh for every sending, repeated on WeChat's ladder.

doc/v3/merchant/4012071382: only 200 or 204 within five seconds counts, whatever the body says.
"""

import asyncio
import heapq
import itertools
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from .clock import Clock, rfc3339
from .faults import Faults, NotificationFault
from .keys import Keys, Merchant, Signer
from .log import Log
from .sealing import seal, signature_headers
from .wire import compact, request_id

if TYPE_CHECKING:
    from .world import Purchase, Refund

DEADLINE = 5
LADDER = (15, 15, 30, 180, 600, 1200, 1800, 1800, 1800, 3600, 10800, 10800, 10800, 21600, 21600)
REVERSE_WAIT = 60
#: what notification_amount_delta_fen falsifies; of a combined payment in its first sub order
AMOUNTS = {
    "transaction": {"total", "payer_total", "total_amount", "payer_amount"},
    "refund": {"refund"},
}
SUMMARIES = {
    "TRANSACTION.SUCCESS": "支付成功",
    "REFUND.SUCCESS": "退款成功",
    "REFUND.CLOSED": "退款关闭",
    "REFUND.ABNORMAL": "退款异常",
}


@dataclass
class Notification:
    """One notification: its id and body never change.

    Other protocols than APIv3 `write` the body themselves, given the signature fault, say which
    answer `accepts` means received, and repeat after the seconds of their own `ladder`.
    """

    about: "Purchase | Refund"
    url: str
    body: bytes
    received: bool = False
    media: str = "application/json"
    write: Callable[[str], bytes] | None = None
    accepts: Callable[[int, bytes], bool] = lambda status, _: status in (200, 204)
    ladder: Sequence[int] = LADDER


@dataclass(eq=False)
class Due:
    """Something that is due at a virtual moment, in the order in which it came."""

    due: float
    n: int

    def __lt__(self, other: "Due") -> bool:
        return (self.due, self.n) < (other.due, other.n)


@dataclass(eq=False)
class Sending(Due):
    """One sending of a notification; `step` counts the repeats."""

    notification: Notification
    signature: str
    step: int = 0


@dataclass(eq=False)
class Timer(Due):
    """Something to do."""

    act: Callable[[], object]


class Outbox:
    """Send what is due on the virtual clock; it starts by itself and stops with `close`."""

    def __init__(self, keys: Keys, clock: Clock, faults: Faults, log: Log) -> None:
        self._keys, self._clock, self._faults, self._log = keys, clock, faults, log
        self._queue: list[Due] = []
        self._held: Sending | None = None
        self._count = itertools.count(1)
        self._turns = itertools.cycle((True, False))
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._places = asyncio.Semaphore(20)
        self._http: httpx.AsyncClient | None = None

    def announce(
        self,
        about: "Purchase | Refund",
        merchant: Merchant,
        url: str,
        event_type: str,
        payload: dict[str, Any],
    ) -> Notification:
        """Seal what has happened into a notification to this merchant and send it."""
        fault = self._faults.for_notification()
        kind = event_type.split(".")[0].lower()
        amount = payload.get("sub_orders", [payload])[0]["amount"]
        for name in AMOUNTS[kind] & amount.keys():
            amount[name] += fault.delta_fen
        resource = seal(merchant.apiv3_key, compact(payload), kind)
        envelope = {
            "id": str(uuid.uuid4()),
            "create_time": rfc3339(self._clock.now()),
            "resource_type": "encrypt-resource",
            "event_type": event_type,
            "summary": SUMMARIES[event_type],
            "resource": resource | {"original_type": kind},
        }
        made = Notification(about, url, compact(envelope))
        self.dispatch(made, fault)
        return made

    def at(self, moment: float, act: Callable[[], object]) -> None:
        """Do something at a virtual moment."""
        self._push(Timer(moment, next(self._count), act))

    def repeat(self, notification: Notification) -> None:
        """Send the same notification again, by the fault menu of now."""
        self.dispatch(notification, self._faults.for_notification())

    def wake(self) -> None:
        """Look at the clock again."""
        self._wake.set()

    async def close(self) -> None:
        """Stop sending."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._http:
            await self._http.aclose()

    def dispatch(self, made: Notification, fault: NotificationFault) -> None:
        """Send a notification for the first time, as the fault menu says."""
        first = Sending(self._clock.now(), next(self._count), made, fault.signature)
        match fault.delivery:
            case "drop":
                self._write_log(made, {}, "", (None, {}, b""), "dropped: it was never sent")
            case "duplicate":
                self._push(first)
                self._push(Sending(first.due, next(self._count), made, fault.signature))
            case "reverse" if self._held in self._queue:
                self._queue.remove(self._held)
                heapq.heapify(self._queue)
                self._start(self._send_in_turn(first, self._held))
            case "reverse":
                first.due += REVERSE_WAIT
                self._held = first
                self._push(first)
            case seconds:
                first.due += seconds if isinstance(seconds, int) else 0
                self._push(first)

    def _push(self, item: Due) -> None:
        if not self._tasks:
            self._start(self._run())
        heapq.heappush(self._queue, item)
        self.wake()

    def _start(self, work: Any) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _run(self) -> None:
        while True:
            self._wake.clear()
            while self._queue and self._queue[0].due <= self._clock.now():
                match heapq.heappop(self._queue):
                    case Timer() as timer:
                        timer.act()
                    case Sending() as sending:
                        self._start(self._send(sending))
            pause = self._queue[0].due - self._clock.now() if self._queue else None
            with suppress(TimeoutError):
                await asyncio.wait_for(self._wake.wait(), pause)

    async def _send_in_turn(self, *sendings: Sending) -> None:
        for sending in sendings:
            await self._send(sending)

    async def _send(self, sending: Sending) -> None:
        made = sending.notification
        if sending.step:
            if made.received:
                return
            sending.signature = self._faults.for_notification().signature
        async with self._places:
            counted = await self._post(sending)
        if counted:
            made.received = made.about.notified = True
        elif sending.step < len(made.ladder):
            due = sending.due + made.ladder[sending.step]
            self._push(Sending(due, next(self._count), made, "good", sending.step + 1))

    async def _post(self, sending: Sending) -> bool:
        made = sending.notification
        headers, message = dict[str, str](), ""
        if made.write:
            made.body = made.write(sending.signature)
        elif made.media == "application/json":
            headers, message = signature_headers(self._signer(), made.body, sending.signature)
        headers |= {"Content-Type": made.media, "Request-ID": request_id()}
        status, answered, body, problem = None, httpx.Headers(), b"", ""
        started = time.monotonic()
        try:
            response = await self._client().post(made.url, content=made.body, headers=headers)
            status, answered, body = response.status_code, response.headers, response.content
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as error:
            problem = f"{type(error).__name__} {error}".strip()
        if time.monotonic() - started > DEADLINE:
            problem = f"the answer took longer than {DEADLINE} s"
        counted = not problem and status is not None and made.accepts(status, body)
        verdict = self._verdict(sending, counted, problem or f"answered {status}")
        self._write_log(made, headers, message, (status, answered, body), verdict)
        return counted

    def _write_log(
        self,
        made: Notification,
        headers: dict[str, str],
        message: str,
        answer: tuple[int | None, Mapping[str, str], bytes],
        verdict: str,
    ) -> None:
        request = (headers, made.body)
        self._log.add(
            "notification",
            "POST",
            made.url,
            request=request,
            answer=answer,
            signed_message=message,
            verdict=verdict,
        )

    def _verdict(self, sending: Sending, counted: bool, outcome: str) -> str:
        signed = "" if sending.signature == "good" else f" (signature fault: {sending.signature})"
        if counted:
            return f"received: {outcome}{signed}"
        if sending.step == len(LADDER):
            return f"not received: {outcome}{signed}; that was the last repeat"
        return f"not received: {outcome}{signed}; again in {LADDER[sending.step]} virtual seconds"

    def _signer(self) -> Signer:
        signing = self._faults.menu["signing"]
        by_key = signing == "public_key" or (signing == "mixed" and next(self._turns))
        now = self._clock.now()
        return self._keys.public_key if by_key else self._keys.platform_signer(now)

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            headers = {"User-Agent": "Mozilla/4.0", "Accept": "*/*"}
            self._http = httpx.AsyncClient(trust_env=False, timeout=DEADLINE, headers=headers)
        return self._http
