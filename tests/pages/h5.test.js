// The H5 shop's logic executed with a browser, a WeChat and a shop of our own; views are recorded.
const assert = require('node:assert/strict');
const test = require('node:test');
const { DESKTOP, INVOKE, PHONE, WECHAT, browse, buy, shop } = require('./h5_kit.js');

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

test('a bridge that never comes asks to open the page in WeChat', async () => {
  const it = await buy(shop(), { bridge: 'none' });
  assert.equal(it.shown(), 'openView');
  assert.equal(it.server.order.state, 'OPEN');
});

test('a phone browser goes to the H5 page, and who comes back is asked and not offered to pay', async () => {
  const it = await buy(shop(), { agent: PHONE, bridge: 'none' });
  const { body } = it.server.calls.find(({ route }) => route.endsWith('/payments'));
  assert.deepEqual(body, { scene: 'h5' });
  assert.deepEqual(it.seen.left, ['https://wx.tenpay.com/x']);
  const asked = it.server.count('GET /api/orders/N1?refresh=1');
  const back = await browse(it.server, { agent: PHONE, bridge: 'none', search: '?order=N1&back=1' });
  assert.equal(back.page().step, 'returned');
  assert.equal(back.seen.cleaned, '/?order=N1');
  assert.equal(it.server.count('GET /api/orders/N1?refresh=1'), asked); // coming back proves nothing
  back.tap('check');
  await back.rest();
  assert.equal(back.page().step, 'late');
  it.server.order.state = 'PAID';
  back.tap('check');
  await back.rest();
  assert.equal(back.page().order.state, 'PAID');
});

test('a phone that comes back by itself is asked as well', async () => {
  const it = await buy(shop(), { agent: PHONE, bridge: 'none' });
  it.say('visibilitychange');
  await it.rest();
  assert.equal(it.page().step, 'returned');
});

test('an order that may be paid is shown before WeChat is asked', async () => {
  const kept = new Map([['steps', '{"N1":"confirming"}']]);
  const it = await browse(shop(), { search: '?order=N1', kept });
  const [first, second] = it.server.calls.map(({ route }) => route).filter((route) => route.includes('N1'));
  assert.deepEqual([first, second], ['GET /api/orders/N1', 'GET /api/orders/N1?refresh=1']);
});

test('who says that they did not pay may pay', async () => {
  const it = await browse(shop(), { agent: PHONE, bridge: 'none', search: '?order=N1&back=1' });
  it.tap('payLater');
  await it.rest();
  assert.equal(it.page().step, '');
});

test('a cashier that never calls back ends in a question', async () => {
  const it = await buy(shop(), { outcome: null });
  assert.equal(it.page().step, 'opening');
  it.tap('resume');
  await it.rest();
  assert.equal(it.page().step, 'returned');
});

for (const hint of [{ err_msg: 'get_brand_wcpay_request:ok' }, { err_msg: 'get_brand_wcpay_request:fail', err_desc: '该订单已支付' }]) {
  test(`after ${hint.err_desc || hint.err_msg} nothing asks to pay again, also after a reload`, async () => {
    const it = await buy(shop(), { outcome: hint, unpaid: true });
    assert.equal(it.page().step, 'late');
    assert.equal(it.stored.get('cart'), '{}');
    const again = await browse(it.server, { search: '?order=N1', kept: it.kept });
    assert.equal(again.page().step, 'late');
    const steps = again.seen.views.filter(([name]) => name === 'orderView').map(([, [page]]) => page.step);
    assert.deepEqual([...new Set(steps)], ['confirming', 'late']);
  });
}

test('an order that is paid already is confirmed and not paid again', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'ORDER_PAID' }]];
  const it = await buy(server);
  assert.equal(it.page().step, 'late');
  assert.deepEqual([it.seen.invoked, it.seen.alarms], [[], []]);
});

test('an earlier payment that does not end is waited for without a button to pay', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'PAYMENT_IN_PROGRESS' }, { 'Retry-After': '600' }]];
  const it = await buy(server);
  assert.equal(it.page().step, 'busy');
  it.tap('check');
  await it.rest();
  assert.equal(it.page().step, '');
});

test('the same cart does not pay an order twice', async () => {
  const it = await buy(shop(), { agent: PHONE, bridge: 'none' });
  const again = await browse(it.server, { agent: PHONE, kept: it.kept, storage: Object.fromEntries(it.stored) });
  again.tap('buy');
  await again.rest();
  assert.equal(again.page().step, 'returned');
  assert.equal(it.server.count('POST /api/orders/N1/payments'), 1);
});

test('a pause that the server asks for is kept', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[429, { code: 'TOO_MANY_REQUESTS' }, { 'Retry-After': '60' }]];
  const it = await buy(server);
  assert.equal(it.seen.alarms[0][0], '操作太频繁，请 60 秒后再试');
  it.tap('pay');
  await it.rest();
  assert.equal(server.count('POST /api/orders/N1/payments'), 1);
  assert.equal(it.seen.alarms.length, 2);
});

test('polling leaves the server alone as long as it asks', async () => {
  const server = shop();
  server.faults['GET /api/orders/N1?refresh=1'] = [[429, { code: 'TOO_MANY_REQUESTS' }, { 'Retry-After': '9' }]];
  server.faults['GET /api/orders/N1?refresh=1'].unshift([200, server.order]);
  const { seen } = await browse(server, { search: '?order=N1' });
  assert.deepEqual(seen.slept.slice(0, 4), [0, 1, 9, 1]);
});

test('a desktop browser shows a code and polls its own server', async () => {
  const it = await buy(shop(), { agent: DESKTOP, bridge: 'none' });
  const { body } = it.server.calls.find(({ route }) => route.endsWith('/payments'));
  assert.deepEqual(body, { scene: 'native' });
  assert.deepEqual([it.page().step, it.page().code], ['scan', 'weixin://wxpay/x']);
  it.server.order.state = 'PAID';
  it.say('visibilitychange');
  await it.rest();
  assert.equal(it.page().order.state, 'PAID');
});

test('a shop without a code of WeChat may show one of Alipay, and lets a phone open its app', async () => {
  const off = [409, { code: 'SCENE_OFF', message: 'off' }];
  const seen = {};
  for (const agent of [DESKTOP, PHONE]) {
    const server = shop();
    server.faults['POST /api/orders/N1/payments'] = [off];
    seen[agent] = await buy(server, { agent, bridge: 'none' });
    const { body } = server.calls.filter(({ route }) => route.endsWith('/payments'))[1];
    assert.deepEqual([body, seen[agent].seen.alarms], [{ scene: 'alipay' }, []]);
  }
  assert.deepEqual([seen[DESKTOP].page().step, seen[DESKTOP].page().code], ['alipay', 'https://qr.alipay.com/x']);
  assert.deepEqual([seen[PHONE].page().step, seen[PHONE].seen.left], ['returned', ['alipays://x']]);
});

test('a shop that offers neither says so once', async () => {
  const server = shop();
  const off = [409, { code: 'SCENE_OFF', message: 'off' }];
  server.faults['POST /api/orders/N1/payments'] = [off, off];
  const it = await buy(server, { agent: DESKTOP, bridge: 'none' });
  assert.deepEqual(it.seen.alarms.map(([text]) => text), ['这里暂不支持微信支付']);
});

test('a web-view hands the order over to the mini program', async () => {
  const it = await buy(shop(), { agent: `${WECHAT} miniProgram/wx1`, bridge: 'early' });
  assert.deepEqual(it.seen.left, ['mini program /pages/order/order?number=N1&handover=T']);
  assert.equal(it.server.count('POST /api/orders/N1/payments'), 0);
  assert.equal(it.page().step, 'returned');
});

test('outside WeChat a guest begins without a login page', async () => {
  const server = shop();
  server.about.logged_in = false;
  const it = await browse(server, { agent: DESKTOP, bridge: 'none' });
  assert.equal(server.count('POST /api/sessions/guest'), 1);
  assert.equal(server.count('GET /api/me'), 0); // it would be answered 401
  assert.deepEqual(it.seen.left, []);
  assert.equal(it.shown(), 'shopView');
});

test('an amount that was typed is sent as text', async () => {
  const it = await browse(shop(), { search: '?view=collect', typed: ' 12.30 ' });
  it.tap('collect');
  await it.rest();
  const { body, headers } = it.server.calls.find(({ route }) => route === 'POST /api/collect');
  assert.deepEqual(body, { amount_yuan: '12.30', scene: 'jsapi', widget: false });
  assert.match(headers['Idempotency-Key'], /^[0-9a-f]{32}$/);
  assert.equal(it.page().order.state, 'PAID');
});

test('an amount with three decimals or out of range gets a sentence', async () => {
  for (const [typed, text] of [
    ['12.345', '请输入正确的金额，最多两位小数，例如 12.34'],
    ['', '请输入正确的金额，最多两位小数，例如 12.34'],
    ['0', '金额需在 0.01 到 10000.00 元之间'],
    ['10000.01', '金额需在 0.01 到 10000.00 元之间'],
  ]) {
    const it = await browse(shop(), { search: '?view=collect', typed });
    it.tap('collect');
    await it.rest();
    assert.deepEqual(it.seen.alarms, [[text, '']]);
    assert.equal(it.server.count('POST /api/collect'), 0);
  }
});

test('an amount leaves the cart of the shop alone', async () => {
  const storage = { cart: '{"tea":2}' };
  const it = await browse(shop(), { search: '?view=collect', typed: '5', storage });
  it.tap('collect');
  await it.rest();
  assert.equal(it.page().order.state, 'PAID');
  assert.equal(it.stored.get('cart'), '{"tea":2}');
});

test('amounts are typed only where they can be paid', async () => {
  const nowhere = shop();
  nowhere.about.collect = null;
  const places = [[nowhere, {}], [shop(), { agent: PHONE }], [shop(), { agent: DESKTOP }]];
  for (const [server, options] of places) {
    const it = await browse(server, { search: '?view=collect', ...options });
    assert.equal(it.shown(), 'missingView');
  }
});

test('a page that is not there says so without a login', async () => {
  const server = shop();
  server.about.logged_in = false;
  const it = await browse(server, { path: '/nothing' });
  assert.equal(it.shown(), 'missingView');
  assert.deepEqual([it.seen.left, server.calls], [[], []]);
});

test('an order of somebody else is missing and not asked for again', async () => {
  const server = shop();
  server.faults['GET /api/orders/N1?refresh=1'] = [[404, { code: 'NOT_FOUND' }]];
  const it = await browse(server, { search: '?order=N1' });
  assert.equal(it.shown(), 'missingOrderView');
  assert.equal(server.count('GET /api/orders/N1?refresh=1'), 1);
});

test('one language is spoken, and the choice is kept', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[502, { code: 'WECHAT_REFUSED' }], [502, { code: 'WECHAT_REFUSED' }]];
  const it = await buy(server);
  it.tap('language');
  it.tap('pay');
  await it.rest();
  const [chinese, english] = it.seen.alarms.map(([text]) => text);
  assert.match(chinese, /^[^A-Za-z]+$/);
  assert.match(english, /^[ -~]+$/);
  assert.equal(it.kept.get('language'), '"en"');
  const { inOurLanguage } = it.load('./language.js');
  assert.deepEqual(['茶 / Tea', '茶 50 g'].map(inOurLanguage), ['Tea', '茶 50 g']);
  it.tap('language');
  assert.deepEqual(['茶 / Tea', '茶 50 g'].map(inOurLanguage), ['茶', '茶 50 g']);
});

test('a cancelled cashier leaves the order waiting and its key kept', async () => {
  const it = await buy(shop(), { outcome: { err_msg: 'get_brand_wcpay_request:cancel' } });
  assert.equal(it.page().step, 'cancelled');
  assert.equal(JSON.parse(it.stored.get('pending')).number, 'N1');
});

test('a failure is shown with its description', async () => {
  const outcome = { err_msg: 'get_brand_wcpay_request:fail', err_desc: '余额不足' };
  const it = await buy(shop(), { outcome });
  assert.deepEqual([it.page().step, it.page().why], ['failed', '余额不足']);
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
  server.about.logged_in = false;
  const it = await browse(server, { search: '?order=N1' });
  assert.equal(server.count('GET /api/me'), 0);
  assert.deepEqual(it.seen.left, ['/oauth/start?return_to=%2F%3Forder%3DN1']);
});

test('a guest who comes into WeChat is sent to log in', async () => {
  const server = Object.assign(shop(), { kind: 'miniprogram' });
  const it = await browse(server);
  assert.deepEqual(it.seen.left, ['/oauth/start?return_to=%2F']);
});

test('a login that does not hold ends in a sentence and not in a loop', async () => {
  const server = shop();
  server.about.logged_in = false;
  server.faults['GET /api/products'] = [[401, { code: 'LOGIN_REQUIRED', request_id: 'r1' }]];
  const it = await browse(server, { storage: { logins: '2' } });
  assert.deepEqual(it.seen.left, []);
  assert.match(it.seen.alarms.at(-1)[1], /LOGIN_REQUIRED · r1/);
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

test('WeCom is not asked to log in and shows how to open the shop', async () => {
  const it = await browse(shop(), { agent: `${WECHAT} wxwork/4.1`, search: '?order=N1' });
  assert.equal(it.shown(), 'openView');
  assert.deepEqual(it.server.calls, []);
  assert.deepEqual(it.seen.left, []);
});

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
  assert.deepEqual(it.seen.alarms[0], ['订单即将过期，请重新下单', 'ORDER_EXPIRED · r5']);
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
  const { load } = await browse(shop());
  const { fenOf, yuan } = load('./money.js');
  assert.deepEqual([1, 10, 100, 6800, 10000001].map(yuan),
    ['¥0.01', '¥0.10', '¥1.00', '¥68.00', '¥100000.01']);
  assert.deepEqual(['0.01', '12.3', '12.34', '68', '999999.99'].map(fenOf), [1, 1230, 1234, 6800, 99999999]);
  assert.deepEqual(['', '1.234', '-1', '1e2', '１', '.5', '1.', '1000000', ' 1'].map(fenOf), Array(9).fill(null));
});
