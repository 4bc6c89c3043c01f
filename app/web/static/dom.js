/** Elements made without HTML: a text is never parsed. */

import { t } from './texts.js';

/**
 * h('a', {href, class, onclick, 'aria-label'}, ...children). Handlers start with "on"; `false` and `null` leave an
 * attribute or child out; children may be nodes, strings, or lists of them.
 */
export function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) set(node, name, value);
  node.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

function set(node, name, value) {
  if (value === null || value === undefined || value === false || value === '') return;
  if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
  else if (name === 'checked' || name === 'disabled' || name === 'hidden') node[name] = true;
  else if (name === 'value') node.value = value;
  else node.setAttribute(name, value === true ? '' : value);
}

/**
 * Make `nodes` the children of `parent`. A node that is moved loses focus, selection and a half-finished click, so a
 * node that stands right already is not touched.
 */
export function place(parent, nodes) {
  const wanted = new Set(nodes);
  for (const child of [...parent.childNodes]) if (!wanted.has(child)) child.remove();
  nodes.forEach((node, i) => {
    const child = parent.childNodes[i] ?? null;
    if (child !== node) parent.insertBefore(node, child);
  });
}

const SVG = 'http://www.w3.org/2000/svg';

// Paths on a 24 × 24 grid, drawn with a round line.
const PATHS = {
  wave: ['M2.5 12c2.4-6.4 5-6.4 7.2-1.6l2.6 5.2c2 4 5.8 3.4 9.2-3.6'],
  // The waiting sign: a faint line, and a bright piece that runs along it.
  flow: [
    'M2.5 12c2.4-6.4 5-6.4 7.2-1.6l2.6 5.2c2 4 5.8 3.4 9.2-3.6',
    'M2.5 12c2.4-6.4 5-6.4 7.2-1.6l2.6 5.2c2 4 5.8 3.4 9.2-3.6',
  ],
  plus: ['M12 5v14', 'M5 12h14'],
  send: ['M12 19V5', 'M6 11l6-6 6 6'],
  stop: ['M8 8h8v8H8z'],
  menu: ['M4 7h16', 'M4 12h16', 'M4 17h10'],
  panel: [
    'M5 5h14a1.5 1.5 0 0 1 1.5 1.5v11A1.5 1.5 0 0 1 19 19H5a1.5 1.5 0 0 1-1.5-1.5v-11A1.5 1.5 0 0 1 5 5z',
    'M9.5 5v14',
  ],
  more: ['M6 12h.01', 'M12 12h.01', 'M18 12h.01'],
  copy: [
    'M9 9h9.5A1.5 1.5 0 0 1 20 10.5V19a1.5 1.5 0 0 1-1.5 1.5H10A1.5 1.5 0 0 1 8.5 19V9.5',
    'M5.5 15.5A1.5 1.5 0 0 1 4 14V5a1.5 1.5 0 0 1 1.5-1.5H14A1.5 1.5 0 0 1 15.5 5',
  ],
  check: ['M5 12.5l4.5 4.5L19 7.5'],
  chevron: ['M8 10l4 4 4-4'],
  back: ['M14 8l-4 4 4 4'],
  next: ['M10 8l4 4-4 4'],
  down: ['M12 5v14', 'M6 13l6 6 6-6'],
  search: ['M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13z', 'M15.5 15.5L20 20'],
  pencil: ['M4.5 19.5l1-4L16 5a2 2 0 0 1 3 3L8.5 18.5z'],
  archive: ['M4 5h16v4H4z', 'M5.5 9v9A1.5 1.5 0 0 0 7 19.5h10a1.5 1.5 0 0 0 1.5-1.5V9', 'M10 13h4'],
  download: ['M12 4v11', 'M7 11l5 5 5-5', 'M5 20h14'],
  upload: ['M12 15V4', 'M7 8l5-5 5 5', 'M5 20h14'],
  pulse: ['M3 12.5h4l3-7.500 4.500 14 2.500-6.500h4'],
  chart: ['M5 19V11', 'M10 19V5', 'M15 19v-6', 'M20 19V8'],
  trash: ['M5 7h14', 'M9.5 7V4.5h5V7', 'M7 7l.8 12.5h8.400L17 7'],
  close: ['M6 6l12 12', 'M18 6L6 18'],
  refresh: ['M19.5 12a7.5 7.5 0 1 1-2.300-5.400', 'M19.5 4v4h-4'],
  alert: ['M12 8v5', 'M12 16.5h.01', 'M12 3.5l9 16H3z'],
  tool: ['M14 6.5a4 4 0 0 0-5.200 5.200L4 16.5 7.5 20l4.800-4.800A4 4 0 0 0 17.5 10l-2.5 2.5-3-3z'],
  keyboard: ['M4 7h16v10H4z', 'M7.5 10.5h.01', 'M11 10.5h.01', 'M14.5 10.5h.01', 'M8 14h8'],
  key: ['M14.500 9.500a4.500 4.500 0 1 0-4.500 4.500l0 0', 'M13 11l7.500 7.500', 'M17.500 15.500l-2 2'],
  out: ['M14 5H6.5A1.5 1.5 0 0 0 5 6.5v11A1.5 1.5 0 0 0 6.5 19H14', 'M11 12h9', 'M16.5 8.5L20 12l-3.5 3.5'],
  people: [
    'M9 11.5a3 3 0 1 0 0-6 3 3 0 0 0 0 6z',
    'M3.5 19c.4-3.300 2.600-5 5.500-5s5.100 1.700 5.500 5',
    'M15.500 5.800a3 3 0 0 1 0 5.400',
    'M17 14.300c2 .6 3.200 2.200 3.500 4.700',
  ],
  clip: [
    'M19 11.5l-7 7a4.6 4.6 0 0 1-6.500-6.500l7.300-7.300a3 3 0 0 1 4.300 4.300l-7.200 7.200a1.500 1.500 0 0 1-2.100-2.100l6.500-6.500',
  ],
  file: [
    'M7 3.500h6.500L18.500 8.500V19a1.500 1.500 0 0 1-1.500 1.500H7A1.500 1.500 0 0 1 5.500 19V5A1.500 1.500 0 0 1 7 3.500z',
    'M13 3.500V9h5.500',
  ],
  image: [
    'M5 5h14a1.500 1.500 0 0 1 1.500 1.500v11A1.500 1.500 0 0 1 19 19H5a1.500 1.500 0 0 1-1.500-1.500v-11A1.500 1.500 0 0 1 5 5z',
    'M3.500 16l5-5 4.500 4.500 2.500-2.500 5 5',
    'M15.500 9h.01',
  ],
  camera: [
    'M4.500 8h3.500l1.500-2.500h5L16 8h3.500A1.500 1.500 0 0 1 21 9.500V18a1.500 1.500 0 0 1-1.500 1.500h-15A1.500 1.500 0 0 1 3 18V9.500A1.500 1.500 0 0 1 4.500 8z',
    'M12 16.500a3.500 3.500 0 1 0 0-7 3.500 3.500 0 0 0 0 7z',
  ],
  text: ['M5 6h14', 'M5 11h14', 'M5 16h8'],
  bell: ['M6 16.500h12l-1.500-2.500v-4a4.500 4.500 0 0 0-9 0v4z', 'M10.200 19a2 2 0 0 0 3.600 0'],
  cut: ['M4 8h16', 'M4 12.5h9', 'M4 17h3', 'M11 17h.01', 'M15 17h.01', 'M19 17h.01'],
  sliders: ['M4 7h9', 'M17.500 7H20', 'M4 17h3', 'M11.500 17H20', 'M15 4.500v5', 'M9 14.500v5'],
  theme: ['M12 4a8 8 0 1 0 0 16z', 'M12 4a8 8 0 0 1 0 16'],
};

/** Add signs of another page, as lists of paths by name. */
export function addIcons(paths) {
  Object.assign(PATHS, paths);
}

/** A drawn sign. Screen readers skip it; the button around it has a name. */
export function icon(name) {
  const svg = document.createElementNS(SVG, 'svg');
  svg.setAttribute('viewBox', '0 0 24 24');
  svg.setAttribute('class', `icon icon-${name}`);
  svg.setAttribute('aria-hidden', 'true');
  for (const d of PATHS[name]) {
    const path = document.createElementNS(SVG, 'path');
    path.setAttribute('d', d);
    path.setAttribute('pathLength', '100');
    svg.append(path);
  }
  return svg;
}

/** A button with a sign. Its name is for screen readers and the tooltip. */
export function iconButton(name, label, onclick, attributes = {}) {
  return h(
    'button',
    { type: 'button', class: 'icon-button', 'aria-label': label, title: label, onclick, ...attributes },
    icon(name),
  );
}

/** Let screen readers announce a text. */
export function announce(text) {
  const region = document.getElementById('announcer');
  region.textContent = '';
  // A region that gets the text it already has is not announced, so it is emptied first.
  setTimeout(() => (region.textContent = text), 50);
}

/** Copy text to the clipboard; works over plain HTTP, too. */
export async function copyText(text) {
  if (navigator.clipboard && isSecureContext) return navigator.clipboard.writeText(text);
  const area = h('textarea', { class: 'sr-only', value: text, 'aria-hidden': 'true' });
  document.body.append(area);
  area.select();
  document.execCommand('copy');
  area.remove();
  return undefined;
}

/** A copy button that shows a check mark for a moment. */
export function copyButton(label, text) {
  const button = iconButton('copy', label, async () => {
    await copyText(text());
    button.replaceChildren(icon('check'));
    button.classList.add('done');
    announce(t('common.copied'));
    setTimeout(() => {
      button.replaceChildren(icon('copy'));
      button.classList.remove('done');
    }, 1600);
  });
  return button;
}
