"""What the shop signs and what it believes, checked with cryptography alone.

The invoke fields of every scene against the merchant's certificate; notifications, true ones and
forged ones, sent to the running shop over HTTP.
"""

import base64
import json
import math
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.x509 import load_pem_x509_certificate
from running import JSON, Buyer, Demo, until

#: scene: the fields of its invoke object, which of them are signed, and which holds the signature
SHAPES = {
    "jsapi": (
        {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"},
        ("appId", "timeStamp", "nonceStr", "package"),
        "paySign",
    ),
    "miniprogram": (
        {"appId", "timeStamp", "nonceStr", "package", "signType", "paySign"},
        ("appId", "timeStamp", "nonceStr", "package"),
        "paySign",
    ),
    "app": (
        {"appId", "partnerId", "prepayId", "packageValue", "nonceStr", "timeStamp", "sign"},
        ("appId", "timeStamp", "nonceStr", "prepayId"),
        "sign",
    ),
}
LINKS = {"h5", "native"}  # no invoke object, nothing signed for the buyer's side


def scenes(demo: Demo) -> list[str]:
    """List the scenes that the shop's own document names."""
    schemas = demo.http.get(f"{demo.shop}/openapi.json").json()["components"]["schemas"]
    found: list[str] = schemas["NewPayment"]["properties"]["scene"]["enum"]
    return found


def test_pay_sign_of_every_shape_verifies_against_the_merchant_s_certificate(demo: Demo) -> None:
    certificate = load_pem_x509_certificate(demo.known["merchant_certificate_pem"].encode())
    key, handed_out = certificate.public_key(), set()
    assert isinstance(key, rsa.RSAPublicKey)
    for scene in set(scenes(demo)) - LINKS:
        buyer = Buyer.of_jsapi(demo) if scene == "jsapi" else Buyer.of_miniprogram(demo)
        answer = buyer.call("POST", f"{buyer.order()}/payments", {"scene": scene})
        if answer.status_code == 409 and answer.json()["code"] == "SCENE_OFF":
            continue
        invoke, (fields, covered, signature) = answer.json()["invoke"], SHAPES[scene]
        assert invoke.keys() == fields
        assert all(isinstance(value, str) for value in invoke.values())
        assert invoke.get("signType", "RSA") == "RSA"
        assert re.fullmatch("[0-9]{10}", invoke["timeStamp"])
        text = "".join(f"{invoke[name]}\n" for name in covered).encode()
        raw = base64.b64decode(invoke[signature], validate=True)
        key.verify(raw, text, padding.PKCS1v15(), hashes.SHA256())  # raises unless it fits
        handed_out.add(scene)
    assert {"jsapi", "miniprogram"} <= handed_out


def test_pay_sign_is_made_for_the_app_that_the_buyer_is_in(demo: Demo) -> None:
    apps = {
        "jsapi": ("official_account", Buyer.of_jsapi(demo)),
        "miniprogram": ("miniprogram", Buyer.of_miniprogram(demo)),
    }
    for scene, (kind, buyer) in apps.items():
        assert buyer.start(buyer.order(), scene)["invoke"]["appId"] == demo.app(kind)["appid"]


@dataclass
class Forger:
    """Writes SUCCESS notifications for a payment that nobody made, as WeChat would write them."""

    demo: Demo
    buyer: Buyer
    order_no: str
    number: str
    appid: str
    id: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def key(self) -> rsa.RSAPrivateKey:
        """WeChat's own private key: only what the test changes is wrong."""
        pem = self.demo.known["wechat_private_key_pem"].encode()
        key = serialization.load_pem_private_key(pem, None)
        assert isinstance(key, rsa.RSAPrivateKey)
        return key

    def body(self, **changes: Any) -> bytes:
        """Seal a transaction in an envelope; `changes` replace its fields."""
        paid = {
            "mchid": self.demo.known["mchid"],
            "appid": self.appid,
            "out_trade_no": self.number,
            "transaction_id": f"42{secrets.randbelow(10**26):026}",
            "trade_state": "SUCCESS",
            "trade_state_desc": "支付成功",
            "trade_type": "JSAPI",
            "bank_type": "OTHERS",
            "success_time": time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()),
            "amount": {"total": 9900, "payer_total": 9900, "currency": "CNY"},
            "payer": {"openid": "oNobody"},
        }
        nonce, plain = secrets.token_hex(6), json.dumps(paid | changes).encode()
        cipher = AESGCM(self.demo.known["apiv3_key"].encode())
        sealed = cipher.encrypt(nonce.encode(), plain, b"transaction")
        envelope = {
            "id": self.id,
            "create_time": paid["success_time"],
            "event_type": "TRANSACTION.SUCCESS",
            "resource_type": "encrypt-resource",
            "resource": {
                "algorithm": "AEAD_AES_256_GCM",
                "original_type": "transaction",
                "associated_data": "transaction",
                "nonce": nonce,
                "ciphertext": base64.b64encode(sealed).decode(),
            },
        }
        return json.dumps(envelope).encode()

    def headers(self, body: bytes, timestamp: int, key: rsa.RSAPrivateKey | None = None) -> JSON:
        """Sign timestamp, nonce and body."""
        nonce = secrets.token_hex(16)
        message = f"{timestamp}\n{nonce}\n".encode() + body + b"\n"
        signed = (key or self.key).sign(message, padding.PKCS1v15(), hashes.SHA256())
        return {
            "Content-Type": "application/json",
            "Wechatpay-Timestamp": str(timestamp),
            "Wechatpay-Nonce": nonce,
            "Wechatpay-Serial": self.demo.known["public_key_id"],
            "Wechatpay-Signature": base64.b64encode(signed).decode(),
            "Wechatpay-Signature-Type": "WECHATPAY2-SHA256-RSA2048",
        }

    def send(self, body: bytes, headers: JSON) -> httpx.Response:
        """Notify the shop."""
        url = f"{self.demo.shop}/notify/wechat/payment"
        named = {**headers, "X-Request-Id": self.id}
        return self.demo.http.post(url, content=body, headers=named)

    def assert_refused(self, answer: httpx.Response, reason: str) -> None:
        """The shop has to say so and log so, and to leave the order as it was."""
        assert (answer.status_code, answer.json()) == (401, {"code": "FAIL", "message": reason})
        logged = self.demo.logged("notification not proved")
        assert [line["reason"] for line in logged if line["request_id"] == self.id] == [reason]
        assert self.buyer.state(self.order_no) == "OPEN"


@pytest.fixture
def forger(demo: Demo) -> Forger:
    """Somebody who knows everything, about an order that is not paid."""
    buyer = Buyer.of_miniprogram(demo)
    order_no = buyer.order()
    started = buyer.start(order_no, "miniprogram")
    return Forger(demo, buyer, order_no, started["out_trade_no"], started["invoke"]["appId"])


def change(**headers: str) -> Callable[[Forger, bytes, JSON], tuple[bytes, JSON]]:
    """Replace headers after signing; an empty one is left out."""

    def changed(_: Forger, body: bytes, signed: JSON) -> tuple[bytes, JSON]:
        named = {f"Wechatpay-{name.replace('_', '-')}": text for name, text in headers.items()}
        return body, {name: text for name, text in (signed | named).items() if text}

    return changed


def sign_as_a_stranger(forger: Forger, body: bytes, signed: JSON) -> tuple[bytes, JSON]:
    """Sign with a key that is not WeChat's."""
    stranger = rsa.generate_private_key(65537, 2048)
    return body, forger.headers(body, int(time.time()), stranger)


def sign_as_the_merchant(forger: Forger, body: bytes, signed: JSON) -> tuple[bytes, JSON]:
    """Sign with the merchant's own key: whoever holds it is still not WeChat."""
    pem = forger.demo.known["merchant_private_key_pem"].encode()
    key = serialization.load_pem_private_key(pem, None)
    assert isinstance(key, rsa.RSAPrivateKey)
    return body, forger.headers(body, int(time.time()), key)


def change_a_byte(_: Forger, body: bytes, signed: JSON) -> tuple[bytes, JSON]:
    """Tamper with the body behind the signature."""
    return body.replace(b"TRANSACTION", b"transaction", 1), signed


def probe(_: Forger, body: bytes, signed: JSON) -> tuple[bytes, JSON]:
    """Begin the signature as WeChat's probes 探测流量 do."""
    text = signed["Wechatpay-Signature"]
    return body, signed | {"Wechatpay-Signature": f"WECHATPAY/SIGNTEST/{text[20:]}="}


FORGERIES: dict[str, tuple[Callable[[Forger, bytes, JSON], tuple[bytes, JSON]], str]] = {
    "signed by a stranger": (sign_as_a_stranger, "bad_signature"),
    "signed by the merchant": (sign_as_the_merchant, "bad_signature"),
    "tampered": (change_a_byte, "bad_signature"),
    "SIGNTEST": (probe, "signtest"),
    "not base64": (change(Signature="%%%"), "undecodable"),
    "a public key id that is not ours": (
        change(Serial="PUB_KEY_ID_9" + "0" * 27),
        "unknown_serial",
    ),
    "a certificate's serial that nobody has": (change(Serial="A" * 40), "unknown_serial"),
    "a nonce that was not signed": (change(Nonce="0" * 32), "bad_signature"),
    "no serial": (change(Serial=""), "missing_header"),
    "no timestamp": (change(Timestamp=""), "missing_header"),
    "no nonce": (change(Nonce=""), "missing_header"),
    "no signature": (change(Signature=""), "missing_header"),
    "a timestamp with letters": (change(Timestamp="soon"), "malformed_header"),
    "another signature type": (change(Signature_Type="HMAC-SHA256"), "malformed_header"),
}


@pytest.mark.parametrize("name", FORGERIES)
def test_a_forged_notification_pays_nothing_and_the_log_names_the_reason(
    forger: Forger, name: str
) -> None:
    forge, reason = FORGERIES[name]
    body = forger.body()
    answer = forger.send(*forge(forger, body, forger.headers(body, int(time.time()))))
    forger.assert_refused(answer, reason)


# Ahead, a request that travels for a while arrives less than 300 s early: so 301 there.
@pytest.mark.parametrize(("age", "reason"), [(300, "stale"), (301, "stale"), (-301, "future")])
def test_a_notification_300_seconds_away_is_refused(forger: Forger, age: int, reason: str) -> None:
    body = forger.body()
    away = math.floor(time.time()) - age if age > 0 else math.ceil(time.time()) - age
    forger.assert_refused(forger.send(body, forger.headers(body, away)), reason)


@pytest.mark.parametrize("age", [298, -298])
def test_the_same_notification_pays_just_inside_the_300_seconds(forger: Forger, age: int) -> None:
    """So it was the flaw, and nothing else, that kept the others out."""
    body = forger.body()
    answer = forger.send(body, forger.headers(body, int(time.time()) - age))
    assert (answer.status_code, answer.content) == (204, b"")
    assert forger.buyer.state(forger.order_no) == "PAID"


@pytest.mark.parametrize(
    ("signature", "reason"),
    [
        ("signtest", "signtest"),
        ("unknown_serial", "unknown_serial"),
        ("wrong_key", "bad_signature"),
        ("stale", "stale"),
    ],
)
def test_what_the_sandbox_falsifies_is_refused_with_the_same_reason(
    demo: Demo, forger: Forger, faults: Callable[..., JSON], signature: str, reason: str
) -> None:
    faults(notification_signature=signature)
    invoke = forger.buyer.start(forger.order_no, "miniprogram")["invoke"]
    before = len(demo.wire("notification"))
    demo.control("pay", **invoke)
    sent = until(lambda: demo.wire("notification")[before:], "a notification")[0]
    assert sent["status"] == 401
    assert json.loads(sent["response_body"])["message"] == reason
    assert forger.buyer.state(forger.order_no) == "OPEN"
