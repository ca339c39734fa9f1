"""An order goes from a browser or an App to the mini program, by a token and by nothing else."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from checkout.models import Order
from kit.buyers import guest
from kit.databases import EVERY_DATABASE
from kit.running import BuyerClient, RunningShop

KEY = "secret-key-of-the-tests-0123456789abcdef"


async def handed(running: RunningShop) -> tuple[BuyerClient, dict[str, Any], dict[str, Any]]:
    """Let a guest order something and hand it over."""
    browser = await guest(running)
    order = await browser.order()
    answer = await browser.post(f"/api/orders/{order['order_no']}/handover")
    assert answer.status_code == 200, answer.text
    return browser, order, answer.json()


async def test_the_mini_program_claims_and_pays_what_the_browser_ordered(
    running: RunningShop,
) -> None:
    browser, order, made = await handed(running)
    assert set(made) == {"token", "path"}
    assert made["path"].startswith("pages/order/order?")
    assert made["token"] in made["path"]
    mini = await running.buyer()
    path = f"/api/orders/{order['order_no']}"
    assert (await mini.get(path)).status_code == 404  # a number alone claims nothing
    assert (await mini.start(order["order_no"])).status_code == 404
    claimed = await mini.post("/api/handover", {"token": made["token"]})
    assert (claimed.status_code, claimed.json()["order_no"]) == (200, order["order_no"])
    assert (await mini.get("/api/orders")).json()["orders"][0]["order_no"] == order["order_no"]
    started = (await mini.start(order["order_no"])).json()
    assert (await mini.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"
    await mini.get(f"{path}?refresh=1")
    assert await browser.state(order["order_no"]) == "PAID"  # who ordered sees it, too


async def test_a_payment_begun_in_the_browser_is_closed_first(running: RunningShop) -> None:
    browser, order, made = await handed(running)
    first = (await browser.start(order["order_no"], "native")).json()
    mini = await running.buyer()
    await mini.post("/api/handover", {"token": made["token"]})
    assert (await mini.start(order["order_no"])).status_code == 201
    assert (await running.at_wechat(first["out_trade_no"]))["trade_state"] == "CLOSED"


async def test_a_token_works_once_and_a_new_one_replaces_it(running: RunningShop) -> None:
    browser, order, old = await handed(running)
    new = (await browser.post(f"/api/orders/{order['order_no']}/handover")).json()
    mini, other = await running.buyer(), await running.buyer("oOther")
    for who, token, status in (
        (mini, old["token"], 400),
        (mini, new["token"], 200),
        (mini, new["token"], 400),
        (other, new["token"], 400),
    ):
        answer = await who.post("/api/handover", {"token": token})
        assert answer.status_code == status, answer.text
        assert status == 200 or answer.json()["field"] == "token"
    assert (await other.get(f"/api/orders/{order['order_no']}")).status_code == 404


@EVERY_DATABASE
async def test_of_many_claims_at_once_one_is_the_first(running: RunningShop) -> None:
    _, order, made = await handed(running)
    buyers = [await running.buyer(f"oBuyer{n}") for n in range(6)]
    claims = [buyer.post("/api/handover", {"token": made["token"]}) for buyer in buyers]
    statuses = [answer.status_code for answer in await asyncio.gather(*claims)]
    assert sorted(statuses) == [200] + [400] * 5
    seen = [(await buyer.get(f"/api/orders/{order['order_no']}")).status_code for buyer in buyers]
    assert seen == [200 if status == 200 else 404 for status in statuses]


@pytest.mark.parametrize(("seconds", "status"), [(598, 200), (601, 400)])
async def test_a_token_lasts_ten_minutes(running: RunningShop, seconds: int, status: int) -> None:
    _, _, made = await handed(running)
    await running.advance(seconds)
    mini = await running.buyer()
    answer = await mini.post("/api/handover", {"token": made["token"]})
    assert answer.status_code == status, answer.text
    assert status == 200 or answer.json()["field"] == "token"


async def test_two_tokens_have_nothing_in_common_and_the_books_keep_a_hash(
    running: RunningShop,
) -> None:
    _, order, made = await handed(running)
    _, _, other = await handed(running)
    assert len(made["token"]) >= 43  # 256 bits
    assert made["token"][:8] != other["token"][:8]
    assert order["order_no"] not in made["token"]
    [row] = await Order.filter(order_no=order["order_no"]).values()
    assert row["handover"] == hashlib.sha256(made["token"].encode()).hexdigest()
    assert made["token"] not in repr(row)


def signed(order_no: str) -> str:
    """Sign a claim with the shop's own key: sessions are made so, hand-overs are not."""
    claims = {"sub": order_no, "aud": "handover", "jti": "x", "exp": int(time.time()) + 60}
    return jwt.encode(claims, KEY, "HS256")


NOT_TOKENS: dict[str, Callable[[str, str], str]] = {
    "the order's number": lambda order_no, _: order_no,
    "its hash": lambda _, token: hashlib.sha256(token.encode()).hexdigest(),
    "longer": lambda _, token: f"{token}x",
    "shorter": lambda _, token: token[:-1],
    "in other letters": lambda _, token: token.swapcase(),
    "signed by the shop": lambda order_no, _: signed(order_no),
    "short": lambda *_: "x",
}


@pytest.mark.parametrize("case", NOT_TOKENS)
async def test_a_token_that_does_not_hold_claims_nothing(running: RunningShop, case: str) -> None:
    _, order, made = await handed(running)
    mini = await running.buyer()
    token = NOT_TOKENS[case](order["order_no"], made["token"])
    answer = await mini.post("/api/handover", {"token": token})
    assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert (await mini.get(f"/api/orders/{order['order_no']}")).status_code == 404
    assert (await mini.post("/api/handover", {"token": made["token"]})).status_code == 200


async def test_a_session_is_no_handover_and_a_handover_no_session(running: RunningShop) -> None:
    browser, _, made = await handed(running)
    session = browser.headers["Authorization"].removeprefix("Bearer ")
    assert (await browser.post("/api/handover", {"token": session})).status_code == 400
    answer = await running.http.get("/api/me", headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.status_code == 401


async def test_only_who_sees_an_order_hands_it_over(running: RunningShop) -> None:
    _, order, made = await handed(running)
    mini = await running.buyer()
    path = f"/api/orders/{order['order_no']}/handover"
    assert (await mini.post(path)).status_code == 404
    assert (await running.http.post(path, json={})).status_code == 401
    assert (await running.http.post("/api/handover", json={"token": "x"})).status_code == 401
    await mini.post("/api/handover", {"token": made["token"]})
    assert (await mini.post(path)).status_code == 200
