// The mini program's pages executed with a wx, a Page and a shop of our own.
const assert = require('node:assert/strict');
const test = require('node:test');
const { INVOKE, openOrder, openShop, phone, plain, shop, tap } = require('./miniprogram_kit.js');

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
  assert.equal(page.data.order.state, 'PAID');
  assert.equal(page.data.total, '¥136.01');
  assert.equal(handset.seen.storage.has('cart'), false);
  assert.equal(handset.seen.storage.has('pending'), false);
});

test('the word ok of the client is not believed', async () => {
  const server = shop();
  const handset = phone(server);
  handset.seen.late = true;
  const page = await openOrder(handset);
  assert.equal(page.data.order.state, 'OPEN');
  assert.equal(page.data.step, 'late');
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
  assert.equal(page.data.order.state, 'OPEN');
  assert.equal(page.data.step, 'cancelled');
  assert.equal(page.data.problem, null);
});

test('a cancelled cashier without a network can still be paid again', async () => {
  const server = shop();
  const page = await openOrder(phone(server, 'requestPayment:fail cancel'), '0');
  server.faults['GET /api/orders/N1?refresh=1'] = Array(99).fill('network');
  await page.pay();
  assert.equal(page.data.order.state, 'OPEN');
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
  assert.equal(page.data.step, 'cancelled');
});

test('a cashier that fails shows why', async () => {
  const page = await openOrder(phone(shop(), 'requestPayment:fail (签名错误)'));
  assert.equal(page.data.step, 'failed');
  assert.equal(page.data.why, '(签名错误)');
  assert.equal(page.data.order.state, 'OPEN');
});

test('a cancelled cashier does not hide that the money came', async () => {
  const server = shop();
  const outcome = () => { server.order.state = 'PAID'; return 'requestPayment:fail cancel'; };
  const page = await openOrder(phone(server, outcome));
  assert.equal(page.data.order.state, 'PAID');
});

test('a waiting order is paid on the second try', async () => {
  const server = shop();
  const outcomes = ['requestPayment:fail cancel', 'requestPayment:ok'];
  const handset = phone(server, () => outcomes.shift());
  const page = await openOrder(handset);
  await page.pay();
  assert.equal(page.data.order.state, 'PAID');
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
  assert.equal(page.data.order.state, 'PAID');
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
  assert.equal(page.data.order.state, 'PAID');
});

test('a page says that it is opening the cashier', async () => {
  const handset = phone(shop(), 'requestPayment:fail cancel');
  const page = await openOrder(handset, '0');
  const states = [];
  handset.wx.requestPayment = ({ complete }) => {
    states.push(page.data.face);
    complete({ errMsg: 'requestPayment:fail cancel' });
  };
  await page.pay();
  assert.deepEqual(states, ['OPENING']);
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
  assert.equal(page.data.order.state, 'CLOSED');
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
  assert.equal(page.data.order.state, 'PAID');
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

async function openCollect(handset) {
  const page = handset.open('collect');
  await page.onLoad();
  return page;
}

test('an amount that was typed goes out as text and is paid', async () => {
  const server = shop();
  const handset = phone(server);
  const page = await openCollect(handset);
  page.type({ detail: { value: ' 8.80 ' } });
  await Promise.all([page.pay(), page.pay()]);
  const [sent, ...more] = server.calls.filter(({ route }) => route === 'POST /api/collect');
  assert.deepEqual(plain(sent.data), { amount_yuan: '8.80', scene: 'miniprogram', widget: false });
  assert.match(sent.header['Idempotency-Key'], /^[A-Za-z0-9_-]{1,64}$/);
  assert.equal(more.length, 0);
  assert.deepEqual(handset.seen.urls, ['/pages/order/order?number=N1&pay=1']);
});

test('an amount that the server refuses says why', async () => {
  const server = shop();
  const refused = { code: 'BAD_REQUEST', field: 'amount_yuan', request_id: 'r1' };
  server.faults['POST /api/collect'] = [[400, refused]];
  const page = await openCollect(phone(server));
  page.type({ detail: { value: '12' } });
  await page.pay();
  assert.equal(page.data.problem.message, '请输入正确的金额，最多两位小数，例如 12.34');
  assert.equal(page.data.busy, false);
});

test('an amount with three decimals or out of range gets a sentence', async () => {
  const server = shop();
  const page = await openCollect(phone(server));
  for (const [value, text] of [['12.345', /两位小数/], ['1e2', /两位小数/], ['0', /0.01 到 10000.00 元/]]) {
    page.type({ detail: { value } });
    await page.pay();
    assert.match(page.data.problem.message, text);
  }
  assert.equal(server.count('POST /api/collect'), 0);
});

test('amounts are typed only where they can be paid', async () => {
  const server = shop();
  assert.equal((await openCollect(phone(server))).data.isOffered, true);
  server.about.collect = null;
  assert.equal((await openCollect(phone(server))).data.isOffered, false);
});

test('after ok nothing asks to pay again, also when the mini program was closed', async () => {
  const server = shop();
  const handset = phone(server);
  handset.seen.late = true;
  handset.seen.storage.set('pending', { key: 'k', number: 'N1' });
  handset.seen.storage.set('cart', { tea: 1 });
  await openOrder(handset);
  assert.equal(handset.seen.storage.has('cart'), false);
  const page = await openOrder(handset);
  assert.equal(page.data.face, 'CONFIRMING');
  assert.equal(handset.seen.paid.length, 1);
  server.order.state = 'PAID';
  await page.check();
  assert.equal(page.data.face, 'PAID');
});

test('what is paid already is confirmed and not paid again', async () => {
  for (const again of [[409, { code: 'ORDER_PAID' }], 'requestPayment:fail (该订单已支付)']) {
    const server = shop();
    const isRefused = typeof again !== 'string';
    if (isRefused) server.faults['POST /api/orders/N1/payments'] = [again];
    const page = await openOrder(phone(server, isRefused ? undefined : again));
    assert.equal(page.data.face, 'CONFIRMING');
    assert.equal(page.data.problem, null);
  }
});

test('a cashier that never calls back ends in a question and no button to pay', async () => {
  const handset = phone(shop());
  handset.wx.requestPayment = () => {};
  const page = handset.open('order');
  page.onLoad({ number: 'N1', pay: '1' });
  page.onShow();
  for (let n = 0; n < 20; n += 1) await new Promise(setImmediate);
  page.onHide();
  await page.onShow();
  assert.equal(page.data.face, 'RETURNED');
  page.payLater();
  assert.equal(page.data.face, 'OPEN');
});

test('an earlier payment that does not end is waited for without a button to pay', async () => {
  const server = shop();
  const busy = [409, { code: 'PAYMENT_IN_PROGRESS' }, { 'Retry-After': '600' }];
  server.faults['POST /api/orders/N1/payments'] = [busy];
  const page = await openOrder(phone(server));
  assert.equal(page.data.face, 'BUSY');
  await page.check();
  assert.equal(page.data.face, 'OPEN');
});

test('a pause that the server asks for is kept', async () => {
  const server = shop();
  const busy = [429, { code: 'TOO_MANY_REQUESTS' }, { 'Retry-After': '60' }];
  server.faults['POST /api/orders/N1/payments'] = [busy];
  const page = await openOrder(phone(server));
  assert.equal(page.data.problem.message, '操作太频繁，请 60 秒后再试');
  await page.pay();
  assert.equal(server.count('POST /api/orders/N1/payments'), 1);
});

test('with a coupon the order shows what was paid', async () => {
  const server = shop();
  Object.assign(server.order, { state: 'PAID', paid_fen: 13101 });
  const page = await openOrder(phone(server), '0');
  assert.deepEqual([page.data.total, page.data.paid, page.data.coupon], ['¥136.01', '¥131.01', '¥5.00']);
});

test('virtual goods are shown and not sold', async () => {
  const server = shop();
  server.products = [{ sku: 'tea', name: '会员', price_fen: 100, kind: 'virtual', image: null }];
  const page = await openShop(phone(server));
  page.change(tap('tea', '1'));
  assert.deepEqual([page.data.products[0].isRefused, page.data.isEmpty], [true, true]);
});

test('a virtual product in an order is refused with a sentence', async () => {
  const server = shop();
  server.faults['POST /api/orders/N1/payments'] = [[409, { code: 'VIRTUAL_GOODS' }]];
  const page = await openOrder(phone(server));
  assert.match(page.data.problem.message, /虚拟商品/);
});

test('the shop has its name, and a product without an image a picture of the shop', async () => {
  const handset = phone(shop());
  const page = await openShop(handset);
  assert.deepEqual([page.data.name, handset.seen.titles], ['小店', ['小店']]);
  assert.equal(page.data.products[0].picture, 'http://127.0.0.1:8000/picture.svg?sku=tea');
});

test('one language is spoken, and the choice is kept', async () => {
  const handset = phone(shop());
  const page = await openShop(handset);
  assert.equal(page.data.words.total, '合计');
  page.changeLanguage();
  assert.deepEqual([page.data.words.total, page.data.other], ['Total', '中文']);
  const again = await openShop(handset);
  assert.equal(again.data.words.total, 'Total');
});
