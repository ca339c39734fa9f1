"""What grows is forgotten in batches: guests who never ordered, logins that are over."""

from datetime import timedelta

import pytest
from accounts import login
from accounts.models import Buyer, OAuthState
from kit.buyers import guest
from kit.databases import EVERY_DATABASE
from kit.running import RunningShop

from shop import shop

DAY = 86400


@EVERY_DATABASE
async def test_a_guest_who_never_ordered_is_forgotten_after_the_session(
    running: RunningShop,
) -> None:
    idle = await guest(running)
    ordered = await guest(running)
    member = await running.buyer()
    order_no = (await ordered.order())["order_no"]
    await running.shop.forget()
    assert await Buyer.all().count() == 3, "nobody yet"
    await running.advance(8 * DAY + 1)
    await running.shop.forget()
    assert await Buyer.all().count() == 2
    assert (await ordered.get(f"/api/orders/{order_no}")).status_code == 200
    assert (await member.get("/api/me")).json()["identities"] == [{"kind": "miniprogram"}]
    assert not await Buyer.filter(guest_until__not_isnull=True).exists(), "looked at once"
    assert (await idle.get("/api/orders")).json()["orders"] == []


async def test_the_token_of_a_forgotten_guest_sees_nothing_and_must_log_in(
    running: RunningShop,
) -> None:
    idle = await guest(running)
    await running.advance(8 * DAY + 1)
    await running.shop.forget()
    assert (await idle.get("/api/me")).json()["identities"] == []
    answer = await idle.start((await idle.order())["order_no"], "jsapi")
    assert (answer.status_code, answer.json()["code"]) == (409, "OPENID_REQUIRED")


async def test_a_guest_who_claimed_an_order_stays(running: RunningShop) -> None:
    buyer = await running.buyer()
    claimer = await guest(running)
    order_no = (await buyer.order())["order_no"]
    handed = (await buyer.post(f"/api/orders/{order_no}/handover")).json()
    claimed = await claimer.post("/api/handover", {"token": handed["token"]})
    assert claimed.status_code == 200
    await running.advance(8 * DAY + 1)
    await running.shop.forget()
    assert await Buyer.all().count() == 2


async def test_a_flood_is_forgotten_batch_by_batch(
    running: RunningShop, monkeypatch: pytest.MonkeyPatch
) -> None:
    for owner in (login, shop):
        monkeypatch.setattr(owner, "BATCH", 10)
    monkeypatch.setattr(shop, "FORGET_BATCHES", 3)
    now = running.shop.clock.now()
    over = now - timedelta(days=1)
    await Buyer.bulk_create([Buyer(created_at=over, guest_until=over) for _ in range(45)])
    await OAuthState.bulk_create(
        [OAuthState(state=f"{n}", browser="", return_to="/", expires_at=over) for n in range(25)]
    )
    await running.shop.forget()
    assert (await Buyer.all().count(), await OAuthState.all().count()) == (15, 0)
    await running.shop.forget()
    assert await Buyer.all().count() == 0
