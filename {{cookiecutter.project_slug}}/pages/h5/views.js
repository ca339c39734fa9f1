// What is on the screen, made from data alone. Text goes in as text: nothing here reads HTML.
import { inOurLanguage, languageTag, words } from './language.js';
import { yuan } from './money.js';

// The face of an order that can still be paid, by the step where its buyer stands.
const FACES = {
  opening: 'OPENING',
  confirming: 'CONFIRMING',
  late: 'CONFIRMING',
  busy: 'BUSY',
  returned: 'RETURNED',
  scan: 'CODE',
  alipay: 'CODE',
};
const ICONS = {
  OPENING: 'wait',
  CONFIRMING: 'wait',
  BUSY: 'wait',
  RETURNED: 'open',
  CODE: 'open',
  OPEN: 'open',
  HELD: 'wait',
  CLOSING: 'wait',
  CLOSED: 'closed',
  PAID: 'paid',
  REFUNDED: 'back',
};
const TIMED = ['OPEN', 'RETURNED', 'CODE'];

function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat().filter(Boolean));
  return element;
}

function icon(id) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const use = svg.appendChild(document.createElementNS(space, 'use'));
  use.setAttribute('href', `#icon-${id}`);
  svg.setAttribute('class', 'icon');
  svg.setAttribute('aria-hidden', 'true');
  return svg;
}

// The name of the action is also the hook that tests look for.
function button(action, kind, text, more = {}) {
  const names = { type: 'button', class: kind, 'data-do': action, 'data-test': action, ...more };
  return h('button', names, text);
}

function homeLink() {
  return h('a', { class: 'plain', href: '/', 'data-go': '', 'data-test': 'back' }, words().home);
}

function when(time) {
  return time && new Date(time).toLocaleString(languageTag(), { hour12: false });
}

// What did not change stays where it is, or a tap would meet a button that is just going away.
export function show(content, footer = '') {
  const view = document.getElementById('view');
  const bar = document.getElementById('bar');
  tick(content);
  if (!content.isEqualNode(view.firstElementChild)) view.replaceChildren(content);
  bar.replaceChildren(footer);
  bar.hidden = !footer;
  document.body.classList.toggle('inner', !footer); // a low header on every page but the shop
}

export function alarm(text = '', detail = '') {
  const box = document.getElementById('alert');
  const close = button('dismiss', 'close', '✕', { 'aria-label': words().close });
  box.replaceChildren(h('p', {}, text), h('small', {}, detail), close);
  box.hidden = !text;
}

export function shopView({ place, products, cart }) {
  const rows = products.map((product) => productRow(product, place, cart[product.sku] || 0));
  return h('ul', { class: 'products' }, rows);
}

function productRow({ sku, name, price_fen, image, kind }, place, quantity) {
  const src = image || `/picture.svg?sku=${encodeURIComponent(sku)}`;
  const picture = h('img', { class: 'picture', src, alt: '', loading: 'lazy' });
  const price = h('b', {}, yuan(price_fen));
  const text = h('div', { class: 'words' }, h('h2', {}, inOurLanguage(name)), price);
  const isRefused = kind === 'virtual' && place === 'webview'; // WeChat's rule in mini programs
  const right = isRefused ? h('small', { class: 'refused' }, words().notHere) : stepper(sku, quantity);
  return h('li', { 'data-test': 'product', 'data-sku': sku }, picture, text, right);
}

function stepper(sku, quantity) {
  const less = button('less', 'step', '−', { 'data-sku': sku, 'aria-label': words().less });
  const more = button('more', 'step add', '+', { 'data-sku': sku, 'aria-label': words().more });
  const count = quantity > 0 && [less, h('output', {}, String(quantity))];
  return h('div', { class: 'stepper' }, count, more);
}

export function barView({ place, products, cart }) {
  if (place === 'outside') return openView();
  const total = products.reduce((sum, { sku, price_fen }) => sum + price_fen * (cart[sku] || 0), 0);
  const pay = button('buy', 'primary', words().payHere[place], { 'data-test': 'pay' });
  pay.disabled = !total;
  const sum = h('p', {}, h('small', {}, words().total), h('b', { 'data-test': 'total' }, yuan(total)));
  return h('div', { class: 'checkout' }, sum, pay);
}

export function collectView() {
  const { amount, yuan: unit, pay } = words();
  const names = { id: 'amount', inputmode: 'decimal', maxlength: '9', placeholder: '0.00', autocomplete: 'off' };
  const field = h('input', { ...names, 'aria-label': `${amount} (${unit})`, 'data-test': 'typed' });
  const label = h('label', {}, '¥ ', field);
  return h('section', { class: 'card collect' }, h('h2', {}, amount), label, button('collect', 'primary', pay));
}

export function openView() {
  const { openInWechat, openInWechatHow, copy } = words();
  const address = h('input', { id: 'address', readonly: '', 'aria-label': copy, value: location.href });
  const text = h('div', {}, h('h2', {}, openInWechat), h('p', {}, openInWechatHow));
  const head = h('div', { class: 'invite' }, icon('wechat'), text);
  const row = h('div', { class: 'copy' }, address, button('copy', 'plain', copy));
  return h('section', { class: 'card invitation', 'data-test': 'open-in-wechat' }, head, row);
}

export function lostView() {
  const { notLoaded, tryAgain } = words();
  const nav = h('nav', {}, button('reload', 'primary', tryAgain), homeLink());
  return h('section', { class: 'empty', 'data-test': 'lost' }, h('h2', {}, notLoaded), nav);
}

export function missingView() {
  return h('section', { class: 'empty', 'data-test': 'missing' }, h('b', {}, '404'), h('h2', {}, words().missing), h('nav', {}, homeLink()));
}

export function missingOrderView({ number }) {
  const { missingOrder, missingOrderHow, orderNumber } = words();
  const text = [h('h2', {}, missingOrder), h('p', {}, missingOrderHow), h('p', {}, `${orderNumber} ${number}`)];
  return h('section', { class: 'empty', 'data-test': 'missing' }, text, h('nav', {}, homeLink()));
}

function faceOf(order, step) {
  if (order.payments.some(({ state }) => state === 'HELD')) return 'HELD';
  return order.state === 'OPEN' ? FACES[step] || 'OPEN' : order.state;
}

export function orderView({ order, step, place, why, code }) {
  if (!order) return h('p', { class: 'quiet' }, words().loading);
  const face = faceOf(order, step);
  const head = h('section', { class: 'face' },
    icon(ICONS[face]),
    h('h2', { 'data-test': 'title' }, words().faces[face]),
    h('strong', { 'data-test': 'amount' }, yuan(order.total_fen)),
    paidLine(order),
    TIMED.includes(face) && timer(order),
    face === 'CODE' && codeView(code),
    note(noteOf(face, step), why));
  const nav = h('nav', {}, actions(face, place));
  return h('article', { 'data-test': 'order', 'data-state': face }, head, nav, details(order));
}

// With a coupon 优惠 the buyer paid less than the order's total.
function paidLine({ total_fen, paid_fen }) {
  if (paid_fen === null || paid_fen === undefined || paid_fen === total_fen) return null;
  const { paid, couponUsed } = words();
  const coupon = h('small', {}, `${couponUsed} −${yuan(total_fen - paid_fen)}`);
  return h('p', { class: 'paid-line', 'data-test': 'paid' }, `${paid} ${yuan(paid_fen)} `, coupon);
}

function timer({ expires_at }) {
  return h('p', { class: 'timer' }, `${words().timeLeft} `, h('time', { 'data-until': expires_at }));
}

// The picture is drawn by the shop; the code changes when it is renewed.
function codeView(code) {
  const src = `/qr.svg?data=${encodeURIComponent(code)}`;
  return h('img', { class: 'code', src, alt: words().code, 'data-test': 'code', 'data-code-url': code });
}

function noteOf(face, step) {
  const { notes } = words();
  if (face === 'HELD') return notes.held;
  if (face === 'CLOSED') return ['confirming', 'late', 'returned'].includes(step) ? notes.closedAfterPaying : '';
  const isOpen = face === 'OPEN' || FACES[step] === face;
  return (isOpen && notes[step]) || '';
}

function note(text, why) {
  if (!text) return null;
  return h('p', { class: 'note', 'data-test': 'note' }, text, why && h('small', {}, why));
}

// Whoever may have paid gets no button to pay.
function actions(face, place) {
  const { cancel, goOnPaying, havePaid, notPaidYet, noCashier, payHere, refresh } = words();
  const isInWechat = ['wechat', 'phone'].includes(place);
  const nav = {
    OPENING: () => [button('resume', 'plain', noCashier)],
    CONFIRMING: () => [button('check', 'plain', refresh), homeLink()],
    BUSY: () => [button('check', 'plain', refresh), homeLink()],
    RETURNED: () => [button('check', 'primary', havePaid), button('payLater', 'plain', notPaidYet), homeLink()],
    CODE: () => [button('check', 'primary', havePaid), button('cancel', 'plain', cancel), homeLink()],
    OPEN: () => [
      button('pay', 'primary', isInWechat ? goOnPaying : payHere[place]),
      button('cancel', 'plain', cancel),
      homeLink(),
    ],
  };
  return nav[face] ? nav[face]() : [homeLink()];
}

function details(order) {
  const text = words();
  const payment = order.payments.find(({ state }) => state === 'PAID') || {};
  const goods = order.items.map(({ name, quantity, price_fen }) => [
    `${inOurLanguage(name)} × ${quantity}`, yuan(price_fen * quantity),
  ]);
  const refunds = order.refunds.map(({ state, refund_fen }) => [
    `${text.refund} · ${text.refunds[state] || text.refunds.PROCESSING}`, yuan(refund_fen),
  ]);
  const rows = [
    ...goods,
    [text.orderTotal, yuan(order.total_fen)],
    [text.paid, Number.isInteger(order.paid_fen) && yuan(order.paid_fen)],
    ...refunds,
    [text.orderNumber, order.order_no],
    [text.placedAt, when(order.created_at)],
    [text.paidAt, when(order.paid_at)],
    [text.transaction, payment.transaction_id],
  ];
  const shown = rows.filter(([, value]) => value);
  return h('dl', {}, shown.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

export function ordersView({ orders, next }, stepOf) {
  if (!orders.length) return h('section', { class: 'empty' }, h('h2', {}, words().noOrders), h('nav', {}, homeLink()));
  const rows = orders.map((order) => orderRow(order, faceOf(order, stepOf(order.order_no))));
  const more = next && button('next', 'plain', words().moreOrders);
  return h('section', { class: 'orders' }, h('h1', {}, words().orders), rows, more);
}

function orderRow(order, face) {
  const names = order.items.map(({ name, quantity }) => `${inOurLanguage(name)} × ${quantity}`);
  const link = { href: `/?order=${order.order_no}`, 'data-go': '', 'data-test': 'order-row', class: ICONS[face] };
  const head = h('div', {}, h('small', {}, when(order.created_at)), h('em', {}, words().faces[face]));
  return h('a', link, head, h('h2', {}, names.join(words().comma)), h('b', {}, yuan(order.total_fen)));
}

function tick(root) {
  for (const clock of root.querySelectorAll('[data-until]')) {
    const left = Math.max(0, Math.round((Date.parse(clock.dataset.until) - Date.now()) / 1000));
    clock.textContent = hoursAndMinutes(left);
  }
}

// 29:59, or 23:59:59 for a shop whose orders hold longer.
function hoursAndMinutes(seconds) {
  const two = (number) => String(number).padStart(2, '0');
  const hours = Math.floor(seconds / 3600);
  const minutes = Math.floor(seconds / 60) % 60;
  return hours ? `${hours}:${two(minutes)}:${two(seconds % 60)}` : `${minutes}:${two(seconds % 60)}`;
}

setInterval(() => tick(document), 1000);
