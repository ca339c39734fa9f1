"""Bills: which day has one, what stands in it, and how it is falsified."""

import gzip
import hashlib
import re
from datetime import datetime, timedelta, timezone

import httpx
import pytest

from tests.sandbox.test_refunds import paid, refund

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
    """Pay twice and refund once at noon of a day; go on to noon of the next."""
    day = (await go_to(merchant, 12)).date()
    number, _ = await paid(merchant)
    await paid(merchant)
    await refund(merchant, number, 300)
    await go_to(merchant, 12, days=1)
    return str(day), number


async def text(merchant, day, path="tradebill", **more):
    answer = await apply(merchant, day, path, **more)
    assert answer.status_code == 200, answer.text
    return (await fetch(merchant, answer.json())).content.decode("utf-8-sig").split("\r\n")


def values(line):
    return line[1:].split(",`")


async def test_the_bill_of_a_day_that_is_over(merchant):
    day, number = await a_day(merchant)
    header, first, second, third, totals, sums, end = await text(merchant, day)
    assert (header, totals, end) == (HEADER, SUMMARY, "")
    rows = [
        dict(zip(HEADER.split(","), values(line), strict=True)) for line in (first, second, third)
    ]
    assert [row["交易状态"] for row in rows] == ["SUCCESS", "SUCCESS", "REFUND"]
    assert rows[0]["商户订单号"] == rows[2]["商户订单号"] == number
    assert (rows[0]["订单金额"], rows[0]["申请退款金额"], rows[0]["微信退款单号"]) == (
        "9.90",
        "0.00",
        "0",
    )
    assert (rows[2]["订单金额"], rows[2]["申请退款金额"], rows[2]["退款状态"]) == (
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
        ("收入", "9.90", "9.90"), ("收入", "9.90", "19.80"), ("支出", "3.00", "16.80"),
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


@pytest.mark.parametrize(
    ("fault", "rows"),
    [("missing_row", 2), ("extra_row", 4), ("wrong_amount", 3), ("wrong_state", 3),
     ("missing_refund", 2), ("extra_refund", 4), ("wrong_refund_amount", 3)],
)  # fmt: skip
async def test_a_falsified_bill_is_right_in_itself(merchant, fault, rows):
    day, _ = await a_day(merchant)
    true = await text(merchant, day)
    await merchant.faults(bill=fault)
    ticket = (await apply(merchant, day)).json()
    content = (await fetch(merchant, ticket)).content
    assert hashlib.sha1(content).hexdigest() == ticket["hash_value"]
    lines = content.decode("utf-8-sig").split("\r\n")
    assert lines != true
    assert values(lines[-2])[0] == f"{rows}.0"


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
