// The bridge that the sandbox plays, as far as it goes without a screen.
const assert = require('node:assert/strict');
const fs = require('node:fs');
const path = require('node:path');
const test = require('node:test');
const vm = require('node:vm');

const SOURCE = fs.readFileSync(path.join(__dirname, '../../{{cookiecutter.project_slug}}/sandbox/bridge.js'), 'utf8');

const WECHAT = 'Mozilla/5.0 (Linux; Android 13) Mobile Safari/537.36 MicroMessenger/8.0.49';

function load(src, stored = {}, agent = WECHAT) {
  const seen = { events: [], later: [] };
  const window = {};
  vm.runInNewContext(SOURCE, {
    URL, window, Event: class { constructor(type) { this.type = type; } },
    localStorage: { getItem: (name) => stored[name] || null },
    navigator: { userAgent: agent },
    document: {
      currentScript: { src }, cookie: '', addEventListener() {},
      dispatchEvent: ({ type }) => seen.events.push(type),
    },
    setTimeout: (work, milliseconds) => seen.later.push([work, milliseconds]),
  });
  return { window, ...seen };
}

test('the bridge comes a little late and says so', () => {
  const { window, events, later } = load('http://127.0.0.1:9000/bridge.js');
  assert.equal(window.WeixinJSBridge, undefined);
  assert.equal(later[0][1], 100);
  later[0][0]();
  assert.deepEqual(events, ['WeixinJSBridgeReady']);
  assert.equal(typeof window.WeixinJSBridge.invoke, 'function');
});

test('the bridge is there at once when it is asked to be early', () => {
  const early = load('http://127.0.0.1:9000/bridge.js?early=1');
  const chosen = load('http://127.0.0.1:9000/bridge.js', { sandbox_bridge: 'early' });
  assert.equal(typeof early.window.WeixinJSBridge.invoke, 'function');
  assert.equal(typeof chosen.window.WeixinJSBridge.invoke, 'function');
});

test('other browsers have no bridge and a web-view opens the mini program', () => {
  const src = 'http://127.0.0.1:9000/bridge.js?early=1';
  const phone = load(src, {}, 'Mozilla/5.0 (iPhone) Safari/604.1');
  const desktop = load(src, { sandbox_place: 'desktop' });
  const webview = load(src, {}, `${WECHAT} miniProgram/wx1`);
  assert.deepEqual([phone, desktop, webview].map(({ window }) => window.WeixinJSBridge), [undefined, undefined, undefined]);
  assert.equal(typeof webview.window.wx.miniProgram.navigateTo, 'function');
  assert.equal(typeof load(src, { sandbox_place: 'wechat' }, 'Chrome').window.WeixinJSBridge.invoke, 'function');
});

test('a call that is not a payment fails by its own name', () => {
  const { window } = load('http://127.0.0.1:9000/bridge.js?early=1');
  const answers = [];
  window.WeixinJSBridge.invoke('shareTimeline', {}, (answer) => answers.push(answer.err_msg));
  window.WeixinJSBridge.invoke('closeWindow', {});
  assert.deepEqual(answers, ['shareTimeline:fail']);
});
