"""An order goes from a browser or an App to the mini program, by a token and by nothing else."""

import time
from typing import Any

import jwt
import pytest

from tests.shop.conftest import BuyerClient, Stage
from tests.shop.kit import guest

KEY = "secret-key-of-the-tests-0123456789abcdef"


async def handed(stage: Stage) -> tuple[BuyerClient, dict[str, Any], dict[str, Any]]:
    """Let a guest order something and hand it over."""
    browser = await guest(stage)
    order = await browser.order()
    answer = await browser.post(f"/api/orders/{order['order_no']}/handover")
    assert answer.status_code == 200, answer.text
    return browser, order, answer.json()


async def test_the_mini_program_claims_and_pays_what_the_browser_ordered(stage: Stage) -> None:
    browser, order, made = await handed(stage)
    assert set(made) == {"token", "path"}
    assert made["path"].startswith("pages/order/order?")
    assert made["token"] in made["path"]
    mini = await stage.buyer()
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


async def test_a_payment_begun_in_the_browser_is_closed_first(stage: Stage) -> None:
    browser, order, made = await handed(stage)
    first = (await browser.start(order["order_no"], "native")).json()
    mini = await stage.buyer()
    await mini.post("/api/handover", {"token": made["token"]})
    assert (await mini.start(order["order_no"])).status_code == 201
    assert (await stage.truth(first["out_trade_no"]))["trade_state"] == "CLOSED"


async def test_a_token_works_once_and_a_new_one_replaces_it(stage: Stage) -> None:
    browser, order, old = await handed(stage)
    new = (await browser.post(f"/api/orders/{order['order_no']}/handover")).json()
    mini, other = await stage.buyer(), await stage.buyer("oOther")
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


def forged(order_no: str, **claims: Any) -> str:
    now = int(time.time())
    body = {"sub": order_no, "jti": "x", "aud": "handover", "exp": now + 60} | claims
    return jwt.encode({k: v for k, v in body.items() if v is not None}, KEY, "HS256")


@pytest.mark.parametrize(
    "claims",
    [{"exp": int(time.time()) - 1}, {"exp": None}, {"aud": "shop"}, {"jti": None}, {"jti": "y"}],
)
async def test_a_token_that_does_not_hold_claims_nothing(
    stage: Stage, claims: dict[str, Any]
) -> None:
    _, order, made = await handed(stage)
    mini = await stage.buyer()
    known = jwt.decode(made["token"], options={"verify_signature": False})
    assert 590 <= known["exp"] - time.time() <= 600
    tokens = [forged(order["order_no"], **{"jti": known["jti"]} | claims), made["token"] + "x", "x"]
    for token in tokens:
        answer = await mini.post("/api/handover", {"token": token})
        assert (answer.status_code, answer.json()["code"]) == (400, "BAD_REQUEST")
    assert (await mini.post("/api/handover", {"token": made["token"]})).status_code == 200


async def test_a_session_is_no_handover_and_a_handover_no_session(stage: Stage) -> None:
    browser, _, made = await handed(stage)
    session = browser.headers["Authorization"].removeprefix("Bearer ")
    assert (await browser.post("/api/handover", {"token": session})).status_code == 400
    answer = await stage.http.get("/api/me", headers={"Authorization": f"Bearer {made['token']}"})
    assert answer.status_code == 401


async def test_only_who_sees_an_order_hands_it_over(stage: Stage) -> None:
    _, order, made = await handed(stage)
    mini = await stage.buyer()
    path = f"/api/orders/{order['order_no']}/handover"
    assert (await mini.post(path)).status_code == 404
    assert (await stage.http.post(path, json={})).status_code == 401
    assert (await stage.http.post("/api/handover", json={"token": "x"})).status_code == 401
    await mini.post("/api/handover", {"token": made["token"]})
    assert (await mini.post(path)).status_code == 200
