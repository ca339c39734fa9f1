// Money is whole fen; no number with a fraction is ever made of it.
function yuan(fen) {
  const digits = String(fen).padStart(3, '0');
  return `¥${digits.slice(0, -2)}.${digits.slice(-2)}`;
}

// The fen of a text such as "12.34", or null when it is no such amount.
function fenOf(text) {
  const parts = text.match(/^([0-9]{1,6})(?:[.]([0-9]{1,2}))?$/);
  if (!parts) return null;
  const [, whole, cents = ''] = parts;
  return Number(whole) * 100 + Number(cents.padEnd(2, '0'));
}

module.exports = { fenOf, yuan };
