// While you develop: the sandbox plays wx.login and wx.requestPayment. No page knows of this file.
// It refuses to run in anything but a development version 开发版. And a code or a payment of the
// sandbox is worth nothing to a real shop: that one asks WeChat.
const OUTCOMES = [
  { text: '支付 Pay', form: { outcome: 'ok' } },
  { text: '用券支付 Pay with a coupon', form: { outcome: 'ok', coupon_fen: 1 } },
  { text: '取消 Cancel', form: { outcome: 'cancel' } },
  { text: '支付失败 Fail', form: { outcome: 'fail' } },
];
const CANCEL = { outcome: 'cancel' };

function play(sandbox) {
  const { envVersion } = wx.getAccountInfoSync().miniProgram;
  if (envVersion !== 'develop') throw new Error("config.js: SANDBOX must be '' in a release");
  replace('login', (options) => answer(logIn(sandbox), options));
  replace('requestPayment', (options) => answer(pay(sandbox, options), options));
}

function replace(name, work) {
  Object.defineProperty(wx, name, { configurable: true, enumerable: true, value: work });
}

// Call back as wx does: one of success and fail, then complete.
function answer(work, { success = () => {}, fail = () => {}, complete = () => {} }) {
  work
    .catch(() => ({ errMsg: 'request:fail the sandbox does not answer' }))
    .then((result) => {
      const tell = /:ok$/.test(result.errMsg) ? success : fail;
      tell(result);
      complete(result);
    });
}

async function logIn(sandbox) {
  const person = { appid: await appid(sandbox), openid: openid() };
  const { code } = await post(`${sandbox}/_sandbox/login-code`, person);
  return { code, errMsg: 'login:ok' };
}

async function pay(sandbox, { timeStamp, nonceStr, package: prepay, signType, paySign }) {
  const invoke = { appId: await appid(sandbox), timeStamp, nonceStr, package: prepay, signType, paySign };
  const { form } = await choose();
  const result = await post(`${sandbox}/_sandbox/pay`, { ...invoke, ...form, openid: openid() });
  return { errMsg: result.err_msg };
}

// The cashier: what shall the buyer do?
function choose() {
  const itemList = OUTCOMES.map(({ text }) => text);
  return new Promise((chosen) => {
    const success = ({ tapIndex }) => chosen(OUTCOMES[tapIndex]);
    wx.showActionSheet({ itemList, success, fail: () => chosen({ form: CANCEL }) });
  });
}

// The same person until the storage is cleared.
function openid() {
  const own = wx.getStorageSync('sandbox_openid') || `o${Math.random().toString(36).slice(2, 14)}`;
  wx.setStorageSync('sandbox_openid', own);
  return own;
}

async function appid(sandbox) {
  const { apps } = await request('GET', `${sandbox}/_sandbox/credentials`);
  return apps.find(({ kind }) => kind === 'miniprogram').appid;
}

const post = (url, data) => request('POST', url, data);

function request(method, url, data) {
  return new Promise((resolve, reject) => {
    const success = ({ statusCode, data: body }) => (statusCode === 200 ? resolve(body) : reject(body));
    wx.request({ url, method, data, success, fail: reject });
  });
}

module.exports = { play };
