"""Signatures against the published vectors (sources in vectors.json)."""

import base64
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from wechat import invoke, keys, sign
from wechat.errors import SignatureInvalid
from wechat.keys import Merchant


@pytest.mark.parametrize("name", ["v3-request-sign-post-jsapi", "v3-request-sign-get-refund"])
def test_the_request_text_is_the_documented_one_and_its_published_signature_holds(
    vectors: Any, name: str
) -> None:
    vector = vectors[name]
    method = vector["message"].split("\n")[0]
    message = sign.request_message(
        method, vector["url"], int(vector["timestamp"]), vector["nonce"], vector["body"].encode()
    )
    assert message == vector["message"]
    sign.check(keys.public_key(vector["public_key"]), message, vector["signature"])


@pytest.mark.parametrize("name", ["go-sha256rsa-source", "java-rsa-sign-message"])
def test_signatures_of_the_official_sdks_hold(vectors: Any, name: str) -> None:
    vector = vectors[name]
    sign.check(keys.public_key(vector["public_key"]), vector["message"], vector["signature"])


def test_the_answer_text_is_the_documented_one(vectors: Any) -> None:
    vector = vectors["v3-response-verify-native"]
    headers = vector["headers"]
    message = sign.response_message(
        headers["Wechatpay-Timestamp"], headers["Wechatpay-Nonce"], vector["body"].encode()
    )
    assert message == vector["message"]


def test_the_authorization_header_has_the_layout_of_the_official_go_sdk(
    vectors: Any, world: Any
) -> None:
    vector = vectors["go-authorization-format"]
    inputs = vector["inputs"]
    merchant = Merchant(inputs["mchid"], inputs["serial_no"], world.merchant.private_key, b"")
    header = sign.authorization(
        merchant, "GET", inputs["url"], b"", timestamp=inputs["timestamp"], nonce=inputs["nonce"]
    )
    expected = vector["expected_prefix"].replace("WECHATPAY2-Mock", sign.SCHEME)
    assert header.startswith(expected + '"')
    signature = header.removeprefix(expected).strip('"')
    sign.check(world.merchant.private_key.public_key(), vector["message"], signature)


@pytest.mark.parametrize("shape", [invoke.bridge, invoke.miniprogram, invoke.jssdk])
def test_pay_sign_covers_the_published_text_in_every_shape(
    vectors: Any, world: Any, shape: Any
) -> None:
    vector = vectors["v3-paysign-jsapi-miniprogram"]
    sign.check(keys.public_key(vector["public_key"]), vector["message"], vector["signature"])
    fields = shape(
        world.merchant,
        vector["appId"],
        vector["package"].removeprefix("prepay_id="),
        timestamp=int(vector["timeStamp"]),
        nonce=vector["nonceStr"],
    )
    sign.check(world.merchant.private_key.public_key(), vector["message"], fields["paySign"])


def test_the_app_signature_covers_the_bare_prepay_id(vectors: Any, world: Any) -> None:
    vector = vectors["v3-sign-app"]
    sign.check(keys.public_key(vector["public_key"]), vector["message"], vector["signature"])
    fields = invoke.app(
        world.merchant,
        vector["appId"],
        vector["prepayid"],
        timestamp=int(vector["timestamp"]),
        nonce=vector["noncestr"],
    )
    sign.check(world.merchant.private_key.public_key(), vector["message"], fields["sign"])


def test_each_place_gets_the_names_it_takes_and_strings_only(world: Any) -> None:
    expected = {
        invoke.bridge: {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"},
        invoke.miniprogram: {"timeStamp", "nonceStr", "package", "signType", "paySign"},
        invoke.jssdk: {"timestamp", "nonceStr", "package", "signType", "paySign"},
        invoke.app: {"appId", "partnerId", "prepayId", "packageValue"}
        | {"nonceStr", "timeStamp", "sign"},
    }
    for shape, names in expected.items():
        fields = shape(world.merchant, "wx1", "wx2014", timestamp=1554208460, nonce="n")
        assert set(fields) == names
        assert all(isinstance(value, str) for value in fields.values())


def test_the_repr_of_a_merchant_shows_no_secret(world: Any) -> None:
    assert repr(world.merchant) == f"Merchant(mchid='1900007291', serial='{'4' * 40}')"


@settings(deadline=None, max_examples=25)
@given(body=st.binary(max_size=200))
def test_any_bytes_can_be_signed_and_a_changed_byte_is_noticed(rsa_keys: Any, body: bytes) -> None:
    message = sign.response_message("1", "n", body)
    changed = sign.response_message("1", "n", body + b"\x80")
    signature = sign.sign(rsa_keys[0], message)
    sign.check(rsa_keys[0].public_key(), message, signature)
    with pytest.raises(SignatureInvalid) as caught:
        sign.check(rsa_keys[0].public_key(), changed, signature)
    assert caught.value.reason == "bad_signature"


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("WECHATPAY/SIGNTEST/abc", "signtest"),  # not valid base64
        ("WECHATPAY/SIGNTEST/" + "A" * 325, "signtest"),  # valid base64
        ("%%%", "undecodable"),
        ("签名", "undecodable"),
        (base64.b64encode(b"x" * 256).decode(), "bad_signature"),
        (base64.b64encode(b"short").decode(), "bad_signature"),
    ],
)
def test_a_wrong_signature_fails_and_names_its_reason(
    world: Any, signature: str, reason: str
) -> None:
    with pytest.raises(SignatureInvalid) as caught:
        sign.check(world.wechat_key.public_key(), "1\nn\n\n", signature)
    assert caught.value.reason == reason
    assert " " in str(caught.value)


@pytest.mark.parametrize("nonce", ["", "n" * 33])
def test_a_nonce_that_wechat_refuses_is_never_signed(world: Any, nonce: str) -> None:
    for shape in (invoke.bridge, invoke.miniprogram, invoke.jssdk, invoke.app):
        with pytest.raises(ValueError, match="nonce"):
            shape(world.merchant, "wx1", "wx2014", timestamp=1, nonce=nonce)
    with pytest.raises(ValueError, match="nonce"):
        sign.authorization(world.merchant, "GET", "/", b"", timestamp=1, nonce=nonce)


def test_nonces_are_32_characters_and_never_the_same() -> None:
    nonces = {sign.new_nonce() for _ in range(100)}
    assert len(nonces) == 100
    assert {len(nonce) for nonce in nonces} == {32}
