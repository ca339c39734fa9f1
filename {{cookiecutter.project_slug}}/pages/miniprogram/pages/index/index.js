const { call, newKey, patiently, yuan } = require('../../api.js');

Page({
  data: { products: [], total: '¥0.00', busy: false, problem: null },

  onLoad() {
    return this.load();
  },

  // The order page empties the cart when the order is paid.
  onShow() {
    if (this.products) this.draw();
  },

  async load() {
    try {
      this.products = (await call('GET', '/api/products')).products;
      this.draw();
    } catch (problem) {
      this.setData({ problem });
    }
  },

  draw() {
    const cart = wx.getStorageSync('cart') || {};
    const products = this.products.map((product) => {
      const [, chinese, english] = product.name.match(/^([^ -~]+) (.+)$/) || [null, product.name, ''];
      const quantity = cart[product.sku] || 0;
      return { ...product, chinese, english, quantity, price: yuan(product.price_fen) };
    });
    const total = products.reduce((sum, { price_fen, quantity }) => sum + price_fen * quantity, 0);
    this.setData({ products, total: yuan(total), empty: !total, problem: null });
  },

  change({ currentTarget }) {
    const { sku, by } = currentTarget.dataset;
    const cart = wx.getStorageSync('cart') || {};
    cart[sku] = Math.max(0, Math.min(99, (cart[sku] || 0) + Number(by)));
    wx.setStorageSync('cart', cart);
    wx.removeStorageSync('pending'); // another cart is another order
    this.draw();
  },

  async buy() {
    if (this.buying) return;
    this.buying = true;
    this.setData({ busy: true, problem: null });
    try {
      const number = await this.placeOrder();
      wx.navigateTo({ url: `/pages/order/order?number=${number}&pay=1` });
    } catch (problem) {
      if (problem.code === 'IDEMPOTENCY_KEY_REUSED') wx.removeStorageSync('pending');
      this.setData({ problem });
    }
    this.buying = false;
    this.setData({ busy: false });
  },

  // The key stays until the order is settled: a repeat after a lost answer finds the same order.
  async placeOrder() {
    const chosen = this.data.products.filter(({ quantity }) => quantity);
    const items = chosen.map(({ sku, quantity }) => ({ sku, quantity }));
    const { key } = wx.getStorageSync('pending') || { key: newKey() };
    wx.setStorageSync('pending', { key });
    const order = await patiently(() => call('POST', '/api/orders', { items }, key));
    wx.setStorageSync('pending', { key, number: order.order_no });
    return order.order_no;
  },
});
