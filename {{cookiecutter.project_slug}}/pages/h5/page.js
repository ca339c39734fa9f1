// What this page knows, and how it does one thing at a time.
import { ApiError } from './api.js';
import { sentence } from './language.js';
import { tab } from './memory.js';
import { alarm } from './views.js';

export const page = {
  place: '', // where the page is open: wechat, phone, desktop, webview, outside
  shop: { collect: null }, // what GET /api/shop answered
  products: [],
  cart: tab.read('cart', {}),
  orders: [],
  next: null, // where the list of orders goes on
  number: '', // of the order on the screen
  order: null,
  step: '', // where the buyer of this order stands, see order.js
  why: '', // what the cashier gave as a reason
  code: '', // to be scanned
  turn: 0, // whoever raises it ends the polling that began before
  draw() {}, // draws what is on the screen once more
};
let busy = false;
let quietUntil = 0; // milliseconds: the server asked for a pause

// A double tap does nothing; a pause that the server asked for is kept.
export async function once(work) {
  if (busy) return;
  const seconds = Math.ceil((quietUntil - Date.now()) / 1000);
  if (seconds > 0) return complain(new ApiError(429, { code: 'TOO_MANY_REQUESTS' }, seconds));
  busy = true;
  document.body.classList.add('busy');
  alarm();
  await work().catch(complain);
  release();
}

export function release() {
  busy = false;
  document.body.classList.remove('busy');
}

// snsapi_base is silent. Two round trips without a session mean that cookies are refused: stop.
export function logIn() {
  const tries = tab.read('logins', 0);
  if (tries > 1) return false;
  tab.keep('logins', tries + 1);
  const here = encodeURIComponent(location.pathname + location.search);
  location.replace(`/oauth/start?return_to=${here}`);
  return true;
}

export function complain(error) {
  const stranger = ['LOGIN_REQUIRED', 'OPENID_REQUIRED'].includes(error.code);
  if (stranger && page.place === 'wechat' && page.step !== 'opening' && logIn()) return;
  if (error.code === 'IDEMPOTENCY_KEY_REUSED') tab.forget('pending');
  if (error.code === 'TOO_MANY_REQUESTS') quietUntil = Date.now() + error.retryAfter * 1000;
  alarm(sentence(error), error instanceof ApiError ? error.detail : '');
}
