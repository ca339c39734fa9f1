// The shop's HTTP API. The session is a token that wx.login's code was exchanged for.
const { API } = require('./config.js');
const { sentence } = require('./language.js');

const AGAIN = ['PAYMENT_IN_PROGRESS', 'OUTCOME_UNKNOWN', 'TOO_MANY_REQUESTS'];
const TRIES = 4;
const LONGEST_PAUSE = 10; // seconds that a buyer waits without a word
let signingIn = null;

// What a page shows of an error; retryAfter is in seconds.
function problem(code, answer = {}, retryAfter = 0) {
  const { field = '', request_id = '' } = answer;
  const message = sentence({ code, field, retryAfter });
  return { code, field, message, request_id, retryAfter };
}

// wx.request calls success for every status; fail means that no answer came.
function send(method, path, data, { token, key } = {}) {
  const header = { 'Content-Type': 'application/json' };
  if (token) header.Authorization = `Bearer ${token}`;
  if (key) header['Idempotency-Key'] = key;
  return new Promise((resolve, reject) => {
    const success = (answer) => (answer.statusCode < 300 ? resolve(answer.data) : reject(refusal(answer)));
    const fail = () => reject(problem('NETWORK'));
    wx.request({ url: API + path, method, data, header, timeout: 30000, success, fail });
  });
}

function refusal({ statusCode, data, header }) {
  const { 'Retry-After': upper, 'retry-after': lower } = header || {};
  const body = data || {};
  return problem(body.code || `HTTP ${statusCode}`, body, Number(upper || lower) || 0);
}

// Several pages may find themselves without a session at once: one wx.login serves them all.
function signIn() {
  signingIn = signingIn || logIn().finally(() => { signingIn = null; });
  return signingIn;
}

async function logIn() {
  const code = await new Promise((success, fail) => wx.login({ success, fail }))
    .catch(() => Promise.reject(problem('NETWORK')));
  const { token } = await send('POST', '/api/sessions/miniprogram', { code: code.code });
  wx.setStorageSync('token', token);
  return token;
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

// These codes say "nothing is lost, call again": the server keeps the payment's number.
async function patiently(work, tries = TRIES) {
  try {
    return await work();
  } catch (error) {
    if (!AGAIN.includes(error.code) || tries === 1 || error.retryAfter > LONGEST_PAUSE) throw error;
    await pause(error.retryAfter || 1);
    return patiently(work, tries - 1);
  }
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));
const newKey = () => `${Date.now().toString(36)}-${Math.random().toString(36).slice(2, 14)}`;

module.exports = { call, newKey, patiently, pause };
