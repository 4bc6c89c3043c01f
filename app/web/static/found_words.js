/** Marks the words of a search in the message that it has found. The nodes of the message stay as they are. */

const NAME = 'found';

let watcher = null;

/** Mark the words in `node`, also in text that is still being drawn. An empty list removes the marks. */
export function markWords(node, words) {
  watcher?.disconnect();
  watcher = null;
  globalThis.CSS?.highlights?.delete(NAME);
  if (!globalThis.CSS?.highlights || words.length === 0) return;
  const pattern = new RegExp(words.map(escaped).join('|'), 'giu');
  const mark = () => CSS.highlights.set(NAME, new Highlight(...rangesOf(node, pattern)));
  mark();
  watcher = new MutationObserver(mark);
  watcher.observe(node, { childList: true, subtree: true });
}

function rangesOf(node, pattern) {
  const ranges = [];
  const texts = document.createTreeWalker(node, NodeFilter.SHOW_TEXT);
  for (let text = texts.nextNode(); text; text = texts.nextNode()) {
    for (const { index, 0: found } of text.data.matchAll(pattern)) {
      const range = new StaticRange({
        startContainer: text,
        startOffset: index,
        endContainer: text,
        endOffset: index + found.length,
      });
      ranges.push(range);
    }
  }
  return ranges;
}

const escaped = (word) => word.replace(/[.*+?^${}()|[\]\\/]/g, '\\$&');
