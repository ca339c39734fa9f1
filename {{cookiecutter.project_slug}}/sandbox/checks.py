"""Checks that every kind of order shares: times, addresses, and which appid belongs to whom."""

import ipaddress
import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .schema import Rule
from .state import State
from .wire import MISSING_SUB_MCHID, OUT_OF_RANGE, RefusalError, parameter_error

LONGEST_EXPIRY = 90 * 24 * 3600  # seconds
#: what WeChat's own refusal of a notify_url names
NOTIFY_URL = r"https?://([^\s/?#\[\]\@]+\@)?([^\s/?#\@:]+)(?::\d{2,5})?([^\s?#\[\]]*)"
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def check_values(body: dict[str, Any], rules: Any, now: float) -> None:
    """Refuse a notify_url, time_expire or scene_info that has the right type and cannot be."""
    check_notify_url(body, rules["notify_url"])
    if "time_expire" in body:
        check_time("time_expire", body["time_expire"], rules["time_expire"], now + LONGEST_EXPIRY)
    if "scene_info" in body:
        _check_scene(body["scene_info"])


def check_time(name: str, text: str, rule: Rule, latest: float) -> None:
    """Refuse a time that is not RFC 3339, or later than the latest."""
    moment = parse_time(text)
    if moment is None:
        issue = "字符串必须是符合 RFC3339 日期时间格式"
        raise rule.refuse(f"/body/{name}", text, issue)
    if moment > latest:
        raise rule.refuse(f"/body/{name}", text, "不能超过90天", OUT_OF_RANGE)


def _check_scene(scene: dict[str, Any]) -> None:
    at = "/body/scene_info/payer_client_ip"
    client_ip = scene["payer_client_ip"]
    if not _is_ip(client_ip):
        raise parameter_error(at, client_ip, "应为IPv4或IPv6地址")
    if "h5_info" in scene and _is_loopback(client_ip):
        raise parameter_error(at, client_ip, "应为用户的真实IP，不能是127.0.0.1")
    if "store_info" in scene:
        _check_store(scene["store_info"])


def _check_store(store: dict[str, Any]) -> None:
    names = store.keys()
    if (
        "id" not in names
        and "out_id" not in names
        and not names >= {"name", "area_code", "address"}
    ):
        raise parameter_error("/body/scene_info/store_info/id", None, "此字段为必填项")


def check_notify_url(body: dict[str, Any], rule: Rule) -> None:
    """Refuse a notify_url that WeChat would not call."""
    if "notify_url" in body and not is_notify_url(body["notify_url"]):
        fits = re.fullmatch(NOTIFY_URL, body["notify_url"])
        issue = "应为https地址" if fits else f"字符串必须匹配正则表达式“^{NOTIFY_URL}$”"
        raise rule.refuse("/body/notify_url", body["notify_url"], issue)


def check_appid(state: State, appid: str, mchid: str) -> None:
    """Refuse an appid that is not bound to the merchant number."""
    app = state.app(appid)
    if app is None or mchid not in app.mchids:
        message = "appid和mch_id不匹配，请检查后再试"
        raise RefusalError(400, "APPID_MCHID_NOT_MATCH", message, number=268445527)


def check_openid(state: State, appid: str, openid: str) -> None:
    """Refuse an openid of another app."""
    if not state.has_person(appid, openid):
        raise RefusalError(500, "OPENID_MISMATCH", "openid和appid不匹配")


def check_direct(state: State, mchid: str) -> None:
    """Refuse a service provider where it names no sub merchant."""
    merchant = state.keys.merchant(mchid)
    if merchant is not None and merchant.subs:
        message = "服务商模式必须传入sub_mchid"
        raise RefusalError(400, "INVALID_REQUEST", message, number=MISSING_SUB_MCHID)


def check_sub_mchid(state: State, mchid: str, sub_mchid: str) -> None:
    """Refuse a sub merchant that has not authorised this service provider."""
    provider = state.keys.merchant(mchid)
    if sub_mchid == mchid:
        message = "特约商户号不能与服务商商户号相同"
        raise RefusalError(400, "INVALID_REQUEST", message, number=268443705)
    if provider is None or sub_mchid not in provider.subs:
        raise RefusalError(403, "NO_AUTH", "受理关系不存在", number=268443701)


def is_notify_url(url: str) -> bool:
    """Accept https without query; plain http on a loopback address is the sandbox's relaxation."""
    try:
        address = urlsplit(url)
        port = address.port
    except ValueError:
        return False
    host = address.hostname or ""
    is_plain = re.fullmatch(r"[!-~]+", url) and not set("?#\\@") & set(url)
    if not is_plain or not host or port == 0:
        return False
    return address.scheme == "https" or (address.scheme == "http" and _is_loopback(host))


def parse_time(text: str) -> float | None:
    """Read RFC 3339, whatever offset and fraction, into Unix seconds, None when it is not."""
    if not re.fullmatch(RFC3339, text.upper(), re.ASCII):
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_loopback(host: str) -> bool:
    return host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)


def _is_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
