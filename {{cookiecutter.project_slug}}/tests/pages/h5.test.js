// The H5 shop's logic executed with a browser, a WeChat and a shop of our own; views are recorded.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const vm = require('node:vm');

const ROOT = path.join(__dirname, '../../pages/h5');
const WECHAT = 'Mozilla/5.0 (Linux; Android 13) Mobile Safari/537.36 MicroMessenger/8.0.49.2600(0x28003137)';
const INVOKE = {
  appId: 'wx9', timeStamp: '1', nonceStr: 'n', package: 'prepay_id=wx1', signType: 'RSA', paySign: 's',
};
const VIEWS = ['barView', 'lostView', 'openView', 'orderView', 'ordersView', 'shopView', 'show', 'alarm'];

// Modules become one script: what they import from each other is there, and the views are spies.
function script() {
  const read = (name) => fs.readFileSync(path.join(ROOT, name), 'utf8');
  const source = ['api.js', 'wechat.js', 'app.js'].map(read).join('\n');
  return source.replace(/^import .+$/gm, '').replace(/^export /gm, '');
}

function shop() {
  const order = {
    order_no: 'N1', state: 'OPEN', total_fen: 6800, items: [], payments: [], refunds: [],
  };
  const it = { order, calls: [], faults: {} };
  const routes = {
    'GET /api/me': () => ({ buyer: 'b', identities: [] }),
    'GET /api/products': () => ({ products: [{ sku: 'tea', name: '茶', price_fen: 6800 }] }),
    'GET /api/orders': () => ({ orders: [order], next: 'N1' }),
    'GET /api/orders?after=N1': () => ({ orders: [order], next: null }),
    'POST /api/orders': () => order,
    'GET /api/orders/N1?refresh=1': () => ({ ...order }),
    'POST /api/orders/N1/payments': () => ({ out_trade_no: 'S1', scene: 'jsapi', invoke: INVOKE }),
    'POST /api/orders/N1/cancel': () => Object.assign(order, { state: 'CLOSED' }),
  };
  it.fetch = async (url, { method, headers, body }) => {
    const route = `${method} ${url}`;
    it.calls.push({ route, headers, body: body && JSON.parse(body) });
    const fault = (it.faults[route] || []).shift();
    if (fault === 'network') throw new TypeError('Failed to fetch');
    const [status, answer, more] = fault || [200, routes[route](), {}];
    const text = typeof answer === 'string' ? answer : JSON.stringify(answer);
    return { ok: status < 300, status, text: async () => text, headers: new Map(Object.entries(more || {})) };
  };
  it.count = (route) => it.calls.filter((call) => call.route === route).length;
  return it;
}

// A browser at `search`. `bridge`: 'early', 'late' or none; `outcome` is what the cashier says.
async function browse(server, options = {}) {
  const { agent = WECHAT, bridge = 'early', outcome = { err_msg: 'get_brand_wcpay_request:ok' } } = options;
  const seen = { views: [], alarms: [], invoked: [], left: [], slept: [] };
  const heard = {};
  const stored = new Map(Object.entries(options.storage || {}));
  const listen = (name, work) => { heard[name] = [...(heard[name] || []), work]; };
  const say = (name, event = {}) => (heard[name] || []).forEach((work) => work(event));
  const location = { pathname: '/', search: options.search || '', hash: options.hash || '', replace: (to) => seen.left.push(to) };
  const WeixinJSBridge = {
    invoke(name, args, done) {
      seen.invoked.push([name, args]);
      setImmediate(() => {
        if (/:ok/.test(outcome.err_msg) && !options.unpaid) server.order.state = 'PAID';
        done(outcome);
      });
    },
  };
  const world = {
    console, URLSearchParams, AbortController, clearTimeout, crypto, Uint8Array, location,
    fetch: server.fetch,
    navigator: { userAgent: agent },
    setTimeout: (work, time) => {
      if (/abort/.test(work) || (bridge === 'slow' && time === 5000)) return;
      seen.slept.push(time / 1000);
      setImmediate(work);
    },
    sessionStorage: {
      getItem: (name) => (stored.has(name) ? stored.get(name) : null),
      setItem: (name, value) => stored.set(name, value),
      removeItem: (name) => stored.delete(name),
    },
    history: {
      pushState: (state, title, url) => { location.search = url.replace('/', ''); },
      replaceState: (state, title, url) => { location.hash = ''; seen.cleaned = url; },
    },
    document: { addEventListener: listen, hidden: false, body: { classList: { add() {}, remove() {} } } },
  };
  world.window = { addEventListener: listen, scrollTo() {} };
  const spy = (name) => (...args) => { seen.views.push([name, JSON.parse(JSON.stringify(args))]); return [name, ...args]; };
  for (const name of VIEWS) world[name] = spy(name);
  world.alarm = (text = '', detail = '') => {
    if (text) seen.alarms.push([text, detail]);
    seen.alarm = text;
  };
  if (bridge === 'early') world.WeixinJSBridge = WeixinJSBridge;
  vm.runInNewContext(script(), world);
  const arrive = () => { world.WeixinJSBridge = WeixinJSBridge; say('WeixinJSBridgeReady'); };
  if (bridge === 'late') arrive();
  const it = { seen, server, stored, say, world, location, arrive };
  it.rest = async () => {
    for (let calls = -1; calls !== server.calls.length + seen.slept.length;) {
      calls = server.calls.length + seen.slept.length;
      for (let n = 0; n < 20; n += 1) await new Promise(setImmediate);
    }
  };
  it.tap = (action, data = {}) => say('click', {
    target: { closest: (what) => (what === '[data-do]' ? { dataset: { do: action, ...data } } : null) },
  });
  it.page = () => seen.views.filter(([name]) => name === 'orderView').at(-1)[1][0];
  it.shown = () => seen.views.filter(([name]) => !['show', 'barView'].includes(name)).at(-1)[0];
  await it.rest();
  return it;
}

async function buy(server, options) {
  const it = await browse(server, { storage: { cart: '{"tea":1}' }, ...options });
  it.tap('buy');
  await it.rest();
  return it;
}

test('a buyer pays and the page shows what the server says', async () => {
  const it = await buy(shop());
  assert.deepEqual(it.seen.invoked.map(([name, args]) => [name, JSON.parse(JSON.stringify(args))]),
    [['getBrandWCPayRequest', INVOKE]]);
  assert.equal(it.page().order.state, 'PAID');
  assert.equal(it.location.search, '?order=N1');
  assert.equal(it.stored.get('cart'), '{}');
  assert.equal(it.stored.has('pending'), false);
});

test('every request that changes something is JSON and an order carries a key', async () => {
  const { server } = await buy(shop());
  const posts = server.calls.filter(({ route }) => route.startsWith('POST'));
  assert.ok(posts.every(({ headers }) => headers['Content-Type'] === 'application/json'));
  assert.match(posts[0].headers['Idempotency-Key'], /^[A-Za-z0-9_-]{1,64}$/);
  assert.deepEqual(posts[0].body, { items: [{ sku: 'tea', quantity: 1 }] });
  assert.deepEqual(posts[1].body, { scene: 'jsapi' });
});

test('a late bridge is waited for', async () => {
  const it = await buy(shop(), { bridge: 'late' });
  assert.equal(it.page().order.state, 'PAID');
});

test('a bridge that comes after the tap opens the cashier then', async () => {
  const it = await buy(shop(), { bridge: 'slow' });
  assert.equal(it.seen.invoked.length, 0);
  it.arrive();
  await it.rest();
  assert.equal(it.seen.invoked.length, 1);
});

test('a bridge in another browser is the sandbox and may pay', async () => {
  const it = await buy(shop(), { agent: 'Mozilla/5.0 Chrome/120', bridge: 'late' });
  assert.equal(it.page().order.state, 'PAID');
});

test('a bridge that never comes is told and leaves the order waiting', async () => {
  const it = await buy(shop(), { bridge: 'none' });
  assert.equal(it.page().said, 'fail');
  assert.match(it.page().why, /微信没有准备好/);
  assert.equal(it.page().order.state, 'OPEN');
});

test('the word ok of the client is not believed', async () => {
  const it = await buy(shop(), { unpaid: true });
  assert.equal(it.page().order.state, 'OPEN');
  assert.equal(it.page().said, 'late');
});

test('a cancelled cashier leaves the order waiting and its key kept', async () => {
  const it = await buy(shop(), { outcome: { err_msg: 'get_brand_wcpay_request:cancel' } });
  assert.equal(it.page().said, 'cancel');
  assert.equal(JSON.parse(it.stored.get('pending')).number, 'N1');
});

test('a failure is shown with its description', async () => {
  const outcome = { err_msg: 'get_brand_wcpay_request:fail', err_desc: '余额不足' };
  const it = await buy(shop(), { outcome });
  assert.deepEqual([it.page().said, it.page().why], ['fail', '余额不足']);
});

test('polling begins every second, slows down and ends', async () => {
  const { seen } = await browse(shop(), { search: '?order=N1' });
  assert.deepEqual(seen.slept.slice(0, 12), [0, ...Array(10).fill(1), 2]);
  assert.equal(seen.slept.length, 60);
  assert.equal(seen.slept.at(-1), 60);
});

test('two taps on pay place one order and open one cashier', async () => {
  const it = await browse(shop(), { storage: { cart: '{"tea":1}' } });
  it.tap('buy');
  it.tap('buy');
  await it.rest();
  assert.equal(it.server.count('POST /api/orders'), 1);
  assert.equal(it.seen.invoked.length, 1);
});

test('a repeat after a lost answer has the same key and another cart a new one', async () => {
  const server = shop();
  server.faults['POST /api/orders'] = ['network'];
  const it = await buy(server, { outcome: { err_msg: 'get_brand_wcpay_request:cancel' } });
  assert.match(it.seen.alarms[0][0], /网络/);
  it.tap('buy');
  await it.rest();
  it.tap('more', { sku: 'tea' });
  it.tap('buy');
  await it.rest();
  const keys = server.calls.filter(({ route }) => route === 'POST /api/orders')
    .map(({ headers }) => headers['Idempotency-Key']);
  assert.equal(keys.length, 3);
  assert.equal(keys[0], keys[1]);
  assert.notEqual(keys[1], keys[2]);
});

test('a stranger in WeChat is sent to log in and comes back to the same page', async () => {
  const server = shop();
  server.faults['GET /api/me'] = [[401, { code: 'LOGIN_REQUIRED' }]];
  const it = await browse(server, { search: '?order=N1' });
  assert.deepEqual(it.seen.left, ['/oauth/start?return_to=%2F%3Forder%3DN1']);
});

test('a login that does not hold ends in a sentence and not in a loop', async () => {
  const server = shop();
  server.faults['GET /api/me'] = [[401, { code: 'LOGIN_REQUIRED', request_id: 'r1' }]];
  const it = await browse(server, { storage: { logins: '2' } });
  assert.deepEqual(it.seen.left, []);
  assert.match(it.seen.alarms[0][1], /LOGIN_REQUIRED · r1/);
});

test('the fragment that the login leaves behind is taken off the address', async () => {
  const it = await browse(shop(), { search: '?order=N1', hash: '#wechat_redirect' });
  assert.equal(it.seen.cleaned, '/?order=N1');
});

test('a session without this openid is sent to log in', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'OPENID_REQUIRED' }]];
  const it = await buy(server);
  assert.equal(it.seen.left[0], '/oauth/start?return_to=%2F%3Forder%3DN1');
});

for (const [name, agent, bridge] of [
  ['another browser', 'Mozilla/5.0 (iPhone) Safari/604.1', 'none'],
  ['WeCom', `${WECHAT} wxwork/4.1`, 'early'],
  ['a web-view of a mini program', `${WECHAT} miniProgram/wx1`, 'early'],
]) {
  test(`${name} is not asked to log in and shows how to open the shop`, async () => {
    const it = await browse(shop(), { agent, bridge, search: '?order=N1' });
    assert.equal(it.shown(), 'openView');
    assert.deepEqual(it.server.calls, []);
    assert.deepEqual(it.seen.left, []);
  });
}

test('products are shown outside WeChat as well', async () => {
  const it = await browse(shop(), { agent: 'Mozilla/5.0 Safari/604.1', bridge: 'none' });
  assert.equal(it.shown(), 'shopView');
});

test('a payment in progress is asked again after the named pause', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'PAYMENT_IN_PROGRESS' }, { 'Retry-After': '7' }]];
  const it = await buy(server);
  assert.ok(it.seen.slept.includes(7));
  assert.equal(it.page().order.state, 'PAID');
});

test('a network that comes back takes its error away', async () => {
  const server = shop();
  const it = await browse(server, { search: '?order=N1' });
  server.faults['GET /api/orders/N1?refresh=1'] = ['network', 'network'];
  it.say('visibilitychange');
  await it.rest();
  assert.match(it.seen.alarms[0][0], /网络/);
  assert.equal(it.seen.alarm, '');
});

test('a refusal is a human sentence with the request id in small print', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'ORDER_EXPIRED', request_id: 'r5' }]];
  const it = await buy(server);
  assert.deepEqual(it.seen.alarms[0], ['订单快要过期，请重新下单', 'ORDER_EXPIRED · r5']);
  assert.equal(it.seen.invoked.length, 0);
});

test('an answer in HTML is an error with its status', async () => {
  const server = shop();
  server.faults['GET /api/products'] = [[502, '<html>']];
  const it = await browse(server);
  assert.equal(it.seen.alarms[0][1], 'HTTP 502');
  assert.equal(it.shown(), 'lostView');
});

test('a reload in the middle of a payment resumes at what the server says', async () => {
  const server = shop();
  server.order.state = 'PAID';
  const it = await browse(server, { search: '?order=N1' });
  assert.equal(it.page().order.state, 'PAID');
});

test('an old order that is paid does not empty the cart', async () => {
  const server = shop();
  server.order.state = 'PAID';
  const it = await browse(server, { search: '?order=N1', storage: { cart: '{"tea":2}' } });
  assert.equal(it.stored.get('cart'), '{"tea":2}');
});

test('coming back from another app asks the server', async () => {
  const it = await buy(shop(), { outcome: { err_msg: 'get_brand_wcpay_request:cancel' } });
  it.server.order.state = 'PAID';
  it.say('visibilitychange');
  await it.rest();
  assert.equal(it.page().order.state, 'PAID');
});

test('a page that comes back from the cache starts again', async () => {
  const it = await browse(shop(), { search: '?order=N1' });
  it.server.order.state = 'CLOSED';
  it.say('pageshow', { persisted: true });
  await it.rest();
  assert.equal(it.page().order.state, 'CLOSED');
});

test('cancelling asks the server, shows its state and keeps the cart', async () => {
  const it = await buy(shop(), { outcome: { err_msg: 'get_brand_wcpay_request:cancel' } });
  it.tap('cancel');
  await it.rest();
  assert.equal(it.page().order.state, 'CLOSED');
  assert.equal(it.stored.has('pending'), false);
  assert.equal(it.stored.get('cart'), '{"tea":1}');
});

test('the list of orders grows page by page', async () => {
  const it = await browse(shop(), { search: '?view=orders' });
  it.tap('next');
  await it.rest();
  const [name, [page]] = it.seen.views.filter(([view]) => view === 'ordersView').at(-1);
  assert.equal(name, 'ordersView');
  assert.equal(page.orders.length, 2);
  assert.equal(page.next, null);
});

test('money is written from whole fen', async () => {
  const { world } = await browse(shop());
  const yuan = vm.runInContext('yuan', vm.createContext(world));
  assert.deepEqual([1, 10, 100, 6800, 10000001].map(yuan),
    ['¥0.01', '¥0.10', '¥1.00', '¥68.00', '¥100000.01']);
});
