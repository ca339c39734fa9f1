"""Read the fields of WeChat's JSON (MalformedAnswer), check those that we send (ValueError)."""

import ipaddress
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import quote, urlsplit

from .errors import MalformedAnswer

BEIJING = timezone(timedelta(hours=8))


def json_object(name: str, text: bytes) -> dict[str, Any]:
    """Parse a JSON object; `name` is what to call it when it is none."""
    try:
        data = json.loads(text)
    except (ValueError, RecursionError):
        data = None
    if not isinstance(data, dict):
        raise MalformedAnswer(name, "not a JSON object")
    return data


def string(data: Mapping[str, Any], name: str) -> str:
    """Read a string that must be there and not empty."""
    value = optional(data, name)
    if not value:
        raise MalformedAnswer(name, "missing")
    return value


def optional(data: Mapping[str, Any], name: str) -> str | None:
    """Read a string that may be absent."""
    value = data.get(name)
    if value is not None and not isinstance(value, str):
        raise MalformedAnswer(name, "not a string")
    return value


def group(data: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Read an object such as amount or payer; {} when absent."""
    value = data.get(name)
    if value is not None and not isinstance(value, dict):
        raise MalformedAnswer(name, "not an object")
    return value or {}


def fen(amount: Mapping[str, Any], name: str) -> int | None:
    """Read an amount in fen that may be absent."""
    value = amount.get(name)
    if value is not None and (type(value) is not int or value < 0):  # a bool is an int, too
        raise MalformedAnswer(f"amount.{name}", "not a whole number of fen")
    return value


def time(data: Mapping[str, Any], name: str) -> datetime | None:
    """Read an RFC 3339 time, with or without milliseconds, as UTC; None when absent."""
    text = optional(data, name)
    if text is None:
        return None
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is None:
            raise ValueError("no time zone")
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise MalformedAnswer(name, f"{text[:40]!r} is not an RFC 3339 time") from None


def text(name: str, value: str, longest: int) -> str:
    """Return a string that we send; raise ValueError when it is blank or too long."""
    if not isinstance(value, str) or not value.strip() or len(value) > longest:
        raise ValueError(f"{name}: 1 to {longest} characters, not blank")
    return value


def cut(text: str, most: int) -> str:
    """Cut a text to at most so many UTF-8 bytes, never inside a character.

    WeChat counts bytes: 42 Chinese characters are the most that a description of 127 can have.
    """
    return text.encode("utf-8", "ignore")[:most].decode("utf-8", "ignore")


def short(name: str, value: str, most: int) -> str:
    """Return a text that we send, cut to so many UTF-8 bytes; raise ValueError when it is blank."""
    if not isinstance(value, str):
        raise ValueError(f"{name}: a text")
    return text(name, cut(value, most), most)


def number(name: str, value: str, shortest: int, longest: int, marks: str = "_-|*") -> str:
    """Return a number that we chose 商户单号; raise ValueError when WeChat would refuse it."""
    allowed = f"[0-9A-Za-z{re.escape(marks)}]+"
    if (
        not isinstance(value, str)
        or not shortest <= len(value) <= longest
        or not re.fullmatch(allowed, value)
    ):
        raise ValueError(f"{name}: {shortest} to {longest} of digits, letters, {' '.join(marks)}")
    return value


def amount(name: str, value: int) -> int:
    """Return an amount that we send, in fen; raise ValueError unless it is an int of 1 or more."""
    if type(value) is not int or value < 1:  # a bool is an int, too
        raise ValueError(f"{name}: an int of at least 1 fen, not {value!r}")
    return value


def url(name: str, value: str) -> str:
    """Return an address that WeChat will call; raise ValueError when it would refuse it."""
    parts = urlsplit(text(name, value, 255))
    if parts.scheme not in ("https", "http") or not parts.hostname:
        raise ValueError(f"{name}: an absolute https URL")
    if "?" in value or "#" in value:
        raise ValueError(f"{name}: without query string and fragment")
    return value


def moment(name: str, time: datetime) -> str:
    """Write a time as WeChat takes it; raise ValueError when it has no time zone."""
    if time.tzinfo is None:
        raise ValueError(f"{name}: a datetime with a time zone")
    return time.astimezone(BEIJING).isoformat(timespec="seconds")


def in_path(out_trade_no: str) -> str:
    """Quote our number for a path, as every HTTP library sends it."""
    return quote(number("out_trade_no", out_trade_no, 6, 32), safe="*@")


def scene(payer_client_ip: str, *, h5: bool = False, **more: Any) -> dict[str, Any]:
    """Build scene_info; raise ValueError unless the buyer's own IPv4 or IPv6 address is given."""
    ipaddress.ip_address(payer_client_ip)
    info = {"payer_client_ip": payer_client_ip, **more}
    return info | ({"h5_info": {"type": "Wap"}} if h5 else {})
