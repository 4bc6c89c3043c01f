/** The nodes of a text within a block, from the tree of inline.js. */

import { dataPicture } from './data_picture.js';
import { h } from './dom.js';
import { noteMark } from './footnotes.js';
import { formulaNode } from './formula_view.js';
import { t } from './texts.js';

/** The nodes of a tree. */
export function renderInline(tree) {
  return tree.map((node) => (typeof node === 'string' ? document.createTextNode(node) : INLINE[node.type](node)));
}

/** Make `parent`, which shows the tree `old`, show `next`. Nodes that are alike at the beginning are not touched. */
export function patchInline(parent, old, next) {
  const nodes = parent.childNodes;
  if (nodes.length !== old.length) {
    parent.replaceChildren(...renderInline(next));
    return;
  }
  let alike = 0;
  while (alike < old.length && alike < next.length && isSame(old[alike], next[alike])) alike += 1;
  if (typeof old[alike] === 'string' && typeof next[alike] === 'string') {
    nodes[alike].data = next[alike];
    alike += 1;
  }
  while (nodes.length > alike) parent.lastChild.remove();
  parent.append(...renderInline(next.slice(alike)));
}

// Compared without a copy: the data of a picture have millions of characters.
function isSame(one, other) {
  if (one === other) return true;
  if (typeof one !== 'object' || typeof other !== 'object' || !one || !other) return false;
  const names = Object.keys(one);
  return names.length === Object.keys(other).length && names.every((name) => isSame(one[name], other[name]));
}

const INLINE = {
  break: () => h('br'),
  code: ({ text }) => h('code', { dir: 'ltr' }, text),
  formula: ({ text, open }) => formulaNode('span', text, { open }),
  note: ({ label }) => noteMark(label),
  tag: ({ name, children }) => h(name, {}, renderInline(children)),
  em: ({ children }) => h('em', {}, renderInline(children)),
  strong: ({ children }) => h('strong', {}, renderInline(children)),
  del: ({ children }) => h('del', {}, renderInline(children)),
  span: ({ children }) => h('span', {}, renderInline(children)),
  picture({ href, children }) {
    const words = h('span', {}, renderInline(children));
    return dataPicture(href, words.textContent) ?? words;
  },
  link: ({ href, children, image }) =>
    h(
      'a',
      { href, target: '_blank', rel: 'noopener noreferrer nofollow', title: image ? t('markdown.image', { href }) : href },
      renderInline(children),
    ),
};
