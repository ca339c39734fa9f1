"""H5, Native, App and the amount widget; merchants of their own and service providers."""

from typing import Any

import httpx
import pytest

from kit.protocol import ORDER, PAID, PARTIES
from wechat import combine, fields, transactions
from wechat.errors import MalformedAnswer

PARTNER = {"sp_appid": "wx8888888888888888", "sp_mchid": "1230000109", "sub_mchid": "1900000109"}
SUB_APP = {**PARTNER, "sub_appid": "wxd678efh567hg6999"}
GOODS = {name: ORDER[name] for name in ORDER.keys() - {"appid", "mchid", "openid"}}


@pytest.mark.parametrize(
    ("product", "answer"),
    [
        ("jsapi", {"prepay_id": "wx201410272009395522657a690389285100"}),
        ("app", {"prepay_id": "wx201410272009395522657a690389285100"}),
        ("native", {"code_url": "weixin://wxpay/bizpayurl/up?pr=NwY5Mz9&groupid=00"}),
        ("h5", {"h5_url": "https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx2016"}),
    ],
)
@pytest.mark.parametrize(
    ("parties", "base"),
    [(PARTIES, "/v3/pay/transactions"), (PARTNER, "/v3/pay/partner/transactions")],
)
async def test_each_product_has_its_path_and_its_answer(
    world: Any, product: str, answer: dict[str, str], parties: dict[str, str], base: str
) -> None:
    def asked(request: httpx.Request) -> Any:
        seen.append(request.url.path)
        return world.answer(answer)

    seen: list[str] = []
    value = await transactions.prepay(world.client(asked), product, parties, b"{}")
    assert ({value}, seen) == (set(answer.values()), [f"{base}/{product}"])
    with pytest.raises(MalformedAnswer):
        await transactions.prepay(
            world.client(lambda request: world.answer({"other": "x"})), product, parties, b"{}"
        )


@pytest.mark.parametrize("host", ["http://127.0.0.1:8001", "https://api.mch.weixin.qq.com"])
async def test_an_h5_url_leads_to_the_host_that_was_asked(world: Any, host: str) -> None:
    rest = "/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=wx1&package=2150917749"
    client = world.client(
        lambda request: world.answer({"h5_url": f"https://wx.tenpay.com{rest}"}), host=host
    )
    leads_to = "https://wx.tenpay.com" if "weixin" in host else host
    assert await transactions.prepay(client, "h5", PARTIES, b"{}") == leads_to + rest
    assert await combine.prepay(client, "h5", b"{}") == leads_to + rest


def test_h5_sends_where_the_buyer_is() -> None:
    order = transactions.order(
        "h5", PARTIES, **GOODS, scene_info=fields.scene("203.0.113.7", h5=True)
    )
    assert order["scene_info"] == {"payer_client_ip": "203.0.113.7", "h5_info": {"type": "Wap"}}
    assert "payer" not in order
    for product in ("h5", "scannedpos"):
        with pytest.raises(ValueError, match=r"payer|scene_info"):
            transactions.order(product, PARTIES, **GOODS)
    for address in ("", "localhost", "1.2.3", "203.0.113.7:80"):
        with pytest.raises(ValueError, match="address"):
            fields.scene(address)


@pytest.mark.parametrize("product", ["native", "app"])
def test_native_and_app_name_no_payer(product: str) -> None:
    order = transactions.order(product, PARTIES, **GOODS)
    assert order.keys() == {*PARTIES, "description", "out_trade_no", "time_expire"} | {
        "notify_url",
        "amount",
    }


@pytest.mark.parametrize(
    ("parties", "payer"), [(PARTNER, {"sp_openid": "oSp"}), (SUB_APP, {"sub_openid": "oSub"})]
)
def test_a_partner_order_has_sp_and_sub_names(
    parties: dict[str, str], payer: dict[str, str]
) -> None:
    order = transactions.order("jsapi", parties, payer=payer, **GOODS)
    assert order["payer"] == payer
    assert parties.items() <= order.items()
    assert not {"appid", "mchid"} & order.keys()


@pytest.mark.parametrize(
    ("parties", "payer", "field"),
    [
        (PARTNER, {"openid": "o"}, "payer"),
        (PARTNER, {}, "payer"),
        (SUB_APP, {"sp_openid": "o", "sub_openid": "o"}, "payer"),
        (PARTNER, {"sub_openid": "o"}, "sub_appid"),
        (PARTNER, {"sp_openid": ""}, "sp_openid"),
        (PARTIES, {"sp_openid": "o"}, "payer"),
        ({"sp_mchid": "1", "sub_mchid": "2"}, {"sp_openid": "o"}, "sp_appid"),
        ({"sp_appid": "wx", "sp_mchid": "1"}, {"sp_openid": "o"}, "sub_mchid"),
        ({"mchid": "1"}, {"openid": "o"}, "appid"),
    ],
)
def test_half_a_party_or_the_wrong_openid_is_named(
    parties: dict[str, str], payer: dict[str, str], field: str
) -> None:
    with pytest.raises(ValueError, match=f"^{field}: "):
        transactions.order("jsapi", parties, payer=payer, **GOODS)


async def test_a_partner_names_both_merchants_in_query_and_close(world: Any) -> None:
    def answer(request: httpx.Request) -> Any:
        targets.append(request.url.raw_path.decode())
        if request.method == "POST":
            bodies.append(request.content)
            return world.answer(b"", 204)
        plain = {name: PAID[name] for name in PAID.keys() - {"appid", "mchid"}}
        return world.answer({**plain, **SUB_APP, "payer": {"sp_openid": "oSp"}})

    targets: list[str] = []
    bodies: list[bytes] = []
    client = world.client(answer)
    number = PAID["out_trade_no"]
    transaction = await transactions.query(client, SUB_APP, number)
    await transactions.query_by_id(client, SUB_APP, PAID["transaction_id"])
    await transactions.close(client, SUB_APP, number)
    both = "?sp_mchid=1230000109&sub_mchid=1900000109"
    base = "/v3/pay/partner/transactions"
    assert targets == [
        f"{base}/out-trade-no/{number}{both}",
        f"{base}/id/{PAID['transaction_id']}{both}",
        f"{base}/out-trade-no/{number}/close",
    ]
    assert bodies == [b'{"sp_mchid":"1230000109","sub_mchid":"1900000109"}']
    assert (transaction.parties, transaction.openid) == (SUB_APP, "oSp")
