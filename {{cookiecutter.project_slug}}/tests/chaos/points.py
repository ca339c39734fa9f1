"""The named places where the chaos tests kill the shop; none of them is in the shop's own code."""

import importlib
import os
import signal
from collections.abc import Callable
from typing import Any

#: name -> where, and whether the process dies before or after the call
POINTS = {
    "prepay.before_it_is_written": ("shop.checkout:write_down", "before"),
    "prepay.written": ("shop.checkout:write_down", "after"),
    "prepay.about_to_leave": ("shop.channels.wechat:WeChat.prepay", "before"),
    "prepay.sent": ("shop.channels.wechat:WeChat.prepay", "after"),
    "prepay.opened": ("shop.ledger:Ledger.open_payment", "after"),
    "record.stored": ("shop.inbox:Inbox._store", "after"),
    "record.in_the_transaction": ("shop.moves:Moves.move", "after"),
    "record.event_written": ("shop.moves:Moves.event", "after"),
    "record.committed": ("shop.ledger:Ledger._pay_once", "after"),
    "record.before_the_answer": ("shop.inbox:Inbox.receive", "after"),
    "record.surplus_written": ("shop.ledger:Ledger._give_back", "after"),
    "combine.sent": ("shop.channels.wechat_combine:WeChatCombine.prepay", "after"),
    "combine.closed_at_wechat": ("shop.channels.wechat_combine:WeChatCombine.close", "after"),
    "refund.reserved": ("shop.refund_ledger:RefundLedger.reserve", "after"),
    "refund.turn_taken": ("shop.refunds:Refunds._turn", "after"),
    "refund.written": ("shop.refunds:Refunds._write_down", "after"),
    "refund.sent": ("shop.channels._refunds:RefundVerbs.refund", "after"),
    "refund.in_the_transaction": ("shop.refund_ledger:RefundLedger._finish", "after"),
    "refund.recorded": ("shop.refund_ledger:RefundLedger.record", "after"),
    "refund.adopted": ("shop.refunds:Refunds._adopt", "after"),
    "sweep.claimed": ("shop.sweep:Sweep._claim", "after"),
    "sweep.asked": ("shop.truth:Truth.ask", "after"),
    "sweep.closing": ("shop.ledger:Ledger.start_closing", "after"),
    "sweep.closed_at_wechat": ("shop.channels.wechat:WeChat.close", "after"),
    "sweep.closed_here": ("shop.ledger:Ledger.close_payment", "after"),
    "sweep.event_run": ("shop.sweep:tell", "after"),
}


def arm(point: str) -> None:
    """Let this process die by SIGKILL at a point: `name`, or `name:3` for the third time."""
    name, _, times = point.partition(":")
    place, when = POINTS[name]
    module, _, path = place.partition(":")
    owner: Any = importlib.import_module(module)
    *classes, attribute = path.split(".")
    for one in classes:
        owner = getattr(owner, one)
    setattr(owner, attribute, _deadly(getattr(owner, attribute), when, int(times or 1)))


def _deadly(inside: Callable[..., Any], when: str, times: int) -> Callable[..., Any]:
    left = times

    async def deadly(*args: Any, **more: Any) -> Any:
        nonlocal left
        left -= 1
        if when == "before" and left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        result = await inside(*args, **more)
        if left <= 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return deadly
