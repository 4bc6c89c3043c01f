/** The page of one's own API keys: make one, see it once with ready commands, end it. */

import * as api from './account_api.js';
import { actionButton, date, fill, row, time } from './account_parts.js';
import { announce, copyButton, h } from './dom.js';
import { confirmDialog } from './overlay.js';
import { parts, t } from './texts.js';

const DAY = 86_400_000;
const ENDS = [
  [t('keys.days_30'), 30],
  [t('keys.days_90'), 90],
  [t('keys.days_365'), 365],
  [t('keys.never'), null],
];
// The roles whose users may give a key the scope admin.
const OPERATORS = ['admin', 'operator'];
const SCOPES = [
  ['generate', t('keys.scope_generate')],
  ['read', t('keys.scope_read')],
  ['admin', t('keys.scope_admin')],
];

/** The page. `account`: the reply of GET /me. */
export function keysPage({ role }) {
  const list = h('ul', { class: 'owned-list', 'aria-label': t('keys.name') });
  const made = h('div', { class: 'made' });
  const reload = () => fill(list, () => rows(reload));
  const header = h('code', { dir: 'ltr' }, 'Authorization: Bearer unb_…');
  const intro = h('p', {}, parts('keys.about', { header }));
  reload();
  return h(
    'div',
    {},
    intro,
    made,
    newKey(OPERATORS.includes(role), (key) => {
      made.replaceChildren(...shownOnce(key));
      made.querySelector('button').focus();
      announce(t('keys.made'));
      reload();
    }),
    list,
  );
}

async function rows(reload) {
  const items = (await api.keys()).items.filter((key) => !key.ended_at);
  if (!items.length) return [h('li', { class: 'nothing' }, t('keys.none'))];
  return items.map((key) => {
    const end = async () => {
      const text = t('keys.end_about');
      if (!(await confirmDialog({ title: t('keys.end_title', { name: key.name }), text, action: t('keys.end_action') }))) return;
      await api.endKey(key.id);
      reload();
    };
    const facts = [
      key.hint,
      key.scopes.join(', '),
      t('keys.last_used', { time: time(key.last_used_at, t('keys.never_used')) }),
      t('keys.ends_at', { date: date(key.expires_at, t('keys.never_ends')) }),
    ];
    return row(key.name, facts, actionButton(t('common.end'), end, { 'aria-label': t('keys.end', { name: key.name }) }));
  });
}

function newKey(isOperator, onMade) {
  const name = h('input', {
    id: 'key-name',
    required: true,
    maxlength: '100',
    autocomplete: 'off',
    placeholder: t('keys.placeholder'),
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
  const button = h('button', { type: 'submit', class: 'primary' }, t('keys.make'));
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
    h('div', { class: 'fields' }, field(t('keys.label'), 'key-name', name), field(t('keys.ends'), 'key-ends', ends)),
    h('fieldset', {}, h('legend', {}, t('keys.scopes')), scopes),
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
    h('p', {}, parts('keys.shown_once', { key: h('strong', {}, t('keys.named', { name })) })),
    snippet(t('keys.text'), t('keys.copy_text'), key),
    h(
      'details',
      {},
      h('summary', {}, t('keys.try')),
      snippet(t('keys.curl'), t('keys.copy_curl'), curl),
      snippet(t('keys.python'), t('keys.copy_python'), python),
    ),
  ];
}

const snippet = (what, copy, text) =>
  h(
    'div',
    { class: 'command' },
    h('pre', { dir: 'ltr', tabindex: '0', 'aria-label': what }, text),
    copyButton(copy, () => text),
  );
