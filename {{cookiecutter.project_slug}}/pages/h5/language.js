// One language at a time: Chinese, until the buyer chooses the other one.
import { browser } from './memory.js';
import { WORDS } from './words.js';

const TAGS = { zh: 'zh-CN', en: 'en' };

export const language = () => (browser.read('language', 'zh') === 'en' ? 'en' : 'zh');
export const otherLanguage = () => (language() === 'en' ? 'zh' : 'en');
export const words = () => WORDS[language()];
export const otherWords = () => WORDS[otherLanguage()];
export const languageTag = () => TAGS[language()];

export function switchLanguage() {
  browser.keep('language', otherLanguage());
}

// "中文 / English" is a name in two languages; every other name is one.
export function inOurLanguage(name) {
  const [chinese, english] = name.split(' / ');
  return language() === 'en' && english ? english : chinese;
}

export function sentence({ code, field, retryAfter }) {
  const { errors } = words();
  const text = errors[`${code} ${field}`] || errors[code] || errors.OTHER;
  return text.replace('{seconds}', String(retryAfter || 5));
}
