const { call, newKey, patiently } = require('../../api.js');

// The buyer types what to pay (金额控件 is WeChat's own component for this: where the client has it,
// put <wechatpay-payment> here and send widget: true). The amount stays the text that was typed.
Page({
  data: { amount: '', busy: false, problem: null },

  type({ detail }) {
    this.key = newKey(); // another amount is another order
    this.setData({ amount: detail.value.trim() });
  },

  async pay() {
    if (this.data.busy) return;
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
});
