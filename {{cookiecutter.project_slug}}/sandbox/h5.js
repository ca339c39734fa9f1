// The intermediate page: whatever the person decides, the browser goes back to the shop.
const main = document.querySelector('[data-test="sandbox-h5"]');

async function decide(outcome) {
  const link = new URL(location.href);
  link.searchParams.delete('redirect_url');
  const body = JSON.stringify({ h5_url: link.href, referer: document.referrer, outcome });
  const headers = { 'Content-Type': 'application/json' };
  const answer = await (await fetch('/_sandbox/h5', { method: 'POST', headers, body })).json();
  if (answer.err_desc && outcome === 'ok') main.querySelector('h2').textContent = answer.err_desc;
  else location.replace(main.dataset.back);
}

main?.addEventListener('click', (event) => {
  const { outcome } = event.target.dataset;
  if (!outcome) return;
  for (const button of main.querySelectorAll('button')) button.disabled = true;
  decide(outcome);
});
