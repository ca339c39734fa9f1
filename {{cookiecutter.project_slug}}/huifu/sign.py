"""What Huifu signs: the first level of `data` in ASCII order, compact; RSA with SHA-256.

A request may be serialised again by the gateway, so everything in it is a string. In an answer the
number literals count as they came: 0.00 is not 0.0.
"""

import base64
import json
import re
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa

from .errors import HuifuSignatureInvalid, Malformed

_MARK = "\ue000"
_MARKED = re.compile(f'"{_MARK}([^"{_MARK}]*){_MARK}"')


def private_key(text: str) -> rsa.RSAPrivateKey:
    """Read a private key as Huifu hands it out: bare base64, or PEM; raise ValueError."""
    key = serialization.load_pem_private_key(_pem(text, "PRIVATE KEY"), None)
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ValueError("not an RSA private key")
    return key


def public_key(text: str) -> rsa.RSAPublicKey:
    """Read Huifu's public key: bare base64, or PEM; raise ValueError."""
    key = serialization.load_pem_public_key(_pem(text, "PUBLIC KEY"))
    if not isinstance(key, rsa.RSAPublicKey):
        raise ValueError("not an RSA public key")
    return key


def request_text(data: Mapping[str, Any]) -> str:
    """Return the text of a request that is signed; empty values are left out."""
    return _compact({name: data[name] for name in sorted(data) if data[name] not in _EMPTY})


def sign(key: rsa.RSAPrivateKey, text: str) -> str:
    """Sign a text, in base64."""
    return base64.b64encode(key.sign(text.encode(), padding.PKCS1v15(), hashes.SHA256())).decode()


def check(key: rsa.RSAPublicKey, text: str, signature: str) -> None:
    """Prove that Huifu signed exactly this text; raise HuifuSignatureInvalid with its reason."""
    if not signature:
        raise HuifuSignatureInvalid("missing_header", "there is no sign")
    try:
        raw = base64.b64decode(signature, validate=True)
    except ValueError:
        raise HuifuSignatureInvalid("undecodable", "the sign is not base64") from None
    try:
        key.verify(raw, text.encode(), padding.PKCS1v15(), hashes.SHA256())
    except InvalidSignature:
        raise HuifuSignatureInvalid("bad_signature", "the sign does not fit") from None


def answer_text(body: bytes) -> tuple[str, str]:
    """Return the text of an answer that was signed, and its sign; numbers as they were written."""
    answer = _loads(body, lambda literal: f"{_MARK}{literal}{_MARK}")
    data = answer.get("data")
    signature = answer.get("sign", "")
    if not isinstance(data, dict) or not isinstance(signature, str):
        raise Malformed("data", "not an object")
    kept = {name: data[name] for name in sorted(data) if data[name] not in (None, [])}
    return _MARKED.sub(r"\1", _compact(kept)), signature


def fields(body: bytes | str) -> dict[str, Any]:
    """Read a JSON object; numbers stay the text that they were."""
    return _loads(body, str)


_EMPTY: tuple[Any, ...] = (None, "", {}, [])


def _loads(body: bytes | str, number: Any) -> dict[str, Any]:
    try:
        value = json.loads(body, parse_float=number, parse_int=number)
    except (ValueError, RecursionError):
        raise Malformed("body", "not JSON") from None
    if not isinstance(value, dict):
        raise Malformed("body", "not a JSON object")
    return value


def _compact(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":"))


def _pem(text: str, kind: str) -> bytes:
    plain = text.replace("\\n", "\n").strip()
    if plain.startswith("-----BEGIN"):
        return plain.encode()
    return f"-----BEGIN {kind}-----\n{''.join(plain.split())}\n-----END {kind}-----\n".encode()
