"""Checks that every kind of order shares: times, addresses, and which appid belongs to whom."""

import ipaddress
import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .schema import Rule
from .wire import MISSING_SUB_MCHID, OUT_OF_RANGE, RefusalError, parameter_error
from .world import World

LONGEST_EXPIRY = 90 * 24 * 3600
#: what WeChat's own refusal of a notify_url names
NOTIFY_URL = r"https?://([^\s/?#\[\]\@]+\@)?([^\s/?#\@:]+)(?::\d{2,5})?([^\s?#\[\]]*)"
RFC3339 = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)"


def check_values(body: dict[str, Any], rules: Any, now: float) -> None:
    """Refuse a notify_url, time_expire or scene_info that has the right type and cannot be."""
    check_notify_url(body, rules["notify_url"])
    if "time_expire" in body:
        check_time("time_expire", body["time_expire"], rules["time_expire"], now + LONGEST_EXPIRY)
    scene = body.get("scene_info")
    if scene and not _is_ip(scene["payer_client_ip"]):
        at = "/body/scene_info/payer_client_ip"
        raise parameter_error(at, scene["payer_client_ip"], "应为IPv4或IPv6地址")
    if scene and "h5_info" in scene and ipaddress.ip_address(scene["payer_client_ip"]).is_loopback:
        at = "/body/scene_info/payer_client_ip"
        raise parameter_error(at, scene["payer_client_ip"], "应为用户的真实IP，不能是127.0.0.1")
    _check_store(scene.get("store_info") if scene else None)


def check_time(name: str, text: str, rule: Rule, latest: float) -> None:
    """Refuse a time that is not RFC 3339, or later than the latest."""
    moment = parse_time(text)
    if moment is None:
        issue = "字符串必须是符合 RFC3339 日期时间格式"
        raise rule.refuse(f"/body/{name}", text, issue)
    if moment > latest:
        raise rule.refuse(f"/body/{name}", text, "不能超过90天", OUT_OF_RANGE)


def _check_store(store: dict[str, Any] | None) -> None:
    if store is None or {"id", "out_id"} & store.keys():
        return
    if not {"name", "area_code", "address"} <= store.keys():
        raise parameter_error("/body/scene_info/store_info/id", None, "此字段为必填项")


def check_notify_url(body: dict[str, Any], rule: Rule) -> None:
    """Refuse a notify_url that WeChat would not call."""
    if "notify_url" in body and not is_notify_url(body["notify_url"]):
        fits = re.fullmatch(NOTIFY_URL, body["notify_url"])
        issue = "应为https地址" if fits else f"字符串必须匹配正则表达式“^{NOTIFY_URL}$”"
        raise rule.refuse("/body/notify_url", body["notify_url"], issue)


def check_appid(world: World, appid: str, mchid: str) -> None:
    """Refuse an appid that is not bound to the merchant number."""
    app = world.app(appid)
    if app is None or mchid not in app.mchids:
        message = "appid和mch_id不匹配，请检查后再试"
        raise RefusalError(400, "APPID_MCHID_NOT_MATCH", message, number=268445527)


def check_openid(world: World, appid: str, openid: str) -> None:
    """Refuse an openid of another app."""
    if not world.knows(appid, openid):
        raise RefusalError(500, "OPENID_MISMATCH", "openid和appid不匹配")


def check_direct(world: World, mchid: str) -> None:
    """Refuse a service provider where it names no sub merchant."""
    merchant = world.keys.merchant(mchid)
    if merchant is not None and merchant.subs:
        message = "服务商模式必须传入sub_mchid"
        raise RefusalError(400, "INVALID_REQUEST", message, number=MISSING_SUB_MCHID)


def check_sub_mchid(world: World, mchid: str, sub_mchid: str) -> None:
    """Refuse a sub merchant that has not authorised this service provider."""
    provider = world.keys.merchant(mchid)
    if sub_mchid == mchid:
        message = "特约商户号不能与服务商商户号相同"
        raise RefusalError(400, "INVALID_REQUEST", message, number=268443705)
    if provider is None or sub_mchid not in provider.subs:
        raise RefusalError(403, "NO_AUTH", "特约商户未授权该服务商", number=268443701)


def is_notify_url(url: str) -> bool:
    """Accept https without query; plain http on a loopback address is the sandbox's relaxation."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    host = parts.hostname or ""
    loopback = host == "localhost" or (_is_ip(host) and ipaddress.ip_address(host).is_loopback)
    wire_safe = re.fullmatch(r"[!-~]+", url) and not set("?#\\@") & set(url)
    return bool(wire_safe and host and port != 0) and (
        parts.scheme == "https" or (parts.scheme == "http" and loopback)
    )


def parse_time(text: str) -> float | None:
    """Read RFC 3339, whatever offset and fraction, into Unix seconds, None when it is not."""
    if not re.fullmatch(RFC3339, text.upper(), re.ASCII):
        return None
    try:
        return datetime.fromisoformat(text.upper()).timestamp()
    except (ValueError, OverflowError):
        return None


def _is_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
