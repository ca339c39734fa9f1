import { ApiError, api, newKey, patiently, pause } from './api.js';
import { alarm, barView, collectView, lostView, openView, orderView, ordersView, shopView, show } from './views.js';
import { WAYS, payBy, place, toMiniProgram } from './wechat.js';

const LADDER = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 15, 30, 60]; // seconds, the last repeats
const FINAL = ['PAID', 'REFUNDED', 'CLOSED'];
const page = { where: '', products: [], cart: read('cart', {}), number: '', order: null };
let busy = false;
let turn = 0; // whoever raises it ends the polling that began before

function read(name, otherwise) {
  return JSON.parse(sessionStorage.getItem(name)) || otherwise;
}

function keep(name, value) {
  sessionStorage.setItem(name, JSON.stringify(value));
}

// One thing at a time: a double tap does nothing.
async function once(work) {
  if (busy) return;
  busy = true;
  document.body.classList.add('busy');
  alarm();
  await work().catch(complain);
  release();
}

function release() {
  busy = false;
  document.body.classList.remove('busy');
}

function complain(error) {
  const stranger = ['LOGIN_REQUIRED', 'OPENID_REQUIRED'].includes(error.code);
  if (stranger && page.where === 'wechat' && logIn()) return true;
  if (error.code === 'IDEMPOTENCY_KEY_REUSED') sessionStorage.removeItem('pending');
  alarm(error.message, error instanceof ApiError ? error.detail : '');
  return false;
}

// snsapi_base is silent. Two round trips without a session mean that cookies are refused: stop.
function logIn() {
  const tries = read('logins', 0);
  if (tries > 1) return false;
  keep('logins', tries + 1);
  const here = encodeURIComponent(location.pathname + location.search);
  location.replace(`/oauth/start?return_to=${here}`);
  return true;
}

async function isLoggedIn() {
  try {
    const { identities } = await api('GET', '/api/me');
    const known = identities.some(({ kind }) => kind === 'official_account');
    if (page.where === 'wechat' && !known && logIn()) return false;
    sessionStorage.removeItem('logins');
    return true;
  } catch (error) {
    if (page.where !== 'wechat' && error.code === 'LOGIN_REQUIRED') return beginAsGuest();
    return !complain(error);
  }
}

// Outside WeChat nobody has an openid, and none is needed: the session remembers the orders.
async function beginAsGuest() {
  try {
    await api('POST', '/api/sessions/guest', {});
    return true;
  } catch (error) {
    return !complain(error);
  }
}

function change(sku, by) {
  const quantity = Math.min(99, (page.cart[sku] || 0) + by);
  page.cart = { ...page.cart, [sku]: quantity };
  if (quantity < 1) delete page.cart[sku];
  keep('cart', page.cart);
  sessionStorage.removeItem('pending'); // another cart is another order
  drawShop();
}

// The key stays until the order is settled: a repeat after a lost answer finds the same order.
async function placeOrder() {
  const items = Object.entries(page.cart).map(([sku, quantity]) => ({ sku, quantity }));
  const { key } = read('pending', { key: newKey() });
  keep('pending', { key });
  const order = await patiently(() => api('POST', '/api/orders', { items }, key));
  keep('pending', { key, number: order.order_no });
  history.pushState(null, '', `/?order=${order.order_no}`);
  Object.assign(page, { order, number: order.order_no });
}

async function pay() {
  const { number } = page;
  const way = WAYS[page.where];
  let heard = { said: '', why: '' };
  Object.assign(page, { said: 'paying', why: '', code: '' });
  follow(number);
  try {
    if (way) heard = await payBy(way, (scene) => startPayment(number, scene));
    else await handOver(number);
  } catch (error) {
    complain(error);
  }
  if (page.number !== number) return; // the buyer went to another page meanwhile
  Object.assign(page, heard);
  follow(number); // not awaited: the buttons are free again
  if (page.said !== 'outside') return;
  turn += 1;
  show(openView());
}

const startPayment = (number, scene) =>
  patiently(() => api('POST', `/api/orders/${number}/payments`, { scene }));

// In a web-view only the mini program can pay: it claims the order with a token, once.
async function handOver(number) {
  const { path } = await patiently(() => api('POST', `/api/orders/${number}/handover`, {}));
  await toMiniProgram(path);
}

// The amount goes as the text that was typed: no number is ever made of it here.
async function collect() {
  const { key } = read('pending', { key: newKey() });
  keep('pending', { key });
  const amount_yuan = document.getElementById('amount').value.trim();
  const body = { amount_yuan, scene: WAYS[page.where].scene, widget: false };
  const given = await patiently(() => api('POST', '/api/collect', body, key));
  keep('pending', { key, number: given.order_no });
  history.pushState(null, '', `/?order=${given.order_no}`);
  Object.assign(page, { order: null, number: given.order_no, said: 'paying', why: '' });
  follow(page.number);
  Object.assign(page, await WAYS[page.where].open(given));
  follow(page.number);
}

async function cancel() {
  const { number } = page;
  try {
    await patiently(() => api('POST', `/api/orders/${number}/cancel`, {}));
  } finally {
    page.said = '';
    follow(number);
  }
}

// Back from WeChat's H5 page: that proves nothing, so the buyer is asked before the server is.
async function confirmReturn(number) {
  turn += 1;
  Object.assign(page, { number, said: 'left' });
  page.order = (await api('GET', `/api/orders/${encodeURIComponent(number)}`)) || page.order;
  if (FINAL.includes(page.order.state)) settle();
  else drawOrder();
}

// Whatever the client said, only the server knows: ask it, quickly at first, then more rarely.
async function follow(number) {
  const mine = (turn += 1);
  page.number = number;
  for (let n = 0; n < 60; n += 1) {
    drawOrder();
    await pause(LADDER[Math.min(n, LADDER.length - 1)]);
    if (mine !== turn || document.hidden) return;
    const order = await ask(number);
    if (mine !== turn) return;
    if (!order && !page.order) return show(lostView());
    page.order = order || page.order;
    if (page.said === 'ok' && n > 10) page.said = 'late';
    if (FINAL.includes(page.order.state)) return settle();
    if (page.said === 'left') return;
  }
}

async function ask(number) {
  try {
    const order = await api('GET', `/api/orders/${encodeURIComponent(number)}?refresh=1`);
    if (page.lost) alarm(); // the network is back
    page.lost = false;
    return order;
  } catch (error) {
    page.lost = true;
    complain(error);
    return null;
  }
}

function settle() {
  release(); // the cashier may never call back
  drawOrder();
  if (page.number !== read('pending', {}).number) return;
  sessionStorage.removeItem('pending');
  if (page.order.state === 'PAID') keep('cart', (page.cart = {}));
}

async function list(after) {
  const answer = await api('GET', `/api/orders${after ? `?after=${encodeURIComponent(after)}` : ''}`);
  page.orders = after ? page.orders.concat(answer.orders) : answer.orders;
  page.next = answer.next;
  show(ordersView(page));
}

async function openShop() {
  if (!page.products.length) page.products = (await api('GET', '/api/products')).products;
  const known = page.products.map((product) => product.sku);
  page.cart = Object.fromEntries(Object.entries(page.cart).filter(([sku]) => known.includes(sku)));
  drawShop();
}

// Open /?view=collect with the merchant's QR code: the buyer types what to pay.
async function openCollect() {
  show(collectView(page));
}

const drawOrder = () => show(orderView(page));
const drawShop = () => show(shopView(page), barView(page));

// The address says what is on the screen: reload, back and a shared link find it again.
function route() {
  turn += 1;
  release();
  alarm();
  Object.assign(page, { number: '', order: null, said: '', why: '' });
  const query = new URLSearchParams(location.search);
  const number = query.get('order');
  const load = { orders: list, collect: openCollect }[query.get('view')] || openShop;
  if (page.where === 'outside' && (number || load !== openShop)) show(openView());
  else if (number && query.has('back')) once(() => confirmReturn(number).catch(lose));
  else if (number) follow(number);
  else once(() => load().catch(lose));
}

function lose(error) {
  show(lostView());
  throw error;
}

// Back from the cashier, another app or a sleeping screen.
function resume() {
  if (document.hidden || !page.number) return;
  if (page.order && FINAL.includes(page.order.state)) return;
  release();
  if (page.where === 'phone' && ['paying', 'left'].includes(page.said)) {
    Object.assign(page, { said: 'left' });
    return drawOrder();
  }
  if (page.said === 'paying') page.said = 'late';
  follow(page.number);
}

// "I have paid": now the server asks WeChat, and says at once what it knows.
async function check() {
  const { number } = page;
  page.said = 'ok';
  drawOrder();
  page.order = (await ask(number)) || page.order;
  if (page.number !== number) return;
  page.said = 'late';
  follow(number);
}

const ACTIONS = {
  more: ({ sku }) => change(sku, 1),
  less: ({ sku }) => change(sku, -1),
  buy: () => once(() => placeOrder().then(pay)),
  pay: () => once(pay),
  cancel: () => once(cancel),
  next: () => once(() => list(page.next)),
  reload: () => start(),
  resume,
  check,
  collect: () => once(collect),
  dismiss: () => alarm(),
  copy: () => document.getElementById('address').select() || document.execCommand('copy'),
};

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) ACTIONS[button.dataset.do](button.dataset);
  const link = event.target.closest('a[data-go]');
  if (!link) return;
  event.preventDefault();
  history.pushState(null, '', link.getAttribute('href'));
  route();
  window.scrollTo(0, 0);
});
document.addEventListener('visibilitychange', resume);
window.addEventListener('popstate', route);
window.addEventListener('pageshow', (event) => event.persisted && start());

async function start() {
  if (location.hash) history.replaceState(null, '', location.pathname + location.search); // OAuth's
  page.where = place();
  if (page.where === 'outside' || (await isLoggedIn())) route();
}

start();
