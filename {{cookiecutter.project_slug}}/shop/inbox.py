"""Notifications 通知: write down what was proved, then let the ledger decide, then answer."""

from collections.abc import Mapping
from datetime import timedelta

from tortoise.exceptions import IntegrityError

from shop import log
from shop.channels import Channel, RefundTrade, Unreadable, of_same_books
from shop.clock import Clock
from shop.ledger import Ledger
from shop.models import Notification
from shop.refunds import Refunds
from shop.source import FINAL, Source, Verdict

LEASE = timedelta(seconds=60)


class Inbox:
    """Receive notifications, and finish those that a crash left half done."""

    def __init__(
        self, channels: Mapping[str, Channel], ledger: Ledger, refunds: Refunds, clock: Clock
    ) -> None:
        self._channels = channels
        self._ledger = ledger
        self._refunds = refunds
        self._clock = clock

    async def receive(
        self, channel: str, kind: str, headers: Mapping[str, str], body: bytes
    ) -> Verdict:
        """Prove, store and record one notification; raises NotProved and stores nothing then."""
        key = await self._channels[channel].verify(headers, body)
        inbox = await self._store(channel, kind, key, headers, body)
        if inbox.outcome in FINAL:
            return Verdict(inbox.outcome, inbox.reason)
        return await self.finish(inbox)

    async def finish(self, inbox: Notification) -> Verdict:
        """Let the ledger decide about a stored notification; doing it twice is harmless."""
        source = Source(f"notification {inbox.id}", inbox)
        try:
            said = self._channels[inbox.channel].read(inbox.kind, inbox.body)
        except Unreadable as error:
            log.alarm("undecryptable notification: APIv3 key?", id=inbox.id, reason=str(error))
            return await source.conclude(Verdict("UNDECRYPTABLE", str(error)), None)
        if said is None:
            return await source.conclude(Verdict("IGNORED", "another product"), None)
        channels = of_same_books(self._channels, inbox.channel)
        if isinstance(said, RefundTrade):
            return await self._refunds.hear(channels, said, source)
        return await self._ledger.record(channels, said, source)

    async def _store(
        self, channel: str, kind: str, key: str, headers: Mapping[str, str], body: bytes
    ) -> Notification:
        now = self._clock.now()
        try:
            return await Notification.create(
                channel=channel,
                kind=kind,
                key=key,
                headers=dict(headers),
                body=body,
                outcome="RECEIVED",
                received_at=now,
                due_at=now + LEASE,
            )
        except IntegrityError:  # a copy: the row that came first tells what became of it
            return await Notification.get(channel=channel, key=key)
