"""Answers and notifications of Huifu, one file each with its source: the client understands all.

A file more is a test more. `body` is the data of an answer, `form` the resp_data of a notification;
they are signed here, for nobody publishes the signatures of real ones.
"""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from huifu import errors, payments, sign
from huifu.client import HuifuClient

OURS = rsa.generate_private_key(65537, 2048)
FOLDER = Path(__file__).parent / "captured"
FILES = sorted(FOLDER.glob("*.json"))
NUMBER = {"req_seq_id": "S20261121000001R01", "req_date": "20261122"}
CALLS: dict[str, Callable[[HuifuClient, dict[str, str]], Awaitable[Any]]] = {
    "huifu prepay": lambda client, _: payments.create(client, NUMBER),
    "huifu query": lambda client, body: payments.query(
        client, "20261121", body.get("org_req_seq_id", "S1")
    ),
    "huifu close": lambda client, _: payments.close(client, NUMBER),
    "huifu refund": lambda client, _: payments.refund(client, NUMBER),
}
KINDS: dict[str, type[errors.HuifuError]] = {
    "later": errors.HuifuLater,
    "cannot be closed": errors.HuifuCannotClose,
    "unknown": errors.HuifuUnknown,
    "unknown number": errors.HuifuRefused,
    "same number other parameters": errors.HuifuRefused,
    "final": errors.HuifuRefused,
    "refused": errors.HuifuRefused,
}
PROOFS = ("captured", "official", "report")


def read(path: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return answer


def having(means: set[str]) -> list[Path]:
    return [path for path in FILES if read(path)["means"] in means]


def client(data: dict[str, str], key: rsa.RSAPrivateKey = OURS) -> HuifuClient:
    text = sign.request_text(data)
    body = f'{{"data":{text},"sign":"{sign.sign(key, text)}"}}'
    http = httpx.AsyncClient(
        transport=httpx.MockTransport(lambda _: httpx.Response(200, text=body))
    )
    return HuifuClient(http, "6666", "SHOP", "6666", OURS, OURS.public_key())


def notified(form: dict[str, str]) -> payments.Notified:
    text = json.dumps(form, ensure_ascii=False)
    body = urlencode({"resp_data": text, "sign": sign.sign(OURS, text)}).encode()
    return payments.read_notification(OURS.public_key(), body)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_file_says_where_its_answer_is_from(path: Path) -> None:
    answer = read(path)
    assert answer["proof"] in PROOFS
    assert all(answer[name].strip() for name in ("source", "given"))
    assert answer["means"] in {*KINDS, "paid", "refunded", "refused by the bank"}
    assert ("form" in answer) == ("notification" in answer["call"])
    assert ("body" in answer) != ("form" in answer)


@pytest.mark.parametrize("path", having(set(KINDS)), ids=lambda path: path.stem)
async def test_every_refusal_is_understood(path: Path) -> None:
    answer = read(path)
    with pytest.raises(errors.HuifuError) as caught:
        await CALLS[answer["call"]](client(answer["body"]), answer["body"])
    error: Any = caught.value
    assert type(error) is KINDS[answer["means"]]
    assert error.code == answer["body"]["resp_code"]
    assert answer["body"]["resp_desc"] in str(error)
    assert (error.code in errors.UNKNOWN_NUMBER) == (answer["means"] == "unknown number")
    assert (error.code in errors.NUMBER_USED) == (answer["means"] == "same number other parameters")


@pytest.mark.parametrize("path", having(set(KINDS)), ids=lambda path: path.stem)
async def test_a_refusal_of_somebody_else_is_not_believed(path: Path) -> None:
    answer = read(path)
    other = rsa.generate_private_key(65537, 1024)
    with pytest.raises(errors.HuifuNotProved):
        await CALLS[answer["call"]](client(answer["body"], other), answer["body"])


@pytest.mark.parametrize("code", errors.REFUND_LATER)
async def test_what_waits_as_a_refund_is_refused_as_an_order(code: str) -> None:
    answer = client({"resp_code": code, "resp_desc": "x"})
    with pytest.raises(errors.HuifuRefused) as caught:
        await payments.create(answer, NUMBER)
    assert type(caught.value) is errors.HuifuRefused
    with pytest.raises(errors.HuifuLater):
        await payments.refund(answer, NUMBER)


async def test_a_trade_says_when_it_ended_and_what_the_bank_said() -> None:
    paid, failed = read(FOLDER / "query-paid.json"), read(FOLDER / "query-failed.json")
    trade = await payments.query(client(paid["body"]), "20261121", "S20261121000001")
    assert (trade.trans_stat, trade.fen, trade.bank_message) == ("S", 990, "成功")
    assert trade.end_time == datetime(2026, 11, 21, 4, 0, 5, tzinfo=UTC)
    trade = await payments.query(client(failed["body"]), "20261121", "S20261121000002")
    assert (trade.trans_stat, trade.bank_message, trade.end_time) == ("F", "余额不足", None)


async def test_the_newer_name_of_the_time_goes_first_and_a_wrong_one_is_named() -> None:
    body = read(FOLDER / "query-paid.json")["body"]
    number = ("20261121", "S20261121000001")
    older = {**body, "trans_finish_time": "", "end_time": "20261121130000"}
    assert (await payments.query(client(older), *number)).end_time == datetime(
        2026, 11, 21, 5, tzinfo=UTC
    )
    both = {**body, "end_time": "20261121130000"}
    assert (await payments.query(client(both), *number)).end_time == datetime(
        2026, 11, 21, 4, 0, 5, tzinfo=UTC
    )
    with pytest.raises(errors.Malformed) as caught:
        await payments.query(client({**body, "trans_finish_time": "soon"}), *number)
    assert caught.value.field == "trans_finish_time"


@pytest.mark.parametrize("path", having({"refunded"}), ids=lambda path: path.stem)
def test_a_refunds_notification_names_its_payment(path: Path) -> None:
    form = read(path)["form"]
    notification = notified(form)
    assert notification.is_refund
    assert notification.original == payments.Original(
        "20261121", "S20261121000001", form.get("org_hf_seq_id", "")
    )
    trade = notification.trade
    assert (trade.req_seq_id, trade.req_date) == (form["req_seq_id"], "20261122")
    assert (trade.hf_seq_id, trade.fen) == (form["hf_seq_id"], 300)
    assert notification.received == f"RECV_ORD_ID_{form['req_seq_id']}"
    assert notification.key == f"{form['hf_seq_id']}-1-S"


def test_a_payment_without_hf_seq_id_has_a_key_of_its_own() -> None:
    form = read(FOLDER / "payment-notification-without-hf-seq-id.json")["form"]
    notification = notified(form)
    assert (notification.trade.hf_seq_id, notification.original, notification.is_refund) == (
        "",
        None,
        False,
    )
    assert notification.key == "S20261121000001-2-S"
    keys = {
        notification.key,
        notified({**form, "notify_type": "1"}).key,
        notified({**form, "trans_stat": "F"}).key,
        notified({**form, "req_seq_id": "S20261121000002"}).key,
        notified({**form, "hf_seq_id": "hf1"}).key,
    }
    assert len(keys) == 5


async def test_texts_are_cut_to_the_bytes_that_huifu_takes() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        sent.append(json.loads(request.content)["data"])
        text = sign.request_text({"resp_code": "00000000", **NUMBER, "trans_stat": "P"})
        return httpx.Response(200, text=f'{{"data":{text},"sign":"{sign.sign(OURS, text)}"}}')

    sent: list[dict[str, str]] = []
    http = httpx.AsyncClient(transport=httpx.MockTransport(answer))
    huifu = HuifuClient(http, "6666", "SHOP", "6666", OURS, OURS.public_key())
    texts = {"goods_desc": "茶" * 60, "remark": "店" * 100, "wx_data": "数" * 200}
    await payments.create(huifu, {**NUMBER, **texts})
    await payments.refund(huifu, {**NUMBER, "remark": "退" * 30})
    assert sent[0]["goods_desc"] == "茶" * 42
    assert sent[0]["remark"] == "店" * 85
    assert sent[0]["wx_data"] == texts["wx_data"]
    assert sent[1]["remark"] == "退" * 28
