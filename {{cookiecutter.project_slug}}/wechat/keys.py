"""Read keys and certificates in every form people paste, and name what is wrong with them.

Accepted: a path, PEM text (CRLF, BOM, quotes, `\\n` escaped once or twice), base64 of PEM or DER,
the bare body between the PEM lines; PKCS#1 and PKCS#8. Messages never repeat the material itself.
"""

import base64
import binascii
import contextlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.x509.oid import PublicKeyAlgorithmOID

from .errors import KeyMaterialError

_CLICK = "pay.weixin.qq.com > 账户中心 > API安全 > "
_PRIVATE = f"the merchant API private key 商户API私钥 (apiclient_key.pem; {_CLICK}商户API证书)"
_PUBLIC = f"the WeChat Pay public key 微信支付公钥 (pub_key.pem; {_CLICK}微信支付公钥)"
_CERTIFICATE = (
    f"a certificate 证书 (BEGIN CERTIFICATE, e.g. apiclient_cert.pem; {_CLICK}商户API证书)"
)
_HOW = r"(in .env write it in one line, \n for each break, or give the path) 只写成一行，或写路径"
_LIKE_A_PATH = re.compile(r"^[./~]|\.(pem|key|crt|cer|der|p12|pfx|txt)$")  # no key looks so
_LOADERS: tuple[Callable[[bytes], object], ...] = (
    lambda der: serialization.load_der_private_key(der, None),
    serialization.load_der_public_key,
    x509.load_der_x509_certificate,
)


@dataclass(frozen=True)
class Merchant:
    """Hold what signs for one merchant 商户; the secrets stay out of repr."""

    mchid: str
    serial: str
    private_key: RSAPrivateKey = field(repr=False)
    apiv3_key: bytes = field(repr=False)


def private_key(text: str) -> RSAPrivateKey:
    """Read the merchant's RSA private key; raise KeyMaterialError naming what was given instead."""
    key = _parse(text, _PRIVATE)
    if not isinstance(key, RSAPrivateKey):
        raise KeyMaterialError(f"expected {_PRIVATE}, but this is {_kind(key)}")
    _check_size(key.key_size)
    return key


def public_key(text: str) -> RSAPublicKey:
    """Read WeChat Pay's RSA public key; raise KeyMaterialError naming what was given instead."""
    key = _parse(text, _PUBLIC)
    if not isinstance(key, RSAPublicKey):
        raise KeyMaterialError(f"expected {_PUBLIC}, but this is {_kind(key)}")
    _check_size(key.key_size)
    return key


def certificate(text: str, *, now: float | None = None) -> x509.Certificate:
    """Read an X.509 certificate with an RSA key; with `now` (Unix seconds), also refuse expired."""
    cert = _parse(text, _CERTIFICATE)
    if not isinstance(cert, x509.Certificate):
        raise KeyMaterialError(f"expected {_CERTIFICATE}, but this is {_kind(cert)}")
    if cert.public_key_algorithm_oid != PublicKeyAlgorithmOID.RSAES_PKCS1_v1_5:
        raise KeyMaterialError(f"expected {_CERTIFICATE} with an RSA key, not SM2 国密 or EC")
    if now is not None and not valid_at(cert, now):
        period = f"{cert.not_valid_before_utc:%Y-%m-%d} to {cert.not_valid_after_utc:%Y-%m-%d}"
        raise KeyMaterialError(f"this certificate is valid {period}: apply for a new one, {_CLICK}")
    return cert


def apiv3_key(text: str) -> bytes:
    """Read the APIv3 key, or the file it is in: exactly 32 letters and digits, used as they are."""
    key = _read(text).decode("utf-8-sig", "replace").strip().strip("\"'").strip()
    if not re.fullmatch(r"[0-9A-Za-z]{32}", key):
        problem = f"has {len(key)} characters" if len(key) != 32 else "has other characters"
        raise KeyMaterialError(
            f"the APIv3 key {problem}; it is 32 letters and digits. Set it: {_CLICK}APIv3密钥"
        )
    return key.encode()


def serial_of(cert: x509.Certificate) -> str:
    """Write a certificate's serial as WeChat does: 40 upper-case hex digits, leading zeros kept."""
    return f"{cert.serial_number:040X}"


def valid_at(cert: x509.Certificate, now: float) -> bool:
    """Tell whether `now` (Unix seconds) lies in the certificate's validity period."""
    moment = datetime.fromtimestamp(now, UTC)
    return cert.not_valid_before_utc <= moment <= cert.not_valid_after_utc


def _parse(text: str, wanted: str) -> object:
    der = _der(_read(text), wanted)
    for load in _LOADERS:
        try:
            return load(der)
        except TypeError:
            raise KeyMaterialError(f"expected {wanted}, but this key has a password") from None
        except (ValueError, UnsupportedAlgorithm):
            continue
    raise KeyMaterialError(f"expected {wanted}, but this is damaged or a .p12; use the .pem file")


def _read(text: str) -> bytes:
    """Return the file's content when the text is a path, else the text itself."""
    name = text.strip().strip("\ufeff\"'")
    if "-----BEGIN" not in name and len(name) < 500:
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            return Path(name).expanduser().read_bytes()
        if _LIKE_A_PATH.search(name) or _is_folder(name):
            raise KeyMaterialError("the file cannot be read: is its path right? 文件读不到")
    return text.encode("utf-8", "replace")


def _is_folder(name: str) -> bool:
    with contextlib.suppress(OSError, ValueError, RuntimeError):
        return bool(name) and Path(name).expanduser().is_dir()
    return False


def _der(data: bytes, wanted: str) -> bytes:
    if data[:1] == b"\x30":  # already DER
        return data
    text = re.sub(r"(\\+r)?\\+n", "\n", data.decode("utf-8-sig", "replace"))
    if "ENCRYPTED" in text:
        raise KeyMaterialError(f"expected {wanted}, but this key has a password")
    block = re.search(r"-----BEGIN [A-Z0-9 ]+-----(.+?)-----END", text, re.DOTALL)
    if "-----BEGIN" in text and not block:
        raise KeyMaterialError(f"expected {wanted}, but this is cut off before its END line {_HOW}")
    body = re.sub(r"[\s\ufeff\"']", "", block[1] if block else text)
    try:
        decoded = base64.b64decode(body + "=" * (-len(body) % 4), validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if decoded.startswith((b"-----BEGIN", b"\xef\xbb\xbf-----BEGIN")):  # base64 of a PEM file
        return _der(decoded, wanted)
    if not decoded:
        raise KeyMaterialError(f"expected {wanted}, but this is neither a path, PEM nor base64")
    return decoded


def _check_size(bits: int) -> None:
    if bits < 2048:
        raise KeyMaterialError(f"this RSA key has {bits} bits; WeChat Pay uses 2048")


def _kind(material: object) -> str:
    if isinstance(material, x509.Certificate):
        return "a certificate 证书"
    if isinstance(material, RSAPrivateKey):
        return "a private key 私钥"
    if isinstance(material, RSAPublicKey):
        return "a public key 公钥"
    return f"not an RSA key ({type(material).__name__})"
