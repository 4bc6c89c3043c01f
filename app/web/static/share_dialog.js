/** The dialog that shares a conversation: what a link shows, the link, and its end. */

import { actionButton, date, fill } from './account_parts.js';
import { endShare, share, shareOf } from './conversations_api.js';
import { announce, copyButton, h } from './dom.js';
import { frame, show } from './overlay.js';
import { t } from './texts.js';

const CONTENT = [
  t('share.anyone'),
  t('share.in_it'),
  t('share.not_in_it'),
  t('share.until'),
];

/** Show the dialog for a conversation, {id, title}. `branch`: the id of the last message that is shown, or null. */
export async function shareDialog({ id, title }, branch = null) {
  const body = h('div', { class: 'share' });
  const dialog = frame(t('share.name'), h('p', { class: 'about', dir: 'auto' }, title), contents(), body);
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, t('common.close'));
  dialog.firstChild.append(h('div', { class: 'choices' }, close));
  const draw = (made, words) => {
    body.replaceChildren(...partsOf(made, actions));
    if (words) announce(words);
    body.querySelector('input, button')?.focus();
  };
  const actions = {
    make: async () => draw(await share(id, branch), t('share.made')),
    end: async () => {
      await endShare(id);
      draw(null, t('share.ended'));
    },
  };
  const done = show(dialog);
  close.focus();
  await fill(body, async () => partsOf(await shareOf(id), actions));
  if (dialog.open) body.querySelector('button')?.focus();
  return done;
}

const contents = () =>
  h(
    'ul',
    { class: 'facts' },
    CONTENT.map((words) => h('li', {}, words)),
  );

// The server knows the address of a link only while it makes it.
function partsOf(made, { make, end }) {
  if (!made) return [h('div', { class: 'share-actions' }, actionButton(t('share.make'), make, { class: 'primary' }))];
  const stop = actionButton(t('share.end'), end, { class: 'quiet danger' });
  if (made.url) return [addressOf(made.url), h('div', { class: 'share-actions' }, opened(made.url), stop)];
  const since = t('share.since', { date: date(made.created_at), count: made.messages });
  const again = actionButton(t('share.make_again'), make, { class: 'primary' });
  return [h('p', {}, since), h('div', { class: 'share-actions' }, again, stop)];
}

function addressOf(url) {
  const address = whole(url);
  const input = h('input', { type: 'text', readonly: true, value: address, 'aria-label': t('share.link') });
  // Backwards, so that the beginning of a long address is in view.
  input.addEventListener('focus', () => input.setSelectionRange(0, address.length, 'backward'));
  const once = h('small', {}, t('share.once'));
  return h(
    'div',
    {},
    h(
      'div',
      { class: 'address' },
      input,
      copyButton(t('share.copy'), () => address),
    ),
    once,
  );
}

const opened = (url) => h('a', { class: 'link', href: whole(url), target: '_blank', rel: 'noopener' }, t('share.open'));
const whole = (url) => new URL(url, location.href).href;
