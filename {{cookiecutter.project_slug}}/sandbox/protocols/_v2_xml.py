"""XML, sign and seal of APIv2, read from the specification a second time."""

import base64
import hashlib
import hmac
from collections.abc import Mapping
from xml.etree import ElementTree
from xml.sax.saxutils import escape

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

SIGN_TYPES = ("MD5", "HMAC-SHA256")


class BadXmlError(Exception):
    """Raised for XML that WeChat does not take."""


def build(fields: Mapping[str, str], root: str = "xml") -> bytes:
    """Write fields."""
    inside = "".join(f"<{name}>{escape(value)}</{name}>" for name, value in fields.items())
    return f"<{root}>{inside}</{root}>".encode()


def parse(body: bytes) -> dict[str, str]:
    """Read the elements of <xml>, of another root none; refuse DTDs, the nested and the doubled."""
    if b"<!DOCTYPE" in body.upper() or b"<!ENTITY" in body.upper():
        raise BadXmlError("XML格式错误")
    try:
        root = ElementTree.fromstring(body)  # noqa: S314  there is no DTD in it
    except (ElementTree.ParseError, ValueError) as error:
        raise BadXmlError("XML格式错误") from error
    fields = {child.tag: child.text or "" for child in root}
    if len(fields) != len(root) or any(len(child) for child in root):
        raise BadXmlError("XML格式错误")
    return fields if root.tag == "xml" else {}


def text_to_sign(fields: Mapping[str, str], key: str) -> str:
    """Join what is signed: all but sign and empty values, sorted, then the key."""
    pairs = sorted((name, value) for name, value in fields.items() if value and name != "sign")
    return "".join(f"{name}={value}&" for name, value in pairs) + f"key={key}"


def sign(fields: Mapping[str, str], key: str, sign_type: str) -> str:
    """Sign by MD5 or HMAC-SHA256, in upper-case hex."""
    text = text_to_sign(fields, key).encode()
    if sign_type == "HMAC-SHA256":
        return hmac.digest(key.encode(), text, "sha256").hex().upper()
    return hashlib.md5(text, usedforsecurity=False).hexdigest().upper()


def seal(key: str, plain: bytes) -> str:
    """Encrypt req_info: AES-256-ECB with PKCS7 under the hex MD5 of the key."""
    secret = hashlib.md5(key.encode(), usedforsecurity=False).hexdigest().encode()
    padder = PKCS7(128).padder()
    padded = padder.update(plain) + padder.finalize()
    cipher = Cipher(algorithms.AES(secret), modes.ECB()).encryptor()  # noqa: S305  WeChat's choice
    return base64.b64encode(cipher.update(padded) + cipher.finalize()).decode()
