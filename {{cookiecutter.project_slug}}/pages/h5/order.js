// One order: pay it, cancel it, and follow it until it is decided. Only the server knows whether
// it is paid. Nobody who says that they have paid is offered to pay again, also after a reload.
import { api, patiently, pause } from './api.js';
import { browser, tab } from './memory.js';
import { complain, page, release } from './page.js';
import { alarm, lostView, missingOrderView, openView, orderView, show } from './views.js';
import { CASHIERS, payBy, toMiniProgram } from './wechat.js';

const LADDER = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 15, 30, 60]; // seconds, the last repeats
const POLLS = 60;
const PATIENCE = 10; // polls until the page says that WeChat is late
const FINAL = ['PAID', 'REFUNDED', 'CLOSED'];
// Steps that outlive the page, and as what: who may have paid is asked, who has paid is not.
const KEPT = {
  confirming: 'confirming', late: 'confirming',
  opening: 'returned', returned: 'returned', scan: 'returned', alipay: 'returned',
};
// Errors of a payment's start that say: do not pay now.
const STEPS = { ORDER_PAID: 'confirming', PAYMENT_IN_PROGRESS: 'busy' };

export function stepOf(number) {
  return browser.read('steps', {})[number] || '';
}

function keepStep(number, step) {
  const steps = browser.read('steps', {});
  delete steps[number];
  if (KEPT[step]) steps[number] = KEPT[step];
  browser.keep('steps', Object.fromEntries(Object.entries(steps).slice(-20)));
}

function enter(step, { why = '', code = '' } = {}) {
  Object.assign(page, { step, why, code });
  keepStep(page.number, step);
  if (step === 'confirming') emptyCart();
}

// What was paid for is no longer in the cart.
function emptyCart() {
  if (page.number !== tab.read('pending', {}).number) return;
  tab.forget('pending');
  page.cart = {};
  tab.keep('cart', page.cart);
}

const isDecided = () => Boolean(page.order) && FINAL.includes(page.order.state);

function draw() {
  page.draw = () => show(orderView(page));
  page.draw();
}

export function openOrder(number) {
  Object.assign(page, { number, order: null, step: stepOf(number), why: '', code: '' });
  return follow();
}

// Back from WeChat's H5 page: that proves nothing, so the buyer is asked.
export function openReturned(number) {
  if (stepOf(number) !== 'confirming') keepStep(number, 'returned');
  history.replaceState(null, '', `/?order=${number}`);
  return openOrder(number);
}

// Ask the server, quickly at first, then more rarely.
export async function follow() {
  page.turn += 1;
  const { turn, number } = page;
  let least = 0; // seconds that the server wants to be left alone
  for (let poll = 0; poll < POLLS; poll += 1) {
    draw();
    await pause(Math.max(least, LADDER[Math.min(poll, LADDER.length - 1)]));
    if (turn !== page.turn || document.hidden) return;
    const error = await ask(number, turn);
    if (turn !== page.turn) return;
    if (!page.order) return showLost(error);
    if (isDecided()) return settle();
    if (page.step === 'confirming' && poll >= PATIENCE) page.step = 'late';
    least = error ? error.retryAfter : 0;
  }
}

async function ask(number, turn) {
  try {
    const order = await api('GET', pathOf(number));
    if (turn === page.turn) page.order = order;
    if (page.isLost) alarm(); // the network is back
    page.isLost = false;
    return null;
  } catch (error) {
    page.isLost = true;
    if (turn === page.turn) complain(error);
    return error;
  }
}

// WeChat is asked, too (refresh=1), which may take long while it hangs. It is not asked while a
// phone's buyer is: coming back from its H5 page proves nothing. And an order whose buyer may have
// paid is shown first: without a button to pay there is nothing to wait for.
function pathOf(number) {
  const path = `/api/orders/${encodeURIComponent(number)}`;
  const isBuyerAsked = page.place === 'phone' && page.step === 'returned';
  const isShownFirst = !page.order && KEPT[page.step];
  return isBuyerAsked || isShownFirst ? path : `${path}?refresh=1`;
}

function showLost(error) {
  const view = error.code === 'NOT_FOUND' ? missingOrderView : lostView;
  if (view === missingOrderView) alarm();
  page.draw = () => show(view(page));
  page.draw();
}

function settle() {
  release(); // the cashier may never call back
  if (page.order.state !== 'CLOSED') keepStep(page.number, '');
  if (page.order.state === 'PAID') emptyCart();
  if (page.number === tab.read('pending', {}).number) tab.forget('pending');
  draw();
}

export async function pay() {
  const { number } = page;
  enter('opening');
  follow();
  const { step, ...more } = await openCashier(number).catch(refuse);
  if (page.number !== number) return keepStep(number, step); // the buyer is on another page
  enter(step, more);
  follow(); // not awaited: the buttons are free again
  if (step !== 'outside') return;
  page.turn += 1;
  page.draw = () => show(openView());
  page.draw();
}

function openCashier(number) {
  const start = (scene) => startPayment(number, scene);
  return page.place === 'webview' ? handOver(number) : payBy(CASHIERS[page.place], start);
}

function startPayment(number, scene) {
  return patiently(() => api('POST', `/api/orders/${number}/payments`, { scene }));
}

// In a web-view only the mini program can pay: it claims the order with a token, once.
async function handOver(number) {
  const { path } = await patiently(() => api('POST', `/api/orders/${number}/handover`, {}));
  await toMiniProgram(path);
  return { step: 'returned' };
}

function refuse(error) {
  page.step = ''; // the cashier is not open
  if (!STEPS[error.code]) complain(error);
  return { step: STEPS[error.code] || '' };
}

export async function cancel() {
  const { number, step, code } = page;
  try {
    await patiently(() => api('POST', `/api/orders/${number}/cancel`, {}));
    enter('');
  } catch (error) {
    if (!STEPS[error.code]) complain(error);
    enter(STEPS[error.code] || step, { code });
  }
  follow();
}

// "I have paid", and "refresh": the server asks WeChat at once.
export function check() {
  enter(page.step === 'busy' ? '' : 'confirming');
  follow();
}

export function payLater() {
  enter('');
  follow();
}

// Back from the cashier, another app or a sleeping screen.
export function resume() {
  if (document.hidden || !page.number || isDecided()) return;
  release();
  if (page.step === 'opening') enter('returned');
  follow();
}
