"""Certificates rotate, the public key takes over: in the middle of the load, nothing valid is lost."""

import asyncio

import httpx
import pytest
from checkout.models import Order, Payment
from kit.books import calls
from kit.running import BuyerClient, RunningShop
from kit.waiting import until

BUYERS = 20


@pytest.fixture
def more_settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Without the public key the shop trusts platform certificates."""
    return getattr(
        request,
        "param",
        {"SHOP_WECHATPAY_PUBLIC_KEY_ID": "", "SHOP_WECHATPAY_PUBLIC_KEY": ""},
    )


async def buy(buyer: BuyerClient) -> None:
    order = await buyer.order()
    started = (await buyer.start(order["order_no"])).json()
    await buyer.pay(started["invoke"])


async def all_notified(running: RunningShop, orders: int) -> bool:
    return len(await calls(running, "/notify/wechat/payment")) == orders


@pytest.mark.parametrize("database_kind", ["sqlite", "postgres"], indirect=True)
async def test_a_rotation_under_load_costs_one_download_and_refuses_nothing(
    running: RunningShop,
) -> None:
    await running.control("faults", signing="certificate")
    buyers = [await running.buyer(f"oBuyer{n}") for n in range(BUYERS)]
    await asyncio.gather(*map(buy, buyers[: BUYERS // 2]))
    before = len(await calls(running, "/v3/certificates"))
    await running.control("faults", rotate_certificates=True)  # the new one is listed
    load = asyncio.gather(*map(buy, buyers[BUYERS // 2 :]))
    await running.control("faults", rotate_certificates=True)  # and used
    await load
    await until(lambda: all_notified(running, BUYERS))
    assert len(await calls(running, "/v3/certificates")) == before + 1
    assert {e["status"] for e in await calls(running, "/notify/wechat/payment")} == {204}
    assert await Order.filter(state="PAID").count() == BUYERS


@pytest.mark.parametrize("more_settings", [{}], indirect=True)
async def test_the_switch_from_certificates_to_the_public_key_refuses_nothing(
    running: RunningShop,
) -> None:
    """A merchant in migration gets both, and the shop has the key already."""
    await running.control("faults", signing="certificate")
    buyers = [await running.buyer(f"oBuyer{n}") for n in range(BUYERS)]
    for n, signing in enumerate(("certificate", "mixed", "public_key")):
        await running.control("faults", signing=signing)
        await asyncio.gather(*map(buy, buyers[n * 6 : n * 6 + 6]))
    await until(lambda: all_notified(running, 18))
    assert len(await calls(running, "/v3/certificates")) <= 1


async def test_a_flood_of_invented_serials_costs_one_download_a_minute(
    running: RunningShop,
) -> None:
    await running.control("faults", signing="certificate")
    await buy(await running.buyer())
    before = len(await calls(running, "/v3/certificates"))

    async def junk(n: int) -> httpx.Response:
        headers = {
            "Wechatpay-Timestamp": str(int(running.shop.clock.real())),
            "Wechatpay-Nonce": "n",
            "Wechatpay-Signature": "AAAA",
            "Wechatpay-Serial": f"{n:040X}",
        }
        return await running.http.post("/notify/wechat/payment", content=b"{}", headers=headers)

    answers = await asyncio.gather(*map(junk, range(100)))
    assert {answer.status_code for answer in answers} == {401}
    assert len(await calls(running, "/v3/certificates")) <= before + 1
    assert await Payment.filter(state="PAID").count() <= 1
