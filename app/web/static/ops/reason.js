/** A dialog before each action: it asks for a reason, which the audit keeps, and stays open when the action fails. */

import { h } from '../dom.js';
import { frame, show } from '../overlay.js';

const LONGEST = 500; // characters

/**
 * `act(reason, choice)` runs the action. `choices`: {label, options: [{value, label, note}]} adds a choice of one. `extra`:
 * nodes under the text. Resolves to the result of `act`, or to undefined when the dialog was left.
 */
export async function askReason({ title, text, action, danger = false, choices = null, act }) {
  let result;
  const input = h('textarea', { rows: '3', maxlength: String(LONGEST), required: true, id: 'reason', autofocus: true });
  const problem = h('p', { class: 'problem', role: 'alert' });
  const picked = choices ? radios(choices) : null;
  const run = h('button', { type: 'submit', class: danger ? 'danger' : 'primary' }, action);
  const submit = async (event) => {
    event.preventDefault();
    const reason = input.value.trim();
    if (!reason) return tell(problem, input, 'A reason is needed: the audit keeps it.');
    run.disabled = true;
    problem.textContent = '';
    try {
      result = await act(reason, picked?.value());
      dialog.close('done');
    } catch (error) {
      tell(problem, input, refusal(error));
      run.disabled = false;
    }
  };
  const form = h(
    'form',
    { onsubmit: submit, novalidate: true, class: 'reason' },
    h('p', {}, text),
    picked?.node,
    h('label', { for: 'reason' }, 'Reason, for the audit'),
    input,
    problem,
    h(
      'div',
      { class: 'choices' },
      h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, 'Back'),
      run,
    ),
  );
  const dialog = frame(title, form);
  await show(dialog);
  return result;
}

function tell(problem, input, text) {
  problem.textContent = text;
  input.focus();
}

function refusal(error) {
  if (error.status === 403) return `The server refuses this: ${error.message}`;
  return error.message;
}

function radios({ label, options }) {
  const inputs = options.map(({ value }, n) =>
    h('input', { type: 'radio', name: 'choice', id: `choice-${value}`, value, checked: n === 0 }),
  );
  const rows = options.map(({ value, label: name, note }, n) =>
    h('div', { class: 'radio' }, inputs[n], h('label', { for: `choice-${value}` }, name, h('small', {}, note))),
  );
  return {
    node: h('fieldset', {}, h('legend', {}, label), rows),
    value: () => inputs.find(({ checked }) => checked).value,
  };
}
