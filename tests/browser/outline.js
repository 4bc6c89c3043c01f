/** The structure of drawn Markdown in plain lines: a block each, indented, with what stands in it. */
(root) => {
  const BLOCKS =
    'p, h3, h4, h5, h6, ul, ol, li, blockquote, table, thead, tbody, tr, th, td, details, summary, figure, section, hr, div';
  const PLAIN = 'thead, tbody, div';
  const lines = [];
  const isBlock = (node) => node.nodeType === 1 && node.matches(BLOCKS);
  const source = (node) => node.dataset.source ?? node.textContent;
  const about = (node) => {
    const words = [node.localName];
    if (/^h\d$/.test(node.localName)) words[0] = `h${node.className.slice(-1)}`;
    if (node.matches('ul, ol')) words.push(node.className, node.start > 1 ? `from ${node.start}` : '');
    if (node.matches('th, td')) words.push(node.className);
    if (node.matches('li.task')) words.push(node.firstChild.checked ? 'done' : 'to do');
    if (node.matches('details')) words.push(node.open ? 'open' : '');
    if (getComputedStyle(node).direction === 'rtl') words.push('rtl');
    return words.filter(Boolean).join(' ');
  };
  const inline = (node) => {
    if (node.nodeType === 3) return node.data.replaceAll('\n', '⏎');
    if (node.nodeType !== 1 || node.hidden || node.localName === 'input') return '';
    if (node.matches('br')) return '<br>';
    if (node.matches('.formula')) {
      const name = node.matches('.display') ? 'formula display' : 'formula';
      return `<${name}>${source(node).replaceAll('\n', '⏎')}</>`;
    }
    const inner = [...node.childNodes].map(inline).join('');
    if (node.matches('button')) return inner;
    if (node.matches('a')) return `<a ${node.getAttribute('href')}>${inner}</a>`;
    return `<${node.localName}>${inner}</${node.localName}>`;
  };
  const walk = (node, depth) => {
    const indent = '  '.repeat(depth);
    if (node.matches('figure')) {
      lines.push(`${indent}code ${node.querySelector('figcaption span').textContent}`);
      for (const line of node.querySelectorAll('.line'))
        lines.push(`${indent}  |${line.textContent.replace(/\n$/, '')}`);
      return;
    }
    if (node.matches('p.formula')) {
      lines.push(`${indent}formula ${source(node).replaceAll('\n', '⏎')}`);
      return;
    }
    const plain = node.matches(PLAIN);
    let words = '';
    const at = lines.length;
    if (!plain) lines.push('');
    for (const child of node.childNodes) {
      if (isBlock(child)) walk(child, plain ? depth : depth + 1);
      else words += inline(child);
    }
    if (!plain) lines[at] = `${indent}${about(node)}${words ? ` ${words}` : ''}`;
  };
  for (const child of root.children) walk(child, 0);
  return lines.join('\n') + '\n';
};
