"""Checks that every kind of order shares: times, addresses, and which appid belongs to whom."""

import ipaddress
import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from .schema import Rule
from .wire import RefusalError, parameter_error
from .world import World

LONGEST_EXPIRY = 90 * 24 * 3600


def check_values(body: dict[str, Any], rules: Any, now: float) -> None:
    """Refuse a notify_url, time_expire or scene_info that has the right type and cannot be."""
    check_notify_url(body, rules["notify_url"])
    if "time_expire" in body and not 0 < parse_time(body["time_expire"]) <= now + LONGEST_EXPIRY:
        issue = "应为yyyy-MM-DDTHH:mm:ss+08:00格式，且不超过90天"
        raise rules["time_expire"].refuse("/body/time_expire", body["time_expire"], issue)
    scene = body.get("scene_info")
    if scene and not _is_ip(scene["payer_client_ip"]):
        at = "/body/scene_info/payer_client_ip"
        raise parameter_error(at, scene["payer_client_ip"], "应为IPv4或IPv6地址")
    if scene and "h5_info" in scene and ipaddress.ip_address(scene["payer_client_ip"]).is_loopback:
        at = "/body/scene_info/payer_client_ip"
        raise parameter_error(at, scene["payer_client_ip"], "应为用户的真实IP，不能是127.0.0.1")
    _check_store(scene.get("store_info") if scene else None)


def _check_store(store: dict[str, Any] | None) -> None:
    if store is None or {"id", "out_id"} & store.keys():
        return
    if not {"name", "area_code", "address"} <= store.keys():
        raise parameter_error("/body/scene_info/store_info/id", None, "此字段为必填项")


def check_notify_url(body: dict[str, Any], rule: Rule) -> None:
    """Refuse a notify_url that WeChat would not call."""
    if "notify_url" in body and not is_notify_url(body["notify_url"]):
        issue = "应为https地址，不能携带查询参数"
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


def parse_time(text: str) -> float:
    """Read RFC 3339 with an offset and without fractions into Unix seconds, 0 when it is not."""
    if not re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d", text, re.ASCII):
        return 0
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError):
        return 0


def _is_ip(text: str) -> bool:
    try:
        return bool(ipaddress.ip_address(text))
    except ValueError:
        return False
