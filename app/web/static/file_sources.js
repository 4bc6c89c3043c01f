/** The ways by which files come to the page: the clipboard, a drag, the file dialog, and the camera of a phone. */

import { h, icon, iconButton } from './dom.js';
import { openMenu } from './overlay.js';
import { t } from './texts.js';

/** A pasted text with more characters becomes a file, so that the message stays readable. */
export const LONG_PASTE = 8000;

const touch = matchMedia('(hover: none) and (pointer: coarse)');

/**
 * The files of a paste or drop. A copied table or page has its text and a picture of it: then the text is meant. File
 * managers add the names of the copied files as text.
 */
export function filesIn(data) {
  const files = [...data.files];
  const text = data.getData('text/plain').trim();
  const isMeant = !text || files.some(({ name }) => text.split(/\r?\n/).some((line) => line.endsWith(name)));
  return isMeant ? files.map(named) : [];
}

/** A long text as a file. `number` tells several of them apart. */
export function textFile(text, number = 1) {
  return new File([text], `${t('attach.pasted_text')}${number > 1 ? ` ${number}` : ''}.txt`, { type: 'text/plain' });
}

// Each picture on the clipboard is called image.png.
function named(file) {
  if (!/^image\.\w+$/.test(file.name)) return file;
  const time = new Date().toTimeString().slice(0, 8).replaceAll(':', '.');
  return new File([file], `${t('attach.pasted_image')} ${time}.${file.name.split('.').pop()}`, { type: file.type });
}

/** The button that attaches files. With a touch screen it offers the camera, too. */
export function attachButton(onFiles) {
  const input = fileInput({ multiple: true, 'aria-label': t('attach.files') }, onFiles);
  const camera = fileInput({ accept: 'image/*', capture: 'environment', 'aria-label': t('attach.photo') }, onFiles);
  const choices = [
    { label: t('attach.photos_and_files'), icon: 'file', action: () => input.click() },
    { label: t('attach.camera'), icon: 'camera', action: () => camera.click() },
  ];
  const open = () => (touch.matches ? openMenu(button, choices, { label: t('attach.menu') }) : input.click());
  const button = iconButton('clip', t('attach.button'), open, { class: 'icon-button attach' });
  if (touch.matches) {
    button.setAttribute('aria-haspopup', 'menu');
    button.setAttribute('aria-expanded', 'false');
  }
  return h('span', { class: 'attach-files' }, button, input, camera);
}

function fileInput(attributes, onFiles) {
  const input = h('input', { type: 'file', hidden: true, tabindex: '-1', ...attributes });
  input.addEventListener('change', () => {
    const files = [...input.files];
    // The same file can be chosen again.
    input.value = '';
    onFiles(files);
  });
  return input;
}

/** Take the files that are dropped on `node`, and show there that they can be dropped. Ends with `signal`. */
export function dropZone(node, { onFiles, onProblem, signal }) {
  const sign = h(
    'div',
    { class: 'drop-sign', hidden: true, 'aria-hidden': 'true' },
    icon('clip'),
    t('attach.drop'),
  );
  node.append(sign);
  let inside = 0; // elements of the node that the drag is over; it enters one before it leaves the other
  const show = (there) => {
    inside = there;
    sign.hidden = there <= 0;
  };
  const on = (type, listener, target = node) =>
    target.addEventListener(type, (event) => event.dataTransfer?.types.includes('Files') && listener(event), {
      signal,
    });
  on('dragenter', () => show(inside + 1));
  on('dragleave', () => show(inside - 1));
  on('drop', ({ dataTransfer }) => {
    show(0);
    const items = [...dataTransfer.items].filter(({ kind }) => kind === 'file');
    const folders = items.filter((item) => item.webkitGetAsEntry?.()?.isDirectory);
    const files = items.filter((item) => !folders.includes(item)).map((item) => item.getAsFile());
    if (folders.length) onProblem(t('attach.folders'));
    if (files.length) onFiles(files);
  });
  // A file that misses the place would be opened by the browser, in place of this page.
  for (const type of ['dragover', 'drop']) on(type, (event) => event.preventDefault(), window);
}
