"""Logs: one JSON object a line, the request's id on each, and no secret however it gets there."""

import base64
import io
import json
import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest
from checkout import log
from kit.buyers import bought
from kit.running import ADMIN_TOKEN, RunningShop
from kit.wechat import WeChat
from shop.log import LOGGERS, JsonLines


class Lines:
    """What goes to standard error, line by line."""

    def __init__(self) -> None:
        self.stream = io.StringIO()

    def read(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.stream.getvalue().split("\n") if line]

    def events(self, event: str) -> list[dict[str, Any]]:
        return [line for line in self.read() if line["event"] == event]


@pytest.fixture
def lines() -> Iterator[Lines]:
    """Log as `python -m shop` does, every logger of every library included."""
    lines = Lines()
    handler = logging.StreamHandler(lines.stream)
    handler.setFormatter(JsonLines())
    level = logging.root.level
    logging.root.addHandler(handler)
    logging.root.setLevel(logging.DEBUG)
    for name in LOGGERS:
        logging.getLogger(name).setLevel(logging.INFO)
    yield lines
    logging.root.removeHandler(handler)
    logging.root.setLevel(level)


async def test_a_request_id_goes_into_answer_and_log(running: RunningShop, lines: Lines) -> None:
    buyer = await running.buyer()
    order = await buyer.order()
    path = f"/api/orders/{order['order_no']}/payments"
    answer = await buyer.post(path, {"scene": "miniprogram"}, **{"X-Request-ID": "my-request-01"})
    assert answer.headers["X-Request-ID"] == "my-request-01"
    sent = [line for line in lines.events("wechat") if line["call"].endswith("/jsapi")]
    assert [line["request_id"] for line in sent] == ["my-request-01"]
    number = answer.json()["out_trade_no"]
    wechat = WeChat(running)
    body = wechat.seal(await wechat.trade(number))
    headers = wechat.headers(body) | {"X-Request-ID": "of-the-notification"}
    await running.http.post("/notify/wechat/payment", content=body, headers=headers)
    (paid,) = [line for line in lines.events("moved") if line["number"] == number]
    assert (paid["to_state"], paid["prepay_request_id"]) == ("PAID", "my-request-01")
    assert paid["request_id"] == "of-the-notification"


@pytest.mark.parametrize("proposed", ["short", "x" * 65, "with space 01", "a\\tb-12345", '"}\\n{"'])
async def test_a_request_id_that_is_not_plain_is_replaced(
    running: RunningShop, proposed: str
) -> None:
    answer = await running.http.get("/api/products", headers={"X-Request-ID": proposed})
    assert answer.headers["X-Request-ID"] != proposed
    assert answer.headers["X-Request-ID"].isalnum()


async def test_an_error_tells_the_id_under_which_it_is_in_the_log(
    running: RunningShop, lines: Lines, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> None:
        raise RuntimeError(f"broken with {running.credentials['apiv3_key']} in hand")

    monkeypatch.setattr(running.shop, "products", broken)
    answer = await running.http.get("/api/products")
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (500, "INTERNAL")
    assert "broken" not in answer.text
    (failed,) = lines.events("request failed")
    assert failed["request_id"] == problem["request_id"]
    assert "RuntimeError: broken with ***" in failed["traceback"]


async def test_a_whole_payment_leaves_no_secret_in_any_log(
    running: RunningShop, lines: Lines
) -> None:
    buyer, _, _ = await bought(running)
    await running.control("faults", answers={"any": "reset_after"})
    await running.http.post("/api/sessions/miniprogram", json={"code": "x" * 20})
    await running.http.get(f"/api/admin/orders?after={ADMIN_TOKEN}")
    text = lines.stream.getvalue()
    ours = "".join(json.dumps(line) for line in lines.read())
    assert lines.events("moved")
    secrets = [app["secret"] for app in running.credentials["apps"]]
    secrets += [running.credentials["apiv3_key"], running.shop.settings.secret_key, ADMIN_TOKEN]
    secrets += [running.credentials["merchant_private_key_pem"].splitlines()[3]]
    secrets += [buyer.headers["Authorization"].split()[1].rpartition(".")[2]]
    for secret in secrets:
        assert secret not in text + ours


@pytest.mark.parametrize("shape", [str, repr, json.dumps, lambda text: repr(repr(text))])
async def test_no_line_of_the_private_key_is_logged_however_it_is_quoted(
    running: RunningShop, lines: Lines, shape: Any
) -> None:
    pem = running.credentials["merchant_private_key_pem"]
    log.warning("a key was here", key=shape(pem), error=ValueError(shape(pem)))
    text = lines.stream.getvalue()
    assert [line for line in pem.splitlines()[1:-1] if line in text and len(line) >= 8] == []


async def test_a_secret_in_an_address_is_starred(running: RunningShop, lines: Lines) -> None:
    secret = running.app("miniprogram")["secret"]
    log.failure("login failed", ValueError(f"https://api.weixin.qq.com/x?secret={quote(secret)}"))
    assert secret not in lines.stream.getvalue()
    assert "secret=***" in lines.stream.getvalue()


def test_a_line_is_one_line_whatever_is_in_it(lines: Lines) -> None:
    log.info("odd \n things", data=base64.b64encode(b"\xff"), text="a\r\nb\u2028c", at_=time)
    (line,) = lines.read()
    assert line["event"] == "odd \n things"
    assert line["level"] == "info"
