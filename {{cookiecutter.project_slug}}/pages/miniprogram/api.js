const { API } = require('./config.js');

const SENTENCES = {
  NETWORK: '网络不通，订单不会重复，请再试一次',
  BAD_REQUEST: '提交的内容有误，请检查后再试',
  SCENE_OFF: '这里还不能这样付款',
  NOT_FOUND: '没有找到这个订单',
  LOGIN_REFUSED: '微信暂时不允许这个帐号登录',
  ORDER_PAID: '这个订单已经付过了',
  ORDER_CLOSED: '订单已关闭，请重新下单',
  ORDER_EXPIRED: '订单快要过期，请重新下单',
  PAYMENT_IN_PROGRESS: '上一次付款还没有结束，请稍等',
  TOO_MANY_REQUESTS: '操作太快了，歇几秒再试',
  WECHAT_REFUSED: '微信支付没有接受这笔订单，请联系商家',
  OUTCOME_UNKNOWN: '微信还没有答复，钱不会丢，请再试一次',
};
let signingIn = null;

function problem(code, answer = {}, retryAfter = 0) {
  const message = SENTENCES[code] || '没有成功，请稍后再试';
  return { code, message, request_id: answer.request_id || '', retryAfter };
}

// wx.request calls success for every status; fail means that no answer came.
function send(method, path, data, { token, key } = {}) {
  const header = { 'Content-Type': 'application/json' };
  if (token) header.Authorization = `Bearer ${token}`;
  if (key) header['Idempotency-Key'] = key;
  return new Promise((resolve, reject) => {
    const success = (answer) => {
      if (answer.statusCode < 300) return resolve(answer.data);
      const { 'Retry-After': upper, 'retry-after': lower } = answer.header || {};
      const body = answer.data || {};
      const code = body.code || `HTTP ${answer.statusCode}`;
      return reject(problem(code, body, Number(upper || lower) || 0));
    };
    const fail = () => reject(problem('NETWORK'));
    wx.request({ url: API + path, method, data, header, timeout: 30000, success, fail });
  });
}

// Several pages may find themselves without a session at once: one wx.login serves them all.
function signIn() {
  const code = () => new Promise((success, fail) => wx.login({ success, fail }));
  const exchange = ({ code: value }) => send('POST', '/api/sessions/miniprogram', { code: value });
  signingIn = signingIn || code()
    .catch(() => Promise.reject(problem('NETWORK')))
    .then(exchange)
    .then(({ token }) => { wx.setStorageSync('token', token); return token; })
    .finally(() => { signingIn = null; });
  return signingIn;
}

async function call(method, path, data, key) {
  const token = wx.getStorageSync('token') || (await signIn());
  try {
    return await send(method, path, data, { token, key });
  } catch (error) {
    if (error.code !== 'LOGIN_REQUIRED') throw error;
    return send(method, path, data, { token: await signIn(), key });
  }
}

// These two codes say "nothing is lost, call again": the server keeps the payment's number.
async function patiently(work, tries = 4) {
  try {
    return await work();
  } catch (error) {
    const again = ['PAYMENT_IN_PROGRESS', 'OUTCOME_UNKNOWN'].includes(error.code);
    if (!again || tries === 1 || error.retryAfter > 10) throw error;
    await pause(error.retryAfter || 1);
    return patiently(work, tries - 1);
  }
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const newKey = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 14)}`;

function yuan(fen) {
  const digits = String(fen).padStart(3, '0');
  return `¥${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

module.exports = { call, newKey, patiently, pause, yuan };
