/* What WeChat puts around an H5 page, played by the sandbox: WeixinJSBridge and a payment sheet in
   WeChat, wx.miniProgram in a web-view, a phone that scans codes beside a desktop browser, and a strip
   above the page that says where it is.
   Where the page is, its User-Agent says; localStorage.sandbox_place = 'wechat' | 'phone' |
   'desktop' | 'webview' says otherwise. ?early=1 on this script's address, or
   localStorage.sandbox_bridge = 'early', defines the bridge before the page's own script;
   otherwise it comes late, as it often does on a phone. */
(() => {
  const own = new URL(document.currentScript.src);
  const early = own.searchParams.has('early') || stored('sandbox_bridge') === 'early';
  const PLACES = {
    wechat: ['微信', 'Mozilla/5.0 (Linux; Android 13) Mobile Safari/537.36 MicroMessenger/8.0.49'],
    phone: ['手机浏览器', 'Mozilla/5.0 (Linux; Android 13) Chrome/120 Mobile Safari/537.36'],
    desktop: ['电脑', 'Mozilla/5.0 (X11; Linux x86_64) Chrome/120 Safari/537.36'],
    webview: ['小程序里', 'Mozilla/5.0 (Linux; Android 13) Mobile MicroMessenger/8.0.49 miniProgram/wx9'],
  };
  const chosen = PLACES[stored('sandbox_place')];
  if (chosen) Object.defineProperty(navigator, 'userAgent', { get: () => chosen[1], configurable: true });
  const agent = navigator.userAgent;
  const webview = /miniProgram/.test(agent);
  const inside = /MicroMessenger/.test(agent) && !webview;
  const CHANGE = '零钱 ›';
  let sheet = null;
  let scan, corner;

  function stored(name) {
    try {
      return localStorage.getItem(name);
    } catch (error) {
      return null;
    }
  }

  function payer() {
    const cookie = document.cookie.match(/(?:^|; )sandbox_openid=([^;]+)/);
    return stored('sandbox_openid') || (cookie ? decodeURIComponent(cookie[1]) : undefined);
  }

  async function ask(path, body) {
    const response = await fetch(`${own.origin}/_sandbox/${path}`, {
      method: 'POST',
      headers: { 'Content-Type': 'application/json' },
      body: JSON.stringify(body),
    });
    return response.ok ? response.json() : null;
  }

  function invoke(name, args, callback = () => {}) {
    if (name !== 'getBrandWCPayRequest' || sheet) callback({ err_msg: `${name}:fail` });
    else sheet = openSheet(args || {}, callback);
  }

  function define() {
    if (!inside) return;
    window.WeixinJSBridge = { invoke, call() {}, on() {} };
    document.dispatchEvent(new Event('WeixinJSBridgeReady'));
  }

  const CORNER = `
    div { padding: 4px 12px; background: #191f1b; color: #cfd8d2; font: 11px/1.8 -apple-system, "PingFang SC", "Noto Sans CJK SC", sans-serif; }
    div p { margin: 0; overflow-wrap: anywhere; }
    div button { border: 0; margin-left: 6px; padding: 1px 6px; border-radius: 99px; background: none; color: #cfd8d2; font: inherit; cursor: pointer; }
    div button[aria-pressed=true] { background: #fff; color: #0f3d2a; }
    [hidden] { display: none !important; }
    button[data-test=sandbox-scan] { position: fixed; z-index: 2147483646; right: 24px; bottom: 24px; padding: 14px 22px; border: 0; border-radius: 99px;
      background: #07c160; color: #fff; font: 600 16px/1.2 -apple-system, "PingFang SC", "Noto Sans CJK SC", sans-serif; cursor: pointer; box-shadow: 0 6px 24px rgb(0 0 0 / 25%); }`;
  const STYLE = `
    :host { position: fixed; inset: 0; z-index: 2147483647; color-scheme: light; }
    * { box-sizing: border-box; margin: 0; -webkit-tap-highlight-color: transparent; font: 15px/1.4 -apple-system, "PingFang SC", "Noto Sans CJK SC", sans-serif; }
    [hidden] { display: none !important; }
    .shade { position: fixed; inset: 0; background: rgb(0 0 0 / 55%); }
    .sheet { position: fixed; bottom: 0; left: 50%; width: min(100%, 430px); max-height: 100%; overflow: auto; transform: translateX(-50%);
      background: #fff; color: #191919; border-radius: 14px 14px 0 0; padding: 14px 20px calc(18px + env(safe-area-inset-bottom)); text-align: center; animation: rise .2s; }
    @keyframes rise { from { transform: translate(-50%, 60%); } }
    @media (min-width: 700px) and (min-height: 560px) { .sheet { bottom: 50%; transform: translate(-50%, 50%); border-radius: 14px; animation: none; } }
    header { display: flex; justify-content: space-between; align-items: center; height: 32px; }
    button { border: 0; background: none; color: inherit; cursor: pointer; }
    .close { width: 32px; font-size: 20px; text-align: left; padding: 0; }
    .ribbon { padding: 2px 9px; border-radius: 99px; background: #f2f2f2; color: #8a8a8a; font-size: 12px; }
    .merchant { margin-top: 14px; font-size: 16px; }
    .what { color: #8a8a8a; font-size: 13px; overflow-wrap: anywhere; }
    .amount { margin: 6px 0 18px; font-size: 44px; font-weight: 600; line-height: 1.2; }
    .row { display: flex; justify-content: space-between; gap: 16px; padding: 14px 2px; border-top: 1px solid #ededed; text-align: left; }
    .row span:first-child { color: #8a8a8a; }
    .pay { display: block; width: 184px; height: 46px; margin: 20px auto 12px; border-radius: 8px; background: #07c160; color: #fff; font-size: 17px; font-weight: 500; }
    .pay:disabled { opacity: .5; }
    .dots { display: flex; justify-content: center; margin: 6px 0 16px; }
    .dots i { width: 44px; height: 44px; border: 1px solid #d8d8d8; margin-left: -1px; display: grid; place-items: center; }
    .dots i.on::after { content: ""; width: 11px; height: 11px; border-radius: 50%; background: #191919; }
    .pad { display: grid; grid-template-columns: repeat(3, 1fr); gap: 6px; margin: 0 -12px; padding: 8px; background: #f4f4f4; border-radius: 10px; }
    .pad button:last-child { grid-column: 2; }
    .pad button { height: 46px; border-radius: 6px; background: #fff; font-size: 21px; }
    .others { margin-top: 6px; padding: 10px 0 0; border-top: 1px dashed #e2e2e2; color: #8a8a8a; font-size: 12px; }
    .others button { margin: 4px 3px 0; padding: 5px 11px; border-radius: 99px; background: #f2f2f2; color: #5c5c5c; font-size: 13px; }
    .others button[aria-pressed=true] { background: #fdeee6; color: #d4602b; }`;

  function make(name, attributes = {}, ...children) {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  }

  function hook(name, kind, text) {
    return make('button', { type: 'button', class: kind, 'data-test': `sandbox-${name}` }, text);
  }

  function yuan(fen) {
    const digits = String(fen).padStart(3, '0');
    return `¥${digits.slice(0, -2)}.${digits.slice(-2)}`;
  }

  // The mini program itself is not here: what would be opened is shown instead.
  function playMiniProgram() {
    const navigateTo = ({ url }) => {
      const said = `小程序打开 · the mini program opens ${url}`;
      corner.replaceChildren(make('p', { 'data-test': 'sandbox-navigated', 'data-url': url }, said));
    };
    window.wx = { miniProgram: { navigateTo } };
  }

  // A phone beside the screen: it scans whatever code the page shows.
  function watchCodes() {
    const look = () => {
      const code = document.querySelector('[data-code-url]');
      scan.hidden = !code || Boolean(sheet);
      scan.onclick = () => { sheet = openSheet({ code_url: code.dataset.codeUrl }, look); look(); };
    };
    new MutationObserver(look).observe(document.body, { childList: true, subtree: true, attributes: true });
    look();
  }

  // Where is this page? A person may look at it from anywhere.
  function drawCorner() {
    scan = make('button', { type: 'button', hidden: '', 'data-test': 'sandbox-scan' }, '用沙箱的微信扫码 · Scan');
    corner = make('div', { 'data-test': 'sandbox-corner' });
    corner.hidden = !chosen && /MicroMessenger/.test(agent) && !webview; // a real phone's agent
    const host = make('div');
    const root = host.attachShadow({ mode: 'open' });
    const now = stored('sandbox_place') || (webview ? 'webview' : inside ? 'wechat' : /Mobile|Android|iPhone/.test(agent) ? 'phone' : 'desktop');
    const buttons = Object.entries(PLACES).map(([name, [words]]) => {
      const button = make('button', { type: 'button', 'aria-pressed': String(name === now), 'data-test': `sandbox-place-${name}` }, words);
      button.onclick = () => { localStorage.setItem('sandbox_place', name); location.reload(); };
      return button;
    });
    corner.append(make('span', {}, '沙箱·看作'), ...buttons);
    root.append(make('style', {}, CORNER), scan, corner);
    document.body.prepend(host);
  }

  function openSheet(args, callback) {
    const host = make('div', { 'data-test': 'sandbox-sheet' });
    const root = host.attachShadow({ mode: 'open' });
    const part = drawSheet(root);
    const order = { total: null, coupon: 0, busy: false };
    document.documentElement.append(host);

    function finish(answer) {
      host.remove();
      sheet = null;
      callback(answer);
    }

    async function report(outcome) {
      const coupon = order.coupon ? { coupon_fen: order.coupon } : {};
      const page = args.code_url ? {} : { page_url: location.href.split('#')[0] };
      const body = { ...args, openid: payer(), outcome, ...page, ...coupon };
      const failed = { err_msg: 'get_brand_wcpay_request:fail', err_desc: 'the sandbox did not answer' };
      return (await ask(args.code_url ? 'scan' : 'pay', body).catch(() => null)) || failed;
    }

    // Only one answer leaves the sheet, however often it is tapped.
    async function end(outcome) {
      if (order.busy) return;
      order.busy = part.pay.disabled = true;
      const { err_msg, err_desc } = await report(outcome);
      finish(err_desc ? { err_msg, err_desc } : { err_msg });
    }

    // The password screen stays open: meanwhile a close of this order is answered USER_PAYING.
    async function type() {
      part.first.hidden = part.others.hidden = true;
      part.password.hidden = false;
      const answer = await report('typing');
      if (/:fail/.test(answer.err_msg)) finish(answer);
    }

    function press() {
      const empty = part.password.querySelector('i:not(.on)');
      if (empty) empty.className = 'on';
      if (!part.password.querySelector('i:not(.on)')) end('ok');
    }

    function useCoupon() {
      order.coupon = order.coupon ? 0 : Math.min(500, order.total - 1);
      part.coupon.setAttribute('aria-pressed', String(order.coupon > 0));
      part.saved.textContent = order.coupon ? `优惠券 −${yuan(order.coupon)}` : CHANGE;
      part.amount.textContent = yuan(order.total - order.coupon);
    }

    async function preview() {
      const seen = await ask('preview', args).catch(() => null);
      if (!seen || !Number.isInteger(seen.total)) return;
      order.total = seen.total;
      part.merchant.textContent = seen.merchant || '';
      part.what.textContent = seen.description || '';
      part.amount.textContent = yuan(seen.total);
      part.coupon.hidden = seen.total < 2;
    }

    part.pay.onclick = () => end('ok');
    part.close.onclick = part.cancel.onclick = () => end('cancel');
    part.fail.onclick = () => end('fail');
    part.typing.onclick = type;
    part.pad.onclick = (event) => event.target.matches('button') && press();
    part.coupon.onclick = useCoupon;
    preview();
    return host;
  }

  function drawSheet(root) {
    const part = {
      close: hook('close', 'close', '✕'),
      merchant: make('p', { class: 'merchant' }, '微信支付'),
      what: make('p', { class: 'what' }),
      amount: make('p', { class: 'amount', 'data-test': 'sandbox-amount' }, '¥ —'),
      saved: make('span', {}, CHANGE),
      pay: hook('pay', 'pay', '支付'),
      typing: hook('typing', '', '正在输密码 typing'),
      coupon: hook('coupon', '', '用券 coupon'),
      cancel: hook('cancel', '', '取消 cancel'),
      fail: hook('fail', '', '失败 fail'),
      pad: make('div', { class: 'pad' }),
    };
    for (const key of '1234567890') part.pad.append(hook(`key-${key}`, '', key));
    const dots = make('div', { class: 'dots' }, ...Array.from({ length: 6 }, () => make('i')));
    const row = make('p', { class: 'row' }, make('span', {}, '支付方式'), part.saved);
    part.first = make('div', {}, row, part.pay);
    part.password = make('div', { hidden: '' }, make('p', { class: 'what' }, '请输入支付密码'), dots, part.pad);
    part.others = make('div', { class: 'others' }, 'sandbox 沙箱 · 换一个结果 ');
    part.others.append(part.cancel, part.fail, part.typing, part.coupon);
    part.coupon.hidden = true;
    const head = make('header', {}, part.close, make('span', { class: 'ribbon' }, 'sandbox 沙箱'));
    const words = [head, part.merchant, part.what, part.amount];
    const box = make('div', { class: 'sheet', role: 'dialog', 'aria-modal': 'true', 'aria-label': '微信支付' });
    box.append(...words, part.first, part.password, part.others);
    root.append(make('style', {}, STYLE), make('div', { class: 'shade' }), box);
    return part;
  }

  if (webview) playMiniProgram();
  if (early) define();
  else setTimeout(define, 100);
  document.addEventListener('DOMContentLoaded', () => {
    drawCorner();
    watchCodes();
  });
})();
