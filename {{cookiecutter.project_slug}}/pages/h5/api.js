// The shop's HTTP API. The session is a cookie; this page never holds a token.
const SENTENCES = {
  NETWORK: '网络不通，订单不会重复，请再试一次',
  LOGIN_REQUIRED: '登录已失效，请重新打开页面',
  OPENID_REQUIRED: '请先用微信登录，再付款',
  NOT_FOUND: '没有找到这个订单',
  BAD_REQUEST: '提交的内容有误，请检查后再试',
  IDEMPOTENCY_KEY_REUSED: '购物车变了，请再点一次支付',
  ORDER_PAID: '这个订单已经付过了',
  ORDER_CLOSED: '订单已关闭，请重新下单',
  ORDER_EXPIRED: '订单快要过期，请重新下单',
  PAYMENT_IN_PROGRESS: '上一次付款还没有结束，请稍等',
  SCENE_OFF: '这里还不能用微信支付',
  TOO_MANY_REQUESTS: '操作太快了，歇几秒再试',
  WECHAT_REFUSED: '微信支付没有接受这笔订单，请联系商家',
  OUTCOME_UNKNOWN: '微信还没有答复，钱不会丢，请再试一次',
};

export class ApiError extends Error {
  constructor(status, answer, retryAfter = 0) {
    super(SENTENCES[answer.code] || '没有成功，请稍后再试');
    this.code = answer.code || `HTTP ${status}`;
    this.detail = [this.code, answer.field, answer.request_id].filter(Boolean).join(' · ');
    this.retryAfter = retryAfter;
  }
}

export const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

export async function api(method, path, body, key) {
  const headers = {};
  if (method !== 'GET') headers['Content-Type'] = 'application/json';
  if (key) headers['Idempotency-Key'] = key;
  const limit = new AbortController();
  const timer = setTimeout(() => limit.abort(), 30000);
  let response, text;
  try {
    const options = { method, headers, body: body && JSON.stringify(body), signal: limit.signal };
    response = await fetch(path, options);
    text = await response.text();
  } catch (error) {
    throw new ApiError(0, { code: 'NETWORK' });
  } finally {
    clearTimeout(timer);
  }
  const answer = parsed(text);
  if (response.ok) return answer;
  throw new ApiError(response.status, answer, Number(response.headers.get('Retry-After')) || 0);
}

// A proxy in front of the shop may answer in HTML.
function parsed(text) {
  try {
    return JSON.parse(text) || {};
  } catch (error) {
    return {};
  }
}

// Both codes say "nothing is lost, call again": the server keeps the payment's number.
export async function patiently(call, tries = 4) {
  try {
    return await call();
  } catch (error) {
    const again = ['PAYMENT_IN_PROGRESS', 'OUTCOME_UNKNOWN'].includes(error.code);
    if (!again || tries === 1 || error.retryAfter > 10) throw error;
    await pause(error.retryAfter || 1);
    return patiently(call, tries - 1);
  }
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}

export function yuan(fen) {
  const digits = String(fen).padStart(3, '0');
  return `¥${digits.slice(0, -2)}.${digits.slice(-2)}`;
}
