"""Answers that WeChat really gave, one file each: the client understands every one of them.

A file more is a test more. `means` is what a shop must make of the answer; `status`, `body` and the
number at the end of Request-ID are what a sandbox must send.
"""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from kit.captured import SAYS, read
from wechat import numbers, refunds, transactions
from wechat.client import Client
from wechat.errors import (
    AnswerNotProved,
    NotExplained,
    OutcomeUnknown,
    RateLimited,
    Refused,
    TryAgain,
    WeChatError,
)

FOLDER = Path(__file__).parent / "captured"
FILES = sorted(FOLDER.glob("*.json"))
ERRORS = [path for path in FILES if json.loads(path.read_text("utf-8"))["status"] != 204]
PARTIES = {"appid": "wx8888888888888888", "mchid": "1900007291"}
CALLS: dict[str, Callable[[Client], Awaitable[Any]]] = {
    "prepay": lambda client: transactions.prepay(client, "jsapi", PARTIES, b"{}"),
    "query": lambda client: transactions.query(client, PARTIES, "S123456"),
    "close": lambda client: transactions.close(client, PARTIES, "S123456"),
    "refund": lambda client: refunds.create(client, {"out_refund_no": "S123456R01"}),
    "refund_query": lambda client: refunds.query(client, out_refund_no="S123456R01"),
}
#: what an answer means -> the errors that are right, where it is not Refused alone
KINDS: dict[str, tuple[type[WeChatError], ...]] = {
    "later": (RateLimited, TryAgain, Refused),
    "unknown": (OutcomeUnknown,),
    "openid mismatch": (Refused, OutcomeUnknown),
    "not explained": (NotExplained,),
}
PROOFS = ("captured", "official", "report")
NEEDED = {"source", "proof", "call", "given", "status", "means"}
ALLOWED = NEEDED | {"request_id_number", "message_quoted", "body", "text", "xml", "form"}


def body_of(answer: dict[str, Any]) -> bytes:
    if "body" in answer:
        return json.dumps(answer["body"], ensure_ascii=False).encode()
    return str(answer.get("text", "")).encode()


def request_id(answer: dict[str, Any]) -> str:
    return f"08E9C9C4CD0610-{answer.get('request_id_number', '0')}"


async def failure(world: Any, answer: dict[str, Any], headers: dict[str, str]) -> Any:
    """Give this answer to the call it was an answer to, and return what was raised."""
    headers = {**headers, "Request-ID": request_id(answer)}
    response = httpx.Response(answer["status"], headers=headers, content=body_of(answer))
    client = world.client(lambda request: response)
    call = CALLS.get(answer["call"], lambda client: client.post("/v3/other", b"{}"))
    with pytest.raises(WeChatError) as caught:
        await call(client)
    return caught.value


@pytest.mark.parametrize("path", sorted(FOLDER.rglob("*.json")), ids=lambda path: path.stem)
def test_every_file_says_where_its_answer_is_from(path: Path) -> None:
    answer = read(path)
    assert set(answer) >= NEEDED
    assert set(answer) <= ALLOWED
    assert answer["proof"] in PROOFS
    assert all(answer[name].strip() for name in NEEDED - {"status"})
    assert answer.get("request_id_number", "1").isdigit()
    assert answer["means"] in {*SAYS, *KINDS, "refused"}
    contents = answer.keys() & {"body", "text", "xml"}
    assert len(contents) == (answer["status"] != 204)


@pytest.mark.parametrize("signed", [True, False], ids=["signed", "unsigned"])
@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
async def test_every_error_is_understood(world: Any, path: Path, signed: bool) -> None:
    answer = read(path)
    means = answer["means"]
    content = answer.get("body", {})
    if means == "not explained" and signed:
        return  # these come from a server before anybody signs
    error = await failure(world, answer, world.signed(body_of(answer)) if signed else {})
    assert type(error) in KINDS.get(means, (Refused,))
    assert (error.status, error.proved) == (answer["status"], signed)
    assert (error.code, error.message) == (content.get("code", ""), content.get("message", ""))
    assert error.detail == content.get("detail")
    assert error.request_id == request_id(answer)
    assert error.wechat_number == (int(answer.get("request_id_number", 0)) or None)
    expected = {"unknown": {"later"}}.get(means, {means} & SAYS.keys())
    assert {name for name, says in SAYS.items() if says(error)} == expected


@pytest.mark.parametrize("path", ERRORS, ids=lambda path: path.stem)
async def test_an_error_of_somebody_else_is_not_believed(world: Any, path: Path) -> None:
    answer = read(path)
    forged = world.signed(body_of(answer), key=world.other_key)
    error = await failure(world, answer, forged)
    assert type(error) is AnswerNotProved
    assert error.signature_reason == "bad_signature"
    assert error.code == answer.get("body", {}).get("code", "")


@pytest.mark.parametrize("path", sorted(set(FILES) - set(ERRORS)), ids=lambda path: path.stem)
async def test_a_204_is_a_closed_order(world: Any, path: Path) -> None:
    answer = read(path)
    assert (answer["call"], answer["means"]) == ("close", "closed")
    client = world.client(lambda request: world.answer(b"", 204))
    await transactions.close(client, PARTIES, "S123456")


def test_the_numbers_of_the_official_list_are_all_here() -> None:
    """All of TOP 20 but those that no request of this folder can bring about."""
    here = {
        int(answer["request_id_number"])
        for answer in map(read, FILES)
        if "request_id_number" in answer
    }
    elsewhere = {268435461, 268435464, 268443699, 268449641}
    assert here == set(numbers.TOP_20) - elsewhere
