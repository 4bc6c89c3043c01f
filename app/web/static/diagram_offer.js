/**
 * Code blocks of the language `mermaid`. A finished block that comes onto the screen has the module that draws loaded;
 * the page says in a `meta` element whether this deployment has the library.
 */

const NEAR = '300px'; // a block this far outside of the screen is drawn already

const sources = new WeakMap(); // the figure of a block → its source
let sight = null;

/** Have the finished block of `figure` drawn when it is on the screen. Blocks of other languages stay as they are. */
export function offerDiagram(figure, { language, text }) {
  if (language.toLowerCase() !== 'mermaid' || sources.get(figure) === text || !isOffered()) return;
  sources.set(figure, text);
  sight ??= new IntersectionObserver(seen, { rootMargin: NEAR });
  sight.observe(figure);
}

function isOffered() {
  return document.querySelector('meta[name="diagrams"]')?.content === 'drawn';
}

async function seen(entries) {
  const figures = entries.filter((entry) => entry.isIntersecting).map((entry) => entry.target);
  for (const figure of figures) sight.unobserve(figure);
  if (figures.length === 0) return;
  try {
    const { showDiagram } = await import('./diagram.js');
    for (const figure of figures) showDiagram(figure, sources.get(figure));
  } catch {
    // The module could not be loaded: the block stays code.
  }
}
