const { call, patiently, pause } = require('../../api.js');
const { inOurLanguage, words } = require('../../language.js');
const { yuan } = require('../../money.js');
const { keepStep, stepOf } = require('../../steps.js');

const LADDER = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 15, 30, 60]; // seconds, the last repeats
const POLLS = 60;
const PATIENCE = 10; // polls until the page says that WeChat is late
const FINAL = ['PAID', 'REFUNDED', 'CLOSED'];
// The face of an order that can still be paid, by the step where its buyer stands.
const FACES = {
  opening: 'OPENING',
  confirming: 'CONFIRMING',
  late: 'CONFIRMING',
  busy: 'BUSY',
  returned: 'RETURNED',
};
const ICONS = { OPEN: '!', RETURNED: '?', CLOSED: '✕', PAID: '✓', REFUNDED: '↩' };
// Errors of a payment's start that say: do not pay now.
const STEPS = { ORDER_PAID: 'confirming', PAYMENT_IN_PROGRESS: 'busy' };

Page({
  data: { order: null, face: '', step: '', why: '', problem: null, words: {} },

  // `handover` comes from a browser or an App, in the launch query: it claims the order, once.
  onLoad({ number, pay, handover }) {
    const wanted = pay === '1' && !stepOf(number); // it may be paid already
    Object.assign(this, { number, wanted, handover, turn: 0, busy: false, quietUntil: 0 });
    this.setData({ words: words(), step: stepOf(number) });
    wx.setNavigationBarTitle({ title: words().order });
  },

  // Also the return from the cashier, another app or a sleeping screen.
  async onShow() {
    if (this.handover) await this.claim();
    if (this.data.step === 'opening') this.enter('returned');
    if (!this.wanted) return this.follow();
    this.wanted = false;
    this.refresh(); // something to look at behind the cashier
    return this.pay();
  },

  onHide() {
    this.turn += 1;
  },

  onUnload() {
    this.turn += 1;
  },

  // A token that was used already does no harm: an order that is ours is found by its number.
  async claim() {
    const token = this.handover;
    this.handover = '';
    try {
      await patiently(() => call('POST', '/api/handover', { token }));
    } catch (problem) {
      if (problem.code === 'NETWORK') this.handover = token;
      this.setData({ problem });
    }
  },

  pay() {
    return this.once(async () => {
      this.enter('opening');
      const url = `/api/orders/${this.number}/payments`;
      const { invoke } = await patiently(() => call('POST', url, { scene: 'miniprogram' }));
      const { errMsg } = await this.cashier(invoke);
      this.enter(...outcomeOf(errMsg));
    });
  },

  // developers.weixin.qq.com/miniprogram/dev/api/payment/wx.requestPayment.html
  cashier({ timeStamp, nonceStr, package: prepay, signType, paySign }) {
    return new Promise((complete) => {
      wx.requestPayment({ timeStamp, nonceStr, package: prepay, signType, paySign, complete });
    });
  },

  cancel() {
    const url = `/api/orders/${this.number}/cancel`;
    return this.once(() => patiently(() => call('POST', url, {})));
  },

  // "I have paid", and "refresh": the server asks WeChat at once.
  check() {
    this.enter(this.data.step === 'busy' ? '' : 'confirming');
    return this.follow();
  },

  payLater() {
    this.enter('');
    return this.follow();
  },

  goHome() {
    wx.reLaunch({ url: '/pages/index/index' });
  },

  // One thing at a time: a double tap does nothing. Whatever came of it, the server is asked.
  async once(work) {
    if (this.busy || Date.now() < this.quietUntil) return;
    this.busy = true;
    this.setData({ problem: null });
    try {
      await work();
    } catch (problem) {
      this.refuse(problem);
    }
    this.busy = false;
    await this.follow();
  },

  refuse(problem) {
    if (problem.code === 'TOO_MANY_REQUESTS') this.quietUntil = Date.now() + problem.retryAfter * 1000;
    if (!STEPS[problem.code]) this.setData({ problem });
    this.enter(STEPS[problem.code] || '');
  },

  async follow() {
    const turn = (this.turn += 1);
    let least = 0; // seconds that the server wants to be left alone
    for (let poll = 0; poll < POLLS; poll += 1) {
      await pause(Math.max(least, LADDER[Math.min(poll, LADDER.length - 1)]));
      if (turn !== this.turn) return;
      if (this.data.step === 'confirming' && poll > PATIENCE) this.setData({ step: 'late' });
      const problem = await this.refresh();
      if (problem && problem.code === 'NOT_FOUND') return;
      least = problem ? problem.retryAfter : 0;
      if (this.data.order && FINAL.includes(this.data.order.state)) return this.settle();
    }
  },

  async refresh() {
    try {
      this.draw(await call('GET', `/api/orders/${this.number}?refresh=1`));
      if (this.lost) this.setData({ problem: null }); // the network is back
      this.lost = false;
      return null;
    } catch (problem) {
      this.lost = true;
      this.setData({ problem });
      return problem;
    }
  },

  enter(step, why = '') {
    this.setData({ step, why });
    keepStep(this.number, step);
    if (step === 'confirming') this.emptyCart();
    if (this.data.order) this.draw(this.data.order);
  },

  draw(order) {
    const face = this.faceOf(order);
    const isDiscounted = Number.isInteger(order.paid_fen) && order.paid_fen !== order.total_fen;
    this.setData({
      order,
      face,
      icon: ICONS[face] || '…',
      note: this.noteOf(face),
      total: yuan(order.total_fen),
      paid: isDiscounted ? yuan(order.paid_fen) : '',
      coupon: isDiscounted ? yuan(order.total_fen - order.paid_fen) : '',
      refunded: order.refunded_fen ? yuan(order.refunded_fen) : '',
      until: new Date(order.expires_at).toTimeString().slice(0, 5),
      items: order.items.map(rowOf),
    });
  },

  faceOf({ state, payments }) {
    if (payments.some((payment) => payment.state === 'HELD')) return 'HELD';
    return state === 'OPEN' ? FACES[this.data.step] || 'OPEN' : state;
  },

  noteOf(face) {
    const { notes } = words();
    const { step } = this.data;
    if (face === 'HELD') return notes.held;
    if (face === 'CLOSED') return FACES[step] ? notes.closedAfterPaying : '';
    return ((face === 'OPEN' || FACES[step] === face) && notes[step]) || '';
  },

  settle() {
    const { state } = this.data.order;
    if (state !== 'CLOSED') keepStep(this.number, '');
    if (state === 'PAID') this.emptyCart();
    if ((wx.getStorageSync('pending') || {}).number === this.number) wx.removeStorageSync('pending');
  },

  // What was paid for is no longer in the cart.
  emptyCart() {
    if ((wx.getStorageSync('pending') || {}).number !== this.number) return;
    wx.removeStorageSync('pending');
    wx.removeStorageSync('cart');
  },
});

function rowOf({ sku, name, quantity, price_fen }) {
  return { sku, name: inOurLanguage(name), quantity, sum: yuan(price_fen * quantity) };
}

// What the cashier calls back with is a hint, the order is asked anyway. Old clients say "cancel".
function outcomeOf(errMsg) {
  const outcome = errMsg.replace('requestPayment:', '').replace(/^fail /, '');
  if (outcome === 'ok' || /已支付/.test(outcome)) return ['confirming'];
  if (outcome === 'cancel') return ['cancelled'];
  return ['failed', outcome];
}
