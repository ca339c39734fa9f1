"""The addresses in answers: WeChat's own for whoever addresses the sandbox as WeChat."""

import pytest

from tests.sandbox.merchant import ORDERS

HERE = {"payer_client_ip": "203.0.113.10", "h5_info": {"type": "Wap"}}
WECHAT = {"Host": "api.mch.weixin.qq.com"}


async def apply(merchant, **headers):
    body, prepay_id = await merchant.prepay()
    await merchant.pay(prepay_id)
    day = (await merchant.control("clock"))["now"][:10]
    await merchant.control("clock", advance_seconds=2 * 86400)
    target = f"/v3/bill/tradebill?bill_date={day}"
    return body["out_trade_no"], await merchant.call("GET", target, headers=headers)


async def test_a_bill_applied_for_at_wechats_host_is_downloaded_there(merchant):
    number, applied = await apply(merchant, **WECHAT)
    url = applied.json()["download_url"]
    assert url.startswith("https://api.mch.weixin.qq.com/v3/billdownload/file?token=")
    target = url.removeprefix("https://api.mch.weixin.qq.com")
    assert number in (await merchant.call("GET", target, headers=WECHAT)).text


async def test_a_bill_applied_for_here_is_downloaded_here(merchant, sandbox_url):
    number, applied = await apply(merchant)
    url = applied.json()["download_url"]
    assert url.startswith(f"{sandbox_url}/v3/billdownload/file?token=")
    assert number in (await merchant.call("GET", url.removeprefix(sandbox_url))).text


@pytest.mark.parametrize("host", ["api.mch.weixin.qq.com", "api2.mch.weixin.qq.com:443"])
async def test_an_h5_link_of_wechats_host_is_wechats(merchant, host):
    body = merchant.order(payer=None, scene_info=HERE)
    answer = await merchant.call("POST", f"{ORDERS}/h5", body, headers={"Host": host})
    h5_url = answer.json()["h5_url"]
    assert h5_url.startswith("https://wx.tenpay.com/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=")
    assert (await merchant.control("h5", h5_url=h5_url))["err_msg"] == "ok"


async def test_an_h5_link_made_here_opens_here(merchant, sandbox_url):
    body = merchant.order(payer=None, scene_info=HERE)
    h5_url = (await merchant.post(f"{ORDERS}/h5", body))["h5_url"]
    assert h5_url.startswith(f"{sandbox_url}/cgi-bin/mmpayweb-bin/checkmweb?prepay_id=")
