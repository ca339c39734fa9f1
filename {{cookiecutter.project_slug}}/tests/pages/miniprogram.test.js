// The mini program's pages executed with a wx, a Page and a shop of our own.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const vm = require('node:vm');

const ROOT = path.join(__dirname, '../../pages/miniprogram');
const INVOKE = {
  appId: 'wx9', timeStamp: '1414561699', nonceStr: 'n', package: 'prepay_id=wx1', signType: 'RSA', paySign: 's',
};

// A shop that knows one order; `faults` answers before it: [status, body, headers] or 'network'.
function shop() {
  const order = {
    order_no: 'N1', state: 'OPEN', total_fen: 13601, refunded_fen: 0, payments: [], refunds: [],
    items: [{ sku: 'tea', name: '茶', quantity: 2, price_fen: 6800 }], expires_at: '2030-01-01T00:30:00Z',
  };
  const it = { order, calls: [], faults: {}, tokens: 0, keys: {} };
  const routes = {
    'POST /api/sessions/miniprogram': () => ({ token: `token${(it.tokens += 1)}`, expires_in: 7200 }),
    'GET /api/products': () => ({ products: [{ sku: 'tea', name: '茶', price_fen: 6800 }] }),
    'POST /api/orders': () => order,
    'GET /api/orders/N1?refresh=1': () => ({ ...order }),
    'POST /api/orders/N1/payments': () => ({ out_trade_no: 'S1', scene: 'miniprogram', invoke: INVOKE }),
    'POST /api/handover': () => order,
    'POST /api/collect': () => ({ order_no: 'N1', out_trade_no: 'S1', invoke: INVOKE }),
    'POST /api/orders/N1/cancel': () => Object.assign(order, { state: 'CLOSED' }),
  };
  it.answer = (call) => {
    it.calls.push(call);
    const fault = (it.faults[call.route] || []).shift();
    if (fault === 'network') return null;
    if (fault) return { statusCode: fault[0], data: fault[1], header: fault[2] || {} };
    return { statusCode: 200, data: routes[call.route](), header: {} };
  };
  it.count = (route) => it.calls.filter((call) => call.route === route).length;
  return it;
}

// A phone: storage, login, requests and a cashier that plays `outcome`.
function phone(server, outcome = 'requestPayment:ok') {
  const seen = { paid: [], urls: [], logins: 0, slept: [], storage: new Map() };
  const wx = {
    getStorageSync: (name) => seen.storage.get(name) || '',
    setStorageSync: (name, value) => seen.storage.set(name, value),
    removeStorageSync: (name) => seen.storage.delete(name),
    navigateTo: ({ url }) => seen.urls.push(url),
    login: ({ success }) => setImmediate(() => success({ code: `code${(seen.logins += 1)}` })),
    request: ({ url, method, data, header, success, fail }) => setImmediate(() => {
      const route = `${method} ${url.replace('http://127.0.0.1:8000', '')}`;
      const answer = server.answer({ route, data, header });
      if (answer) success(answer); else fail({ errMsg: 'request:fail' });
    }),
    requestPayment: ({ complete, ...fields }) => {
      seen.paid.push(fields);
      setImmediate(() => {
        const errMsg = typeof outcome === 'function' ? outcome() : outcome;
        if (errMsg === 'requestPayment:ok' && !seen.late) server.order.state = 'PAID';
        complete({ errMsg });
      });
    },
  };
  const later = (work, milliseconds) => { seen.slept.push(milliseconds); return setImmediate(work); };
  const modules = new Map();
  function load(file) {
    if (modules.has(file)) return modules.get(file).exports;
    const module = { exports: {} };
    modules.set(file, module);
    const names = {
      wx, module, console, setTimeout: later, Page: (page) => { module.exports = page; },
      require: (other) => load(path.resolve(path.dirname(file), other)),
    };
    vm.runInNewContext(fs.readFileSync(file, 'utf8'), names, { filename: file });
    return module.exports;
  }
  function open(name) {
    const page = { ...load(path.join(ROOT, `pages/${name}/${name}.js`)) };
    page.data = { ...page.data };
    page.setData = (more) => Object.assign(page.data, JSON.parse(JSON.stringify(more)));
    return page;
  }
  return { seen, wx, open };
}

async function openOrder(handset, pay = '1') {
  const page = handset.open('order');
  page.onLoad({ number: 'N1', pay });
  await page.onShow();
  return page;
}

async function openShop(handset) {
  const page = handset.open('index');
  await page.onLoad();
  return page;
}

const tap = (sku, by) => ({ currentTarget: { dataset: { sku, by } } });
const plain = (value) => JSON.parse(JSON.stringify(value));

test('a login happens once and its token goes into every request', async () => {
  const server = shop();
  const handset = phone(server);
  const page = await openShop(handset);
  await Promise.all([page.load(), page.load()]);
  assert.equal(handset.seen.logins, 1);
  assert.deepEqual(plain(server.calls[0].data), { code: 'code1' });
  assert.equal(server.calls.at(-1).header.Authorization, 'Bearer token1');
});

test('two requests without a session share one login', async () => {
  const server = shop();
  const handset = phone(server);
  const page = handset.open('index');
  await Promise.all([page.load(), page.load(), page.load()]);
  assert.equal(handset.seen.logins, 1);
});

test('a session that ended is renewed once and the request repeated', async () => {
  const server = shop();
  const handset = phone(server);
  const page = await openShop(handset);
  server.faults['GET /api/products'] = [[401, { code: 'LOGIN_REQUIRED' }]];
  await page.load();
  assert.equal(handset.seen.logins, 2);
  assert.equal(server.calls.at(-1).header.Authorization, 'Bearer token2');
  assert.equal(page.data.problem, null);
});

test('a session refused twice is an error and not a loop', async () => {
  const server = shop();
  const handset = phone(server);
  const no = [401, { code: 'LOGIN_REQUIRED', request_id: 'r1' }];
  server.faults['GET /api/products'] = [no, no, no];
  const page = await openShop(handset);
  assert.equal(server.count('GET /api/products'), 2);
  assert.equal(page.data.problem.code, 'LOGIN_REQUIRED');
  assert.equal(page.data.problem.request_id, 'r1');
});

test('a login that fails is shown and may be tried again', async () => {
  const server = shop();
  const handset = phone(server);
  server.faults['POST /api/sessions/miniprogram'] = ['network'];
  const page = await openShop(handset);
  assert.equal(page.data.problem.code, 'NETWORK');
  await page.load();
  assert.equal(page.data.problem, null);
  assert.equal(page.data.products.length, 1);
});

test('the total is counted in whole fen', async () => {
  const handset = phone(shop());
  const page = await openShop(handset);
  for (let count = 0; count < 3; count += 1) page.change(tap('tea', '1'));
  assert.equal(page.data.total, '¥204.00');
  page.change(tap('tea', '-1'));
  assert.equal(page.data.products[0].quantity, 2);
});

test('an order carries a key and its page is opened to pay', async () => {
  const server = shop();
  const handset = phone(server);
  const page = await openShop(handset);
  page.change(tap('tea', '1'));
  await page.buy();
  const { data, header } = server.calls.at(-1);
  assert.deepEqual(plain(data), { items: [{ sku: 'tea', quantity: 1 }] });
  assert.match(header['Idempotency-Key'], /^[A-Za-z0-9_-]{1,64}$/);
  assert.deepEqual(handset.seen.urls, ['/pages/order/order?number=N1&pay=1']);
});

test('two taps on buy place one order', async () => {
  const server = shop();
  const handset = phone(server);
  const page = await openShop(handset);
  page.change(tap('tea', '1'));
  await Promise.all([page.buy(), page.buy()]);
  assert.equal(server.count('POST /api/orders'), 1);
});

test('a repeat after a lost answer has the same key and another cart a new one', async () => {
  const server = shop();
  const handset = phone(server);
  const page = await openShop(handset);
  page.change(tap('tea', '1'));
  server.faults['POST /api/orders'] = ['network'];
  await page.buy();
  assert.equal(page.data.problem.code, 'NETWORK');
  await page.buy();
  page.change(tap('tea', '1'));
  await page.buy();
  const keys = server.calls.filter((call) => call.route === 'POST /api/orders')
    .map((call) => call.header['Idempotency-Key']);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
});

test('a key that the shop knows with another cart is given up', async () => {
  const server = shop();
  const page = await openShop(phone(server));
  page.change(tap('tea', '1'));
  server.faults['POST /api/orders'] = [[409, { code: 'IDEMPOTENCY_KEY_REUSED' }]];
  await page.buy();
  await page.buy();
  const [first, second] = server.calls.filter((call) => call.route === 'POST /api/orders');
  assert.notEqual(first.header['Idempotency-Key'], second.header['Idempotency-Key']);
});

test('a payment hands wx.requestPayment exactly the five signed fields', async () => {
  const handset = phone(shop());
  await openOrder(handset);
  const { appId, ...five } = INVOKE;
  assert.ok(appId);
  assert.deepEqual(plain(handset.seen.paid), [five]);
});

test('a payment that is confirmed empties the cart and forgets the key', async () => {
  const handset = phone(shop());
  const shopPage = await openShop(handset);
  shopPage.change(tap('tea', '1'));
  await shopPage.buy();
  const page = await openOrder(handset);
  assert.equal(page.data.state, 'PAID');
  assert.equal(page.data.total, '¥136.01');
  assert.equal(handset.seen.storage.has('cart'), false);
  assert.equal(handset.seen.storage.has('pending'), false);
});

test('the word ok of the client is not believed', async () => {
  const server = shop();
  const handset = phone(server);
  handset.seen.late = true;
  const page = await openOrder(handset);
  assert.equal(page.data.state, 'OPEN');
  assert.equal(page.data.said, 'late');
  assert.ok(server.count('GET /api/orders/N1?refresh=1') >= 15);
});

test('polling slows down and ends', async () => {
  const handset = phone(shop(), 'requestPayment:fail cancel');
  await openOrder(handset);
  const seconds = handset.seen.slept.filter((time) => time !== undefined).map((time) => time / 1000);
  assert.deepEqual(seconds.slice(1, 11), Array(10).fill(1));
  assert.ok(seconds.slice(11).every((time, index, all) => !index || time >= all[index - 1]));
  assert.ok(seconds.length <= 61);
  assert.equal(seconds.at(-1), 60);
});

test('a cancelled cashier leaves the order waiting', async () => {
  const server = shop();
  const page = await openOrder(phone(server, 'requestPayment:fail cancel'));
  assert.equal(page.data.state, 'OPEN');
  assert.equal(page.data.said, 'cancel');
  assert.equal(page.data.problem, null);
});

test('a cancelled cashier without a network can still be paid again', async () => {
  const server = shop();
  const page = await openOrder(phone(server, 'requestPayment:fail cancel'), '0');
  server.faults['GET /api/orders/N1?refresh=1'] = Array(99).fill('network');
  await page.pay();
  assert.equal(page.data.state, 'OPEN');
  assert.equal(page.data.problem.code, 'NETWORK');
});

test('a network that comes back takes its error away and leaves others', async () => {
  const server = shop();
  const handset = phone(server, 'requestPayment:fail cancel');
  server.faults['GET /api/orders/N1?refresh=1'] = ['network', 'network'];
  const page = await openOrder(handset, '0');
  assert.equal(page.data.problem, null);
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'ORDER_EXPIRED' }]];
  await page.pay();
  assert.equal(page.data.problem.code, 'ORDER_EXPIRED');
});

test('an old client says cancel in its own way', async () => {
  const page = await openOrder(phone(shop(), 'requestPayment:cancel'));
  assert.equal(page.data.said, 'cancel');
});

test('a cashier that fails shows why', async () => {
  const page = await openOrder(phone(shop(), 'requestPayment:fail (签名错误)'));
  assert.equal(page.data.said, 'fail');
  assert.equal(page.data.why, '(签名错误)');
  assert.equal(page.data.state, 'OPEN');
});

test('a cancelled cashier does not hide that the money came', async () => {
  const server = shop();
  const outcome = () => { server.order.state = 'PAID'; return 'requestPayment:fail cancel'; };
  const page = await openOrder(phone(server, outcome));
  assert.equal(page.data.state, 'PAID');
});

test('a waiting order is paid on the second try', async () => {
  const server = shop();
  const outcomes = ['requestPayment:fail cancel', 'requestPayment:ok'];
  const handset = phone(server, () => outcomes.shift());
  const page = await openOrder(handset);
  await page.pay();
  assert.equal(page.data.state, 'PAID');
  assert.equal(handset.seen.paid.length, 2);
});

test('two taps on pay open one cashier', async () => {
  const handset = phone(shop());
  const page = await openOrder(handset, '0');
  page.turn += 1;
  await Promise.all([page.pay(), page.pay()]);
  assert.equal(handset.seen.paid.length, 1);
});

test('the way back from another app asks the server', async () => {
  const server = shop();
  const page = await openOrder(phone(server, 'requestPayment:fail cancel'));
  page.onHide();
  server.order.state = 'PAID';
  await page.onShow();
  assert.equal(page.data.state, 'PAID');
});

test('a page that is hidden stops asking', async () => {
  const server = shop();
  const handset = phone(server);
  const page = handset.open('order');
  page.onLoad({ number: 'N1' });
  const asking = page.onShow();
  page.onUnload();
  await asking;
  assert.equal(server.count('GET /api/orders/N1?refresh=1'), 0);
});

test('a payment in progress is asked again after the named pause', async () => {
  const server = shop();
  const handset = phone(server);
  const busy = [409, { code: 'PAYMENT_IN_PROGRESS' }, { 'Retry-After': '7' }];
  server.faults['POST /api/orders/N1/payments'] = [busy];
  const page = await openOrder(handset);
  assert.ok(handset.seen.slept.includes(7000));
  assert.equal(page.data.state, 'PAID');
});

test('a page says that it is opening the cashier', async () => {
  const handset = phone(shop(), 'requestPayment:fail cancel');
  const page = await openOrder(handset, '0');
  const states = [];
  handset.wx.requestPayment = ({ complete }) => {
    states.push(page.data.state);
    complete({ errMsg: 'requestPayment:fail cancel' });
  };
  await page.pay();
  assert.deepEqual(states, ['CONFIRMING']);
});

test('an outcome that stays unknown is told after four tries', async () => {
  const server = shop();
  const unknown = [503, { code: 'OUTCOME_UNKNOWN', request_id: 'r9' }, { 'retry-after': '2' }];
  server.faults['POST /api/orders/N1/payments'] = Array(9).fill(unknown);
  const handset = phone(server);
  const page = await openOrder(handset);
  assert.equal(server.count('POST /api/orders/N1/payments'), 4);
  assert.equal(page.data.problem.code, 'OUTCOME_UNKNOWN');
  assert.equal(page.data.problem.request_id, 'r9');
  assert.equal(handset.seen.paid.length, 0);
});

test('an answer that is not JSON is an error with its status', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[502, '<html>bad gateway</html>']];
  const page = await openOrder(phone(server));
  assert.equal(page.data.problem.code, 'HTTP 502');
});

test('a cancelled order is closed by the server and the key is forgotten', async () => {
  const handset = phone(shop(), 'requestPayment:fail cancel');
  handset.seen.storage.set('pending', { key: 'k', number: 'N1' });
  const page = await openOrder(handset);
  await page.cancel();
  assert.equal(page.data.state, 'CLOSED');
  assert.equal(handset.seen.storage.has('pending'), false);
});

test('an order that was handed over is claimed once and then shown', async () => {
  const server = shop();
  const page = phone(server).open('order');
  page.onLoad({ number: 'N1', handover: 'TOKEN' });
  server.order.state = 'PAID';
  await page.onShow();
  await page.onShow();
  assert.equal(server.calls.find(({ route }) => route === 'POST /api/handover').data.token, 'TOKEN');
  assert.equal(server.count('POST /api/handover'), 1);
  assert.equal(page.data.state, 'PAID');
});

test('a claim whose answer was lost is made again', async () => {
  const server = shop();
  server.faults['POST /api/handover'] = ['network'];
  const page = phone(server).open('order');
  page.onLoad({ number: 'N1', handover: 'TOKEN' });
  server.order.state = 'PAID';
  await page.onShow();
  await page.onShow();
  assert.equal(server.count('POST /api/handover'), 2);
});

test('an amount that was typed goes out as text and is paid', async () => {
  const server = shop();
  const handset = phone(server);
  const page = handset.open('collect');
  page.type({ detail: { value: ' 8.80 ' } });
  await Promise.all([page.pay(), page.pay()]);
  const [sent, ...more] = server.calls.filter(({ route }) => route === 'POST /api/collect');
  assert.deepEqual(JSON.parse(JSON.stringify(sent.data)), { amount_yuan: '8.80', scene: 'miniprogram', widget: false });
  assert.match(sent.header['Idempotency-Key'], /^[A-Za-z0-9_-]{1,64}$/);
  assert.equal(more.length, 0);
  assert.deepEqual(handset.seen.urls, ['/pages/order/order?number=N1&pay=1']);
});

test('an amount that is refused says why', async () => {
  const server = shop();
  server.faults['POST /api/collect'] = [[400, { code: 'BAD_REQUEST', request_id: 'r1' }]];
  const page = phone(server).open('collect');
  page.type({ detail: { value: '1e2' } });
  await page.pay();
  assert.equal(page.data.problem.code, 'BAD_REQUEST');
  assert.equal(page.data.busy, false);
});
