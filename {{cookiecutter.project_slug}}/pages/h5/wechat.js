// What WeChat puts around the page. The User-Agent is a hint, never a security control.
const agent = navigator.userAgent;
const wecom = /wxwork/i.test(agent); // 企业微信 carries WeChat's word in its agent as well
const wechat = /MicroMessenger\/[\d.]+/i.test(agent);

// The bridge may be there before the page's script or come later.
function bridge(seconds) {
  if (typeof WeixinJSBridge !== 'undefined') return Promise.resolve(true);
  return new Promise((answer) => {
    document.addEventListener('WeixinJSBridgeReady', () => answer(true), { once: true });
    setTimeout(() => answer(false), seconds * 1000);
  });
}

// 'wechat' can pay; a mini program's web-view and other browsers cannot.
export async function place() {
  if (wecom) return 'outside';
  if (/miniProgram/i.test(agent) || window.__wxjs_environment === 'miniprogram') return 'webview';
  return wechat || (await bridge(0.8)) ? 'wechat' : 'outside';
}

// pay.weixin.qq.com/doc/v3/merchant/4012791857: the answer is a hint, the order is asked anyway.
export async function cashier(invoke) {
  if (!(await bridge(5))) return { said: 'fail', why: '微信没有准备好，请重新打开页面' };
  const answer = await new Promise((done) => {
    WeixinJSBridge.invoke('getBrandWCPayRequest', invoke, done);
  });
  const said = String(answer && answer.err_msg).replace('get_brand_wcpay_request:', '');
  return { said, why: (answer && answer.err_desc) || '' };
}
