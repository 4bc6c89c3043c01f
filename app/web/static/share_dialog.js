/** The dialog that shares a conversation: what a link shows, the link, and its end. */

import { actionButton, date, fill } from './account_parts.js';
import { endShare, share, shareOf } from './conversations_api.js';
import { announce, copyButton, h } from './dom.js';
import { frame, show } from './overlay.js';

const CONTENT = [
  'Anyone with the link can read the conversation as it is now, without signing in.',
  'In it: the questions and answers of the branch that is shown, and the names of the models.',
  'Not in it: your name, files and images, reasoning, other branches, and messages that come later.',
  'You can end the link at any time. Copies that others have made until then stay.',
];

/** Show the dialog for a conversation, {id, title}. `branch`: the id of the last message that is shown, or null. */
export async function shareDialog({ id, title }, branch = null) {
  const body = h('div', { class: 'share' });
  const dialog = frame('Share this conversation', h('p', { class: 'about', dir: 'auto' }, title), contents(), body);
  const close = h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, 'Close');
  dialog.firstChild.append(h('div', { class: 'choices' }, close));
  const draw = (made, words) => {
    body.replaceChildren(...partsOf(made, actions));
    if (words) announce(words);
    body.querySelector('input, button')?.focus();
  };
  const actions = {
    make: async () => draw(await share(id, branch), 'The link is made'),
    end: async () => {
      await endShare(id);
      draw(null, 'The link has ended');
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
  if (!made) return [h('div', { class: 'share-actions' }, actionButton('Make a link', make, { class: 'primary' }))];
  const stop = actionButton('End the link', end, { class: 'quiet danger' });
  if (made.url) return [addressOf(made.url), h('div', { class: 'share-actions' }, opened(made.url), stop)];
  const since = `Shared on ${date(made.created_at)}, with ${made.messages} messages. The address of a link is shown only once.`;
  const again = actionButton('Make a new link in its place', make, { class: 'primary' });
  return [h('p', {}, since), h('div', { class: 'share-actions' }, again, stop)];
}

function addressOf(url) {
  const address = whole(url);
  const input = h('input', { type: 'text', readonly: true, value: address, 'aria-label': 'Link to this conversation' });
  // Backwards, so that the beginning of a long address is in view.
  input.addEventListener('focus', () => input.setSelectionRange(0, address.length, 'backward'));
  const once = h('small', {}, 'Copy it now: it is not shown again. A new link ends this one.');
  return h(
    'div',
    {},
    h(
      'div',
      { class: 'address' },
      input,
      copyButton('Copy link', () => address),
    ),
    once,
  );
}

const opened = (url) => h('a', { class: 'link', href: whole(url), target: '_blank', rel: 'noopener' }, 'Open it');
const whole = (url) => new URL(url, location.href).href;
