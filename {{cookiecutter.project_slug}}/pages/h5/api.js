// The shop's HTTP API. The session is a cookie; this page never holds a token.
const AGAIN = ['PAYMENT_IN_PROGRESS', 'OUTCOME_UNKNOWN', 'TOO_MANY_REQUESTS'];
const TRIES = 4;
const LONGEST_PAUSE = 10; // seconds that a buyer waits without a word

export class ApiError extends Error {
  constructor(status, answer, retryAfter = 0) {
    super(answer.message || 'no answer');
    this.code = answer.code || `HTTP ${status}`;
    this.field = answer.field || '';
    this.retryAfter = retryAfter; // seconds
    this.detail = [this.code, answer.field, answer.request_id].filter(Boolean).join(' · ');
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
    // a page that comes back would get yesterday's answer from the browser's cache
    response = await fetch(path, { ...options, cache: 'no-store' });
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

// These codes say "nothing is lost, call again": the server keeps the payment's number.
export async function patiently(call, tries = TRIES) {
  try {
    return await call();
  } catch (error) {
    if (!AGAIN.includes(error.code) || tries === 1 || error.retryAfter > LONGEST_PAUSE) throw error;
    await pause(error.retryAfter || 1);
    return patiently(call, tries - 1);
  }
}

export function newKey() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
}
