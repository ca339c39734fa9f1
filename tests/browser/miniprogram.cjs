// The mini program in Node, against a shop and a sandbox that run. wx stores, asks and navigates;
// login and cashier are those of its sandbox.js. Prints what the order page shows in the end.
// argv: its folder, the shop, the sandbox, what the buyer does, the version that WeChat runs.
const fs = require('node:fs');
const path = require('node:path');
const vm = require('node:vm');

const [ROOT, shop, sandbox, outcome, envVersion] = process.argv.slice(2);
const MENU = ['pay', 'coupon', 'cancel', 'fail'];
const storage = new Map();
const opened = [];

const wx = {
  getAccountInfoSync: () => ({ miniProgram: { appId: 'touristappid', envVersion } }),
  getStorageSync: (name) => storage.get(name) || '',
  setStorageSync: (name, value) => storage.set(name, value),
  removeStorageSync: (name) => storage.delete(name),
  setNavigationBarTitle() {},
  navigateTo: ({ url }) => opened.push(url),
  showActionSheet: ({ itemList, success, fail }) => {
    if (itemList.length !== MENU.length) throw new Error(`the menu is ${itemList}`);
    if (outcome === 'away') fail({ errMsg: 'showActionSheet:fail cancel' });
    else success({ tapIndex: MENU.indexOf(outcome) });
  },
  request: ({ url, method, data, header, success, fail }) => {
    const body = method === 'GET' ? undefined : JSON.stringify(data);
    fetch(url, { method, body, headers: { 'Content-Type': 'application/json', ...header } })
      .then(async (answer) => success({
        statusCode: answer.status, data: await answer.json(), header: Object.fromEntries(answer.headers),
      }))
      .catch(fail);
  },
};
for (const name of ['login', 'requestPayment']) {
  Object.defineProperty(wx, name, { configurable: true, value() { throw new Error(`WeChat's own ${name}`); } });
}

const modules = new Map([[path.join(ROOT, 'config.js'), { exports: { API: shop, SANDBOX: sandbox } }]]);
function load(file) {
  if (modules.has(file)) return modules.get(file).exports;
  const module = { exports: {} };
  modules.set(file, module);
  const names = {
    wx, module, console, setTimeout, App() {}, Page: (page) => { module.exports = page; },
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

async function main() {
  load(path.join(ROOT, 'app.js'));
  const index = open('index');
  await index.onLoad();
  const { sku } = index.data.products.find(({ isRefused, price_fen }) => !isRefused && price_fen > 1);
  index.change({ currentTarget: { dataset: { sku, by: '1' } } });
  await index.buy();
  const [, query] = opened[0].split('?');
  const order = open('order');
  order.onLoad(Object.fromEntries(new URLSearchParams(query)));
  order.onShow();
  const isOver = () => ['cancelled', 'failed'].includes(order.data.step) || order.data.face === 'PAID';
  while (!isOver()) await new Promise((done) => setTimeout(done, 20));
  order.onUnload();
  const { face, step, note, paid, coupon } = order.data;
  process.stdout.write(JSON.stringify({ name: index.data.name, face, step, note, paid, coupon }));
  process.exit(0);
}

main().catch((error) => {
  process.stderr.write(String(error.message));
  process.exit(1);
});
