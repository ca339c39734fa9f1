// Two SDKs from npm, unchanged, behind one set of verbs: a line [verb, ...arguments] comes in, a
// line {result} or {error} goes out. argv: which SDK, the sandbox's address, its credentials.
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';

const [which, sandbox, keys] = process.argv.slice(2);
const HOST = 'api.mch.weixin.qq.com'; // asked by this name, the sandbox answers WeChat's own addresses
const credentials = JSON.parse(keys);
const require = createRequire(`${process.cwd()}/`); // the SDKs lie where npm put them
const { appid } = credentials.apps.find(({ kind }) => kind === 'miniprogram');
const { mchid, merchant_serial: serial, merchant_private_key_pem: privateKey } = credentials;

// Trusts the key of `certs` only; verifies every answer by itself.
function axiosPlugin(certs) {
  const { Wechatpay, Rsa, Aes, Formatter } = require('wechatpay-axios-plugin');
  const v3 = (whose) => new Wechatpay({
    mchid: whose.mchid, serial: whose.merchant_serial, privateKey: whose.merchant_private_key_pem, certs, baseURL: sandbox, headers: { Host: HOST },
  }).v3;
  const { transactions } = v3(credentials).pay;
  const { combineTransactions } = v3(credentials);
  const partner = v3(credentials.sp).pay.partner.transactions;
  const query = { params: { mchid } };
  const parties = { sp_mchid: credentials.sp.mchid, sub_mchid: credentials.sub[0].mchid };
  return {
    product: (name, more) => transactions[name].post({ appid, mchid, ...more }).then(({ data }) => data),
    partner: (name, more) => partner[name].post({ ...parties, ...more }).then(({ data }) => data),
    partnerQuery: (number) => partner.outTradeNo.$number$.get({ number, params: parties }).then(({ data }) => data),
    partnerClose: (number) => partner.outTradeNo.$number$.close.post(parties, { number }).then(({ status }) => status),
    combine: (name, more) => combineTransactions[name].post({ combine_appid: appid, combine_mchid: mchid, ...more }).then(({ data }) => data),
    combineQuery: (number) => combineTransactions.outTradeNo.$number$.get({ number }).then(({ data }) => data),
    combineClose: (number, sub_orders) => combineTransactions.outTradeNo.$number$.close
      .post({ combine_appid: appid, sub_orders }, { number }).then(({ status }) => status),
    order: (more) => transactions.jsapi.post({ appid, mchid, ...more }).then(({ data }) => data.prepay_id),
    query: (number) => transactions.outTradeNo.$number$.get({ number, ...query }).then(({ data }) => data),
    queryId: (id) => transactions.id.$id$.get({ id, ...query }).then(({ data }) => data),
    close: (number) => transactions.outTradeNo.$number$.close.post({ mchid }, { number }).then(({ status }) => status),
    async bill(bill_date) {
      const { bill, billdownload } = v3(credentials);
      const { data } = await bill.tradebill.get({ params: { bill_date, bill_type: 'ALL' } });
      const params = Object.fromEntries(new URL(data.download_url).searchParams);
      const file = await billdownload.file.get({ params, responseType: 'arraybuffer', transformResponse: [(bytes) => bytes] });
      return { ...data, file: Buffer.from(file.data).toString('base64') };
    },
    sign: (...lines) => Rsa.sign(Formatter.joinedByLineFeed(...lines), privateKey),
    read(headers, body) {
      const text = Formatter.response(headers['wechatpay-timestamp'], headers['wechatpay-nonce'], body);
      const key = certs[headers['wechatpay-serial']];
      if (!Rsa.verify(text, headers['wechatpay-signature'], key)) throw new Error('the signature does not fit');
      const { resource } = JSON.parse(body);
      return JSON.parse(Aes.AesGcm.decrypt(resource.ciphertext, credentials.apiv3_key, resource.nonce, resource.associated_data));
    },
  };
}

// Downloads the platform certificates when it meets their serial; verifies notifications only.
function nodeV3() {
  const Pay = require('wechatpay-node-v3');
  const { PayRequest } = require('wechatpay-node-v3/dist/lib/pay-request.js');
  const keys = { publicKey: Buffer.from(credentials.merchant_certificate_pem), privateKey: Buffer.from(privateKey) };
  const pay = new Pay({ appid, mchid, serial_no: serial, key: credentials.apiv3_key, userAgent: 'node', ...keys });
  const wire = new PayRequest();
  const here = (url) => url.replace(`https://${HOST}`, sandbox);
  pay.createHttp({
    get: (url, headers) => wire.get(here(url), { ...headers, Host: HOST }),
    post: (url, form, headers) => wire.post(here(url), form, { ...headers, Host: HOST }),
  });
  const data = (answer) => answer.data ?? Promise.reject(new Error(answer.error));
  return {
    order: (more) => pay.transactions_jsapi(more).then(data).then((sent) => sent.package.replace('prepay_id=', '')),
    query: (out_trade_no) => pay.query({ out_trade_no }).then(data),
    queryId: (transaction_id) => pay.query({ transaction_id }).then(data),
    close: (number) => pay.close(number).then(({ status }) => status),
    async bill(bill_date) {
      const applied = await pay.tradebill({ bill_date, bill_type: 'ALL' }).then(data);
      const file = await pay.downloadBill(applied.download_url).then(data);
      return { ...applied, file: Buffer.from(file).toString('base64') };
    },
    sign: (...lines) => pay.sign(`${lines.join('\n')}\n`),
    async read(headers, body) {
      const [timestamp, nonce, named, signature] = ['timestamp', 'nonce', 'serial', 'signature']
        .map((name) => headers[`wechatpay-${name}`]);
      const holds = await pay.verifySign({ timestamp, nonce, body, serial: named, signature });
      if (!holds) throw new Error('the signature does not fit');
      const { resource } = JSON.parse(body);
      return pay.decipher_gcm(resource.ciphertext, resource.associated_data, resource.nonce);
    },
  };
}

const [platform] = credentials.platform_certificates;
const sdk = {
  'wechatpay-axios-plugin public_key': () => axiosPlugin({ [credentials.public_key_id]: credentials.public_key_pem }),
  'wechatpay-axios-plugin certificate': () => axiosPlugin({ [platform.serial]: platform.certificate_pem }),
  'wechatpay-node-v3 certificate': nodeV3,
}[which]();

for await (const line of createInterface({ input: process.stdin })) {
  const [verb, ...values] = JSON.parse(line);
  const answer = await Promise.resolve()
    .then(() => sdk[verb](...values))
    .then((result) => ({ result }), (error) => ({ error: `${error.code || ''} ${error.message}` }));
  console.log(JSON.stringify(answer));
}
