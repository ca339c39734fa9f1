"""Combined orders: built by the rules, whole or not at all."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from kit.protocol import envelope
from wechat import combine, fields, notify
from wechat.combine import SubOrder
from wechat.errors import MalformedAnswer, OutcomeUnknown

FIRST = SubOrder("1900000001", "S202611210000001", 100, "茶", "shop")
SECOND = SubOrder("1900000002", "S202611210000002", 250, "杯", "shop")
ORDER: dict[str, Any] = {
    "combine_appid": "wxd678efh567hg6787",
    "combine_mchid": "1900000001",
    "combine_out_trade_no": "S2026112100000C01",
    "sub_orders": [FIRST, SECOND],
    "notify_url": "https://shop.example.com/notify/wechat/combine",
    "time_expire": datetime(2026, 11, 21, 4, 30, 59, tzinfo=UTC),
    "scene_info": fields.scene("203.0.113.7", device_id="shop0001"),
    "openid": "oUpF8uMuAJO_M2pxb1Q9zNjWeS6o",
}


def sub(order: SubOrder, **changes: Any) -> dict[str, Any]:
    """Build what WeChat says of a paid part."""
    total = order.total_fen
    paid = {
        "mchid": order.mchid,
        "out_trade_no": order.out_trade_no,
        "transaction_id": f"42{order.out_trade_no[1:]}",
        "trade_type": "JSAPI",
        "trade_state": "SUCCESS",
        "bank_type": "OTHERS",
        "attach": order.attach,
        "success_time": "2026-11-21T12:34:56.120+08:00",
        "amount": {"total_amount": total, "payer_amount": total, "currency": "CNY"},
    }
    return {name: value for name, value in (paid | changes).items() if value is not None}


def trade(*subs: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """Build what WeChat says of the whole order."""
    return {
        "combine_appid": ORDER["combine_appid"],
        "combine_mchid": ORDER["combine_mchid"],
        "combine_out_trade_no": ORDER["combine_out_trade_no"],
        "combine_payer_info": {"openid": ORDER["openid"]},
        "sub_orders": list(subs),
        **changes,
    }


def test_a_combined_order_always_has_attach_and_device_id() -> None:
    body = combine.combine_order("jsapi", **ORDER)
    assert [sub_order["attach"] for sub_order in body["sub_orders"]] == ["shop", "shop"]
    assert body["scene_info"]["device_id"] == "shop0001"
    assert body["sub_orders"][1]["amount"] == {"total_amount": 250, "currency": "CNY"}
    assert body["combine_payer_info"] == {"openid": ORDER["openid"]}
    assert "combine_payer_info" not in combine.combine_order("native", **ORDER)


@pytest.mark.parametrize(
    ("count", "sub_mchid", "right"),
    [
        (1, None, False),
        (2, None, True),
        (50, None, True),
        (51, None, False),
        (0, "19", False),
        (1, "19", True),
        (50, "19", True),
        (51, "19", False),
    ],
)
def test_direct_orders_have_two_to_fifty_parts_partners_also_one(
    count: int, sub_mchid: str | None, right: bool
) -> None:
    parts = [SubOrder("19", f"S1000{n:03}", 1, "茶", "a", sub_mchid) for n in range(count)]
    if right:
        combine.combine_order("h5", **{**ORDER, "sub_orders": parts})
    else:
        with pytest.raises(ValueError, match=r"^sub_orders: "):
            combine.combine_order("h5", **{**ORDER, "sub_orders": parts})


def test_texts_of_a_part_are_cut_to_the_bytes_that_wechat_takes() -> None:
    part = SubOrder("19", "S100001", 1, "茶" * 60, "店" * 43).body()
    assert (part["description"], part["attach"]) == ("茶" * 42, "店" * 42)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"combine_appid": ""}, "combine_appid"),
        ({"combine_out_trade_no": "S1"}, "combine_out_trade_no"),
        ({"openid": None}, "openid"),
        ({"sub_orders": [FIRST, FIRST]}, "sub_orders"),
        ({"sub_orders": [FIRST, SubOrder("19", "S123456", 0, "茶", "a")]}, "total_fen"),
        ({"sub_orders": [FIRST, SubOrder("19", "S123456", 1, "", "a")]}, "description"),
        ({"sub_orders": [FIRST, SubOrder("19", "S123456", 1, "茶", "")]}, "attach"),
    ],
)
def test_what_wechat_would_refuse_is_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        combine.combine_order("jsapi", **{**ORDER, **changes})


async def test_query_and_close_name_the_whole_order_and_every_part(world: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        seen.append((request.url.path, request.content))
        return world.answer(b"", 204) if request.method == "POST" else world.answer(paid)

    seen: list[Any] = []
    paid = trade(sub(FIRST), sub(SECOND))
    client = world.client(answer)
    number = ORDER["combine_out_trade_no"]
    combined = await combine.query(client, number)
    numbers = [FIRST.numbers(), SECOND.numbers()]
    await combine.close(
        client, combine_appid="wx1", combine_out_trade_no=number, sub_orders=numbers
    )
    path = f"/v3/combine-transactions/out-trade-no/{number}"
    assert seen[0] == (path, b"")
    assert seen[1][0] == f"{path}/close"
    assert json.loads(seen[1][1]) == {"combine_appid": "wx1", "sub_orders": numbers}
    assert [(part.total_fen, part.payer_total_fen) for part in combined.parts] == [
        (100, 100),
        (250, 250),
    ]
    assert combined.parts[1].parties == {
        "combine_appid": ORDER["combine_appid"],
        "combine_mchid": ORDER["combine_mchid"],
        "combine_out_trade_no": number,
        "mchid": "1900000002",
    }
    with pytest.raises(OutcomeUnknown):
        await combine.close(
            world.client(lambda request: world.answer({"x": 1})),
            combine_appid="wx1",
            combine_out_trade_no=number,
            sub_orders=numbers,
        )


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (trade(), "sub_orders"),
        (trade(sub_orders=None), "sub_orders"),
        (trade(sub_orders=["x"]), "sub_orders"),
        (trade(sub(FIRST), sub(FIRST)), "sub_orders"),
        (trade(sub(FIRST, mchid=None)), "mchid"),
        (trade(sub(FIRST, transaction_id=None)), "trade_state"),
        (trade(sub(FIRST), combine_mchid=""), "combine_mchid"),
        (trade(sub(FIRST), combine_out_trade_no="S2026112100000C99"), "combine_out_trade_no"),
    ],
)
async def test_an_answer_that_is_not_whole_is_refused_by_name(
    world: Any, content: dict[str, Any], field: str
) -> None:
    client = world.client(lambda request: world.answer(content))
    with pytest.raises(MalformedAnswer) as caught:
        await combine.query(client, ORDER["combine_out_trade_no"])
    assert caught.value.field == field


def test_a_notification_is_opened_whole(world: Any) -> None:
    key = world.merchant.apiv3_key
    content = trade(sub(FIRST), sub(SECOND))
    notification = notify.parse(json.dumps(envelope(world, content)).encode())
    combined = combine.open_combined(key, notification)
    assert combined.combine_out_trade_no == ORDER["combine_out_trade_no"]
    numbers = [part.out_trade_no for part in combined.parts]
    assert numbers == [FIRST.out_trade_no, SECOND.out_trade_no]
    assert combined.parts[0].openid == ORDER["openid"]
    single = notify.parse(json.dumps(envelope(world)).encode())
    with pytest.raises(MalformedAnswer, match="combine_appid"):
        combine.open_combined(key, single)
    other = envelope(world, resource={"original_type": "refund"})
    with pytest.raises(MalformedAnswer, match="refund"):
        combine.open_combined(key, notify.parse(json.dumps(other).encode()))
