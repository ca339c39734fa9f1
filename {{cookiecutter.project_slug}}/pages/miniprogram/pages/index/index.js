const { API } = require('../../config.js');
const { call, newKey, patiently } = require('../../api.js');
const { inOurLanguage, otherWords, switchLanguage, words } = require('../../language.js');
const { yuan } = require('../../money.js');

const MOST = 99; // of one product

Page({
  data: { name: '', products: [], total: '¥0.00', isEmpty: true, busy: false, problem: null, words: {} },

  onLoad() {
    return this.load();
  },

  // The order page empties the cart when the order is paid.
  onShow() {
    if (this.products) this.draw();
  },

  async load() {
    this.setData({ words: words(), other: otherWords().language });
    try {
      const { name } = await call('GET', '/api/shop');
      this.setData({ name });
      wx.setNavigationBarTitle({ title: name });
      this.products = (await call('GET', '/api/products')).products;
      this.draw();
    } catch (problem) {
      this.setData({ problem });
    }
  },

  draw() {
    const cart = wx.getStorageSync('cart') || {};
    const products = this.products.map((product) => this.row(product, cart[product.sku] || 0));
    const total = products.reduce((sum, { price_fen, quantity }) => sum + price_fen * quantity, 0);
    const texts = { words: words(), other: otherWords().language };
    this.setData({ ...texts, products, total: yuan(total), isEmpty: !total, problem: null });
  },

  // Virtual goods 虚拟商品 are shown, not sold: WeChat's rule in mini programs.
  row({ sku, name, price_fen, kind, image }, quantity) {
    const isRefused = kind === 'virtual';
    return {
      sku,
      price_fen,
      isRefused,
      name: inOurLanguage(name),
      picture: pictureOf(sku, image),
      price: yuan(price_fen),
      quantity: isRefused ? 0 : quantity,
    };
  },

  change({ currentTarget }) {
    const { sku, by } = currentTarget.dataset;
    const cart = wx.getStorageSync('cart') || {};
    cart[sku] = Math.max(0, Math.min(MOST, (cart[sku] || 0) + Number(by)));
    wx.setStorageSync('cart', cart);
    wx.removeStorageSync('pending'); // another cart is another order
    this.draw();
  },

  changeLanguage() {
    switchLanguage();
    if (this.products) this.draw();
    else this.setData({ words: words(), other: otherWords().language });
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

  // The key stays until the order is decided: a repeat after a lost answer finds the same order.
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

// A path lies on the shop; without an image the shop draws one.
function pictureOf(sku, image) {
  const address = image || `/picture.svg?sku=${encodeURIComponent(sku)}`;
  return address.startsWith('/') ? API + address : address;
}
