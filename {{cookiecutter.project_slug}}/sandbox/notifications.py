"""The outbox of notifications 通知: sent on the virtual clock, repeated until they are received.

doc/v3/merchant/4012071382: only 200 or 204 within five seconds counts, whatever the body says.
"""

import asyncio
import heapq
import itertools
import time
import uuid
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import httpx

from .clock import Clock, rfc3339
from .faults import Faults, NotificationFault
from .keys import Keys, Merchant, Signer
from .log import Log
from .models import Notification, Purchase, Refund
from .sealing import seal, signature_headers
from .wire import compact, request_id

DEADLINE = 5  # seconds for an answer
AT_ONCE = 20  # notifications on their way at the same time
REVERSE_WAIT = 60  # virtual seconds that the first of a reversed pair waits for the second
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


@dataclass
class Posted:
    """What became of one sending: the signed text, and the answer or the problem."""

    request_headers: dict[str, str]
    signed_message: str = ""
    status: int | None = None
    headers: httpx.Headers | None = None
    body: bytes = b""
    problem: str = ""


class Outbox:
    """Send what is due on the virtual clock; it starts by itself and stops with `close`."""

    def __init__(self, keys: Keys, clock: Clock, faults: Faults, log: Log) -> None:
        self._keys = keys
        self._clock = clock
        self._faults = faults
        self._log = log
        self._queue: list[Due] = []
        self._held: Sending | None = None
        self._count = itertools.count(1)
        self._by_public_key = itertools.cycle((True, False))
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._http: httpx.AsyncClient | None = None

    # -- what the sandbox asks for

    def announce(
        self,
        about: Purchase | Refund,
        merchant: Merchant,
        url: str,
        event_type: str,
        payload: dict[str, Any],
    ) -> Notification:
        """Seal what has happened into a notification of APIv3 to this merchant and send it."""
        fault = self._faults.for_notification()
        kind = event_type.partition(".")[0].lower()
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
        notification = Notification(about=about, url=url, body=compact(envelope))
        self.dispatch(notification, fault)
        return notification

    def at(self, moment: float, act: Callable[[], object]) -> None:
        """Do something at a virtual moment."""
        self._push(Timer(moment, next(self._count), act))

    def repeat(self, notification: Notification) -> None:
        """Send the same notification again, by the fault menu of now."""
        self.dispatch(notification, self._faults.for_notification())

    def dispatch(self, notification: Notification, fault: NotificationFault) -> None:
        """Send a notification for the first time, as the fault menu says."""
        first = self._sending(notification, fault)
        match fault.delivery:
            case "drop":
                dropped = Posted(request_headers={})
                self._write_log(notification, dropped, "dropped: it was never sent")
            case "duplicate":
                self._push(first)
                self._push(self._sending(notification, fault))
            case "reverse" if self._held in self._queue:
                self._queue.remove(self._held)
                heapq.heapify(self._queue)
                self._start(self._send_in_turn(first, self._held))
            case "reverse":
                first.due += REVERSE_WAIT
                self._held = first
                self._push(first)
            case int() as seconds:
                first.due += seconds
                self._push(first)
            case _:
                self._push(first)

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

    # -- the queue

    def _sending(self, notification: Notification, fault: NotificationFault) -> Sending:
        return Sending(self._clock.now(), next(self._count), notification, fault.signature)

    def _push(self, item: Due) -> None:
        if not self._tasks:
            self._start(self._run())
        heapq.heappush(self._queue, item)
        self.wake()

    def _start(self, work: Coroutine[Any, Any, None]) -> None:
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

    # -- one sending

    async def _send(self, sending: Sending) -> None:
        notification = sending.notification
        if sending.step:
            if notification.received:
                return
            sending.signature = self._faults.for_notification().signature
        async with self._slots:
            posted = await self._post(sending)
        received = (
            not posted.problem
            and posted.status is not None
            and notification.accepts(posted.status, posted.body)
        )
        self._write_log(notification, posted, _verdict(sending, posted, received=received))
        if received:
            notification.received = True
            notification.about.notified = True
        elif sending.step < len(notification.ladder):
            due = sending.due + notification.ladder[sending.step]
            again = Sending(due, next(self._count), notification, "good", sending.step + 1)
            self._push(again)

    async def _post(self, sending: Sending) -> Posted:
        posted = self._prepare(sending)
        notification = sending.notification
        started = time.monotonic()
        try:
            response = await self._client().post(
                notification.url, content=notification.body, headers=posted.request_headers
            )
            posted.status = response.status_code
            posted.headers = response.headers
            posted.body = response.content
        except Exception as error:  # transports leak exceptions of their own: it must come again
            posted.problem = f"{type(error).__name__} {error}".strip()
        if time.monotonic() - started > DEADLINE:
            posted.problem = f"the answer took longer than {DEADLINE} s"
        return posted

    def _prepare(self, sending: Sending) -> Posted:
        """Sign afresh: APIv3 in the headers, the other APIs within the body."""
        notification = sending.notification
        posted = Posted(request_headers={})
        if notification.write:
            notification.body = notification.write(sending.signature)
        else:
            posted.request_headers, posted.signed_message = signature_headers(
                self._signer(), notification.body, sending.signature
            )
        posted.request_headers["Content-Type"] = notification.media
        posted.request_headers["Request-ID"] = request_id()
        return posted

    def _signer(self) -> Signer:
        signing = self._faults.menu["signing"]
        if signing == "public_key" or (signing == "mixed" and next(self._by_public_key)):
            return self._keys.public_key
        return self._keys.platform_signer(self._clock.now())

    def _client(self) -> httpx.AsyncClient:
        if self._http is None:
            headers = {"User-Agent": "Mozilla/4.0", "Accept": "*/*"}
            self._http = httpx.AsyncClient(trust_env=False, timeout=DEADLINE, headers=headers)
        return self._http

    def _write_log(self, notification: Notification, posted: Posted, verdict: str) -> None:
        self._log.add(
            "notification",
            "POST",
            notification.url,
            request=(posted.request_headers, notification.body),
            answer=(posted.status, posted.headers or {}, posted.body),
            signed_message=posted.signed_message,
            verdict=verdict,
        )


def _verdict(sending: Sending, posted: Posted, *, received: bool) -> str:
    outcome = posted.problem or f"answered {posted.status}"
    if sending.signature != "good":
        outcome += f" (signature fault: {sending.signature})"
    if received:
        return f"received: {outcome}"
    ladder = sending.notification.ladder
    if sending.step == len(ladder):
        return f"not received: {outcome}; that was the last repeat"
    return f"not received: {outcome}; again in {ladder[sending.step]} virtual seconds"
