"""The named places where the chaos tests kill the shop; none of them is in the shop's own code."""

import importlib
import inspect
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any, Literal, NamedTuple

from checkout import channels


class Point(NamedTuple):
    """A function, and whether the process dies before its call or after it.

    `row` names the model that its first argument must be; `*:name` is a verb of every channel.
    """

    place: str
    when: Literal["before", "after"] = "after"
    row: str = ""


#: `in_the_transaction` points die between a write and its commit: all of it must be gone
POINTS = {
    "prepay.before_it_is_written": Point("checkout.payments:Payments._write_down", "before"),
    "prepay.written": Point("checkout.payments:Payments._write_down"),
    "prepay.about_to_leave": Point("*:prepay", "before"),
    "prepay.sent": Point("*:prepay"),
    "prepay.opened": Point("checkout.ledger:Ledger.open_payment"),
    "record.in_the_transaction": Point("checkout.writes:_write"),
    "record.about_to_be_written": Point("checkout.writes:Writes.send", "before"),
    "record.committed": Point("checkout.ledger:Ledger._carry_out"),
    "record.before_the_answer": Point("checkout.notifications:Notifications.receive"),
    "close.event_written": Point("checkout.events:Events.write"),
    "combine.sent": Point("wechat.combine:prepay"),
    "combine.closed_at_wechat": Point("wechat.combine:close"),
    "refund.reserved": Point("checkout.ledger:Ledger.reserve"),
    "refund.written": Point("checkout.refunds:Refunds._reserve"),
    "refund.turn_taken": Point("checkout.refunds:Refunds._take_turn"),
    "refund.sent": Point("*:refund"),
    "refund.in_the_transaction": Point("checkout.ledger:compare_and_set", row="Refund"),
    "refund.event_written": Point("checkout.ledger:Ledger._refunded"),
    "refund.recorded": Point("checkout.ledger:Ledger.record_refund"),
    "refund.adopted": Point("checkout.ledger:Ledger._adopted"),
    "sweep.claimed": Point("checkout.lanes:claim"),
    "sweep.asked": Point("checkout.payments:Payments.ask"),
    "sweep.closing": Point("checkout.ledger:Ledger.start_closing"),
    "sweep.closed_at_wechat": Point("*:close"),
    "sweep.closed_here": Point("checkout.ledger:Ledger.close_payment"),
    "event.run": Point("checkout.events:Events._call"),
}


def arm(point: str) -> None:
    """Let this process die by SIGKILL at a point: `name`, or `name:3` for the third time."""
    name, _, times = point.partition(":")
    countdown = Countdown(int(times or 1))
    for owner, attribute in _owners(POINTS[name].place):
        inside = getattr(owner, attribute)
        setattr(owner, attribute, _deadly(inside, POINTS[name], countdown))


def _owners(place: str) -> Iterator[tuple[Any, str]]:
    """Yield what holds the function, with its name there."""
    module, _, path = place.partition(":")
    *classes, attribute = path.split(".")
    if module == "*":
        yield from ((channel, attribute) for channel in _channel_classes())
        return
    owner: Any = importlib.import_module(module)
    for name in classes:
        owner = getattr(owner, name)
    yield owner, attribute


def _channel_classes() -> list[type]:
    return [
        value
        for module in channels.modules().values()
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__ and "books" in vars(value)
    ]


class Countdown:
    """The calls that are still let pass, of all functions of a point together."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def is_over(self) -> bool:
        """Count one call."""
        self.calls -= 1
        return self.calls <= 0


def _deadly(inside: Callable[..., Any], point: Point, countdown: Countdown) -> Callable[..., Any]:
    async def deadly(*args: Any, **more: Any) -> Any:
        if point.row and type(args[0]).__name__ != point.row:
            return await inside(*args, **more)
        dies = countdown.is_over()
        if dies and point.when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = await inside(*args, **more)
        if dies:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return deadly
