// /docs: open what a link points at; "try it" sends a call to this shop. The only other address
// that is ever asked is the sandbox's, which plays WeChat: for a login code, and to pay.
const { sandbox, appid, waiting, lost } = document.body.dataset;

function reveal() {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  for (let at = target; at; at = at.parentElement) {
    if (at.matches('details')) at.open = true;
  }
  target?.scrollIntoView();
}

for (const link of document.querySelectorAll('.contents a')) {
  link.addEventListener('click', () => { link.closest('details').open = false; });
}
for (const link of document.querySelectorAll('a[href^="#"]')) {
  link.addEventListener('click', () => setTimeout(reveal)); // also when the hash stays the same
}
document.querySelector('[data-all]').addEventListener('click', () => {
  const all = [...document.querySelectorAll('main details')];
  const open = !all.every((one) => one.open);
  for (const one of all) one.open = open;
});
document.querySelector('[data-other]').addEventListener('click', ({ currentTarget }) => {
  currentTarget.hash = location.hash;
});
addEventListener('hashchange', reveal);
reveal();

const random = () => [...crypto.getRandomValues(new Uint8Array(12))].map((n) => n.toString(16).padStart(2, '0')).join('');

async function ask(address, { method = 'GET', headers = {}, body } = {}) {
  const began = performance.now();
  const answer = await fetch(address, { method, headers, body, credentials: 'omit', redirect: 'manual' });
  const text = await answer.text();
  let data = null;
  try { data = JSON.parse(text); } catch { /* a text, or nothing */ }
  const wait = answer.headers.get('Retry-After');
  const line = [`${answer.status} ${answer.statusText}`, `${Math.round(performance.now() - began)} ms`];
  if (wait) line.push(`Retry-After: ${wait}`);
  return { ok: answer.ok, line: line.join(' · '), text: data ? JSON.stringify(data, null, 2) : text, data };
}

const send = (address, data) => ask(address, {
  method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(data),
});

// Every form of a kind has the same token; numbers that come back go into the other forms.
function share(selector, value) {
  for (const input of document.querySelectorAll(selector)) input.value = value;
}

function learn(data) {
  if (!data) return;
  if (data.order_no) share('[data-place=path][name=order_no]', data.order_no);
  const paid = data.out_trade_no || data.payments?.[0]?.out_trade_no;
  if (paid) share('[data-place=path][name=out_trade_no]', paid);
  if (data.token && data.expires_in) share('[data-token=buyer]', data.token);
}

function show(form, { ok, line, text }) {
  const status = form.querySelector('.status');
  status.textContent = line;
  status.className = `status ${ok ? 'good' : 'bad'}`;
  const came = form.querySelector('.came');
  came.textContent = text;
  came.hidden = !text;
}

// One press at a time; what the network refuses is told like an answer.
async function busy(form, work) {
  const buttons = form.querySelectorAll('button');
  for (const button of buttons) button.disabled = true;
  show(form, { ok: true, line: waiting, text: '' });
  try {
    show(form, await work());
  } catch (error) {
    show(form, { ok: false, line: lost, text: String(error) });
  }
  for (const button of buttons) button.disabled = false;
}

async function call(form) {
  const { method, path } = form.dataset;
  const headers = {};
  let address = path;
  const query = new URLSearchParams();
  for (const { name, value, dataset } of form.querySelectorAll('[data-place]')) {
    if (dataset.place === 'path') address = address.replace(`{${name}}`, encodeURIComponent(value));
    if (dataset.place === 'query' && value) query.set(name, value);
    if (dataset.place === 'header') headers[name] = value;
  }
  if (String(query)) address += `?${query}`;
  const token = form.elements.token?.value.trim();
  if (token) headers.Authorization = `Bearer ${token}`;
  const body = form.elements.body?.value ?? (method === 'POST' ? '{}' : undefined);
  if (body !== undefined) headers['Content-Type'] = 'application/json';
  const answer = await ask(address, { method, headers, body });
  learn(answer.data);
  offer(form, answer.data);
  return answer;
}

// What the cashier of each scene is at the sandbox.
function offer(form, data) {
  const button = form.querySelector('[data-do=pay]');
  if (!button) return;
  button.hidden = !(data?.invoke || data?.h5_url || data?.code_url);
  button.onclick = () => busy(form, () => {
    if (data.h5_url) return send(`${sandbox}/_sandbox/h5`, { h5_url: data.h5_url, referer: `${location.origin}/` });
    if (data.code_url) return send(`${sandbox}/_sandbox/scan`, { code_url: data.code_url });
    return send(`${sandbox}/_sandbox/pay`, data.invoke);
  });
}

// Somebody whom nobody has seen opens the mini program; without one a guest comes.
async function newBuyer() {
  let answer;
  if (appid) {
    const made = await send(`${sandbox}/_sandbox/login-code`, { appid, openid: `o${random()}` });
    if (!made.ok) return made;
    answer = await send('/api/sessions/miniprogram', { code: made.data.code });
  } else {
    answer = await send('/api/sessions/guest', {});
  }
  learn(answer.data);
  return answer;
}

const actions = {
  login: (form) => busy(form, newBuyer),
  key: (form) => { form.elements['Idempotency-Key'].value = random(); },
};

for (const form of document.querySelectorAll('.try')) {
  form.addEventListener('submit', (event) => {
    event.preventDefault();
    busy(form, () => call(form));
  });
  for (const button of form.querySelectorAll('[data-do]')) {
    const action = actions[button.dataset.do];
    if (action) button.addEventListener('click', () => action(form));
  }
  if (form.elements['Idempotency-Key']) actions.key(form);
}
for (const input of document.querySelectorAll('[data-token]')) {
  input.addEventListener('input', () => share(`[data-token=${input.dataset.token}]`, input.value));
}
