// Yours: where the shop is. SANDBOX plays login and cashier while you develop; a release has '' there.
module.exports = { API: 'http://127.0.0.1:8000', SANDBOX: 'http://127.0.0.1:9000' };
