"""`python -m shop explain`: the words that people meet are found, with cause and remedy."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from shop.explain import explain
from shop.settings import ROOT
from shop.web.errors import STATUS
from wechat import numbers

from shop import explain as explaining

ERRORS = (ROOT / "docs" / "errors.md").read_text("utf-8")
#: what stands on a screen -> words of the cause that must be told
MET = {
    "redirect_uri参数错误": "网页授权域名",
    "该商户号未开通H5支付": "产品中心 → H5支付",
    "调用支付JSAPI缺少参数：total_fee": "prepay_id",
    "get_brand_wcpay_request:fail 调用支付JSAPI缺少参数: total_fee": "prepay_id",
    "prepay_id expired": "two hours",
    "商户号该产品权限未开通，请前往商户平台>产品中心检查后重试。": "产品没开通",
    "chooseWXPay:fail": "wx.config",
    "chooseWXPay:fail, the permission value is offline verifying": "wx.config",
    "支付场景非法": "scene",
    "requestPayment:fail jsapi has no permission": "关联商户号",
    "当前商户该支付方式存在异常，请稍后再试": "风控",
    "time_expire时间过短，刷卡至少1分钟，其他5分钟": "SHOP_ORDER_TTL",
    "输入源“/body/description”映射到值字段“商品描述”字符串规则校验失败，字节数 135，大于最大值 127": "3 bytes",
    "requestPayment:fail no permission": "订单发货管理",
    "requestPayment:fail banned": "订单发货管理",
    "40164": "IP白名单",
    "invalid ip 1.2.3.4, not in whitelist": "IP白名单",
    "WECHAT_UNPROVED": "验签不过",
    "OUT_TRADE_NO_USED": "SHOP_TRADE_PREFIX",
    "ORDERPAID": "商城会查单记账",
    "SYSTEMERROR": "原单号",
    "无效的openid": "appid",
    "订单处理中，暂时无法退款，请稍后再试": "同一退款单",
    "refund waits": "充值",
    "bad_signature": "forged",
    "40163": "重新登录",
    "USER_PAYING": "密码",
    "申请退款金额超过订单可退金额": "商户平台",
    "频率限制，1个月之前的订单请降低申请频率再重试": "等一等",
    "交易未结算资金不足，请使用可用余额退款": "充值",
    "受理关系不存在": "特约商户授权",
    "传入了不支持的Accept-Language": "Node.js",
    "无法将 JSON 输入源“/body/amount/total”映射到目标字段“总金额”中": "整数分",
    "STATEMENT_CREATING": "10 点",
    "45009": "次数用完",
}  # fmt: skip


@pytest.mark.parametrize(("words", "cause"), MET.items(), ids=MET)
def test_the_words_on_a_screen_are_explained(words: str, cause: str) -> None:
    text, is_explained = explain(words)
    assert is_explained
    assert cause in text
    assert text.count("\n\n") < 4, "a few rows, not the page"


@pytest.mark.parametrize("code", STATUS)
def test_each_code_of_the_shop_is_explained(code: str) -> None:
    text, is_explained = explain(code)
    assert is_explained
    assert f"`{code}`" in text


@pytest.mark.parametrize("number", numbers.TOP_20)
def test_each_number_of_the_top_20_is_explained_alone_and_in_a_request_id(number: int) -> None:
    entry = numbers.TOP_20[number]
    for words in (str(number), f"08F8A1B2C30610-{number}"):
        text, is_explained = explain(words)
        assert is_explained
        assert all(part in text for part in (entry.meaning, entry.advice, entry.advice_zh))


def test_the_page_and_the_table_of_numbers_say_the_same() -> None:
    rows = [
        f"| {n} | {e.meaning} {e.meaning_zh} | {e.advice} {e.advice_zh} |"
        for n, e in numbers.TOP_20.items()
    ]
    assert re.findall(r"^\| [0-9]{9} .*$", ERRORS, re.M) == rows


@pytest.mark.parametrize("words", ["268435456", "08F8A1B2C30610-268435456"])
def test_a_number_that_the_table_lacks_is_called_so(words: str) -> None:
    text, is_explained = explain(words)
    assert not is_explained
    assert "TOP 20" in text
    assert "客服" in text


def test_a_request_id_that_ends_in_0_is_no_error() -> None:
    assert explain("08F8A1B2C30610-0") == ("0: 没有错误。 / no error.", True)


@pytest.mark.parametrize("words", ["xyzzy", "NO_SUCH_CODE", "12345", "的", "", "()"])
def test_what_nobody_knows_is_called_so(words: str) -> None:
    assert explain(words) == (explaining.NOBODY_KNOWS, False)


def test_a_known_code_with_another_message_shows_its_rows_and_says_so() -> None:
    text, is_explained = explain("SIGN_ERROR 一句新的话")
    assert is_explained
    assert text.startswith(explaining.OTHER_MESSAGE)
    assert "SHOP_MERCHANT_SERIAL" in text


def test_every_row_of_the_page_is_found_by_each_of_its_names() -> None:
    lost = [
        name
        for row in explaining.table_rows()
        for name in row.names.split(" · ")
        if str(row) not in explain(name.replace("`", "").replace("…", "203"))[0]
        and name.replace("`", "") not in map(str, numbers.TOP_20)
    ]
    assert lost == []


def test_every_row_has_a_remedy_in_both_languages() -> None:
    for row in explaining.table_rows():
        texts = " ".join(text for _, text in row.columns)
        assert re.search("[\u4e00-\u9fff]", texts + row.names), row.names
        assert dict(row.columns).get("what to do 怎么办"), row.names


def test_the_command_needs_no_setting_and_no_database(tmp_path: Path) -> None:
    path = {"PYTHONPATH": str(ROOT), "PATH": os.environ["PATH"], "PYTHONUTF8": "1"}
    done = subprocess.run(
        [sys.executable, "-m", "shop", "explain", "OUT_TRADE_NO_USED", "商户订单号重复"],
        cwd=tmp_path, env=path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    assert "SHOP_TRADE_PREFIX" in done.stdout
    done = subprocess.run(
        [sys.executable, "-m", "shop", "explain", "268435456"],
        cwd=tmp_path, env=path, capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 1
    assert list(tmp_path.iterdir()) == []
