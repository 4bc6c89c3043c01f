// A plain script that runs before the first paint, so that a dark page does not begin with a white flash.
(() => {
  const chosen = localStorage.getItem('unbroken.theme');
  if (chosen !== 'light' && chosen !== 'dark') return;
  document.documentElement.dataset.theme = chosen;
  // The frame of an installed page has the colour of the chosen theme, too.
  const paper = document.querySelector(`meta[name="theme-color"][media*="${chosen}"]`)?.content;
  for (const meta of document.querySelectorAll('meta[name="theme-color"]')) meta.content = paper;
})();
