// One language at a time: Chinese, until the buyer chooses the other one.
const { WORDS } = require('./words.js');

const language = () => (wx.getStorageSync('language') === 'en' ? 'en' : 'zh');
const otherLanguage = () => (language() === 'en' ? 'zh' : 'en');
const words = () => WORDS[language()];
const otherWords = () => WORDS[otherLanguage()];

function switchLanguage() {
  wx.setStorageSync('language', otherLanguage());
}

// "中文 / English" is a name in two languages; every other name is one.
function inOurLanguage(name) {
  const [chinese, english] = name.split(' / ');
  return language() === 'en' && english ? english : chinese;
}

function sentence({ code, field, retryAfter }) {
  const { errors } = words();
  const text = errors[`${code} ${field}`] || errors[code] || errors.OTHER;
  return text.replace('{seconds}', String(retryAfter || 5));
}

module.exports = { inOurLanguage, otherWords, sentence, switchLanguage, words };
