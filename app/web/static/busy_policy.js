/** The policy for a message that is sent while an answer is being written: chosen once, and remembered. */

import { h, icon } from './dom.js';
import { openMenu } from './overlay.js';
import { userId } from './session.js';

const KEPT = 'unbroken.meanwhile';

// The first one is the default.
const POLICIES = [
  {
    name: 'enqueue',
    label: 'Send after this answer',
    note: 'Your message waits for its turn',
    title: 'Send when the answer is finished (Enter)',
  },
  {
    name: 'interrupt',
    label: 'Interrupt this answer',
    note: 'The answer stops and its text is kept; your message comes next',
    title: 'Stop the answer and send (Enter)',
  },
  {
    name: 'replace',
    label: 'Replace this question',
    note: 'The answer stops, and your message replaces your last one; both are kept',
    title: 'Stop the answer and send instead of the last message (Enter)',
  },
  {
    name: 'reject',
    label: 'Do not send yet',
    note: 'Your message stays in the box until the answer is finished',
    title: 'You can send when the answer is finished',
  },
];

/** The chosen policy: {name, label, note, title}. */
export function chosen() {
  const kept = userId() ? localStorage.getItem(KEPT) : null;
  return POLICIES.find(({ name }) => name === kept) ?? POLICIES[0];
}

/** A button that shows the policy and opens the list; `onPick` is called after a choice. */
export function busyPolicyPicker(onPick) {
  const label = h('span', {}, chosen().label);
  const attributes = { type: 'button', class: 'model', 'aria-haspopup': 'menu', 'aria-expanded': 'false' };
  const pick = (policy) => {
    keep(policy.name);
    label.textContent = policy.label;
    onPick();
  };
  const choices = () =>
    POLICIES.map((policy) => ({ ...policy, checked: policy === chosen(), action: () => pick(policy) }));
  const open = () => {
    // The choice may have changed in another tab.
    label.textContent = chosen().label;
    openMenu(button, choices(), { label: 'While an answer is being written' });
  };
  const what = h('span', { class: 'sr-only' }, 'While an answer is being written: ');
  const button = h('button', { ...attributes, onclick: open }, what, label, icon('chevron'));
  return button;
}

function keep(name) {
  if (!userId()) return;
  try {
    localStorage.setItem(KEPT, name);
  } catch {
    // Storage is full or forbidden: the default stays.
  }
}
