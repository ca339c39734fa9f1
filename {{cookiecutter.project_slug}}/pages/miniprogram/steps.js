// Where the buyer of an order stands, kept on the phone: nobody who says that they have paid is
// offered to pay again, also when the mini program was closed meanwhile.
const KEPT = { confirming: 'confirming', late: 'confirming', opening: 'returned', returned: 'returned' };

function stepOf(number) {
  return (wx.getStorageSync('steps') || {})[number] || '';
}

function keepStep(number, step) {
  const steps = wx.getStorageSync('steps') || {};
  delete steps[number];
  if (KEPT[step]) steps[number] = KEPT[step];
  const latest = Object.keys(steps).slice(-20);
  wx.setStorageSync('steps', Object.fromEntries(latest.map((key) => [key, steps[key]])));
}

module.exports = { keepStep, stepOf };
