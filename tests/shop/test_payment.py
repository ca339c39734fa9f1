"""A payment from product to PAID, over real HTTP against the sandbox."""

from kit.running import RunningShop


async def test_a_mini_program_order_is_paid_by_one_notification(running: RunningShop) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    started = (await buyer.start(order["order_no"])).json()
    assert (await buyer.pay(started["invoke"]))["err_msg"] == "requestPayment:ok"
    assert (await buyer.get(f"/api/orders/{order['order_no']}?refresh=1")).json()["state"] == "PAID"
    assert (await running.at_wechat(started["out_trade_no"]))["trade_state"] == "SUCCESS"
