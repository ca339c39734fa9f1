const { call, patiently, pause, yuan } = require('../../api.js');

const LADDER = [0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 2, 4, 8, 15, 30, 60]; // seconds, the last repeats
const FINAL = ['PAID', 'REFUNDED', 'CLOSED'];
const FACES = {
  CONFIRMING: ['…', '正在确认', 'Asking WeChat Pay'],
  OPEN: ['!', '等待付款', 'Waiting for payment'],
  CLOSING: ['…', '正在取消', 'Closing at WeChat Pay'],
  CLOSED: ['✕', '订单已关闭', 'Closed'],
  PAID: ['✓', '支付成功', 'Paid'],
  REFUNDED: ['↩', '已全额退款', 'Refunded'],
};

Page({
  data: { order: null, said: '', why: '', problem: null },

  // `handover` comes from a browser or an App, in the launch query: it claims the order, once.
  onLoad({ number, pay, handover }) {
    Object.assign(this, { number, wanted: pay === '1', handover, turn: 0, busy: false });
  },

  // Also the way back from the cashier, another app or a sleeping screen.
  async onShow() {
    if (this.handover) await this.claim();
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
      this.say('paying');
      const url = `/api/orders/${this.number}/payments`;
      const { invoke } = await patiently(() => call('POST', url, { scene: 'miniprogram' }));
      const { errMsg } = await this.cashier(invoke);
      const said = errMsg.replace('requestPayment:', '').replace('fail cancel', 'cancel');
      this.say(said.split(' ')[0], said.replace(/^fail ?/, ''));
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

  // One thing at a time: a double tap does nothing. Whatever came of it, the server is asked.
  async once(work) {
    if (this.busy) return;
    this.busy = true;
    this.setData({ problem: null });
    try {
      await work();
    } catch (problem) {
      this.setData({ problem });
      this.say('');
    }
    this.busy = false;
    await this.follow();
  },

  async follow() {
    const mine = (this.turn += 1);
    for (let n = 0; n < 60; n += 1) {
      await pause(LADDER[Math.min(n, LADDER.length - 1)]);
      if (mine !== this.turn) return;
      if (this.data.said === 'ok' && n > 10) this.say('late');
      await this.refresh();
      if (this.data.order && FINAL.includes(this.data.order.state)) return this.settle();
    }
  },

  async refresh() {
    try {
      this.draw(await call('GET', `/api/orders/${this.number}?refresh=1`));
      if (this.lost) this.setData({ problem: null }); // the network is back
      this.lost = false;
    } catch (problem) {
      this.lost = true;
      this.setData({ problem });
    }
  },

  say(said, why = '') {
    this.setData({ said, why });
    if (this.data.order) this.draw(this.data.order);
  },

  draw(order) {
    const waiting = order.state === 'OPEN' && ['paying', 'ok'].includes(this.data.said);
    const state = waiting ? 'CONFIRMING' : order.state;
    const [icon, title, english] = FACES[state];
    const items = order.items.map((item) => ({ ...item, sum: yuan(item.price_fen * item.quantity) }));
    const refunded = order.refunded_fen ? yuan(order.refunded_fen) : '';
    const until = new Date(order.expires_at).toTimeString().slice(0, 5);
    this.setData({ order, state, icon, title, english, items, refunded, until, total: yuan(order.total_fen) });
  },

  settle() {
    if ((wx.getStorageSync('pending') || {}).number !== this.number) return;
    wx.removeStorageSync('pending');
    if (this.data.order.state === 'PAID') wx.removeStorageSync('cart');
  },
});
