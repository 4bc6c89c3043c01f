/**
 * The page of a shared conversation. The answers are on it as they are written; here they are drawn as Markdown, one after
 * the other, so that a long conversation does not hold up the page.
 */

import { MarkdownView } from './markdown.js';

const nextTask = () => new Promise((done) => setTimeout(done));

for (const node of document.querySelectorAll('.answer > .plain')) {
  const text = node.textContent;
  node.replaceChildren();
  node.classList.remove('plain');
  node.removeAttribute('dir');
  new MarkdownView(node).show(text);
  await nextTask();
}
document.body.dataset.drawn = '';
