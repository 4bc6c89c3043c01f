/** The page of one's own API keys: make one, see it once with ready commands, end it. */

import * as api from './account_api.js';
import { actionButton, date, fill, row, time } from './account_parts.js';
import { announce, copyButton, h } from './dom.js';
import { confirmDialog } from './overlay.js';

const DAY = 86_400_000;
const ENDS = [
  ['In 30 days', 30],
  ['In 90 days', 90],
  ['In a year', 365],
  ['Never', null],
];
// The roles whose users may give a key the scope admin.
const OPERATORS = ['admin', 'operator'];
const SCOPES = [
  ['generate', 'Send messages and change conversations'],
  ['read', 'Read conversations and answers'],
  ['admin', 'Routes of operators'],
];

/** The page. `account`: the reply of GET /me. */
export function keysPage({ role }) {
  const list = h('ul', { class: 'owned-list', 'aria-label': 'API keys' });
  const made = h('div', { class: 'made' });
  const reload = () => fill(list, () => rows(reload));
  const intro = h(
    'p',
    {},
    'A program uses a key in the place of a token: ',
    h('code', {}, 'Authorization: Bearer unb_…'),
  );
  reload();
  return h(
    'div',
    {},
    intro,
    made,
    newKey(OPERATORS.includes(role), (key) => {
      made.replaceChildren(...shownOnce(key));
      made.querySelector('button').focus();
      announce('The key is made. It is shown once.');
      reload();
    }),
    list,
  );
}

async function rows(reload) {
  const items = (await api.keys()).items.filter((key) => !key.ended_at);
  if (!items.length) return [h('li', { class: 'nothing' }, 'There is no key yet.')];
  return items.map((key) => {
    const end = async () => {
      const text = 'Programs that use it are refused from now on, and their streams end.';
      if (!(await confirmDialog({ title: `End the key “${key.name}”?`, text, action: 'End key' }))) return;
      await api.endKey(key.id);
      reload();
    };
    const facts = [
      key.hint,
      key.scopes.join(', '),
      `last used ${time(key.last_used_at, 'never')}`,
      `ends ${date(key.expires_at, 'never')}`,
    ];
    return row(key.name, facts, actionButton('End', end, { 'aria-label': `End the key ${key.name}` }));
  });
}

function newKey(isOperator, onMade) {
  const name = h('input', {
    id: 'key-name',
    required: true,
    maxlength: '100',
    autocomplete: 'off',
    placeholder: 'My program',
  });
  const ends = h(
    'select',
    { id: 'key-ends' },
    ENDS.map(([label], n) => h('option', { value: String(n) }, label)),
  );
  const scopes = SCOPES.filter(([scope]) => isOperator || scope !== 'admin').map(([scope, label]) => {
    const box = h('input', { type: 'checkbox', value: scope, checked: scope !== 'admin' });
    return h('label', { class: 'scope' }, box, label);
  });
  const problem = h('p', { class: 'problem', role: 'alert', hidden: true });
  const button = h('button', { type: 'submit', class: 'primary' }, 'Make a key');
  const submit = async (event) => {
    event.preventDefault();
    button.disabled = true;
    problem.hidden = true;
    const days = ENDS[Number(ends.value)][1];
    const body = {
      name: name.value.trim(),
      scopes: scopes
        .map((label) => label.firstChild)
        .filter((box) => box.checked)
        .map((box) => box.value),
    };
    if (days) body.expires_at = new Date(Date.now() + days * DAY).toISOString();
    try {
      const key = await api.makeKey(body);
      name.value = '';
      onMade(key);
    } catch (error) {
      problem.textContent = error.message;
      problem.hidden = false;
    } finally {
      button.disabled = false;
    }
  };
  return h(
    'form',
    { class: 'new-key', onsubmit: submit },
    h('div', { class: 'fields' }, field('Name', 'key-name', name), field('Ends', 'key-ends', ends)),
    h('fieldset', {}, h('legend', {}, 'It may'), scopes),
    problem,
    button,
  );
}

const field = (label, id, control) => h('div', {}, h('label', { for: id }, label), control);

// The text of the key is in this page only; it is gone when the dialog closes.
function shownOnce({ key, name }) {
  const address = location.origin;
  const curl = `curl ${address}/v1/chat/completions \\\n  -H "Authorization: Bearer ${key}" \\\n  -H "Content-Type: application/json" \\\n  -d '{"model": "offline", "messages": [{"role": "user", "content": "Hello"}]}'`;
  const python = `from openai import OpenAI\n\nclient = OpenAI(base_url="${address}/v1", api_key="${key}")\nprint(client.responses.create(model="offline", input="Hello").output_text)`;
  return [
    h('p', {}, h('strong', {}, `The key “${name}”`), ' is shown once. Keep it in a safe place.'),
    snippet('key', key),
    h('details', {}, h('summary', {}, 'Try it'), snippet('curl command', curl), snippet('Python program', python)),
  ];
}

const snippet = (what, text) =>
  h(
    'div',
    { class: 'command' },
    h('pre', { tabindex: '0', 'aria-label': what }, text),
    copyButton(`Copy the ${what}`, () => text),
  );
