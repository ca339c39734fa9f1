"""Who may sign: headers one by one, the time window, keys and certificates side by side."""

from typing import Any

import pytest

from wechat import keys
from wechat.errors import DecryptFailed, MalformedAnswer, SignatureInvalid
from wechat.trust import Trust

BODY = b'{"code_url":"weixin://wxpay"}'
SERIAL = "7" * 40


def refused(trust: Trust, headers: dict[str, str], body: bytes, now: float) -> str:
    with pytest.raises(SignatureInvalid) as caught:
        trust.verify(headers, body, now=now)
    return caught.value.reason


def test_the_published_answer_verifies_with_its_public_key(vectors: Any) -> None:
    vector = vectors["v3-response-verify-native"]
    headers = vector["headers"]
    key = keys.public_key(vector["public_key"])
    trust = Trust(b"", public_keys={headers["Wechatpay-Serial"]: key})
    now = float(headers["Wechatpay-Timestamp"])
    trust.verify(headers, vector["body"].encode(), now=now)
    lower = {name.lower(): value for name, value in headers.items()}
    trust.verify(lower, vector["body"].encode(), now=now)
    changed = vector["body"].encode().replace(b"JyC91EIz1", b"JyC91EIz2")
    assert refused(trust, headers, changed, now) == "bad_signature"


def test_the_published_notification_verifies_with_its_certificate(vectors: Any) -> None:
    vector = vectors["go-notification-full"]
    trust = Trust(b"", certificates=[keys.certificate(vector["certificate_pem"])])
    now = float(vector["headers"]["Wechatpay-Timestamp"])
    trust.verify(vector["headers"], vector["body"].encode(), now=now)


def test_the_published_certificate_answer_opens(vectors: Any, world: Any) -> None:
    vector = vectors["java-certificates-response"]
    trust = Trust(vector["apiv3_key"].encode())
    answer = vector["response_json"]
    # The answer's own signature is not published, so loading gets as far as checking it.
    headers = world.signed(b"", serial=vector["expected_serial"])
    with pytest.raises(SignatureInvalid) as caught:
        trust.load_certificates(answer, headers, b"", now=world.now)
    assert caught.value.reason == "bad_signature"
    assert trust.certificates == {}


@pytest.mark.parametrize("name", ["timestamp", "nonce", "serial", "signature"])
def test_every_missing_header_is_refused_as_missing(world: Any, name: str) -> None:
    for value in (None, ""):
        headers = world.signed(BODY, **{name: value})
        assert refused(world.trust(), headers, BODY, world.now) == "missing_header"


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("timestamp", "soon", "malformed_header"),
        ("timestamp", "-5", "malformed_header"),
        ("timestamp", "1790000000.0", "malformed_header"),
        ("timestamp", "１７９０００００００", "malformed_header"),
        ("timestamp", "9" * 5000, "malformed_header"),
        ("timestamp", "1790000001", "bad_signature"),
        ("nonce", "a\nb", "malformed_header"),
        ("nonce", "a\udcffb", "malformed_header"),
        ("nonce", "another", "bad_signature"),
        ("serial", "../../etc", "malformed_header"),
        ("serial", "PUB_KEY_ID_9", "unknown_serial"),
        ("serial", "5" * 40, "unknown_serial"),
        ("signature_type", "WECHATPAY2-SM2-WITH-SM3", "malformed_header"),
        ("signature_type", "", "malformed_header"),
        ("signature", "WECHATPAY/SIGNTEST/abcdef", "signtest"),
        ("signature", "!", "undecodable"),
    ],
)
def test_a_tampered_header_is_refused_with_its_reason(
    world: Any, name: str, value: str, reason: str
) -> None:
    headers = world.signed(BODY, **{name: value})
    assert refused(world.trust(), headers, BODY, world.now) == reason


def test_without_a_signature_type_rsa_is_meant(world: Any) -> None:
    world.trust().verify(world.signed(BODY, signature_type=None), BODY, now=world.now)


@pytest.mark.parametrize(
    ("age", "reason"),
    [
        (299, None),
        (300, "stale"),
        (301, "stale"),
        (-299, None),
        (-300, "future"),
        (-301, "future"),
        (3600, "stale"),
    ],
)
def test_exactly_300_seconds_are_refused_both_ways(
    world: Any, age: int, reason: str | None
) -> None:
    headers = world.signed(BODY, age=age)
    if reason:
        assert refused(world.trust(), headers, BODY, world.now) == reason
    else:
        world.trust().verify(headers, BODY, now=world.now)


def test_the_window_counts_fractions_of_our_clock(world: Any) -> None:
    headers = world.signed(BODY, age=299)
    world.trust().verify(headers, BODY, now=world.now + 0.9)
    assert refused(world.trust(), headers, BODY, world.now + 1) == "stale"


def test_an_empty_body_is_verified_too(world: Any) -> None:
    world.trust().verify(world.signed(b""), b"", now=world.now)
    assert refused(world.trust(), world.signed(b""), b" ", world.now) == "bad_signature"


def test_a_body_that_is_no_utf8_is_compared_byte_by_byte(world: Any) -> None:
    body = b"\xff\xfe{"
    world.trust().verify(world.signed(body), body, now=world.now)
    assert refused(world.trust(), world.signed(body), b"\xff\xfd{", world.now) == "bad_signature"


def test_key_and_certificate_work_side_by_side_and_only_for_their_own_serial(world: Any) -> None:
    trust = world.trust(world.certificate(int(SERIAL, 16), key=world.other_key))
    trust.verify(world.signed(BODY), BODY, now=world.now)
    own = world.signed(BODY, serial=SERIAL, key=world.other_key)
    trust.verify(own, BODY, now=world.now)
    wrong = world.signed(BODY, serial=SERIAL, key=world.wechat_key)
    assert refused(trust, wrong, BODY, world.now) == "bad_signature"


def test_a_serial_with_leading_zeros_is_found(world: Any) -> None:
    trust = world.trust(world.certificate(0xABC), public_key=False)
    trust.verify(world.signed(BODY, serial="ABC".zfill(40)), BODY, now=world.now)


@pytest.mark.parametrize("valid", [(2010, 2020), (2035, 2040)])
def test_a_certificate_outside_its_period_proves_nothing(
    world: Any, valid: tuple[int, int]
) -> None:
    trust = world.trust(world.certificate(int(SERIAL, 16), valid=valid))
    headers = world.signed(BODY, serial=SERIAL)
    assert refused(trust, headers, BODY, world.now) == "unknown_serial"


def test_requests_ask_for_the_public_key_else_for_the_newest_certificate(world: Any) -> None:
    old, new = world.certificate(1, valid=(2019, 2040)), world.certificate(2, valid=(2020, 2040))
    future, expired = (
        world.certificate(3, valid=(2200, 2201)),
        world.certificate(4, valid=(1999, 2001)),
    )
    trust = world.trust(new, old, future, expired, public_key=False)
    assert trust.serial_for_requests == "2".zfill(40)
    assert world.trust(new).serial_for_requests == next(iter(world.trust().public_keys))
    assert world.trust(public_key=False).serial_for_requests is None


def load(world: Any, trust: Trust, content: Any, serial: str = SERIAL, **options: Any) -> None:
    answer = world.answer(content, serial=serial, **options)
    trust.load_certificates(content, answer.headers, answer.content, now=world.now)


def test_the_first_certificates_are_verified_with_what_they_bring(world: Any) -> None:
    trust = world.trust(public_key=False)
    load(world, trust, world.certificates(world.certificate(int(SERIAL, 16))))
    assert list(trust.certificates) == [SERIAL]
    assert trust.loaded_at == world.now
    trust.verify(world.signed(BODY, serial=SERIAL), BODY, now=world.now)


def test_a_certificate_answer_that_is_not_proved_changes_nothing(world: Any) -> None:
    trust = world.trust(world.certificate(1), public_key=False)
    content = world.certificates(world.certificate(int(SERIAL, 16)))
    with pytest.raises(SignatureInvalid):
        load(world, trust, content, key=world.other_key)
    assert list(trust.certificates) == ["1".zfill(40)]


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ({}, MalformedAnswer),
        ({"data": []}, MalformedAnswer),
        ({"data": [1]}, MalformedAnswer),
        ({"data": [{"encrypt_certificate": "x"}]}, MalformedAnswer),
        ({"data": [{}]}, DecryptFailed),
    ],
)
def test_a_strange_certificate_answer_is_named(world: Any, content: Any, error: Any) -> None:
    with pytest.raises(error):
        load(world, world.trust(), content)


def test_a_wrong_apiv3_key_is_named_when_certificates_cannot_be_opened(world: Any) -> None:
    content = world.certificates(world.certificate(1))
    with pytest.raises(DecryptFailed, match="APIv3 key"):
        load(world, Trust(b"f" * 32), content)


def test_a_sealed_text_that_is_no_certificate_is_named(world: Any) -> None:
    content = {"data": [{"encrypt_certificate": world.sealed(b"hello")}]}
    with pytest.raises(MalformedAnswer, match="encrypt_certificate"):
        load(world, world.trust(), content)
