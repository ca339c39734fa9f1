"""Keys in every form people paste, and the wrong ones named."""

import base64
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs12

from wechat import keys
from wechat.errors import KeyMaterialError, WeChatError

PEM = serialization.Encoding.PEM
DER = serialization.Encoding.DER
PKCS8 = serialization.PrivateFormat.PKCS8
PKCS1 = serialization.PrivateFormat.TraditionalOpenSSL
SPKI = serialization.PublicFormat.SubjectPublicKeyInfo
PLAIN = serialization.NoEncryption()


def body_of(pem: str) -> str:
    return "".join(pem.strip().splitlines()[1:-1])


FORMS: dict[str, Any] = {
    "PEM text": lambda pem: pem,
    "CRLF": lambda pem: pem.replace("\n", "\r\n"),
    "BOM and blanks": lambda pem: "\ufeff  " + pem + "\n\n",
    "quoted": lambda pem: f'"{pem}"',
    "escaped once": lambda pem: pem.replace("\n", "\\n"),
    "escaped twice": lambda pem: pem.replace("\n", "\\\\n"),
    "escaped CRLF": lambda pem: pem.replace("\n", "\\r\\n"),
    "one line": lambda pem: pem.replace("\n", " "),
    "base64 of PEM": lambda pem: base64.b64encode(pem.encode()).decode(),
    "base64 of PEM with BOM": lambda pem: base64.b64encode(b"\xef\xbb\xbf" + pem.encode()).decode(),
    "base64 of DER": body_of,
    "body without padding": lambda pem: body_of(pem).rstrip("="),
    "bare body in lines": lambda pem: "\n".join(pem.strip().splitlines()[1:-1]),
    "text before the block": lambda pem: "Bag Attributes\n  friendlyName: x\n" + pem,
}


@pytest.fixture(scope="module")
def private(rsa_keys: list[rsa.RSAPrivateKey]) -> str:
    return rsa_keys[0].private_bytes(PEM, PKCS8, PLAIN).decode()


@pytest.fixture(scope="module")
def public(rsa_keys: list[rsa.RSAPrivateKey]) -> str:
    return rsa_keys[0].public_key().public_bytes(PEM, SPKI).decode()


@pytest.fixture
def cert(world: Any) -> str:
    return str(world.certificate(1).public_bytes(PEM).decode())


@pytest.mark.parametrize("form", FORMS)
def test_a_key_is_read_in_every_form_people_paste(
    private: str, public: str, cert: str, form: str
) -> None:
    paste = FORMS[form]
    assert keys.private_key(paste(private)).key_size == 2048
    assert keys.public_key(paste(public)).key_size == 2048
    assert keys.certificate(paste(cert)).serial_number == 1


def test_pkcs1_keys_are_read(rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    own = rsa_keys[0]
    pem = own.private_bytes(PEM, PKCS1, PLAIN).decode()
    assert keys.private_key(pem).private_numbers() == own.private_numbers()
    assert keys.private_key(body_of(pem)).private_numbers() == own.private_numbers()
    pkcs1 = own.public_key().public_bytes(PEM, serialization.PublicFormat.PKCS1).decode()
    assert keys.public_key(pkcs1) == own.public_key()


@pytest.mark.parametrize("name", ["apiclient_key.pem", "merchant_key"])
def test_a_path_is_read_with_or_without_an_extension(
    tmp_path: Path, private: str, name: str
) -> None:
    path = tmp_path / name
    path.write_text(private)
    assert keys.private_key(str(path)).key_size == 2048
    assert keys.private_key(f' "{path}"\n').key_size == 2048


def test_a_der_file_is_read(tmp_path: Path, rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    path = tmp_path / "key.der"
    path.write_bytes(rsa_keys[0].private_bytes(DER, PKCS8, PLAIN))
    assert keys.private_key(str(path)).key_size == 2048


def test_a_path_that_does_not_exist_is_told_without_repeating_it() -> None:
    with pytest.raises(KeyMaterialError, match="the file cannot be read") as refused:
        keys.private_key("/etc/nothing/apiclient_key.pem")
    assert "nothing" not in str(refused.value)
    for path in ("C:\\keys\\new.pem", "/run/secrets/missing", "~no_such_user/key", "./", "key.txt"):
        with pytest.raises(KeyMaterialError, match="cannot be read"):
            keys.public_key(path)


def test_a_mistyped_secret_is_not_taken_for_a_path_and_repeated() -> None:
    with pytest.raises(KeyMaterialError) as caught:
        keys.apiv3_key("aSecretWithADot0123456789012.345")
    assert "aSecret" not in str(caught.value)


def test_the_wrong_kind_of_key_is_named(private: str, public: str, cert: str) -> None:
    with pytest.raises(KeyMaterialError, match=r"apiclient_key\.pem.* but this is a public key"):
        keys.private_key(public)
    with pytest.raises(KeyMaterialError, match=r"apiclient_key\.pem.* but this is a certificate"):
        keys.private_key(cert)
    with pytest.raises(KeyMaterialError, match=r"pub_key\.pem.* but this is a private key"):
        keys.public_key(private)
    with pytest.raises(KeyMaterialError, match=r"pub_key\.pem.* but this is a certificate"):
        keys.public_key(cert)
    with pytest.raises(KeyMaterialError, match="but this is a private key"):
        keys.certificate(private)


def test_a_key_with_a_password_is_named(rsa_keys: list[rsa.RSAPrivateKey]) -> None:
    locked = serialization.BestAvailableEncryption(b"secret")
    for encoding, kind in ((PEM, PKCS8), (PEM, PKCS1), (DER, PKCS8)):
        data = rsa_keys[0].private_bytes(encoding, kind, locked)
        text = data.decode() if encoding is PEM else base64.b64encode(data).decode()
        with pytest.raises(KeyMaterialError, match="has a password"):
            keys.private_key(text)


def test_an_elliptic_key_is_named(world: Any) -> None:
    own = ec.generate_private_key(ec.SECP256R1())
    with pytest.raises(KeyMaterialError, match="not an RSA key"):
        keys.private_key(own.private_bytes(PEM, PKCS8, PLAIN).decode())
    with pytest.raises(KeyMaterialError, match="not an RSA key"):
        keys.public_key(own.public_key().public_bytes(PEM, SPKI).decode())
    certificate = world.certificate(1, key=own).public_bytes(PEM).decode()
    with pytest.raises(KeyMaterialError, match="with an RSA key"):
        keys.certificate(certificate)


def test_a_short_rsa_key_is_named() -> None:
    short = rsa.generate_private_key(65537, 1024)
    with pytest.raises(KeyMaterialError, match="1024 bits"):
        keys.private_key(short.private_bytes(PEM, PKCS8, PLAIN).decode())


@pytest.mark.parametrize(
    "text",
    [
        "",
        "   ",
        "hello",
        "MIIE",
        "a" * 600,
        "\x00",
        "\udcff",
        "-----BEGIN X-----",
        "{}",
    ],
)
def test_nonsense_is_a_clear_error(text: str) -> None:
    for read in (keys.private_key, keys.public_key, keys.certificate):
        with pytest.raises(KeyMaterialError, match="expected"):
            read(text)


def test_a_key_of_which_only_the_first_line_was_read_is_called_cut_off() -> None:
    with pytest.raises(KeyMaterialError, match="cut off before its END line"):
        keys.private_key("-----BEGIN PRIVATE KEY-----")


def test_a_folder_is_no_key(tmp_path: Path) -> None:
    with pytest.raises(KeyMaterialError, match="the file cannot be read"):
        keys.private_key(str(tmp_path))


def test_a_cut_key_is_a_clear_error_that_does_not_repeat_it(private: str) -> None:
    lines = private.splitlines()
    with pytest.raises(KeyMaterialError) as caught:
        keys.private_key("\n".join(lines[:5] + lines[9:]))
    assert lines[3][:12] not in str(caught.value)
    assert "apiclient_key.pem" in str(caught.value)


def test_a_p12_file_is_pointed_to_the_pem_beside_it(tmp_path: Path, world: Any) -> None:
    path = tmp_path / "apiclient_cert.p12"
    path.write_bytes(
        pkcs12.serialize_key_and_certificates(
            b"x", world.wechat_key, world.certificate(1), None, PLAIN
        )
    )
    with pytest.raises(KeyMaterialError, match=r"use the \.pem"):
        keys.private_key(str(path))


def test_an_expired_certificate_is_named_when_asked(world: Any) -> None:
    pem = world.certificate(1, valid=(2010, 2015)).public_bytes(PEM).decode()
    assert keys.certificate(pem).serial_number == 1
    with pytest.raises(KeyMaterialError, match="2010-01-01 to 2015-01-01"):
        keys.certificate(pem, now=world.now)
    edge = datetime(2015, 1, 1, tzinfo=UTC).timestamp()
    assert keys.certificate(pem, now=edge)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "has 0 characters"),
        ("k" * 31, "has 31 characters"),
        ("k" * 33, "has 33 characters"),
        ("k" * 31 + "键", "other characters"),
        ("k" * 31 + "-", "other characters"),
        ("0" * 64, "has 64 characters"),
    ],
)
def test_a_wrong_apiv3_key_says_how_long_it_is_and_not_what_it_is(text: str, problem: str) -> None:
    with pytest.raises(KeyMaterialError, match=problem) as caught:
        keys.apiv3_key(text)
    assert "kkk" not in str(caught.value)


def test_an_apiv3_key_loses_what_editors_add(tmp_path: Path) -> None:
    (tmp_path / "apiv3_key").write_text("\ufeff" + "k" * 32 + "\n", "utf-8")
    assert keys.apiv3_key(str(tmp_path / "apiv3_key")) == b"k" * 32
    assert keys.apiv3_key("\ufeff'" + "k" * 32 + "'\r\n") == b"k" * 32


def test_a_serial_keeps_its_leading_zeros(vectors: Any) -> None:
    vector = vectors["go-cert-serial"]
    assert keys.serial_of(keys.certificate(vector["certificate_pem"])) == vector["serial"]


def test_key_errors_are_value_errors_and_ours() -> None:
    assert issubclass(KeyMaterialError, ValueError)
    assert issubclass(KeyMaterialError, WeChatError)
