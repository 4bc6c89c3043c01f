/** The policy for a message that is sent while an answer is being written: chosen once, and remembered. */

import { h, icon } from './dom.js';
import { openMenu } from './overlay.js';
import { userId } from './session.js';
import { t } from './texts.js';

const KEPT = 'unbroken.meanwhile';

// The first one is the default.
const POLICIES = [
  {
    name: 'enqueue',
    label: t('policy.wait'),
    note: t('policy.wait_note'),
    title: t('policy.wait_title'),
  },
  {
    name: 'interrupt',
    label: t('policy.interrupt'),
    note: t('policy.interrupt_note'),
    title: t('policy.interrupt_title'),
  },
  {
    name: 'replace',
    label: t('policy.replace'),
    note: t('policy.replace_note'),
    title: t('policy.replace_title'),
  },
  {
    name: 'reject',
    label: t('policy.reject'),
    note: t('policy.reject_note'),
    title: t('policy.reject_title'),
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
    openMenu(button, choices(), { label: t('policy.menu') });
  };
  const what = h('span', { class: 'sr-only' }, t('policy.name'));
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
