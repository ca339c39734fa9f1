"""Bills: apply, download, and everything that may go wrong before a file may be believed."""

import gzip
import hashlib
import tracemalloc
from datetime import date, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from wechat import bills
from wechat.bills import BillTicket
from wechat.errors import (
    BillNotReady,
    Cut,
    HashMismatch,
    MalformedAnswer,
    OutcomeUnknown,
    Refused,
    TooBig,
    Truncated,
)

DAY = date(2026, 11, 20)
BILL = "\ufeff交易时间,公众账号ID\r\n`2026-11-20 12:00:00,`wxd678efh567hg6787\r\n".encode() * 5000
SHA1 = hashlib.sha1(BILL).hexdigest()
URL = "https://api.mch.weixin.qq.com/v3/billdownload/file?token=a-b_c%2Bd"
TICKET = {"hash_type": "SHA1", "hash_value": SHA1, "download_url": URL}


def ticket(data: bytes = BILL, **changed: Any) -> BillTicket:
    return BillTicket(**{**TICKET, "hash_value": hashlib.sha1(data).hexdigest(), **changed})


def answered(content: Any, status: int = 200) -> httpx.Response:
    """Return a download as it comes from a socket, still to be read; nothing of it is signed."""
    stream = httpx.ByteStream(content) if isinstance(content, bytes) else None
    return (
        httpx.Response(status, stream=stream) if stream else httpx.Response(status, content=content)
    )


def file(world: Any, content: Any, status: int = 200) -> Any:
    """Return a client that downloads `content`."""
    return world.client(lambda request: answered(content, status))


def left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize(
    ("apply", "options", "target"),
    [
        (bills.apply_trade_bill, {}, "tradebill?bill_date=2026-11-20&bill_type=ALL&tar_type=GZIP"),
        (
            bills.apply_trade_bill,
            {"bill_type": "REFUND", "gzip": False},
            "tradebill?bill_date=2026-11-20&bill_type=REFUND",
        ),
        (
            bills.apply_fund_flow,
            {},
            "fundflowbill?bill_date=2026-11-20&account_type=BASIC&tar_type=GZIP",
        ),
        (
            bills.apply_fund_flow,
            {"account_type": "FEES", "gzip": False},
            "fundflowbill?bill_date=2026-11-20&account_type=FEES",
        ),
    ],
)
async def test_applying_asks_for_a_day_and_a_kind(
    world: Any, apply: Any, options: Any, target: str
) -> None:
    client = world.client(lambda request: world.answer(TICKET))
    applied = await apply(client, date=DAY, **options)
    assert applied == BillTicket("SHA1", SHA1, URL, options.get("gzip", True))
    assert [exchange.target for exchange in world.exchanges] == [f"/v3/bill/{target}"]


def test_the_link_does_not_reach_a_log() -> None:
    assert "token" not in repr(ticket())


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"date": "2026-11-20"}, "date"),
        ({"date": datetime(2026, 11, 20)}, "date"),
        ({"bill_type": "all"}, "bill_type"),
        ({"bill_type": "RECHARGE_REFUND"}, "bill_type"),
    ],
)
async def test_what_cannot_be_asked_is_refused_by_name(
    world: Any, options: dict[str, Any], field: str
) -> None:
    client = world.client(lambda request: world.answer(TICKET))
    with pytest.raises(ValueError, match=f"^{field}: "):
        await bills.apply_trade_bill(client, **{"date": DAY, **options})
    with pytest.raises(ValueError, match=r"^account_type: "):
        await bills.apply_fund_flow(client, date=DAY, account_type="CASH")
    assert world.exchanges == []


def refusal(code: str, status: int = 400) -> httpx.Response:
    return httpx.Response(status, json={"code": code, "message": "…"})


async def test_a_day_on_which_nothing_happened_has_no_bill_and_is_no_error(world: Any) -> None:
    client = world.client(lambda request: refusal("NO_STATEMENT_EXIST"))
    assert await bills.apply_trade_bill(client, date=DAY) is None
    assert await bills.apply_fund_flow(client, date=DAY) is None


async def test_a_bill_that_is_still_being_written_says_so(world: Any) -> None:
    client = world.client(lambda request: refusal("STATEMENT_CREATING"))
    with pytest.raises(BillNotReady, match="2026-11-20"):
        await bills.apply_trade_bill(client, date=DAY)


@pytest.mark.parametrize("code", ["INVALID_REQUEST", "NO_AUTH", "FREQUENCY_LIMITED"])
async def test_other_refusals_are_kept(world: Any, code: str) -> None:
    with pytest.raises(Refused) as caught:
        await bills.apply_trade_bill(world.client(lambda request: refusal(code)), date=DAY)
    assert caught.value.is_code(code)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"hash_type": "MD5"}, "hash_type"),
        ({"hash_type": None}, "hash_type"),
        ({"hash_value": SHA1[1:]}, "hash_value"),
        ({"hash_value": "g" * 40}, "hash_value"),
        ({"download_url": ""}, "download_url"),
        ({"download_url": 5}, "download_url"),
    ],
)
async def test_a_ticket_that_cannot_be_used_is_named(
    world: Any, changed: dict[str, Any], field: str
) -> None:
    client = world.client(lambda request: world.answer({**TICKET, **changed}))
    with pytest.raises(MalformedAnswer) as caught:
        await bills.apply_trade_bill(client, date=DAY)
    assert caught.value.field == field


async def test_an_unsigned_ticket_is_not_believed(world: Any) -> None:
    client = world.client(lambda request: httpx.Response(200, json=TICKET))
    with pytest.raises(OutcomeUnknown, match="missing_header"):
        await bills.apply_trade_bill(client, date=DAY)


async def test_a_bill_is_unpacked_and_proved_by_the_hash_of_its_unpacked_bytes(
    world: Any, tmp_path: Path
) -> None:
    client = file(world, gzip.compress(BILL))
    assert await bills.download(client, ticket(), tmp_path / "bill.csv") == len(BILL)
    assert (tmp_path / "bill.csv").read_bytes() == BILL
    assert (tmp_path / "bill.csv").stat().st_mode & 0o077 == 0  # names of payers are in it
    upper = ticket(hash_value=SHA1.upper(), gzip=False)
    assert await bills.download(file(world, BILL), upper, tmp_path / "bill.csv") == len(BILL)


async def test_the_request_is_signed_with_path_and_query_as_they_came(
    world: Any, tmp_path: Path
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(gzip.compress(BILL))

    seen: list[httpx.Request] = []
    await bills.download(world.client(answer), ticket(), tmp_path / "bill.csv")
    assert seen[0].url.raw_path == b"/v3/billdownload/file?token=a-b_c%2Bd"
    assert 'mchid="1900007291"' in seen[0].headers["Authorization"]
    (exchange,) = world.exchanges
    assert exchange.signed_message.startswith("GET\n/v3/billdownload/file?token=a-b_c%2Bd\n")
    assert (exchange.status, exchange.error) == (200, None)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example.com/v3/billdownload/file?token=x",
        "http://api.mch.weixin.qq.com/v3/billdownload/file?token=x",
        "https://api.mch.weixin.qq.com:8443/v3/billdownload/file",
        "https://api.mch.weixin.qq.com.evil.example.com/",
        "https://api.mch.weixin.qq.com@evil.example.com/",
        "https://api.mch.weixin.qq.com\\@evil.example.com/",
        "https://someone@api.mch.weixin.qq.com/v3/billdownload/file",
        "//api.mch.weixin.qq.com/v3/billdownload/file",
        "/v3/billdownload/file?token=x",
        "file:///etc/passwd",
        "https://[::1/",
        "https://api.mch.weixin.qq.com\r\nX: y/",
    ],
)
async def test_our_signature_goes_to_no_other_host(world: Any, tmp_path: Path, url: str) -> None:
    client = file(world, BILL)
    with pytest.raises(MalformedAnswer) as caught:
        await bills.download(client, ticket(download_url=url), tmp_path / "bill.csv")
    assert caught.value.field == "download_url"
    assert world.exchanges == []
    assert left(tmp_path) == []


async def test_the_standby_host_is_ours_too(world: Any, tmp_path: Path) -> None:
    standby = "https://api2.mch.weixin.qq.com"
    client = world.client(lambda request: answered(BILL), standby=standby)
    there = ticket(download_url=f"{standby}/v3/billdownload/file?token=x", gzip=False)
    assert await bills.download(client, there, tmp_path / "bill.csv") == len(BILL)


async def test_a_client_of_another_host_fetches_wechats_addresses_there(
    world: Any, tmp_path: Path
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return answered(BILL)

    seen: list[httpx.Request] = []
    client = world.client(answer, host="http://127.0.0.1:8001")
    for host in ("https://api.mch.weixin.qq.com", "https://api2.mch.weixin.qq.com"):
        there = ticket(download_url=URL.replace("https://api.mch.weixin.qq.com", host), gzip=False)
        assert await bills.download(client, there, tmp_path / "bill.csv") == len(BILL)
    assert {str(request.url) for request in seen} == {
        "http://127.0.0.1:8001/v3/billdownload/file?token=a-b_c%2Bd"
    }
    signed = {exchange.signed_message.split("\n")[1] for exchange in world.exchanges}
    assert signed == {"/v3/billdownload/file?token=a-b_c%2Bd"}


@pytest.mark.parametrize(
    "url",
    [
        "https://api.mch.weixin.qq.com@evil.example.com/x",
        "https://api.mch.weixin.qq.com:8443/x",
        "https://api.mch.weixin.qq.com.evil.example.com/x",
        "http://api.mch.weixin.qq.com/x",
        "https://evil.example.com/x",
        "http://127.0.0.1:8002/x",
    ],
)
async def test_a_client_of_another_host_signs_for_nobody_else(
    world: Any, tmp_path: Path, url: str
) -> None:
    client = world.client(lambda request: answered(BILL), host="http://127.0.0.1:8001")
    with pytest.raises(MalformedAnswer):
        await bills.download(client, ticket(download_url=url), tmp_path / "bill.csv")
    assert world.exchanges == []


async def broken_off() -> Any:
    yield gzip.compress(BILL)[:100]
    raise httpx.ReadError("connection reset")


PACKED = gzip.compress(BILL)


@pytest.mark.parametrize(
    ("content", "used", "kind"),
    [
        pytest.param(broken_off, ticket(), Cut, id="cut"),
        pytest.param(PACKED[:-1], ticket(), Truncated, id="trailer cut"),
        pytest.param(PACKED[:200], ticket(), Truncated, id="half"),
        pytest.param(b"", ticket(), Truncated, id="nothing"),
        pytest.param(BILL, ticket(), Truncated, id="not packed"),
        pytest.param(PACKED[:100] + b"\0" * 9 + PACKED[109:], ticket(), Truncated, id="damaged"),
        pytest.param(PACKED, ticket(BILL[:-1]), HashMismatch, id="other bytes"),
        pytest.param(PACKED, ticket(PACKED), HashMismatch, id="hash of the packed bytes"),
        pytest.param(BILL[:-1], ticket(gzip=False), HashMismatch, id="plain and short"),
        pytest.param(b"", ticket(gzip=False), HashMismatch, id="plain and empty"),
    ],
)
async def test_a_bill_that_is_not_whole_never_reaches_its_place(
    world: Any, tmp_path: Path, content: Any, used: BillTicket, kind: type[Exception]
) -> None:
    target = tmp_path / "bill.csv"
    target.write_bytes(b"yesterday's")
    client = file(world, content() if callable(content) else content)
    with pytest.raises(kind):
        await bills.download(client, used, target)
    assert target.read_bytes() == b"yesterday's"
    assert left(tmp_path) == ["bill.csv"]


@pytest.mark.parametrize("packed", [True, False])
async def test_a_bomb_is_stopped_at_the_limit(
    world: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: bool
) -> None:
    monkeypatch.setattr(bills, "MAX_BYTES", 1_000_000)
    content = b"0" * 30_000_000
    client = file(world, gzip.compress(content) if packed else content)
    tracemalloc.start()
    with pytest.raises(TooBig, match="1000000"):
        await bills.download(client, ticket(gzip=packed), tmp_path / "bill.csv")
    assert tracemalloc.get_traced_memory()[1] < 1_000_000
    tracemalloc.stop()
    assert left(tmp_path) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, Refused), (403, Refused), (302, OutcomeUnknown), (500, OutcomeUnknown)],
)
async def test_an_expired_link_and_a_redirect_write_nothing(
    world: Any, tmp_path: Path, status: int, kind: type[Exception]
) -> None:
    with pytest.raises(kind):
        await bills.download(file(world, b'{"code":"X"}', status), ticket(), tmp_path / "b.csv")
    assert left(tmp_path) == []
    assert [exchange.status for exchange in world.exchanges] == [status]


@pytest.mark.parametrize("status", [202, 204, 206])
async def test_only_200_is_a_bill(world: Any, tmp_path: Path, status: int) -> None:
    with pytest.raises(Exception, match=str(status)):
        await bills.download(file(world, BILL, status), ticket(gzip=False), tmp_path / "b.csv")
    assert left(tmp_path) == []


async def test_a_missing_folder_is_not_mistaken_for_a_network_error(
    world: Any, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError):
        await bills.download(file(world, PACKED), ticket(), tmp_path / "no" / "bill.csv")


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.binary(max_size=300_000) | st.just(bytes(400_000)), size=st.integers(1, 5000))
async def test_however_the_pieces_fall_the_bytes_are_the_same(
    world: Any, tmp_path: Path, data: bytes, size: int
) -> None:
    async def pieces() -> Any:
        for start in range(0, len(packed), size):
            yield packed[start : start + size]

    packed = gzip.compress(data)
    await bills.download(file(world, pieces()), ticket(data), tmp_path / "bill.csv")
    assert (tmp_path / "bill.csv").read_bytes() == data
