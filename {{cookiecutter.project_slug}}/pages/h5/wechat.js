// What WeChat puts around the page, and how to pay in each place. The User-Agent is a hint, never
// a security control.
const agent = navigator.userAgent;
const wecom = /wxwork/i.test(agent); // 企业微信 carries WeChat's word in its agent as well
const wechat = /MicroMessenger\/[\d.]+/i.test(agent);
const phone = /Android|iPhone|iPad|iPod|HarmonyOS|Mobile/i.test(agent);
const JSSDK = 'https://res.wx.qq.com/open/js/jweixin-1.6.0.js'; // only a web-view needs it
const STEPS = { ok: 'confirming', cancel: 'cancelled' };

// The bridge may be there before the page's script or come later.
function bridge(seconds) {
  if (typeof WeixinJSBridge !== 'undefined') return Promise.resolve(true);
  return new Promise((answer) => {
    document.addEventListener('WeixinJSBridgeReady', () => answer(true), { once: true });
    setTimeout(() => answer(false), seconds * 1000);
  });
}

// 'outside' can only tell how to open WeChat; a mini program's web-view pays in the mini program.
export function place() {
  if (wecom) return 'outside';
  if (/miniProgram/i.test(agent) || window.__wxjs_environment === 'miniprogram') return 'webview';
  if (wechat) return 'wechat';
  return phone ? 'phone' : 'desktop';
}

// pay.weixin.qq.com/doc/v3/merchant/4012791857: the answer is a hint, the order is asked anyway.
export async function openBridge({ invoke }) {
  if (!(await bridge(5))) return { step: 'outside' };
  const answer = await new Promise((done) => {
    WeixinJSBridge.invoke('getBrandWCPayRequest', invoke, done);
  });
  const { err_msg: message, err_desc: why = '' } = answer || {};
  if (/已支付/.test(why)) return { step: 'confirming' };
  const outcome = String(message).replace('get_brand_wcpay_request:', '');
  return { step: STEPS[outcome] || 'failed', why };
}

// Whether the buyer paid there, only the buyer and the server know.
function leaveFor(url) {
  location.assign(url);
  return { step: 'returned' };
}

// The scene that each place pays in, and what opens its cashier; otherwise Alipay 支付宝.
const alipayApp = { scene: 'alipay', open: ({ app_url }) => leaveFor(app_url) };
const alipayCode = { scene: 'alipay', open: ({ code_url }) => ({ step: 'alipay', code: code_url }) };
export const CASHIERS = {
  wechat: { scene: 'jsapi', open: openBridge },
  phone: { scene: 'h5', open: ({ h5_url }) => leaveFor(h5_url), otherwise: alipayApp },
  desktop: { scene: 'native', open: ({ code_url }) => ({ step: 'scan', code: code_url }), otherwise: alipayCode },
};

// Start a payment and open its cashier; a shop that does not offer the scene may offer another.
export async function payBy(cashier, start) {
  try {
    return await cashier.open(await start(cashier.scene));
  } catch (error) {
    if (error.code !== 'SCENE_OFF' || !cashier.otherwise) throw error;
    return payBy(cashier.otherwise, start);
  }
}

// developers.weixin.qq.com/miniprogram/dev/component/web-view.html
export async function toMiniProgram(path) {
  if (!window.wx || !window.wx.miniProgram) {
    await new Promise((loaded, failed) => {
      const script = Object.assign(document.createElement('script'), { src: JSSDK, onload: loaded, onerror: failed });
      document.head.append(script);
    });
  }
  window.wx.miniProgram.navigateTo({ url: `/${path}` });
}
