const { call, newKey, patiently } = require('../../api.js');
const { words } = require('../../language.js');
const { fenOf, yuan } = require('../../money.js');

// The buyer types what to pay (金额控件 is WeChat's own component for this: where the client has it,
// put <wechatpay-payment> here and send widget: true). The amount stays the text that was typed.
Page({
  data: { amount: '', isOffered: null, busy: false, problem: null, words: {} },

  onLoad() {
    wx.setNavigationBarTitle({ title: words().amount });
    return this.load();
  },

  // Amounts can be typed in service-provider mode 服务商 only.
  async load() {
    this.setData({ words: words(), problem: null });
    try {
      const { collect } = await call('GET', '/api/shop');
      this.limits = collect;
      this.setData({ isOffered: Boolean(collect) && collect.scenes.includes('miniprogram') });
    } catch (problem) {
      this.setData({ problem });
    }
  },

  type({ detail }) {
    this.key = newKey(); // another amount is another order
    this.setData({ amount: detail.value.trim(), problem: null });
  },

  async pay() {
    if (this.data.busy) return;
    const message = this.problemOf(this.data.amount);
    if (message) return this.setData({ problem: { message } });
    this.setData({ busy: true, problem: null });
    const body = { amount_yuan: this.data.amount, scene: 'miniprogram', widget: false };
    try {
      const { order_no } = await patiently(() => call('POST', '/api/collect', body, this.key));
      wx.navigateTo({ url: `/pages/order/order?number=${order_no}&pay=1` });
    } catch (problem) {
      this.setData({ problem });
    }
    this.setData({ busy: false });
  },

  problemOf(amount) {
    const { errors } = words();
    const { min_fen: least, max_fen: most } = this.limits;
    const fen = fenOf(amount);
    if (fen === null) return errors['BAD_REQUEST amount_yuan'];
    if (fen >= least && fen <= most) return '';
    return errors.AMOUNT_RANGE.replace('{least}', yuan(least).slice(1)).replace('{most}', yuan(most).slice(1));
  },

  goHome() {
    wx.reLaunch({ url: '/pages/index/index' });
  },
});
