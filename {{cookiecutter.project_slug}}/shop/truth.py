"""Ask WeChat for the truth of a payment, and close it there; the ledger records the answer."""

from collections.abc import Mapping
from datetime import timedelta

from tortoise.expressions import Q

from shop import log
from shop.channels import Busy, Channel, ChannelError, NoSuchTrade
from shop.clock import Clock
from shop.ledger import Ledger
from shop.models import Payment
from shop.source import Source

FORGOTTEN = timedelta(minutes=5)  # after the last send, "no such number" means it never came
POLITE = timedelta(seconds=3)


class Truth:
    """What only WeChat knows; afterwards `payment` is fresh and its state tells."""

    def __init__(self, channels: Mapping[str, Channel], ledger: Ledger, clock: Clock) -> None:
        self._channels = channels
        self._ledger = ledger
        self._clock = clock

    async def ask(self, payment: Payment, cause: str) -> None:
        """Query 查单 and record the answer; no answer leaves everything as it was."""
        try:
            trades = await self._channels[payment.channel].query(await payment.parts())
        except NoSuchTrade:
            await payment.refresh_from_db()  # it may have been sent again while we asked
            if (
                payment.state in ("NEW", "OPEN")
                and self._clock.now() >= (payment.sent_at or payment.created_at) + FORGOTTEN
            ):
                await self._ledger.close_payment(payment, f"{cause}: WeChat never got it")
        except ChannelError as error:
            log.warning("query failed", number=payment.out_trade_no, why=str(error), cause=cause)
        else:
            await self._ledger.record([payment.channel], trades, Source(f"query, {cause}"))
        await payment.refresh_from_db()

    async def ask_politely(self, payment: Payment) -> None:
        """Query unless somebody did in the last three seconds, in any process."""
        now = self._clock.now()
        mine = Payment.filter(Q(asked_at=None) | Q(asked_at__lte=now - POLITE), id=payment.id)
        if await mine.update(asked_at=now):
            await self.ask(payment, "buyer asks")

    async def close(self, payment: Payment, cause: str) -> None:
        """Close 关单, or close again; what is not a verified "closed" is queried, or left."""
        channel = self._channels[payment.channel]
        too_early = payment.created_at + timedelta(seconds=channel.close_after)
        if payment.state in ("PAID", "HELD") or self._clock.now() < too_early:
            return
        try:
            await channel.close(await payment.parts())
        except Busy:
            log.info("not closed: the buyer is paying", number=payment.out_trade_no)
        except ChannelError as error:
            log.info("not closed", number=payment.out_trade_no, why=str(error), code=error.code)
            await self.ask(payment, f"{cause}, close refused")
        else:
            await self._ledger.close_payment(payment, cause)
