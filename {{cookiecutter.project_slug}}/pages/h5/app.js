// The page's routes and buttons: the shop, the orders, an amount to type.
import { ApiError, api, newKey, patiently } from './api.js';
import { languageTag, otherWords, switchLanguage, words } from './language.js';
import { tab } from './memory.js';
import { fenOf, yuan } from './money.js';
import { cancel, check, openOrder, openReturned, pay, payLater, resume, stepOf } from './order.js';
import { complain, logIn, once, page, release } from './page.js';
import { alarm, barView, collectView, lostView, missingView, openView, ordersView, shopView, show } from './views.js';
import { CASHIERS, place } from './wechat.js';

const MOST = 99; // of one product

function open(draw) {
  page.draw = draw;
  page.draw();
}

async function isLoggedIn() {
  try {
    if (page.place !== 'wechat') return page.shop.logged_in || (await beginAsGuest());
    const identities = page.shop.logged_in ? (await api('GET', '/api/me')).identities : [];
    const hasOpenid = identities.some(({ kind }) => kind === 'official_account');
    if (!hasOpenid && logIn()) return false;
    if (!hasOpenid) complain(new ApiError(401, { code: 'LOGIN_REQUIRED' }));
    else tab.forget('logins');
  } catch (error) {
    complain(error);
  }
  return true;
}

// Outside WeChat nobody has an openid, and none is needed: the session remembers the orders.
async function beginAsGuest() {
  await api('POST', '/api/sessions/guest', {});
  page.shop.logged_in = true;
  return true;
}

async function openShop() {
  if (!page.products.length) page.products = (await api('GET', '/api/products')).products;
  const skus = page.products.map(({ sku }) => sku);
  page.cart = Object.fromEntries(Object.entries(page.cart).filter(([sku]) => skus.includes(sku)));
  open(() => show(shopView(page), barView(page)));
}

function change(sku, by) {
  const quantity = Math.min(MOST, (page.cart[sku] || 0) + by);
  page.cart = { ...page.cart, [sku]: quantity };
  if (quantity < 1) delete page.cart[sku];
  tab.keep('cart', page.cart);
  tab.forget('pending'); // another cart is another order
  page.draw();
}

async function buy() {
  const number = await placeOrder();
  if (stepOf(number)) return void openOrder(number); // it may be paid already
  return pay();
}

// The key stays until the order is decided: a repeat after a lost answer finds the same order.
async function placeOrder() {
  const items = Object.entries(page.cart).map(([sku, quantity]) => ({ sku, quantity }));
  const { key } = tab.read('pending', { key: newKey() });
  tab.keep('pending', { key });
  const order = await patiently(() => api('POST', '/api/orders', { items }, key));
  tab.keep('pending', { key, number: order.order_no });
  goTo(order.order_no);
  return order.order_no;
}

function goTo(number) {
  history.pushState(null, '', `/?order=${number}`);
  Object.assign(page, { number, order: null });
}

// Our own field for an amount, for clients without WeChat's widget 金额控件.
function openCollect() {
  const { collect } = page.shop;
  const cashier = CASHIERS[page.place];
  const isOffered = collect && cashier && collect.scenes.includes(cashier.scene);
  open(() => show(isOffered ? collectView() : missingView()));
}

// The amount goes as the text that was typed.
async function collect() {
  const amount = document.getElementById('amount').value.trim();
  const problem = problemOf(amount, page.shop.collect);
  if (problem) return alarm(problem);
  const { scene } = CASHIERS[page.place];
  const { key } = tab.read('collecting', { key: newKey() });
  tab.keep('collecting', { key });
  const body = { amount_yuan: amount, scene, widget: false };
  const { order_no } = await patiently(() => api('POST', '/api/collect', body, key));
  tab.forget('collecting');
  goTo(order_no);
  return pay(); // goes on with the payment that was started with the order
}

function problemOf(amount, { min_fen: least, max_fen: most }) {
  const { errors } = words();
  const fen = fenOf(amount);
  if (fen === null) return errors['BAD_REQUEST amount_yuan'];
  if (fen >= least && fen <= most) return '';
  return errors.AMOUNT_RANGE.replace('{least}', yuan(least).slice(1)).replace('{most}', yuan(most).slice(1));
}

async function openOrders() {
  await list(null);
}

async function list(after) {
  const answer = await api('GET', `/api/orders${after ? `?after=${encodeURIComponent(after)}` : ''}`);
  page.orders = after ? page.orders.concat(answer.orders) : answer.orders;
  page.next = answer.next;
  open(() => show(ordersView(page, stepOf)));
}

// The address says what is on the screen: reload, back and a shared link find it again.
function route() {
  page.turn += 1;
  release();
  alarm();
  Object.assign(page, { number: '', order: null, step: '' });
  const query = new URLSearchParams(location.search);
  const number = query.get('order');
  if (page.place === 'outside' && location.search) return open(() => show(openView()));
  if (number) return query.has('back') ? openReturned(number) : openOrder(number);
  const load = { orders: openOrders, collect: openCollect }[query.get('view')] || openShop;
  return once(() => Promise.resolve(load()).catch(lose));
}

function lose(error) {
  open(() => show(lostView()));
  throw error;
}

function drawHeader() {
  document.documentElement.lang = languageTag();
  for (const element of document.querySelectorAll('[data-word]')) {
    element.textContent = words()[element.dataset.word];
  }
  document.querySelector('[data-do=language]').textContent = otherWords().language;
}

function changeLanguage() {
  switchLanguage();
  alarm();
  drawHeader();
  page.draw();
}

function copyAddress(button) {
  document.getElementById('address').select();
  document.execCommand('copy');
  button.textContent = words().copied;
}

const ACTIONS = {
  more: ({ dataset }) => change(dataset.sku, 1),
  less: ({ dataset }) => change(dataset.sku, -1),
  buy: () => once(buy),
  pay: () => once(pay),
  cancel: () => once(cancel),
  next: () => once(() => list(page.next)),
  collect: () => once(collect),
  reload: () => start(),
  copy: copyAddress,
  dismiss: () => alarm(),
  language: changeLanguage,
  resume,
  check,
  payLater,
};

document.addEventListener('click', (event) => {
  const button = event.target.closest('[data-do]');
  if (button) ACTIONS[button.dataset.do](button);
  const link = event.target.closest('a[data-go]');
  if (!link) return;
  event.preventDefault();
  if (location.pathname !== '/') return void location.assign(link.href);
  history.pushState(null, '', link.getAttribute('href'));
  route();
  window.scrollTo(0, 0);
});
// Another amount is another order.
document.addEventListener('input', ({ target }) => {
  if (target.id === 'amount') tab.forget('collecting');
});
document.addEventListener('visibilitychange', resume);
window.addEventListener('popstate', route);
window.addEventListener('pageshow', (event) => event.persisted && start());

async function start() {
  if (location.hash) history.replaceState(null, '', location.pathname + location.search); // OAuth's
  page.place = place();
  drawHeader();
  if (location.pathname !== '/') return open(() => show(missingView()));
  if (page.place === 'outside') return route();
  try {
    page.shop = await api('GET', '/api/shop');
  } catch (error) {
    complain(error);
    return open(() => show(lostView()));
  }
  if (await isLoggedIn()) route();
}

start();
