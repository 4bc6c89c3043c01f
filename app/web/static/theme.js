// Runs before the first paint, as a plain script: a dark room must not see a white flash.
(() => {
  const chosen = localStorage.getItem('unbroken.theme');
  if (chosen === 'light' || chosen === 'dark') document.documentElement.dataset.theme = chosen;
})();
