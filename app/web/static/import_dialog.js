/** The dialog that imports conversations: which files it takes, how far it is, and what came in. */

import { announce, h, icon } from './dom.js';
import { exportsIn, importAll } from './import_file.js';
import { frame, show } from './overlay.js';
import { parts, t } from './texts.js';

const WAYS = [
  [t('import.from_here'), t('import.from_here_what')],
  [t('import.from_chatgpt'), t('import.from_chatgpt_what')],
  [t('import.from_librechat'), t('import.from_librechat_what')],
];

/** Show the dialog. Resolves to the conversations that came in. */
export async function importDialog() {
  const body = h('div', {});
  const dialog = frame(t('account.import'), ways(), body);
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.close'));
  dialog.firstChild.append(h('div', { class: 'choices' }, close));
  let came = [];
  const take = async (file) => {
    if (!file) return;
    const bar = h('progress', { max: '1', 'aria-label': t('import.progress') });
    body.replaceChildren(h('div', { class: 'progress', role: 'status' }, t('import.importing', { name: file.name }), bar));
    try {
      const whole = await importAll(await exportsIn(file), (part) => (bar.value = part));
      came = [...came, ...whole.conversations];
      body.replaceChildren(summary(whole));
      announce(t('import.announced', { conversations: conversations(whole.conversations.length) }));
      if (came.length === 1 && whole.skipped.length === 0) dialog.close('');
      else close.focus();
    } catch (problem) {
      const { message, cameIn } = problem;
      if (cameIn) came = [...came, ...cameIn.conversations];
      const parts = [h('p', { class: 'problem', role: 'alert' }, message), cameIn && summary(cameIn), dropZone(take)];
      body.replaceChildren(...parts.filter(Boolean));
    }
  };
  body.append(dropZone(take));
  const done = show(dialog);
  body.querySelector('button').focus();
  await done;
  return came;
}

const ways = () =>
  h(
    'ul',
    { class: 'facts' },
    WAYS.map(([from, what]) => h('li', {}, h('strong', {}, from), `: ${what}`)),
  );

function dropZone(take) {
  const input = h('input', { type: 'file', accept: '.json,.zip,application/json,application/zip', hidden: true });
  input.addEventListener('change', () => take(input.files[0]));
  const choose = h('button', { type: 'button', class: 'primary', onclick: () => input.click() }, t('import.choose'));
  const zone = h('div', { class: 'drop' }, icon('upload'), choose, h('small', {}, t('import.drop')), input);
  const over = (on) => (event) => {
    event.preventDefault();
    zone.classList.toggle('over', on);
  };
  zone.addEventListener('dragover', over(true));
  zone.addEventListener('dragleave', over(false));
  zone.addEventListener('drop', (event) => {
    over(false)(event);
    take(event.dataTransfer.files[0]);
  });
  return zone;
}

function summary({ conversations: came, messages, skipped }) {
  const left = skipped.map(({ title, reason }) =>
    h('li', {}, h('strong', {}, title || t('import.untitled')), `: ${reason}`),
  );
  const what = { conversations: h('strong', {}, conversations(came.length)) };
  return h(
    'div',
    { class: 'came-in' },
    h('p', {}, messages ? parts('import.came_with', { ...what, count: messages }) : parts('import.came', what)),
    left.length > 0 &&
      h(
        'details',
        { open: came.length === 0 },
        h('summary', {}, t('import.left', { conversations: conversations(left.length) })),
        h('ul', {}, left),
      ),
  );
}

const conversations = (count) => t('import.conversations', { count });
