// What is on the screen, made from data alone. Text goes in as text: nothing here reads HTML.
import { yuan } from './api.js';

const FACES = {
  PAYING: ['wait', '正在打开微信支付', 'Opening WeChat Pay…'],
  CONFIRMING: ['wait', '正在确认付款', 'Asking WeChat Pay…'],
  OPEN: ['open', '等待付款', 'Waiting for payment'],
  CLOSING: ['wait', '正在取消', 'Closing at WeChat Pay…'],
  CLOSED: ['closed', '订单已关闭', 'Closed'],
  PAID: ['paid', '支付成功', 'Paid'],
  REFUNDED: ['back', '已全额退款', 'Refunded'],
};
const REFUND_STATES = { SUCCESS: '已到账', REJECTED: '未成功', CLOSED: '已关闭', ABNORMAL: '处理中，请联系商家' };
const SAID = {
  cancel: '付款没有完成，订单为您留着',
  late: '微信还没有确认。如果已经付款，请不要重复支付',
  left: '如果已经付款，请点「已完成支付」',
  scan: '请用微信「扫一扫」付款；长按图片识别不了',
  alipay: '请用支付宝「扫一扫」付款',
};
const CODES = ['scan', 'alipay'];
const PAY = { wechat: '微信支付', phone: '微信支付', desktop: '微信扫码支付', webview: '去小程序支付' };

function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.append(...children.flat().filter(Boolean));
  return element;
}

function picture(id, name) {
  const space = 'http://www.w3.org/2000/svg';
  const svg = document.createElementNS(space, 'svg');
  const use = svg.appendChild(document.createElementNS(space, 'use'));
  use.setAttribute('href', `#${id}`);
  svg.setAttribute('class', name);
  svg.setAttribute('aria-hidden', 'true');
  return svg;
}

// 'pay' is both the action and the hook that tests look for.
function button(action, kind, text, more = {}) {
  const names = { type: 'button', class: kind, 'data-do': action, 'data-test': action, ...more };
  return h('button', names, text);
}

const when = (time) => time && new Date(time).toLocaleString('zh-CN', { hour12: false });

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
  box.replaceChildren(h('p', {}, text), h('small', {}, detail), button('dismiss', 'close', '✕'));
  box.hidden = !text;
}

export function shopView({ products, cart }) {
  const rows = products.map(({ sku, name, price_fen }, index) => {
    const less = button('less', 'step', '−', { 'data-sku': sku, 'aria-label': '减少' });
    const more = button('more', 'step add', '+', { 'data-sku': sku, 'aria-label': '增加' });
    const count = cart[sku] ? [less, h('output', {}, String(cart[sku]))] : [];
    const [, chinese, english] = name.match(/^([^ -~]+) (.+)$/) || [null, name, ''];
    const price = h('b', {}, yuan(price_fen));
    const words = h('div', { class: 'words' }, h('h2', {}, chinese), h('small', {}, english), price);
    const stepper = h('div', { class: 'stepper' }, ...count, more);
    return h('li', { 'data-test': 'product', 'data-sku': sku }, picture(`art-${index % 4}`, 'art'), words, stepper);
  });
  return h('ul', { class: 'products' }, rows);
}

export function barView({ where, products, cart }) {
  if (where === 'outside') return openView();
  const total = products.reduce((sum, { sku, price_fen }) => sum + price_fen * (cart[sku] || 0), 0);
  const pay = button('buy', 'primary', PAY[where], { 'data-test': 'pay' });
  pay.disabled = !total;
  const sum = h('p', {}, h('small', {}, '合计 Total'), h('b', { 'data-test': 'total' }, yuan(total)));
  return h('div', { class: 'checkout' }, sum, pay);
}

// Our own field for an amount, for clients without WeChat's widget 金额控件; it stays text.
export function collectView({ where }) {
  const limits = { id: 'amount', inputmode: 'decimal', maxlength: '9', pattern: '[0-9]{1,6}([.][0-9]{1,2})?', placeholder: '0.00' };
  const field = h('input', { ...limits, 'aria-label': '金额（元）', 'data-test': 'typed' });
  const able = where === 'wechat';
  const go = able ? button('collect', 'primary', '付款', { 'data-test': 'collect' }) : h('p', {}, '请在微信中打开');
  return h('section', { class: 'notice collect' }, h('h2', {}, '付款金额 · Amount'), h('label', {}, '¥ ', field), go);
}

export function openView() {
  const address = h('input', { id: 'address', readonly: '', 'aria-label': '网址', value: location.href });
  const words = h('div', {}, h('h2', {}, '请在微信中打开'), h('p', {}, 'Open in WeChat to pay: copy this address'));
  const head = h('div', { class: 'invite' }, picture('icon-wechat', 'icon'), words);
  const copy = h('div', { class: 'copy' }, address, button('copy', 'plain', '复制'));
  return h('section', { class: 'notice', 'data-test': 'open-in-wechat' }, head, copy);
}

export function lostView() {
  return h('p', { class: 'quiet' }, '没有打开 · Not loaded ', button('reload', 'plain', '再试一次'));
}

// The picture is drawn by the shop; the code changes when it is renewed.
function codeView(code) {
  const src = `/qr.svg?data=${encodeURIComponent(code)}`;
  return h('img', { class: 'code', src, alt: '付款二维码', 'data-test': 'code', 'data-code-url': code });
}

export function orderView({ order, where, said, why, code }) {
  if (!order) return h('p', { class: 'quiet' }, '正在打开 · Loading…');
  const state = (order.state === 'OPEN' && { paying: 'PAYING', ok: 'CONFIRMING' }[said]) || order.state;
  const [icon, title, english] = FACES[state];
  const open = state === 'OPEN';
  const face = h('section', { class: 'face' },
    picture(`icon-${icon}`, 'icon'),
    h('h2', {}, title, h('small', {}, english)),
    h('strong', { 'data-test': 'amount' }, yuan(order.total_fen)),
    open && h('p', { class: 'timer' }, '剩余 ', h('time', { 'data-until': order.expires_at }), ' · 过期自动关闭'),
    open && CODES.includes(said) && codeView(code),
    open && said && h('p', { class: 'said', 'data-test': 'said' }, SAID[said] || `微信支付没有成功 ${why}`));
  const nav = actions(order, state, said, PAY[where]);
  return h('article', { 'data-test': 'order', 'data-state': state }, face, nav, details(order));
}

function actions({ payments }, state, said, pay) {
  if (state === 'PAYING') return h('nav', {}, button('resume', 'plain', '没有弹出支付？刷新看看'));
  if (state === 'CONFIRMING') return h('nav', {}, button('resume', 'plain', '刷新 · Refresh'));
  const held = payments.some((payment) => payment.state === 'HELD');
  const home = h('a', { class: 'plain', href: '/', 'data-go': '', 'data-test': 'back' }, '回到小店');
  if (state !== 'OPEN' || held) return h('nav', {}, held && h('p', {}, '付款正在人工核对，请联系商家'), home);
  const shown = CODES.includes(said);
  const again = (shown ? '换一个二维码' : said === 'left' && '重新支付') || (pay === '微信支付' ? '继续支付' : pay);
  const done = said === 'left' && button('check', 'primary', '已完成支付');
  const more = [button('pay', done || shown ? 'plain' : 'primary', again), button('cancel', 'plain', '取消订单')];
  return h('nav', { class: 'pair' }, done, ...more, home);
}

function details(order) {
  const paid = order.payments.find(({ state }) => state === 'PAID') || {};
  const rows = [
    ...order.items.map((item) => [`${item.name} × ${item.quantity}`, yuan(item.price_fen * item.quantity)]),
    ['订单编号', order.order_no],
    ['下单时间', when(order.created_at)],
    ['付款时间', when(order.paid_at)],
    ['交易单号', paid.transaction_id],
    ...order.refunds.map((refund) => [`退款 ${REFUND_STATES[refund.state] || '处理中'}`, yuan(refund.refund_fen)]),
  ];
  const shown = rows.filter(([, value]) => value);
  return h('dl', {}, shown.map(([name, value]) => h('div', {}, h('dt', {}, name), h('dd', {}, value))));
}

export function ordersView({ orders, next }) {
  if (!orders.length) return h('p', { class: 'quiet' }, '还没有订单 · No orders yet');
  const rows = orders.map((order) => {
    const [icon, title] = FACES[order.state];
    const names = order.items.map((item) => `${item.name} × ${item.quantity}`).join('，');
    const link = { href: `/?order=${order.order_no}`, 'data-go': '', 'data-test': 'order-row', class: icon };
    const head = h('div', {}, h('small', {}, when(order.created_at)), h('em', {}, title));
    return h('a', link, head, h('h2', {}, names), h('b', {}, yuan(order.total_fen)));
  });
  const more = next && button('next', 'plain', '更多订单');
  return h('section', { class: 'orders' }, h('h1', {}, '我的订单', h('small', {}, 'My orders')), rows, more);
}

function tick(root) {
  for (const clock of root.querySelectorAll('[data-until]')) {
    const left = Math.max(0, Math.round((Date.parse(clock.dataset.until) - Date.now()) / 1000));
    clock.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, '0')}`;
  }
}

setInterval(() => tick(document), 1000);
