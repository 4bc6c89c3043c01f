/** The texts of a generation. They are read only after a button and with a reason, and the server records each look. */

import { announce, h, icon } from '../dom.js';
import * as api from './ops_api.js';
import { panel } from './parts.js';
import { askReason } from './reason.js';

const NOT_ALLOWED =
  'Your role may not read texts of conversations. Only the role “support” may, and no other one includes it.';
const RECORDED =
  'The text belongs to its user. Each look at it is recorded with its reason, and the user can see the record.';

/** The panel with the button; `mayRead`: without the right to read, it explains who has it. */
export function textPanel(id, mayRead) {
  const body = h('div', { class: 'texts' });
  const begin = () => {
    const button = h(
      'button',
      { type: 'button', class: 'outlined', onclick: () => read(id, body, begin) },
      icon('scroll'),
      'Show the text…',
    );
    body.replaceChildren(h('p', { class: 'hush' }, RECORDED), button);
  };
  if (mayRead) begin();
  else body.append(h('p', { class: 'hush' }, NOT_ALLOWED));
  return panel('Text', body);
}

async function read(id, body, begin) {
  const found = await askReason({
    title: 'Read the text of this generation?',
    text: 'The audit records that you have read it, and why. Its user can see the record.',
    action: 'Show the text',
    act: (reason) => api.generationText(id, reason).catch(explain),
  });
  if (!found) return;
  const hide = h('button', { type: 'button', class: 'outlined', onclick: begin }, 'Hide the text');
  body.replaceChildren(
    ...[
      ['Message', found.prompt],
      ['Reasoning', found.reasoning],
      ['Answer', found.content],
    ]
      .filter(([, text]) => text)
      .flatMap(([name, text]) => [h('h3', {}, name), h('pre', { tabindex: '0', 'aria-label': name }, text)]),
    hide,
  );
  announce('The text is shown.');
  hide.focus({ preventScroll: true, focusVisible: false });
}

function explain(problem) {
  if (problem.status === 403) problem.message = NOT_ALLOWED;
  throw problem;
}
