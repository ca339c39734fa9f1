'use strict';

// Everything from the wire is shown as text nodes; nothing here ever parses HTML.
const $ = (id) => document.getElementById(id);
const shown = { kind: '', after: 0, orders: '', faults: '' };
const MENU = {
  notifications: ['通知 Notifications', ['send', 'drop', 'duplicate', 'reverse', 30, 600]],
  notification_signature: ['通知签名 Signature', ['good', 'signtest', 'unknown_serial', 'wrong_key', 'stale']],
  notification_amount_delta_fen: ['通知金额差 Amount delta', [0, 1, -1, 100, -100]],
  refunds: ['退款结果 Refunds', ['success', 'abnormal', 'closed', 'not_enough', 'order_not_ready',
    'frequency_limited', 'invalid_req_too_much', 'bizerr_need_retry', '90000000', '23000003', '10000001', '30000000',
    'user_account_abnormal']],
  bill: ['账单 Bill', ['good', 'wrong_hash', 'truncated', 'cut', 'missing_row', 'extra_row', 'wrong_amount',
    'wrong_state', 'missing_refund', 'extra_refund', 'wrong_refund_amount']],
  signing: ['验签方式 Who signs', ['public_key', 'certificate', 'mixed']],
  times: ['次数 How many times', [null, 1, 2, 5, 20]],
};
const CALLS = ['prepay', 'query', 'close', 'refund', 'refund_query', 'certificates', 'bill', 'code2session', 'oauth', 'token', 'wxa', 'any'];
const ANSWERS = ['500', '429', '202', 'hang', 'reset_before', 'reset_after', 'signtest', 'wrong_key', 'refuse',
  'openid_mismatch', 'openid_not_matching', 'openid_invalid', 'number_used', 'already_paid',
  'product_off', 'receiving_restricted', 'merchant_unavailable', 'service_unavailable'];

function el(tag, props, ...children) {
  const node = Object.assign(document.createElement(tag), props);
  node.append(...children.filter((child) => child !== null));
  return node;
}

async function control(name, form) {
  const options = form && {
    method: 'POST', body: JSON.stringify(form), headers: { 'Content-Type': 'application/json' },
  };
  const answer = await fetch('/_sandbox/' + name, options);
  const body = await answer.json();
  if (!answer.ok) window.alert(body.message);
  return body;
}

function yuan(fen) {
  const digits = String(Math.abs(fen)).padStart(3, '0');
  return (fen < 0 ? '-' : '') + '¥' + digits.slice(0, -2) + '.' + digits.slice(-2);
}

function tag(text, tone) {
  return el('span', { className: 'tag ' + (tone || '') }, text);
}

function refundRow(refund) {
  const tones = { SUCCESS: 'good', PROCESSING: 'wait' };
  return el('div', {}, el('small', {}, '退款 refund ' + yuan(refund.refund) + ' '), tag(refund.status, tones[refund.status] || 'bad'));
}

// What a person does in the merchant platform, without the shop.
function refundButton(order) {
  const left = order.refunds.reduce((sum, one) => sum - (one.status === 'CLOSED' ? 0 : one.refund), order.total);
  const ask = () => {
    const fen = Number(window.prompt('在商户平台退款，单位分 Refund in the merchant platform, in fen', left));
    if (fen) control('refund', { out_trade_no: order.out_trade_no, refund: fen });
  };
  return left > 0 ? el('button', { type: 'button', className: 'quiet', onclick: ask }, '退款 Refund') : '';
}

function orderRow(order) {
  const tones = { SUCCESS: 'good', REFUND: 'good', NOTPAY: 'wait' };
  const paid = Boolean(order.transaction_id);
  const told = paid && tag(order.notified ? '已通知 notified' : '未送达 not notified', order.notified ? 'good' : 'bad');
  return el('tr', {},
    el('td', {}, el('code', {}, order.out_trade_no), el('div', {}, el('small', {}, order.transaction_id || '—')),
      ...order.refunds.map(refundRow)),
    el('td', {}, yuan(order.total), el('div', {}, tag(order.trade_state, tones[order.trade_state])), told || '', paid && !order.provider_id ? refundButton(order) : ''));
}

function showOrders(orders) {
  const state = JSON.stringify(orders);
  if (state === shown.orders) return;
  shown.orders = state;
  const rows = orders.slice(-50).reverse().map(orderRow);
  $('orders').replaceChildren(rows.length
    ? el('table', {}, el('tbody', {}, ...rows))
    : el('p', { className: 'empty' }, '还没有订单 No order yet'));
}

function tone(entry) {
  if (entry.kind === 'notification') return entry.verdict.startsWith('received') ? 'good' : 'bad';
  if (entry.url.startsWith('/_sandbox/pay')) return entry.verdict.includes('fail') ? 'bad' : 'good';
  return entry.status >= 200 && entry.status < 400 && entry.verdict.startsWith('passed') ? 'good' : 'bad';
}

function block(title, text, className) {
  return text ? [el('h3', {}, title), el('pre', { className: className || '' }, text)] : [];
}

function headers(map) {
  return Object.entries(map).map(([name, value]) => `${name}: ${value}`).join('\n');
}

// A newline is part of what is signed, so it must be seen.
function visible(text) {
  return text.replace(/\n/g, '\\n\n');
}

function details(entry) {
  return [
    ...block('结论 Verdict', entry.verdict),
    ...block('签名串 The exact text that was signed', visible(entry.signed_message), 'signed'),
    ...block('请求 Request', headers(entry.request_headers) + '\n\n' + entry.request_body),
    ...block('应答 Answer', `${entry.status ?? '(none)'}\n${headers(entry.response_headers)}\n\n${entry.response_body}`),
  ];
}

function logRow(entry) {
  const arrow = entry.kind === 'notification' ? '通知 →' : '请求 ←';
  const summary = el('summary', {},
    tag(arrow), tag(String(entry.status ?? '×'), tone(entry)),
    el('span', { className: 'what' },
      el('code', {}, `${entry.method} ${entry.url}`), el('span', { className: 'why' }, entry.verdict)),
    el('time', {}, entry.at.slice(11, 19)));
  const row = el('details', { hidden: Boolean(shown.kind) && shown.kind !== entry.kind }, summary);
  row.dataset.kind = entry.kind;
  row.addEventListener('toggle', () => row.children.length === 1 && row.append(...details(entry)), { once: true });
  return row;
}

function showLog(entries) {
  for (const entry of entries) $('log').prepend(logRow(entry));
  while ($('log').children.length > 300) $('log').lastChild.remove();
  if (entries.length) shown.after = entries[entries.length - 1].n;
}

function choice(values, value, onchange) {
  const all = values.some((one) => String(one) === String(value)) ? values : [...values, value];
  const options = all.map((one) => el('option', { value: JSON.stringify(one) }, String(one ?? '一直 until changed')));
  const select = el('select', { onchange: () => onchange(JSON.parse(select.value)) }, ...options);
  select.value = JSON.stringify(value);
  return select;
}

function answerFaults(menu) {
  const set = (answers) => control('faults', { answers }).then(showFaults);
  const call = choice(CALLS, 'prepay', () => {});
  const fault = choice(ANSWERS, '500', () => {});
  const add = () => set({ ...menu.answers, [JSON.parse(call.value)]: JSON.parse(fault.value) });
  const active = Object.entries(menu.answers).map(([name, value]) => {
    const { [name]: _, ...rest } = menu.answers;
    return el('button', { type: 'button', className: 'tag bad', onclick: () => set(rest) }, `${name}: ${value} ✕`);
  });
  return el('div', { className: 'answers' }, el('span', {}, '应答 Answers'), call, fault,
    el('button', { type: 'button', onclick: add }, '添加 Add'), ...active);
}

function showFaults(menu) {
  const choosing = document.activeElement.tagName === 'SELECT';
  if (!menu.answers || choosing || JSON.stringify(menu) === shown.faults) return;
  shown.faults = JSON.stringify(menu);
  const rows = Object.entries(MENU).map(([key, [label, values]]) => {
    const changed = menu[key] !== values[0];
    const select = choice(values, menu[key], (value) => { select.blur(); control('faults', { [key]: value }); });
    return el('label', { className: changed ? 'set' : '' }, el('span', {}, label), select);
  });
  const rotate = () => control('faults', { rotate_certificates: true });
  const zero = () => control('faults', { leading_zero_serials: true });
  $('faults').replaceChildren(answerFaults(menu), ...rows,
    el('button', { type: 'button', onclick: rotate }, '轮换平台证书：先列出，再启用 Rotate the platform certificate: list, then use'),
    el('button', { type: 'button', onclick: zero }, '商户证书序列号以 0 开头 Merchant serials begin with 0'));
}

function showClock(clock) {
  $('now').textContent = clock.now.replace('T', ' ').replace('+08:00', '');
  $('offset').textContent = clock.offset_seconds ? `+${clock.offset_seconds} s` : '真实时间 real time';
}

async function poll() {
  try {
    showClock(await control('clock'));
    showFaults(await control('faults'));
    showLog((await control('log?after=' + shown.after)).entries);
    let orders = [];
    for (let page = await control('orders'); page.next; page = await control('orders?after=' + page.next)) {
      orders = orders.concat(page.orders);
    }
    showOrders(orders);
  } catch {
    $('offset').textContent = '沙箱没有回答 the sandbox does not answer';
  }
  window.setTimeout(poll, 1500);
}

for (const button of document.querySelectorAll('[data-advance]')) {
  button.onclick = () => control('clock', { advance_seconds: Number(button.dataset.advance) }).then(showClock);
}
for (const button of document.querySelectorAll('#filter button')) {
  button.onclick = () => {
    shown.kind = button.dataset.kind;
    for (const other of $('filter').children) other.className = other === button ? 'on' : '';
    for (const row of $('log').children) row.hidden = Boolean(shown.kind) && row.dataset.kind !== shown.kind;
  };
}
$('reset').onclick = () => control('faults', {}).then(showFaults);
control('credentials').then((keys) => {
  $('merchant').textContent = `商户号 mchid ${keys.mchid} · `
    + keys.apps.map((app) => `${app.kind} ${app.appid}`).join(' · ');
});
poll();
