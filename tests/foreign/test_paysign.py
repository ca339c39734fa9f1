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
from dataclasses import dataclass

import httpx
import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509 import load_pem_x509_certificate

from foreign import forging
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
Headers = dict[str, str]
Forgery = Callable[["Target"], tuple[bytes, Headers]]
LINKS = {"h5", "native"}  # no invoke object, nothing signed for the buyer's side


def scenes(demo: Demo) -> list[str]:
    """List the scenes that the shop's own document names."""
    schemas = demo.http.get(f"{demo.shop}/openapi.json").json()["components"]["schemas"]
    names: list[str] = schemas["NewPayment"]["properties"]["scene"]["enum"]
    return names


def test_pay_sign_of_every_shape_verifies_against_the_merchant_s_certificate(demo: Demo) -> None:
    certificate = load_pem_x509_certificate(demo.credentials["merchant_certificate_pem"].encode())
    key = certificate.public_key()
    handed_out = set()
    assert isinstance(key, rsa.RSAPublicKey)
    for scene in set(scenes(demo)) - LINKS:
        buyer = Buyer.of_jsapi(demo) if scene == "jsapi" else Buyer.of_miniprogram(demo)
        answer = buyer.call("POST", f"{buyer.order()}/payments", {"scene": scene})
        if answer.status_code == 409 and answer.json()["code"] == "SCENE_OFF":
            continue
        invoke = answer.json()["invoke"]
        fields, covered, signature = SHAPES[scene]
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


@dataclass(frozen=True)
class Target:
    """An order that is not paid, and somebody who knows everything and wants it to be."""

    demo: Demo
    buyer: Buyer
    order_no: str
    body: bytes
    request_id: str

    def signed(self, timestamp: int | None = None) -> Headers:
        """Sign the notification as WeChat would, by default now."""
        return forging.sign(self.demo.credentials, self.body, timestamp or int(time.time()))

    def notify(self, body: bytes, headers: Headers) -> httpx.Response:
        """Send it to the shop."""
        url = f"{self.demo.shop}/notify/wechat/payment"
        named = {**headers, "X-Request-Id": self.request_id}
        return self.demo.http.post(url, content=body, headers=named)

    def assert_refused(self, answer: httpx.Response, reason: str) -> None:
        """The shop has to say so and log so, and to leave the order as it was.

        The same reason is logged once a second: another forgery's line may stand for this one.
        """
        assert (answer.status_code, answer.json()) == (401, {"code": "FAIL", "message": reason})
        logged = self.demo.logged("notification not proved")
        named = {line["reason"] for line in logged if line["request_id"] == self.request_id}
        assert named <= {reason}
        assert reason in {line["reason"] for line in logged}
        assert self.buyer.state(self.order_no) == "OPEN"


@pytest.fixture
def target(demo: Demo) -> Target:
    """An order of 9900 fen whose payment has begun."""
    buyer = Buyer.of_miniprogram(demo)
    order_no = buyer.order()
    started = buyer.start(order_no, "miniprogram")
    appid = started["invoke"]["appId"]
    number = started["out_trade_no"]
    body = forging.seal(demo.credentials, forging.payment(demo.credentials, appid, number, 9900))
    return Target(demo, buyer, order_no, body, secrets.token_hex(8))


def change(**headers: str) -> Forgery:
    """Replace headers after signing; an empty one is left out."""

    def changed(target: Target) -> tuple[bytes, Headers]:
        named = {f"Wechatpay-{name.replace('_', '-')}": text for name, text in headers.items()}
        return target.body, {name: text for name, text in (target.signed() | named).items() if text}

    return changed


def sign_as_a_stranger(target: Target) -> tuple[bytes, Headers]:
    """Sign with a key that is not WeChat's."""
    stranger = rsa.generate_private_key(65537, 2048)
    credentials = target.demo.credentials
    return target.body, forging.sign(credentials, target.body, int(time.time()), stranger)


def sign_as_the_merchant(target: Target) -> tuple[bytes, Headers]:
    """Sign with the merchant's own key: whoever holds it is still not WeChat."""
    credentials = target.demo.credentials
    key = forging.private_key(credentials["merchant_private_key_pem"])
    return target.body, forging.sign(credentials, target.body, int(time.time()), key)


def change_a_byte(target: Target) -> tuple[bytes, Headers]:
    """Tamper with the body behind the signature."""
    return target.body.replace(b"TRANSACTION", b"transaction", 1), target.signed()


def probe(target: Target) -> tuple[bytes, Headers]:
    """Begin the signature as WeChat's probes 探测流量 do."""
    signed = target.signed()
    text = f"WECHATPAY/SIGNTEST/{signed['Wechatpay-Signature'][19:]}"
    return target.body, signed | {"Wechatpay-Signature": text}


FORGERIES: dict[str, tuple[Forgery, str]] = {
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
    target: Target, name: str
) -> None:
    forge, reason = FORGERIES[name]
    target.assert_refused(target.notify(*forge(target)), reason)


# Ahead, a request that travels for a while arrives less than 300 s early: so 301 there.
@pytest.mark.parametrize(("age", "reason"), [(300, "stale"), (301, "stale"), (-301, "future")])
def test_a_notification_300_seconds_away_is_refused(target: Target, age: int, reason: str) -> None:
    now = math.floor(time.time()) if age > 0 else math.ceil(time.time())
    target.assert_refused(target.notify(target.body, target.signed(now - age)), reason)


@pytest.mark.parametrize("age", [298, -298])
def test_the_same_notification_pays_just_inside_the_300_seconds(target: Target, age: int) -> None:
    """So it was the flaw, and nothing else, that kept the others out."""
    answer = target.notify(target.body, target.signed(int(time.time()) - age))
    assert (answer.status_code, answer.content) == (204, b"")
    assert target.buyer.state(target.order_no) == "PAID"


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
    demo: Demo, target: Target, faults: Callable[..., JSON], signature: str, reason: str
) -> None:
    faults(notification_signature=signature)
    invoke = target.buyer.start(target.order_no, "miniprogram")["invoke"]
    before = len(demo.wire("notification"))
    demo.control("pay", **invoke)
    sent = until(lambda: demo.wire("notification")[before:], "a notification")[0]
    assert sent["status"] == 401
    assert json.loads(sent["response_body"])["message"] == reason
    assert target.buyer.state(target.order_no) == "OPEN"
