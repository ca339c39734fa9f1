// A phone with a wx of our own, and a shop of our own, around the mini program's pages.
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const ROOT = path.join(__dirname, '../../{{cookiecutter.project_slug}}/pages/miniprogram');
const INVOKE = {
  appId: 'wx9', timeStamp: '1414561699', nonceStr: 'n', package: 'prepay_id=wx1', signType: 'RSA', paySign: 's',
};

// A shop that knows one order; `faults` answers before it: [status, body, headers] or 'network'.
function shop() {
  const order = {
    order_no: 'N1', state: 'OPEN', total_fen: 13601, paid_fen: null, refunded_fen: 0, payments: [], refunds: [],
    items: [{ sku: 'tea', name: '茶', quantity: 2, price_fen: 6800 }], expires_at: '2030-01-01T00:30:00Z',
  };
  const collect = { scenes: ['jsapi', 'miniprogram'], min_fen: 1, max_fen: 1000000 };
  const about = { name: '小店', logged_in: true, collect };
  const it = { about, order, calls: [], faults: {}, tokens: 0, keys: {} };
  const routes = {
    'POST /api/sessions/miniprogram': () => ({ token: `token${(it.tokens += 1)}`, expires_in: 7200 }),
    'GET /api/shop': () => ({ ...about }),
    'GET /api/products': () => ({
      products: it.products || [{ sku: 'tea', name: '茶', price_fen: 6800, kind: 'physical', image: null }],
    }),
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
  const seen = { paid: [], urls: [], titles: [], logins: 0, slept: [], storage: new Map() };
  const wx = {
    getStorageSync: (name) => seen.storage.get(name) || '',
    setStorageSync: (name, value) => seen.storage.set(name, value),
    removeStorageSync: (name) => seen.storage.delete(name),
    navigateTo: ({ url }) => seen.urls.push(url),
    reLaunch: ({ url }) => seen.urls.push(url),
    setNavigationBarTitle: ({ title }) => seen.titles.push(title),
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

module.exports = { INVOKE, ROOT, openOrder, openShop, phone, plain, shop, tap };
