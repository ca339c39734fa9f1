const { SANDBOX } = require('./config.js');

if (SANDBOX) require('./sandbox.js').play(SANDBOX);

App({});
