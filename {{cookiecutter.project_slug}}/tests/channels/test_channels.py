"""The contract of every channel: each lives the same life, against its other side over HTTP.

A channel is tested because its file is there; tests/kit/channels/<channel>.py plays its
other side.
"""

import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest

from checkout import channels
from checkout.bill import BEIJING
from checkout.channels import Channel
from checkout.models import Event, Order, Payment, Refund, Share
from kit import owner
from kit.books import compare, history, next_noon, outcomes
from kit.buyers import give_back
from kit.channels import exercise
from kit.channels._sandboxed import Sandboxed
from kit.owner import Product
from kit.running import RunningShop
from kit.waiting import until

TTL = 30 * 60  # seconds, the life of an order
HOOKS = ("on_paid", "on_closed", "on_refunded")
with exercise():
    MODULES = channels.modules()


@pytest.fixture(params=MODULES)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def more_settings() -> Iterator[Any]:
    """Set up every channel, as the demo does, and the exercise."""
    with exercise():
        yield channels.demo_settings


@pytest.fixture
def side(running: RunningShop, name: str) -> Sandboxed:
    """Give the channel's other side."""
    if name not in running.shop.checkout.channels:
        pytest.fail(
            f"the channel {name} is not set up in tests: let demo_settings(credentials) in its "
            "file return its settings for the sandbox"
        )
    return kit_of(name)(name, running)


def kit_of(name: str) -> type[Sandboxed]:
    """Return the class that plays a channel's other side; without one, say what to write."""
    module = f"kit.channels.{name}"
    try:
        return importlib.import_module(module).Kit
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        pytest.fail(
            f"the channel {name} has nobody who plays its other side: write "
            f"tests/kit/channels/{name}.py with a class Kit(Sandboxed) that says in which "
            "scene a payment starts, how its buyer pays and how its faults are named; "
            "kit/channels/wechat.py shows how"
        )


@pytest.fixture
def hooks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the owner's hooks, each time they are called."""
    called: list[str] = []
    for hook in HOOKS:
        original = getattr(owner, hook)

        async def noted(*arguments: Any, hook: str = hook, original: Any = original) -> None:
            called.append(hook)
            await original(*arguments)

        monkeypatch.setattr(owner, hook, noted)
    return called


class Life:
    """One order, its buyer, and the channel that it is paid by."""

    def __init__(self, side: Sandboxed) -> None:
        self.side = side
        self.running = side.running
        self.checkout = self.running.shop.checkout
        self.channel = self.checkout.channels[side.name]
        self.order_no = ""
        self.total_fen = 0
        self.started: dict[str, Any] = {}

    async def order(self, *skus: str) -> None:
        """Place the order."""
        self.buyer = await self.side.buyer()
        order = await self.buyer.cart(*(skus or ("longjing",)))
        self.order_no = order["order_no"]
        self.total_fen = order["total_fen"]

    async def start(self, scene: str = "") -> tuple[int, str]:
        """Ask for a payment; return status and code of the answer."""
        answer = await self.side.start(self.buyer, self.order_no, scene)
        body = answer.json()
        if answer.is_success:
            self.started = body
        elif answer.status_code in (429, 503):
            assert int(answer.headers["Retry-After"]) > 0
        return answer.status_code, body.get("code", "")

    async def begin(self, scene: str = "") -> None:
        """Bring the buyer to the cashier."""
        await self.order()
        assert await self.start(scene) == (201, "")

    async def pay(self) -> None:
        """Let the buyer pay, and the notification arrive."""
        await self.begin()
        assert await self.side.pay(self.buyer, self.started)
        await self.become("PAID")

    async def become(self, state: str) -> None:
        """Wait until the order's state is this, and until what follows from it is done."""

        async def has() -> bool:
            return await self.state() == state

        await until(has)
        await self.settle()

    async def settle(self) -> None:
        """Wait for the owner's hooks."""
        assert await self.checkout.work.drain(seconds=5) == 0

    async def sweeps(self, times: int, seconds: int) -> None:
        """Let time pass, and look again at everything that is due."""
        await self.running.sweeps(times, seconds)
        await self.settle()

    async def state(self) -> str:
        return (await Order.get(order_no=self.order_no)).state

    @property
    def number(self) -> str:
        return str(self.started["out_trade_no"])


@pytest.fixture
def life(side: Sandboxed) -> Life:
    return Life(side)


# -- a channel that is there


def test_build_is_typed_to_return_a_channel(name: str) -> None:
    """By this mypy compares every verb with the protocol."""
    assert get_type_hints(MODULES[name].build)["return"] is Channel


def test_nobody_plays_the_other_side_of_a_channel_that_is_gone() -> None:
    folder = Path(__file__).parents[1] / "kit" / "channels"
    assert {file.stem for file in folder.glob("[!_]*.py")} <= MODULES.keys()


def test_a_channel_whose_other_side_nobody_plays_says_what_to_write() -> None:
    with pytest.raises(pytest.fail.Exception, match=r"write tests/kit/channels/nobody\.py"):
        kit_of("nobody")


# -- paid


async def test_paid_once_by_its_notification(life: Life, hooks: list[str]) -> None:
    await life.pay()
    payment = await Payment.get()
    share = await Share.get()
    order = await Order.get()
    assert (payment.state, payment.channel, payment.live) == ("PAID", life.side.name, None)
    assert (share.out_trade_no, share.total_fen) == (life.number, life.total_fen)
    assert share.transaction_id
    assert (order.paid_fen, order.refunded_fen) == (life.total_fen, 0)
    assert await history(payment.number) == [("OPEN", "PAID")]
    assert hooks == ["on_paid"]
    assert await life.side.state(life.number) == "PAID"
    assert await life.start() == (409, "ORDER_PAID")


async def test_a_copy_of_its_notification_changes_nothing(life: Life, hooks: list[str]) -> None:
    await life.pay()

    async def answered(times: int) -> bool:
        return len(await life.side.answered()) == times

    await until(lambda: answered(life.side.tells))
    before = await outcomes()
    await life.side.copy(life.number)
    await until(lambda: answered(life.side.tells + 1))
    await life.settle()
    assert set(await life.side.answered()) <= {200, 204}
    assert [outcome for outcome, _ in before].count("APPLIED") == 1
    assert await outcomes() == before
    assert await history(life.number) == [("OPEN", "PAID")]
    assert await Event.all().count() == 1
    assert hooks == ["on_paid"]


async def test_a_forged_notification_is_refused(life: Life, hooks: list[str]) -> None:
    await life.begin()
    await life.side.fault("notification forged")
    assert await life.side.pay(life.buyer, life.started)
    await until(life.side.answered)
    assert set(await life.side.answered()) == {401}
    assert await outcomes() == []
    assert (await Payment.get()).state == "OPEN"
    await life.side.mend()
    await life.side.copy(life.number)  # the same, signed well
    await life.become("PAID")
    assert hooks == ["on_paid"]


async def test_a_lost_notification_is_made_good_by_the_sweep(life: Life, hooks: list[str]) -> None:
    await life.begin()
    await life.side.fault("notification lost")
    assert await life.side.pay(life.buyer, life.started)
    await life.sweeps(1, 6)
    assert await life.state() == "PAID"
    assert await outcomes() == []
    assert hooks == ["on_paid"]


# -- prepay


async def test_a_prepay_that_is_put_off_keeps_its_number(life: Life) -> None:
    await life.order()
    await life.side.fault("prepay later")
    assert await life.start() == life.side.later
    payment = await Payment.get()
    assert (payment.state, await life.state()) == ("NEW", "OPEN")
    await life.side.mend()
    assert await life.start() == (200, "")
    assert life.number == payment.number
    assert len(set(await life.side.prepays())) == 1
    assert await life.side.pay(life.buyer, life.started)
    await life.become("PAID")


async def test_a_prepay_that_is_refused_is_told_and_nothing_is_lost(life: Life) -> None:
    await life.order()
    await life.side.fault("prepay refused")
    answer = await life.side.start(life.buyer, life.order_no)
    assert (answer.status_code, answer.json()["code"]) == (502, "WECHAT_REFUSED")
    assert answer.json()["wechat_code"]
    assert await Payment.all().count() == 1
    assert await life.state() == "OPEN"
    await life.side.mend()
    assert (await life.start())[0] in (200, 201)
    assert await Payment.filter(live__not_isnull=True).count() == 1
    assert await life.side.pay(life.buyer, life.started)
    await life.become("PAID")


async def test_a_prepay_that_never_came_is_sent_again_word_for_word(life: Life) -> None:
    await life.order()
    await life.side.fault("prepay lost on the way")
    assert await life.start() == (503, "OUTCOME_UNKNOWN")
    payment = await Payment.get()
    await life.side.mend()
    assert await life.start() == (200, "")
    assert (life.number, await Payment.all().count()) == (payment.number, 1)
    sent = await life.side.prepays()
    assert (len(sent), len(set(sent))) == (2, 1)
    assert await life.side.pay(life.buyer, life.started)
    await life.become("PAID")


async def test_a_prepay_whose_answer_is_lost_is_sent_again_word_for_word(life: Life) -> None:
    await life.order()
    await life.side.fault("answer of prepay lost")
    assert await life.start() == (503, "OUTCOME_UNKNOWN")
    payment = await Payment.get()
    assert payment.state == "NEW"
    assert await life.side.state(payment.number) == "OPEN"
    await life.side.mend()
    again = await life.start()
    sent = await life.side.prepays()
    assert (len(sent), len(set(sent))) == (2, 1)
    assert await Payment.all().count() == 1
    if life.side.answers_again:
        assert again == (200, "")
        assert life.number == payment.number
    else:
        await begin_anew(life, payment.number, again)
    assert await life.side.pay(life.buyer, life.started)
    await life.become("PAID")


async def begin_anew(life: Life, first: str, again: tuple[int, str]) -> None:
    """See the number closed whose answer is lost for good, and only then a second one."""
    assert again == (409, "PAYMENT_IN_PROGRESS")
    await life.running.advance(life.channel.close_after + 1)
    assert (await life.start())[1] == "PAYMENT_IN_PROGRESS"
    assert await life.side.state(first) == "CLOSED"
    assert await life.start() == (201, "")
    assert life.number != first
    assert [p.state for p in await Payment.all().order_by("id")] == ["CLOSED", "OPEN"]


# -- not paid


async def test_cancelled_it_is_closed_there_and_here_and_takes_no_money(
    life: Life, hooks: list[str]
) -> None:
    await life.begin()
    answer = await life.buyer.post(f"/api/orders/{life.order_no}/cancel")
    if life.channel.close_after:
        assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
        await life.sweeps(1 + life.channel.close_after // 30 + 2, 30)
    else:
        assert (answer.status_code, answer.json()["state"]) == (200, "CLOSED")
    assert ((await Payment.get()).state, await life.state()) == ("CLOSED", "CLOSED")
    assert await life.side.state(life.number) == "CLOSED"
    assert not await life.side.pay(life.buyer, life.started)
    await life.sweeps(3, 600)
    assert ((await Payment.get()).state, await life.state()) == ("CLOSED", "CLOSED")
    assert await history(life.number) == [("OPEN", "CLOSED")]
    assert hooks == ["on_closed"]


async def test_nobody_pays_and_it_ends_with_its_order(life: Life, hooks: list[str]) -> None:
    await life.begin()
    await life.running.advance(TTL)
    await life.sweeps(5, 60)
    assert ((await Payment.get()).state, await life.state()) == ("CLOSED", "CLOSED")
    assert not await life.side.pay(life.buyer, life.started)
    assert await life.side.state(life.number) == "CLOSED"
    assert hooks == ["on_closed"]


async def test_what_cannot_be_closed_ends_by_its_own_time(life: Life, hooks: list[str]) -> None:
    if not life.side.scene_without_close:
        return  # all that it starts can be closed
    await life.begin(life.side.scene_without_close)
    answer = await life.buyer.post(f"/api/orders/{life.order_no}/cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "CLOSING")
    await life.sweeps(3, 60)
    assert ((await Payment.get()).state, await life.state()) == ("OPEN", "CLOSING")
    payment = await Payment.get()
    ends_in = int((payment.expires_at - life.running.shop.clock.now()).total_seconds())
    assert ends_in < TTL / 2, "it blocks its order until its end: let it be short"
    await life.sweeps(1 + ends_in // 60 + 3, 60)
    assert ((await Payment.get()).state, await life.state()) == ("CLOSED", "CLOSED")
    assert not await life.side.pay(life.buyer, life.started)
    assert hooks == ["on_closed"]


# -- refunded


async def test_refunded_to_the_last_fen(life: Life, hooks: list[str]) -> None:
    await life.pay()
    for fen in (100, life.total_fen - 100):
        assert (await give_back(life.running, life.order_no, fen)).status_code == 202
        await life.sweeps(3, 61)
    refunds = await Refund.all().order_by("id")
    assert [refund.state for refund in refunds] == ["SUCCESS", "SUCCESS"]
    share = await Share.get()
    order = await Order.get()
    assert (share.reserved_fen, share.refunded_fen) == (life.total_fen, life.total_fen)
    assert (order.state, order.refunded_fen, order.refunding_fen) == (
        "REFUNDED",
        life.total_fen,
        0,
    )
    sums = [(refund.out_refund_no, refund.refund_fen) for refund in refunds]
    assert sorted(await life.side.refunds(life.number)) == sorted(sums)
    assert hooks == ["on_paid", "on_refunded", "on_refunded"]
    assert (await give_back(life.running, life.order_no, 1)).status_code == 409


async def test_a_refund_that_is_put_off_keeps_its_number_and_waits(
    life: Life, hooks: list[str]
) -> None:
    await life.pay()
    await life.side.fault("refund later")
    answer = await give_back(life.running, life.order_no, 100)
    assert (answer.status_code, answer.json()["state"]) == (202, "PENDING")
    refund = await Refund.get()
    assert refund.trouble
    await life.sweeps(2, 301)
    assert (await Refund.get()).state == "PENDING"
    assert await life.side.refunds(life.number) == []
    await life.side.mend()
    await life.sweeps(4, 301)
    after = await Refund.get()
    assert (after.state, after.out_refund_no) == ("SUCCESS", refund.out_refund_no)
    assert after.request == refund.request
    assert await life.side.refunds(life.number) == [(refund.out_refund_no, 100)]
    assert hooks == ["on_paid", "on_refunded"]


# -- billed


async def billed(life: Life) -> tuple[str, str]:
    """Pay, give a part back, wait for the bill; return the numbers of both."""
    if life.running.shop.clock.now().astimezone(BEIJING).hour == 23:
        await life.running.advance(3600)  # the day must not end while it is played
    await life.pay()
    await give_back(life.running, life.order_no, 100)
    await life.sweeps(3, 61)
    return life.number, (await Refund.get()).out_refund_no


async def test_the_bill_of_the_day_agrees(life: Life) -> None:
    await billed(life)
    assert (await Refund.get()).state == "SUCCESS"
    assert (await compare(life.running, await next_noon(life.running)))[0] == []


async def test_a_false_line_of_the_bill_is_named(life: Life) -> None:
    number, out_refund_no = await billed(life)
    day = await next_noon(life.running)
    for fault, kind in life.side.false_bills.items():
        await life.side.falsify(fault)
        [(which, about)] = (await compare(life.running, day))[0]
        await life.side.mend()
        assert which == kind, fault
        if not fault.startswith("extra"):
            assert about == (out_refund_no if "refund" in fault else number)


# -- combined


async def test_several_merchants_are_paid_at_once_or_it_says_that_it_cannot(
    life: Life, monkeypatch: pytest.MonkeyPatch, hooks: list[str]
) -> None:
    other = str(life.running.credentials["others"][0]["mchid"])
    cup = Product("cup", "白瓷杯", 3600, other)
    monkeypatch.setattr(owner, "PRODUCTS", (*owner.PRODUCTS[:3], cup))
    await life.order("puer", "cup")
    if not life.channel.serves(life.side.scene, ["", other]):
        assert await life.start() == (409, "SCENE_OFF")
        assert await Payment.all().count() == 0
        return
    assert await life.start() == (201, "")
    assert await life.side.pay(life.buyer, life.started)
    await life.become("PAID")
    payment = await Payment.get()
    shares = await Share.all().order_by("id")
    assert (payment.state, payment.number[-1]) == ("PAID", "C")
    assert [share.total_fen for share in shares] == [6800, 3600]
    assert len({share.transaction_id for share in shares}) == 2
    for share in shares:
        answer = await give_back(
            life.running, life.order_no, share.total_fen, out_trade_no=share.out_trade_no
        )
        assert answer.status_code == 202, answer.text
    await life.sweeps(3, 61)
    assert await life.state() == "REFUNDED"
    assert hooks == ["on_paid", "on_refunded", "on_refunded"]
    assert (await compare(life.running, await next_noon(life.running)))[0] == []
