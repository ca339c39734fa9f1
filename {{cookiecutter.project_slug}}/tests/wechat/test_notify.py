"""Notifications: verify, parse, decrypt; and everything that is none."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from kit.protocol import PAYMENT, envelope
from wechat import keys, notify
from wechat.cipher import open_resource
from wechat.errors import DecryptFailed, MalformedAnswer, SignatureInvalid
from wechat.trust import Trust


async def test_the_published_notification_goes_all_the_way(vectors: Any, world: Any) -> None:
    vector = vectors["go-notification-full"]
    body = vector["body"].encode()
    trust = Trust(b"", certificates=[keys.certificate(vector["certificate_pem"])])
    world.now = float(vector["headers"]["Wechatpay-Timestamp"])
    await notify.verify(world.client(lambda request: None, trust=trust), vector["headers"], body)
    notification = notify.parse(body)
    assert notification.original_type == "payscore"
    assert notification.create_time == datetime(2021, 6, 24, 8, 37, 26, tzinfo=UTC)
    plain = open_resource(vector["apiv3_key"].encode(), notification.resource)
    assert plain.decode() == vector["plaintext"]


async def test_a_payment_is_verified_parsed_and_opened(world: Any) -> None:
    body = json.dumps(envelope(world)).encode()
    await notify.verify(world.client(lambda request: None), world.signed(body), body)
    notification = notify.parse(body)
    assert (notification.id, notification.event_type) == (
        envelope(world)["id"],
        "TRANSACTION.SUCCESS",
    )
    paid = notify.open_payment(world.merchant.apiv3_key, notification)
    assert (paid.out_trade_no, paid.total_fen) == ("S2026112100000001", 100)
    assert paid.success_time == datetime(2026, 11, 21, 4, 34, 56, tzinfo=UTC)


async def test_a_reformatted_body_is_refused(world: Any) -> None:
    body = json.dumps(envelope(world)).encode()
    again = json.dumps(json.loads(body), ensure_ascii=False).encode()
    with pytest.raises(SignatureInvalid) as caught:
        await notify.verify(world.client(lambda request: None), world.signed(body), again)
    assert caught.value.reason == "bad_signature"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b"\xff",
        b"[" * 100_000,
        b"<xml><return_code><![CDATA[SUCCESS]]></return_code></xml>",
    ],
)
def test_a_body_that_is_no_json_object_is_named(body: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="body: "):
        notify.parse(body)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"id": None}, "id"),
        ({"id": 5}, "id"),
        ({"event_type": ""}, "event_type"),
        ({"summary": {}}, "summary"),
        ({"create_time": "now"}, "create_time"),
        ({"resource": {"original_type": None}}, "original_type"),
    ],
)
def test_a_strange_envelope_names_its_field(
    world: Any, changed: dict[str, Any], field: str
) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        notify.parse(json.dumps(envelope(world, **changed)).encode())
    assert caught.value.field == field


@pytest.mark.parametrize("resource", [None, [], "x"])
def test_an_envelope_without_resource_is_named(world: Any, resource: Any) -> None:
    body = json.dumps({**envelope(world), "resource": resource}).encode()
    with pytest.raises(MalformedAnswer):
        notify.parse(body)


def opened(world: Any, content: Any = PAYMENT, **changed: Any) -> Any:
    notification = notify.parse(json.dumps(envelope(world, content, **changed)).encode())
    return notify.open_payment(world.merchant.apiv3_key, notification)


@pytest.mark.parametrize("other", ["profitsharing", "refund", "security"])
def test_another_product_under_the_same_event_type_is_no_payment(world: Any, other: str) -> None:
    with pytest.raises(MalformedAnswer, match=other):
        opened(world, resource={"original_type": other})


def test_a_combined_payment_is_told_apart(world: Any) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        opened(world, {**PAYMENT, "combine_mchid": "1900000000"})
    assert caught.value.field == "combine_mchid"


@pytest.mark.parametrize("missing", ["sp_appid", "sub_mchid"])
def test_a_partner_payment_names_its_parties_and_lacks_none(world: Any, missing: str) -> None:
    parties = {"sp_appid": "wx1", "sp_mchid": "19001", "sub_mchid": "19002", "sub_appid": "wx2"}
    plain = {name: PAYMENT[name] for name in PAYMENT.keys() - {"appid", "mchid"}}
    partner = {**plain, **parties, "payer": {"sp_openid": "oS", "sub_openid": "oB"}}
    paid = opened(world, partner)
    assert (paid.parties, paid.openid) == (parties, "oB")
    del partner[missing]
    with pytest.raises(MalformedAnswer) as caught:
        opened(world, partner)
    assert caught.value.field == missing


@pytest.mark.parametrize("content", [b"", b"[]", b"\xff", b"x"])
def test_a_resource_that_is_no_json_object_is_named(world: Any, content: bytes) -> None:
    with pytest.raises(MalformedAnswer, match="resource: "):
        opened(world, content)


def test_a_wrong_apiv3_key_cannot_open_it(world: Any) -> None:
    notification = notify.parse(json.dumps(envelope(world)).encode())
    with pytest.raises(DecryptFailed, match="APIv3 key"):
        notify.open_payment(b"f" * 32, notification)


def test_a_changed_ciphertext_cannot_be_opened(world: Any) -> None:
    with pytest.raises(DecryptFailed):
        opened(world, resource={"associated_data": "refund"})


def test_the_sealed_part_stays_out_of_repr(world: Any) -> None:
    assert "ciphertext" not in repr(notify.parse(json.dumps(envelope(world)).encode()))
