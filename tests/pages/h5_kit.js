// A browser, a WeChat and a shop of our own around the H5 shop's logic; views are recorded.
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const ROOT = path.join(__dirname, '../../{{cookiecutter.project_slug}}/pages/h5');
const WECHAT = 'Mozilla/5.0 (Linux; Android 13) Mobile Safari/537.36 MicroMessenger/8.0.49.2600(0x28003137)';
const INVOKE = {
  appId: 'wx9', timeStamp: '1', nonceStr: 'n', package: 'prepay_id=wx1', signType: 'RSA', paySign: 's',
};
const PHONE = 'Mozilla/5.0 (iPhone) Mobile Safari/604.1';
const DESKTOP = 'Mozilla/5.0 (X11; Linux x86_64) Chrome/120 Safari/537.36';
const VIEWS = [
  'alarm', 'barView', 'collectView', 'lostView', 'missingOrderView', 'missingView', 'openView', 'orderView',
  'ordersView', 'shopView', 'show',
];

// Load a module of the page as a browser would; the views are spies.
function modules(context, views) {
  const loaded = { './views.js': views };
  return function load(name) {
    if (loaded[name]) return loaded[name];
    const exports = (loaded[name] = {});
    const names = [];
    const source = fs.readFileSync(path.join(ROOT, name), 'utf8')
      .replace(/^import (\{.+\}) from '(.+)';$/gm, "const $1 = load('$2');")
      .replace(/^export ((?:async )?function|const|class) (\w+)/gm, (text, kind, word) => {
        names.push(word);
        return `${kind} ${word}`;
      });
    const body = `${source}\nObject.assign(exports, { ${names.join(', ')} });`;
    vm.runInContext(`(function (load, exports) {${body}\n})`, context, { filename: name })(load, exports);
    return exports;
  };
}

const OPENS = {
  jsapi: { invoke: INVOKE }, h5: { h5_url: 'https://wx.tenpay.com/x' }, native: { code_url: 'weixin://wxpay/x' },
  alipay: { code_url: 'https://qr.alipay.com/x', app_url: 'alipays://x' },
};

function shop() {
  const order = {
    order_no: 'N1', state: 'OPEN', total_fen: 6800, paid_fen: null, items: [], payments: [], refunds: [],
  };
  const about = {
    name: '小店', logged_in: true, collect: { scenes: ['jsapi', 'miniprogram'], min_fen: 1, max_fen: 1000000 },
  };
  const it = { about, order, calls: [], faults: {}, kind: 'official_account' };
  const routes = {
    'GET /api/shop': () => ({ ...about }),
    'GET /api/me': () => ({ buyer: 'b', identities: [{ kind: it.kind }] }),
    'GET /api/products': () => ({ products: [{ sku: 'tea', name: '茶', price_fen: 6800, kind: 'physical', image: null }] }),
    'GET /api/orders': () => ({ orders: [order], next: 'N1' }),
    'GET /api/orders?after=N1': () => ({ orders: [order], next: null }),
    'POST /api/orders': () => order,
    'GET /api/orders/N1?refresh=1': () => ({ ...order }),
    'GET /api/orders/N1': () => ({ ...order }),
    'POST /api/sessions/guest': () => ({ token: 't', expires_in: 7200 }),
    'POST /api/orders/N1/payments': ({ scene }) => ({ out_trade_no: 'S1', scene, ...OPENS[scene] }),
    'POST /api/orders/N1/handover': () => ({ token: 'T', path: 'pages/order/order?number=N1&handover=T' }),
    'POST /api/collect': () => ({ order_no: 'N1', out_trade_no: 'S1', invoke: INVOKE }),
    'POST /api/orders/N1/cancel': () => Object.assign(order, { state: 'CLOSED' }),
  };
  it.fetch = async (url, { method, headers, body }) => {
    const route = `${method} ${url}`;
    it.calls.push({ route, headers, body: body && JSON.parse(body) });
    const fault = (it.faults[route] || []).shift();
    if (fault === 'network') throw new TypeError('Failed to fetch');
    const [status, answer, more] = fault || [200, routes[route](body && JSON.parse(body)), {}];
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
  const kept = options.kept || new Map();
  const storage = (map) => ({
    getItem: (name) => (map.has(name) ? map.get(name) : null),
    setItem: (name, value) => map.set(name, value),
    removeItem: (name) => map.delete(name),
  });
  const location = { pathname: options.path || '/', search: options.search || '', hash: options.hash || '' };
  location.replace = location.assign = (to) => seen.left.push(to);
  const WeixinJSBridge = {
    invoke(name, args, done) {
      seen.invoked.push([name, args]);
      if (!outcome) return; // a cashier that never calls back
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
    sessionStorage: storage(stored),
    localStorage: storage(kept),
    history: {
      pushState: (state, title, url) => { location.search = url.replace('/', ''); },
      replaceState: (state, title, url) => {
        Object.assign(location, { hash: '', search: url.replace(/^[/]/, '') });
        seen.cleaned = url;
      },
    },
    document: {
      addEventListener: listen, hidden: false, body: { classList: { add() {}, remove() {} } },
      documentElement: {}, querySelector: () => ({}), querySelectorAll: () => [],
      getElementById: () => ({ value: options.typed }),
    },
  };
  const navigateTo = ({ url }) => seen.left.push(`mini program ${url}`);
  world.window = { addEventListener: listen, scrollTo() {}, wx: { miniProgram: { navigateTo } } };
  const spy = (name) => (...args) => { seen.views.push([name, JSON.parse(JSON.stringify(args))]); return [name, ...args]; };
  const views = Object.fromEntries(VIEWS.map((name) => [name, spy(name)]));
  views.alarm = (text = '', detail = '') => {
    if (text) seen.alarms.push([text, detail]);
    seen.alarm = text;
  };
  if (bridge === 'early') world.WeixinJSBridge = WeixinJSBridge;
  const load = modules(vm.createContext(world), views);
  load('./app.js');
  const arrive = () => { world.WeixinJSBridge = WeixinJSBridge; say('WeixinJSBridgeReady'); };
  if (bridge === 'late') arrive();
  const it = { seen, server, stored, kept, say, world, location, arrive, load };
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

module.exports = { DESKTOP, INVOKE, PHONE, WECHAT, browse, buy, shop };
