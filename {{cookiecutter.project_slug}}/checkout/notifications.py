"""Notifications 通知: prove who sent it, record it with what it causes, then answer.

200 or 204 says that the outcome is committed; a crash before that leaves nothing, and WeChat
sends again.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NamedTuple

from checkout import errors, log, sql
from checkout.channels import (
    Channel,
    Channels,
    MalformedNotification,
    NotOurs,
    NotProved,
    Proved,
    ReasonToAsk,
    RefundTrade,
    Reply,
    Trade,
    Unreadable,
)
from checkout.clock import Clock
from checkout.ledger import FINAL, Ledger, Outcome, stored
from checkout.models import Notification
from checkout.refunds import Refunds
from checkout.work import again
from checkout.writes import Writes

MAX_BODY = 2 * 1024 * 1024
AGAIN = timedelta(seconds=60)  # until the sweep tries an open one again
KEPT = ("request-id", "content-type")


class Received(NamedTuple):
    """How a notification is answered, and what became of it, for logs and metrics."""

    reply: Reply
    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Arrival:
    """A proved notification as the source of a move; its row is written with the outcome."""

    channel: str
    kind: str
    key: str
    headers: Mapping[str, str]
    body: bytes
    received_at: datetime

    def store(self, outcome: Outcome, number: str, row: Notification | None, writes: Writes) -> str:
        """Insert it with its outcome, or decide an open one again; return the cause.

        Of copies that come together one is written, for the others it is an IntegrityError.
        """
        due_at = None if outcome.name in FINAL else self.received_at + AGAIN
        if row is not None:
            _decide_again(row, outcome, number, due_at, writes)
            return f"notification {self.key}"
        values = {
            "channel": self.channel,
            "kind": self.kind,
            "key": self.key,
            "headers": dict(self.headers),
            "body": self.body,
            "outcome": outcome.name,
            "reason": outcome.reason[:255],
            "out_trade_no": number[:64],
            "received_at": self.received_at,
            "due_at": due_at,
        }
        writes.insert_all(Notification, values)
        return f"notification {self.key}"


def _decide_again(
    row: Notification, outcome: Outcome, number: str, due_at: datetime | None, writes: Writes
) -> None:
    writes.run(
        sql.STORE_OUTCOME,
        id=row.id,
        outcome__was=row.outcome,
        outcome=outcome.name,
        reason=outcome.reason[:255],
        out_trade_no=number[:64],
        due_at=due_at,
    )


class Notifications:
    """Receive notifications, and decide again about those that are open."""

    def __init__(self, channels: Channels, ledger: Ledger, refunds: Refunds, clock: Clock) -> None:
        self._channels = channels
        self._ledger = ledger
        self._refunds = refunds
        self._clock = clock

    async def receive(self, path: str, headers: Mapping[str, str], body: bytes) -> Received:
        """Prove, record and answer one notification. Raises NotFound for another path."""
        at = self._channels.at(path)
        if at is None:
            raise errors.NotFound("no notification arrives here")
        channel, kind = at
        if len(body) > MAX_BODY:
            return Received(channel.failed(413, "too large"), "NOT_PROVED", "too_large")
        lower = {name.lower(): value for name, value in headers.items()}
        try:
            outcome = await self._record(channel, kind, lower, body)
        except NotProved as error:
            log.warning("notification not proved", reason=error.code, why=str(error))
            return Received(channel.failed(401, error.code), "NOT_PROVED", error.code)
        if outcome.name != "APPLIED":  # the moves of an applied one name it as their cause
            log.info("notification", kind=kind, outcome=outcome.name, reason=outcome.reason)
        if outcome.name in ("UNDECRYPTABLE", "NOT_CONFIRMED"):
            return Received(channel.failed(500, outcome.name), *outcome)
        return Received(channel.received(body), *outcome)

    def failed(self, path: str, message: str) -> Reply:
        """Return the answer to a notification that could not be recorded: send it again."""
        at = self._channels.at(path)
        if at is None:
            raise errors.NotFound("no notification arrives here")
        return at[0].failed(500, message)

    async def _record(
        self, channel: Channel, kind: str, headers: Mapping[str, str], body: bytes
    ) -> Outcome:
        try:
            reading = await channel.prove(kind, headers, body)
        except Unreadable as error:
            arrival = self._arrival(channel, kind, error.key, headers, body)
            return await self._unreadable(arrival, error)
        if isinstance(reading, ReasonToAsk):
            return await self._refunds.ask_about(channel.name, reading)
        arrival = self._arrival(channel, kind, reading.key, headers, body)
        if isinstance(reading, NotOurs):
            return await self._store(arrival, Outcome("IGNORED", "another product"))
        return await self._apply(arrival, reading)

    def _arrival(
        self, channel: Channel, kind: str, key: str, headers: Mapping[str, str], body: bytes
    ) -> Arrival:
        kept = {
            name: value
            for name, value in headers.items()
            if name.startswith("wechatpay-") or name in KEPT
        }
        return Arrival(channel.name, kind, key, kept, body, self._clock.now())

    async def _apply(self, arrival: Arrival, proved: Proved) -> Outcome:
        books = self._channels.of_same_books(arrival.channel)
        if isinstance(proved.trade, Trade):
            return await self._ledger.record(books, proved.trade, arrival)
        return await self._refunds.hear(books, proved.trade, arrival)

    async def _unreadable(self, arrival: Arrival, error: Unreadable) -> Outcome:
        if isinstance(error, MalformedNotification):
            log.alarm("malformed notification, decrypted well", key=arrival.key, reason=str(error))
            return await self._store(arrival, Outcome("UNDECRYPTABLE", f"malformed: {error}"))
        log.alarm("undecryptable notification: APIv3 key?", key=arrival.key, reason=str(error))
        return await self._store(arrival, Outcome("UNDECRYPTABLE", str(error)))

    async def _store(self, arrival: Arrival, outcome: Outcome) -> Outcome:
        """Store one that moves nothing; a copy of one that is settled is answered as that was."""

        async def store() -> Outcome:
            row = await Notification.get_or_none(channel=arrival.channel, key=arrival.key)
            if row is not None and row.outcome in FINAL:
                return Outcome(row.outcome, row.reason)
            await stored(arrival, outcome, "", row)
            return outcome

        return await again(store)

    async def replay(self, row: Notification) -> Outcome:
        """Decide again about a stored notification that is open; a settled one stays as it is."""
        if row.outcome in FINAL:
            return Outcome(row.outcome, row.reason)
        channel = self._channels.get(row.channel)
        if channel is None:
            return Outcome(row.outcome, "its channel is switched off")
        arrival = Arrival(
            row.channel, row.kind, row.key, row.headers, bytes(row.body), self._clock.now()
        )
        try:
            trade: Trade | RefundTrade | None = channel.read(arrival.body)
        except Unreadable as error:
            return await self._unreadable(arrival, error)
        if trade is None:
            return await self._store(arrival, Outcome("IGNORED", "another product"))
        return await self._apply(arrival, Proved(row.key, trade))
