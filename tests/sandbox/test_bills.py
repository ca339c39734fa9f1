"""Bills: which day has one, what stands in it, and how it is falsified."""

import gzip
import hashlib
import re
from datetime import date, datetime, timedelta, timezone

import httpx
import pytest
from wechat import bill_rows, bills, keys
from wechat.client import Client
from wechat.trust import Trust

from tests.sandbox.merchant import paid, refund

BEIJING = timezone(timedelta(hours=8))
HEADER = (
    "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,"
    "付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,"
    "退款类型,退款状态,商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注"
)
SUMMARY = (
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额"
)


async def now(merchant):
    return datetime.fromisoformat((await merchant.control("clock"))["now"]).astimezone(BEIJING)


async def go_to(merchant, hour, *, days=0):
    """Move to an hour of the day, `days` later."""
    moment = await now(merchant)
    target = (moment + timedelta(days=days)).replace(hour=hour, minute=0, second=0)
    target += timedelta(days=target < moment)
    seconds = int((target - moment).total_seconds())
    await merchant.control("clock", advance_seconds=max(seconds, 0))
    return await now(merchant)


async def apply(merchant, day, path="tradebill", **more):
    query = "&".join(f"{name}={value}" for name, value in ({"bill_date": day} | more).items())
    return await merchant.call("GET", f"/v3/bill/{path}?{query}")


async def fetch(merchant, ticket):
    url = httpx.URL(ticket["download_url"])
    return await merchant.call("GET", url.raw_path.decode())


async def a_day(merchant):
    """At noon pay the second order, refund a part, pay the first; go on to the next noon."""
    day = (await go_to(merchant, 12)).date()
    _, slow = await merchant.prepay()
    number, _ = await paid(merchant)
    await refund(merchant, number, 300)
    await merchant.control("clock", advance_seconds=1)
    await merchant.pay(slow)
    await go_to(merchant, 12, days=1)
    return str(day), number


async def text(merchant, day, path="tradebill", **more):
    answer = await apply(merchant, day, path, **more)
    assert answer.status_code == 200, answer.text
    return (await fetch(merchant, answer.json())).content.decode("utf-8-sig").split("\r\n")


def values(line):
    return line[1:].split(",`")


def shop_client(merchant):
    """Read with the other reading of WeChat's pages: that of the shop."""
    credentials = merchant.credentials
    secret = keys.apiv3_key(credentials["apiv3_key"])
    own = keys.private_key(credentials["merchant_private_key_pem"])
    me = keys.Merchant(merchant.mchid, credentials["merchant_serial"], own, secret)
    wechats = {credentials["public_key_id"]: keys.public_key(credentials["public_key_pem"])}
    trust = Trust(secret, public_keys=wechats)
    host = str(merchant.http.base_url).rstrip("/")
    return Client(merchant.http, me, trust, host=host, standby=None)


async def read(merchant, day, to, kind="ALL"):
    """Download and read a bill; its hash and its summary are checked on the way."""
    client = shop_client(merchant)
    day = date.fromisoformat(str(day))
    ticket = await bills.apply_trade_bill(client, date=day, bill_type=kind)
    assert ticket
    await bills.download(client, ticket, to / "bill.csv")
    return list(bill_rows.rows(to / "bill.csv"))


async def test_the_bill_of_a_day_that_is_over(merchant):
    day, number = await a_day(merchant)
    header, first, second, third, totals, sums, end = await text(merchant, day)
    assert (header, totals, end) == (HEADER, SUMMARY, "")
    rows = [
        dict(zip(HEADER.split(","), values(line), strict=True)) for line in (first, second, third)
    ]
    assert [row["交易状态"] for row in rows] == ["SUCCESS", "REFUND", "SUCCESS"]
    assert rows[0]["商户订单号"] == rows[1]["商户订单号"] == number
    assert (rows[0]["订单金额"], rows[0]["申请退款金额"], rows[0]["微信退款单号"]) == (
        "9.90",
        "0.00",
        "0",
    )
    assert (rows[1]["订单金额"], rows[1]["申请退款金额"], rows[1]["退款状态"]) == (
        "0.00",
        "3.00",
        "PROCESSING",
    )
    assert rows[0]["特约商户号"] == "0"
    assert re.fullmatch(day + r" 12:\d\d:\d\d", rows[0]["交易时间"])
    assert values(sums) == ["3.0", "19.80", "3.00", "0.00", "0.00", "19.80", "3.00"]


async def test_the_hash_is_of_the_unpacked_bytes_and_the_file_is_not_signed(merchant):
    day, _ = await a_day(merchant)
    plain = (await apply(merchant, day)).json()
    packed = await apply(merchant, day, tar_type="GZIP")
    merchant.verify(packed)
    file = await fetch(merchant, packed.json())
    assert "wechatpay-signature" not in file.headers
    content = gzip.decompress(file.content)
    assert content.startswith(b"\xef\xbb\xbf")
    assert (await fetch(merchant, plain)).content == content
    assert hashlib.sha1(content).hexdigest() == plain["hash_value"] == packed.json()["hash_value"]


async def test_success_and_refund_bills_have_columns_of_their_own(merchant):
    day, _ = await a_day(merchant)
    success = await text(merchant, day, bill_type="SUCCESS")
    assert "退款" not in success[0]
    assert len(success) == 6
    back = await text(merchant, day, bill_type="REFUND")
    assert ",退款申请时间,退款成功时间,微信退款单号," in back[0]
    assert len(back) == 5


async def test_the_fund_flow_has_every_movement_and_the_balance(merchant):
    day, _ = await a_day(merchant)
    lines = await text(merchant, day, "fundflowbill")
    rows = [dict(zip(lines[0].split(","), values(line), strict=True)) for line in lines[1:4]]
    assert [(r["收支类型"], r["收支金额(元)"], r["账户结余(元)"]) for r in rows] == [
        ("收入", "9.90", "9.90"), ("支出", "3.00", "6.90"), ("收入", "9.90", "16.80"),
    ]  # fmt: skip
    assert values(lines[5]) == ["3.0", "2.0", "19.80", "1.0", "3.00"]
    other = await apply(merchant, day, "fundflowbill", account_type="FEES")
    assert other.json()["code"] == "NO_STATEMENT_EXIST"


@pytest.mark.parametrize(
    ("days", "code"),
    [
        (0, "INVALID_REQUEST"),
        (1, "INVALID_REQUEST"),
        (-93, "INVALID_REQUEST"),
        (-92, "NO_STATEMENT_EXIST"),
        (-2, "NO_STATEMENT_EXIST"),
    ],
)
async def test_which_days_have_a_bill(merchant, days, code):
    day = (await go_to(merchant, 12)).date()
    answer = await apply(merchant, day + timedelta(days=days))
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_bill_is_written_at_ten_in_the_morning(merchant):
    day = (await go_to(merchant, 12)).date()
    await paid(merchant)
    await go_to(merchant, 9, days=1)
    assert (await apply(merchant, day)).json()["code"] == "STATEMENT_CREATING"
    await go_to(merchant, 10)
    assert (await apply(merchant, day)).status_code == 200


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({"bill_date": "20260101"}, "/query/bill_date"),
        ({"bill_date": "2026-13-01"}, "/query/bill_date"),
        ({"bill_date": ""}, "/query/bill_date"),
        ({"bill_type": "NONE"}, "/query/bill_type"),
        ({"tar_type": "ZIP"}, "/query/tar_type"),
        ({"surprise": "1"}, "/query/surprise"),
    ],
)
async def test_wrong_parameters_are_refused_by_name(merchant, query, field):
    day = (await now(merchant)).date() - timedelta(days=3)
    answer = await apply(merchant, day, **query)
    assert (answer.status_code, answer.json()["code"]) == (400, "PARAM_ERROR")
    assert answer.json()["detail"]["field"] == field


async def test_a_link_lives_five_minutes(merchant):
    day, _ = await a_day(merchant)
    ticket = (await apply(merchant, day)).json()
    await merchant.control("clock", advance_seconds=295)
    assert (await fetch(merchant, ticket)).status_code == 200
    await merchant.control("clock", advance_seconds=5)
    assert (await fetch(merchant, ticket)).json()["code"] == "INVALID_REQUEST"
    unsigned = await merchant.http.get(httpx.URL(ticket["download_url"]).raw_path.decode())
    assert unsigned.status_code == 401


FALSIFIED = {  # the place of the true row, and what became of it
    "missing_row": (0, None),
    "wrong_amount": (0, {"total_fen": 1_090, "settlement_total_fen": 1_090}),
    "wrong_state": (0, {"trade_state": "REVOKED"}),
    "missing_refund": (1, None),
    "wrong_refund_amount": (1, {"refund_fen": 301, "settlement_refund_fen": 301}),
}


async def both(merchant, day, to, fault):
    """Read the bill as it is and falsified: the rows that are gone and the new ones."""
    true = await read(merchant, day, to)
    await merchant.faults(bill=fault)
    false = await read(merchant, day, to)
    gone, new = [r for r in true if r not in false], [r for r in false if r not in true]
    return true, gone, new


@pytest.mark.parametrize("fault", FALSIFIED)
async def test_a_falsified_line_is_the_only_one_and_the_bill_fits_itself(merchant, tmp_path, fault):
    day, _ = await a_day(merchant)
    place, changes = FALSIFIED[fault]
    true, gone, new = await both(merchant, day, tmp_path, fault)
    assert gone == [true[place]]
    assert new == ([true[place]._replace(**changes)] if changes else [])


async def test_an_extra_payment_has_a_number_that_looks_like_the_shops(merchant, tmp_path):
    day, number = await a_day(merchant)
    true, gone, (new,) = await both(merchant, day, tmp_path, "extra_row")
    other = {"out_trade_no": number[:-4] + "0000", "transaction_id": "4" + "0" * 27}
    assert (gone, new) == ([], true[0]._replace(**other))


async def test_an_extra_refund_is_of_a_true_payment(merchant, tmp_path):
    day, _ = await a_day(merchant)
    true, gone, (new,) = await both(merchant, day, tmp_path, "extra_refund")
    other = dict.fromkeys(("refund_id", "out_refund_no"), "5" + "0" * 27)
    amounts = dict.fromkeys(("refund_fen", "settlement_refund_fen"), 1)
    assert gone == []
    assert new == true[1]._replace(trade_time=true[0].trade_time, **other, **amounts)


async def test_a_day_of_refunds_alone_can_be_falsified_too(merchant, tmp_path):
    await go_to(merchant, 12)
    number, _ = await paid(merchant)
    day = (await go_to(merchant, 12, days=1)).date()
    await refund(merchant, number, 300)
    await go_to(merchant, 12, days=1)
    await merchant.faults(bill="extra_refund")
    rows = await read(merchant, day, tmp_path)
    assert sorted((row.refund_fen, row.trade_state) for row in rows) == [
        (1, "REFUND"), (300, "REFUND"),
    ]  # fmt: skip
    for fault in ("missing_row", "extra_row", "wrong_amount", "wrong_state", "missing_refund"):
        await merchant.faults(bill=fault)
        status = (await apply(merchant, day)).status_code
        assert status == (400 if fault == "missing_refund" else 200)


async def test_a_refund_stands_on_the_day_it_was_accepted_and_is_not_updated(
    merchant, tmp_path, monkeypatch
):
    monkeypatch.setattr("sandbox.refunds.TAKES", 24 * 3600)
    first = (await go_to(merchant, 12)).date()
    number, _ = await paid(merchant)
    second = (await go_to(merchant, 12, days=1)).date()
    await refund(merchant, number, 300)
    await go_to(merchant, 12, days=2)
    assert [row.trade_state for row in await read(merchant, first, tmp_path)] == ["SUCCESS"]
    (back,) = await read(merchant, second, tmp_path, "REFUND")
    assert (back.refund_fen, back.refund_status, back.refund_success_time) == (
        300, "PROCESSING", None,
    )  # fmt: skip
    assert back.refund_create_time == back.trade_time


async def test_a_day_ends_at_midnight_in_beijing_and_unpaid_orders_are_not_in_it(
    merchant, tmp_path
):
    day = (await go_to(merchant, 23)).date()
    await merchant.control("clock", advance_seconds=3_570)
    number, transaction_id = await paid(merchant)
    await merchant.prepay()
    await merchant.control("clock", advance_seconds=60)
    late, _ = await paid(merchant)
    await go_to(merchant, 12, days=2)
    (row,) = await read(merchant, day, tmp_path)
    assert (row.out_trade_no, row.transaction_id) == (number, transaction_id)
    (row,) = await read(merchant, day + timedelta(days=1), tmp_path)
    assert row.out_trade_no == late


async def test_settlement_is_without_coupons_and_names_do_not_break_the_file(merchant, tmp_path):
    day = (await go_to(merchant, 12)).date()
    odd = merchant.order(description="茶,`壶,\n杯", attach="`,", scene_info={
        "payer_client_ip": "203.0.113.1", "device_id": "counter",
    })  # fmt: skip
    _, prepay_id = await merchant.prepay(odd)
    await merchant.pay(prepay_id, coupon_fen=99)
    await refund(merchant, odd["out_trade_no"], 100)
    await go_to(merchant, 12, days=1)
    payment, back = await read(merchant, day, tmp_path)
    assert (payment.total_fen, payment.settlement_total_fen) == (990, 891)
    assert (back.refund_fen, back.settlement_refund_fen, back.coupon_refund_fen) == (100, 90, 0)
    first = dict(zip(HEADER.split(","), values((await text(merchant, day))[1]), strict=True))
    assert (first["代金券金额"], first["设备号"], first["用户标识"]) == (
        "0.99", "counter", "oBuyer",
    )  # fmt: skip
    assert (first["商品名称"], first["商户数据包"]) == ("茶,'壶, 杯", "',")


async def test_the_fund_flow_starts_with_the_balance_of_the_day_before(merchant, tmp_path):
    await go_to(merchant, 12)
    await paid(merchant)
    day = (await go_to(merchant, 12, days=1)).date()
    _, free = await merchant.prepay()
    await merchant.pay(free, coupon_fen=990)
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id, coupon_fen=99)
    await refund(merchant, body["out_trade_no"], 100)
    await merchant.faults(refunds="closed")
    await merchant.control("clock", advance_seconds=60)
    await refund(merchant, body["out_trade_no"], 200)
    await go_to(merchant, 12, days=1)
    client = shop_client(merchant)
    ticket = await bills.apply_fund_flow(client, date=day)
    assert ticket
    await bills.download(client, ticket, tmp_path / "flow.csv")
    rows = list(bill_rows.fund_rows(tmp_path / "flow.csv"))
    assert [(row.direction, row.amount_fen, row.balance_fen) for row in rows] == [
        ("收入", 891, 1_881), ("支出", 90, 1_791),
    ]  # fmt: skip


@pytest.mark.parametrize(("fault", "status"), [("500", 500), ("429", 429), ("refuse", 400)])
async def test_faults_of_answers_reach_the_application_and_the_download(
    merchant, fault, status: int
):
    day, _ = await a_day(merchant)
    ticket = (await apply(merchant, day)).json()
    for call in (lambda: apply(merchant, day), lambda: fetch(merchant, ticket)):
        await merchant.faults(answers={"bill": fault}, times=1)
        assert (await call()).status_code == status
        assert (await call()).status_code == 200


@pytest.mark.parametrize("fault", ["reset_before", "reset_after"])
async def test_a_cut_connection_reaches_both_too(merchant, fault):
    day, _ = await a_day(merchant)
    ticket = (await apply(merchant, day)).json()
    await merchant.faults(answers={"bill": fault}, times=2)
    for call in (apply(merchant, day), fetch(merchant, ticket)):
        with pytest.raises(httpx.RemoteProtocolError):
            await call
    assert (await fetch(merchant, ticket)).status_code == 200


async def test_a_falsified_bill_counts_as_a_fault_that_was_used(merchant):
    day, _ = await a_day(merchant)
    await merchant.faults(bill="cut", times=1)
    cut = (await apply(merchant, day)).json()
    assert (await merchant.control("faults"))["bill"] == "good"
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(merchant, cut)
    assert (await fetch(merchant, (await apply(merchant, day)).json())).status_code == 200


async def test_broken_downloads(merchant):
    day, _ = await a_day(merchant)
    await merchant.faults(bill="wrong_hash")
    wrong = (await apply(merchant, day)).json()
    content = (await fetch(merchant, wrong)).content
    assert hashlib.sha1(content).hexdigest() != wrong["hash_value"]
    await merchant.faults(bill="truncated")
    cut = (await fetch(merchant, (await apply(merchant, day, tar_type="GZIP")).json())).content
    with pytest.raises(EOFError):
        gzip.decompress(cut)
    await merchant.faults(bill="cut")
    with pytest.raises(httpx.RemoteProtocolError):
        await fetch(merchant, (await apply(merchant, day)).json())
