"""The engine as one object: build it once, call its verbs.

Each verb is a unit of work: it goes on although the caller is cancelled, and has a deadline.
"""

from collections.abc import Coroutine, Iterable, Mapping
from typing import Any, TypeVar

from checkout import errors
from checkout.channels import Channel, Channels, Reply
from checkout.clock import Clock
from checkout.config import Config
from checkout.events import Events, Hooks
from checkout.housekeeping import Housekeeping
from checkout.ledger import Ledger, Outcome
from checkout.models import Notification, Order, Payment, Refund, Share
from checkout.notifications import Notifications
from checkout.orders import Orders, Placed, Price
from checkout.payments import Payer, Payments, Started
from checkout.refunds import Refunds, RefundStarted
from checkout.sweep import Sweep
from checkout.work import Work, failed

T = TypeVar("T")
SECONDS = 25  # for one verb
NOTIFICATION_SECONDS = 4  # WeChat gives up after 5


class Checkout:
    """Take orders and payments, give money back, and keep the books.

    `channels` are what their files' `build` returns. Tortoise is initialised by the caller, with
    the app of checkout.database.APP.
    """

    def __init__(
        self,
        config: Config,
        channels: Iterable[Channel],
        hooks: Hooks | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.config = config
        self.clock = clock or Clock()
        self.channels = Channels(channels, config.channels)
        self.work = Work()
        self._hooks = hooks or Hooks()
        events = Events(self._hooks, self.clock, self.work)
        self.ledger = Ledger(self.clock, events, self.work)
        self.orders = Orders(config, self.clock)
        self.payments = Payments(config, self.channels, self.ledger, self.clock, self.work)
        self.refunds = Refunds(self.channels, self.ledger, self.payments, self.clock)
        self.notifications = Notifications(self.channels, self.ledger, self.refunds, self.clock)
        self.housekeeping = Housekeeping(self.channels, config.order_ttl, self.clock)
        self.sweep = Sweep(
            self.channels,
            self.notifications,
            self.ledger,
            self.payments,
            self.refunds,
            events,
            self.housekeeping,
            self.clock,
            self.work,
        )

    async def place(
        self, buyer: str, key: str, asked: object, price: Price, *, widget: bool = False
    ) -> Placed:
        """Place an order, once per buyer and key; see Orders.place."""
        return await self._run(self.orders.place(buyer, key, asked, price, widget=widget))

    async def start_payment(
        self, order_no: str, buyer: str, payer: Payer, scene: str, channel: str | None = None
    ) -> Started:
        """Start to pay, or go on with the live payment; see Payments.start."""
        return await self._run(self.payments.start(order_no, buyer, payer, scene, channel))

    async def cancel(self, order_no: str) -> Order:
        """Close an order: CLOSED, or CLOSING while WeChat does not let go. Raises OrderPaid."""
        return await self._run(self.payments.cancel(order_no))

    async def refresh(self, order: Order) -> None:
        """Ask WeChat about the order's payment, at most once in three seconds."""
        await self._run(self.payments.refresh(order))

    async def refund(
        self,
        order_no: str,
        refund_fen: int,
        reason: str,
        key: str,
        out_trade_no: str | None = None,
    ) -> RefundStarted:
        """Give money back, once per order and key; see Refunds.start."""
        return await self._run(self.refunds.start(order_no, refund_fen, reason, key, out_trade_no))

    async def receive(self, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Take one notification; answer it with what this returns: status, content type, body.

        It never raises for what may arrive: what could not be recorded is answered so that it
        comes again. Raises NotFound for a path where no notification arrives.
        """
        unit = self.notifications.receive(path, headers, body)
        try:
            reply, outcome, reason = await self.work.run(unit, seconds=NOTIFICATION_SECONDS)
        except errors.NotFound:
            raise
        except Exception as error:
            failed("notification not recorded", error)
            reply = self.notifications.failed(path, "try again")
            outcome = "FAILED"
            reason = ""
        self._hooks.on_notification(outcome, reason)
        return reply

    async def replay(self, notification_id: int) -> Outcome:
        """Decide again about a stored notification that is still open. Raises NotFound."""
        row = await Notification.get_or_none(id=notification_id)
        if row is None:
            raise errors.NotFound("no such notification")
        return await self._run(self.notifications.replay(row))

    async def query_payment(self, out_trade_no: str) -> tuple[Payment, Share]:
        """Ask WeChat about a payment, by any share's number, and about that share's refunds."""
        return await self._run(self._query(out_trade_no))

    async def _query(self, out_trade_no: str) -> tuple[Payment, Share]:
        payment, share = await self._named(out_trade_no)
        await self.payments.ask(payment, "admin")
        await share.refresh_from_db()
        under_way = Refund.filter(share_id=share.id, state__in=("PROCESSING", "ABNORMAL"))
        for refund in await under_way:
            await self.refunds.ask(refund, share, "admin")
        return payment, share

    async def close_held(self, out_trade_no: str, reason: str) -> tuple[Payment, Share]:
        """Close a HELD payment by a person's word; ask WeChat first. Raises BadRequest."""
        return await self._run(self._close_held(out_trade_no, reason))

    async def _close_held(self, out_trade_no: str, reason: str) -> tuple[Payment, Share]:
        payment, share = await self._named(out_trade_no)
        await self.payments.ask(payment, "admin")
        if payment.state != "HELD":
            raise errors.BadRequest(
                f"the payment is {payment.state}, not HELD", field="out_trade_no"
            )
        await self.ledger.close_payment(out_trade_no, f"admin: {reason}", held=True)
        await payment.refresh_from_db()
        return payment, share

    async def _named(self, out_trade_no: str) -> tuple[Payment, Share]:
        share = await Share.get_or_none(out_trade_no=out_trade_no)
        if share is None:
            raise errors.NotFound("no such payment")
        return await Payment.get(id=share.payment_id), share

    async def sweep_once(self) -> dict[str, Any]:
        """Look again at everything that is due; return what was done and what is left open."""
        return await self.sweep.once()

    async def sweep_on(self) -> None:
        """Sweep until cancelled; what is under way then goes on, see `drain`."""
        await self.sweep.go_on()

    async def switched_off(self) -> dict[str, int]:
        """Count the unfinished rows of channels that are not set up, by channel."""
        return await self.housekeeping.switched_off()

    async def _run(self, verb: Coroutine[Any, Any, T]) -> T:
        """Run a verb as a unit of work; what takes too long may still be done."""
        try:
            return await self.work.run(verb, seconds=SECONDS)
        except TimeoutError as error:
            raise errors.CallAgain("this takes too long, ask again", retry_after=3) from error

    async def drain(self, *, seconds: float) -> int:
        """Finish what is under way, before the database is closed; return what did not end."""
        return await self.work.drain(seconds=seconds)

    async def aclose(self) -> None:
        """Close what the channels opened."""
        for channel in self.channels.values():
            await channel.aclose()
