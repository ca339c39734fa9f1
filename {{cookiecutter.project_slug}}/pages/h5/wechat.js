// What WeChat puts around the page, and how to pay in each place. The User-Agent is a hint, never
// a security control.
const agent = navigator.userAgent;
const wecom = /wxwork/i.test(agent); // 企业微信 carries WeChat's word in its agent as well
const wechat = /MicroMessenger\/[\d.]+/i.test(agent);
const phone = /Android|iPhone|iPad|iPod|HarmonyOS|Mobile/i.test(agent);
const JSSDK = 'https://res.wx.qq.com/open/js/jweixin-1.6.0.js'; // only a web-view needs it

// The bridge may be there before the page's script or come later.
function bridge(seconds) {
  if (typeof WeixinJSBridge !== 'undefined') return Promise.resolve(true);
  return new Promise((answer) => {
    document.addEventListener('WeixinJSBridgeReady', () => answer(true), { once: true });
    setTimeout(() => answer(false), seconds * 1000);
  });
}

// 'outside' can only say "open in WeChat"; a mini program's web-view pays in the mini program.
export function place() {
  if (wecom) return 'outside';
  if (/miniProgram/i.test(agent) || window.__wxjs_environment === 'miniprogram') return 'webview';
  if (wechat) return 'wechat';
  return phone ? 'phone' : 'desktop';
}

// pay.weixin.qq.com/doc/v3/merchant/4012791857: the answer is a hint, the order is asked anyway.
export async function cashier({ invoke }) {
  if (!(await bridge(5))) return { said: 'outside' };
  const answer = await new Promise((done) => {
    WeixinJSBridge.invoke('getBrandWCPayRequest', invoke, done);
  });
  const said = String(answer && answer.err_msg).replace('get_brand_wcpay_request:', '');
  return { said, why: (answer && answer.err_desc) || '' };
}

function leave(url) {
  location.assign(url);
  return { said: 'left' };
}

// The scene that each place pays in, and what opens its cashier; otherwise Alipay 支付宝.
const app = { scene: 'alipay', open: ({ app_url }) => leave(app_url) };
const code = { scene: 'alipay', open: ({ code_url }) => ({ said: 'alipay', code: code_url }) };
export const WAYS = {
  wechat: { scene: 'jsapi', open: cashier },
  phone: { scene: 'h5', open: ({ h5_url }) => leave(h5_url), otherwise: app },
  desktop: { scene: 'native', open: ({ code_url }) => ({ said: 'scan', code: code_url }), otherwise: code },
};

// Start a payment and open its cashier; a shop that does not offer the scene may offer another.
export async function payBy(way, start) {
  try {
    return await way.open(await start(way.scene));
  } catch (error) {
    if (error.code !== 'SCENE_OFF' || !way.otherwise) throw error;
    return payBy(way.otherwise, start);
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
