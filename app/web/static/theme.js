// A plain script that runs before the first paint, so that a dark page does not begin with a white flash.
(() => {
  const chosen = localStorage.getItem('unbroken.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
