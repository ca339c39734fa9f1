"""Who may sign for WeChat: public keys 微信支付公钥 and platform certificates 平台证书.

Both may be in use at once; the header Wechatpay-Serial tells which one signed. Follows
pay.weixin.qq.com/doc/v3/merchant/4013053420 and 4013038816.
"""

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from . import fields, keys, sign
from .cipher import open_resource
from .errors import KeyMaterialError, MalformedAnswer, SignatureInvalid

WINDOW_SECONDS = 300


class Trust:
    """Hold the keys that prove a message."""

    def __init__(
        self,
        apiv3_key: bytes,
        *,
        public_keys: Mapping[str, RSAPublicKey] | None = None,
        certificates: Iterable[x509.Certificate] = (),
    ) -> None:
        self._apiv3_key = apiv3_key
        self.public_keys = dict(public_keys or {})
        self.certificates = {keys.serial_of(cert): cert for cert in certificates}
        self.loaded_at: float | None = None

    @property
    def serial_for_requests(self) -> str | None:
        """Name the key WeChat shall answer with: the public key, else the newest certificate."""
        if self.public_keys:
            return next(iter(self.public_keys))
        now = time.time()
        valid = [cert for cert in self.certificates.values() if keys.valid_at(cert, now)]
        newest = max(valid, key=lambda cert: cert.not_valid_before_utc, default=None)
        return keys.serial_of(newest) if newest else None

    def verify(self, headers: Mapping[str, str], body: bytes, *, now: float) -> None:
        """Prove that WeChat signed these raw bytes less than 300 s from `now`, or raise.

        Raises SignatureInvalid with its reason; header names may have any case.
        """
        headers = {name.lower(): value for name, value in headers.items()}
        kind = headers.get("wechatpay-signature-type", sign.SCHEME)
        if kind != sign.SCHEME:
            raise SignatureInvalid("malformed_header", f"signature type {kind[:40]!r}")
        timestamp = _header(headers, "Wechatpay-Timestamp", "[0-9]{1,12}")
        nonce = _header(headers, "Wechatpay-Nonce", "[!-~]{1,200}")
        serial = _header(headers, "Wechatpay-Serial", "[0-9A-Za-z_]{1,100}")
        signature = _header(headers, "Wechatpay-Signature", "[^\r\n]+")
        _check_time(int(timestamp), now)
        key = self._key(serial, now)
        sign.check(key, sign.response_message(timestamp, nonce, body), signature)

    def load_certificates(
        self, answer: Mapping[str, Any], headers: Mapping[str, str], body: bytes, *, now: float
    ) -> None:
        """Take the certificates of a /v3/certificates answer, whose raw bytes are `body`.

        The answer is verified with what it brings: only WeChat can seal a certificate with our
        APIv3 key. The new map is complete before it replaces the old one. Raises DecryptFailed,
        MalformedAnswer, SignatureInvalid.
        """
        certificates = [self._open(entry) for entry in _entries(answer)]
        fresh = Trust(self._apiv3_key, public_keys=self.public_keys, certificates=certificates)
        fresh.verify(headers, body, now=now)
        self.certificates = fresh.certificates
        self.loaded_at = now

    def _open(self, entry: Mapping[str, Any]) -> x509.Certificate:
        pem = open_resource(self._apiv3_key, fields.group(entry, "encrypt_certificate"))
        try:
            return keys.certificate(pem.decode("ascii"))
        except (KeyMaterialError, UnicodeDecodeError) as error:
            raise MalformedAnswer("data.encrypt_certificate", str(error)) from None

    def _key(self, serial: str, now: float) -> RSAPublicKey:
        if serial in self.public_keys:
            return self.public_keys[serial]
        cert = self.certificates.get(serial.zfill(40))
        if cert is None:
            raise SignatureInvalid("unknown_serial", f"no key with the serial {serial}")
        if not keys.valid_at(cert, now):
            raise SignatureInvalid("unknown_serial", f"the certificate {serial} is not valid now")
        key = cert.public_key()
        assert isinstance(key, RSAPublicKey)  # keys.certificate() refuses others
        return key


def _header(headers: Mapping[str, str], name: str, pattern: str) -> str:
    value = headers.get(name.lower())
    if not value:
        raise SignatureInvalid("missing_header", f"the header {name} is missing")
    if not re.fullmatch(pattern, value):
        raise SignatureInvalid("malformed_header", f"the header {name} is malformed")
    return value


def _check_time(timestamp: int, now: float) -> None:
    if now - timestamp >= WINDOW_SECONDS:
        raise SignatureInvalid("stale", f"signed {now - timestamp:.0f} s ago, allowed are < 300")
    if timestamp - now >= WINDOW_SECONDS:
        raise SignatureInvalid("future", f"signed {timestamp - now:.0f} s ahead: check our clock")


def _entries(answer: Mapping[str, Any]) -> list[dict[str, Any]]:
    data = answer.get("data")
    if not isinstance(data, list) or not data or not all(isinstance(item, dict) for item in data):
        raise MalformedAnswer("data", "no platform certificates; use the WeChat Pay public key")
    return data
