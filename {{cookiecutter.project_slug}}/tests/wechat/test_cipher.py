"""AES-256-GCM against published vectors, and what a changed byte does to it; OAEP both ways."""

import base64
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.padding import MGF1, OAEP
from cryptography.hazmat.primitives.hashes import SHA256
from hypothesis import given, settings
from hypothesis import strategies as st

from wechat import cipher
from wechat.errors import DecryptFailed

KEY = b"a7cde1ZJB1kG2e7VfTs3jQzaWizur8Gb"


@pytest.mark.parametrize(
    "name", ["java-aes-256-gcm", "go-aes-gcm-16", "js-aes-256-gcm-empty", "js-aes-256-gcm-hello"]
)
def test_published_ciphertexts_open(vectors: Any, name: str) -> None:
    vector = vectors[name]
    assert cipher.open_resource(vector["key"].encode(), vector).decode() == vector["plaintext"]


@pytest.mark.parametrize("extra", [{}, {"associated_data": None}, {"associated_data": ""}])
def test_associated_data_may_be_absent(vectors: Any, extra: dict[str, Any]) -> None:
    vector = vectors["js-aes-256-gcm-empty"]
    resource = {"nonce": vector["nonce"], "ciphertext": vector["ciphertext"], **extra}
    assert cipher.open_resource(vector["key"].encode(), resource) == b""


@settings(deadline=None, max_examples=25)
@given(position=st.integers(min_value=0, max_value=22), bit=st.integers(min_value=0, max_value=7))
def test_every_flipped_bit_is_noticed(vectors: Any, position: int, bit: int) -> None:
    vector = vectors["java-aes-256-gcm"]
    sealed = bytearray(base64.b64decode(vector["ciphertext"]))
    sealed[position] ^= 1 << bit
    changed = {**vector, "ciphertext": base64.b64encode(sealed).decode()}
    with pytest.raises(DecryptFailed):
        cipher.open_resource(KEY, changed)


@pytest.mark.parametrize(
    "changed",
    [
        {"nonce": "uluk4a9R25RX"},
        {"nonce": ""},
        {"nonce": None},
        {"nonce": 5},
        {"associated_data": "other"},
        {"associated_data": 7},
        {"ciphertext": ""},
        {"ciphertext": "%"},
        {"ciphertext": None},
        {"ciphertext": ["x"]},
        {"ciphertext": "AAAA"},
        {"ciphertext": "中"},
        {"algorithm": "AEAD_SM4_GCM"},
    ],
)
def test_a_strange_resource_fails_and_nothing_else_escapes(
    vectors: Any, changed: dict[str, Any]
) -> None:
    with pytest.raises(DecryptFailed):
        cipher.open_resource(KEY, {**vectors["java-aes-256-gcm"], **changed})


def test_a_missing_nonce_or_a_key_of_31_bytes_fails(vectors: Any) -> None:
    vector = vectors["java-aes-256-gcm"]
    with pytest.raises(DecryptFailed):
        cipher.open_resource(KEY, {"ciphertext": vector["ciphertext"]})
    with pytest.raises(DecryptFailed):
        cipher.open_resource(KEY[:31], vector)


def test_another_merchants_key_is_the_suspect(vectors: Any) -> None:
    with pytest.raises(DecryptFailed, match="APIv3 key"):
        cipher.open_resource(b"x" * 32, vectors["java-aes-256-gcm"])


@settings(deadline=None, max_examples=25)
@given(text=st.text(max_size=53))
def test_a_field_survives_sealing(rsa_keys: Any, text: str) -> None:
    sealed = cipher.seal_field(rsa_keys[0].public_key(), text)
    assert cipher.open_field(rsa_keys[0], sealed) == text


def test_a_field_holds_214_bytes_and_not_one_more(rsa_keys: Any) -> None:
    assert cipher.seal_field(rsa_keys[0].public_key(), "a" * 214)
    with pytest.raises(ValueError, match="215"):
        cipher.seal_field(rsa_keys[0].public_key(), "a" * 215)
    with pytest.raises(ValueError, match="216"):
        cipher.seal_field(rsa_keys[0].public_key(), "张" * 72)


def test_fields_are_sealed_with_sha1_as_the_official_libraries_do(rsa_keys: Any) -> None:
    sealed = base64.b64decode(cipher.seal_field(rsa_keys[0].public_key(), "x"))
    with pytest.raises(ValueError):
        rsa_keys[0].decrypt(sealed, OAEP(mgf=MGF1(SHA256()), algorithm=SHA256(), label=None))


@pytest.mark.parametrize("text", ["", "%", "AAAA", "中"])
def test_a_field_that_cannot_be_opened_is_named(rsa_keys: Any, text: str) -> None:
    with pytest.raises(DecryptFailed):
        cipher.open_field(rsa_keys[0], text)


def test_a_field_for_somebody_else_is_named(rsa_keys: Any) -> None:
    sealed = cipher.seal_field(rsa_keys[1].public_key(), "x")
    with pytest.raises(DecryptFailed):
        cipher.open_field(rsa_keys[0], sealed)
