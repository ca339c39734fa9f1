"""A payment's whole life, and what WeChat's client says on the way."""


async def test_a_payment_is_ordered_paid_queried_and_notified(merchant, shop, until):
    body, prepay_id = await merchant.prepay(merchant.order(attach="桌号 7"))
    assert await merchant.pay(prepay_id, openid="oBuyer") == {
        "err_msg": "requestPayment:ok",
        "transaction_id": (await merchant.control("orders"))["orders"][0]["transaction_id"],
    }
    answer = await merchant.query(body["out_trade_no"])
    merchant.verify(answer)
    await until(lambda: len(shop.received) == 1)
    merchant.verify(shop.received[0])
    paid = merchant.open(shop.received[0][1])
    assert paid == answer.json()
    assert paid["trade_state"] == "SUCCESS"
    assert paid["amount"]["payer_total"] == 990
    assert paid["attach"] == "桌号 7"
