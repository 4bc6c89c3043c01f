/** The actions of administrators on a generation: cancel, fail, requeue. */

import { announce, h } from '../dom.js';
import * as api from './ops_api.js';
import { shortId } from './format.js';
import { askReason } from './reason.js';

const ACTIONS = {
  cancel: {
    label: 'Cancel…',
    title: 'Cancel this generation?',
    text: 'It ends as if its user had stopped it. The text so far is kept.',
    action: 'Cancel the generation',
    done: 'The cancel is stored.',
    when: ['queued', 'running'],
  },
  fail: {
    label: 'Fail…',
    title: 'End this generation as an error?',
    text: 'Its user sees that an operator ended the answer. The text so far is kept.',
    action: 'End it as an error',
    danger: true,
    done: 'The generation has ended as an error.',
    when: ['queued', 'running'],
  },
  requeue: {
    label: 'Requeue…',
    title: 'Answer this again?',
    text: 'A new generation starts for the same message, on a branch of its own.',
    action: 'Start a new answer',
    done: 'A new answer is queued.',
    when: ['error'],
  },
};

/** The buttons of the actions that are possible. `onDone(generation)` is called with the reply. */
export function generationActions(item, onDone) {
  return Object.entries(ACTIONS)
    .filter(([, { when }]) => when.includes(item.status))
    .map(([name, { label, danger }]) =>
      h(
        'button',
        {
          type: 'button',
          class: danger ? 'outlined danger' : 'outlined',
          'aria-label': `${label} generation ${shortId(item.id)}`,
          onclick: () => run(name, item, onDone),
        },
        label,
      ),
    );
}

async function run(name, item, onDone) {
  const { title, text, action, danger, done } = ACTIONS[name];
  const made = await askReason({
    title,
    text,
    action,
    danger,
    act: (reason) => api.actOnGeneration(item.id, name, reason),
  });
  if (!made) return;
  announce(done);
  onDone(made);
}
