/** The settings of a chat: instructions for the model, and parameters of its answers. */

import * as api from './api.js';
import { announce, h, iconButton } from './dom.js';
import { asText } from './explanations.js';
import { frame, show } from './overlay.js';

const EFFORTS = [
  ['', 'As the model usually does'],
  ['low', 'Short'],
  ['medium', 'Medium'],
  ['high', 'Long'],
];
// The ranges that the server accepts.
const NUMBERS = [
  { name: 'temperature', label: 'Temperature', hint: '0 is predictable, 2 is surprising', min: 0, max: 2, step: 0.1 },
  { name: 'top_p', label: 'Top p', hint: 'Choose among the likeliest words', min: 0, max: 1, step: 0.05 },
  { name: 'max_tokens', label: 'Most tokens', hint: 'Of one answer', min: 1, max: 10_000_000, step: 1 },
];

/** The button of a chat's settings. They belong to the conversation; before there is one, they go with the first message. */
export class ChatSettings {
  node = iconButton('sliders', 'Settings of this chat', () => this.#open(), { 'aria-haspopup': 'dialog' });
  #id = null;
  #kept = { system_prompt: null, parameters: {} };
  #accepts;

  /** `accepts()`: what the model of the chat can (models.js). */
  constructor(accepts) {
    this.#accepts = accepts;
  }

  /** The fields for the first message of a conversation. */
  get forNew() {
    const { system_prompt: prompt, parameters } = this.#kept;
    return { ...(prompt ? { system_prompt: prompt } : {}), ...(count(parameters) ? { parameters } : {}) };
  }

  /** The chat is the conversation `id`. Its settings are those of the server where they are given. */
  use(id, { system_prompt: prompt = this.#kept.system_prompt, parameters = this.#kept.parameters } = {}) {
    this.#id = id;
    this.#keep({ system_prompt: prompt, parameters: parameters ?? {} });
  }

  #keep(kept) {
    this.#kept = kept;
    const changed = Boolean(kept.system_prompt) || count(kept.parameters) > 0;
    this.node.classList.toggle('changed', changed);
    this.node.title = changed ? 'Settings of this chat (changed)' : 'Settings of this chat';
  }

  #open() {
    const problem = h('p', { class: 'problem', role: 'alert' });
    const form = fields(this.#kept, this.#accepts());
    const dialog = frame('Settings of this chat', form, problem);
    const save = async (event) => {
      event.preventDefault();
      const changed = read(form);
      try {
        if (this.#id) await api.change(this.#id, changed);
      } catch (refusal) {
        problem.textContent = refusal.explanation ? asText(refusal.explanation) : refusal.message;
        return;
      }
      this.#keep(changed);
      dialog.close('');
      announce('Saved. The next answer uses these settings.');
    };
    form.addEventListener('submit', save);
    form.append(
      h(
        'div',
        { class: 'choices' },
        h('button', { type: 'button', class: 'quiet', onclick: () => dialog.close('') }, 'Cancel'),
        h('button', { type: 'submit', class: 'primary' }, 'Save'),
      ),
    );
    show(dialog).then(() => this.node.focus({ focusVisible: false }));
  }
}

const count = (parameters) => Object.values(parameters).filter((value) => value !== null && value !== undefined).length;

function fields({ system_prompt: prompt, parameters }, { reasoning }) {
  const effort = parameters.reasoning_effort ?? '';
  const efforts = EFFORTS.some(([value]) => value === effort) ? EFFORTS : [...EFFORTS, [effort, effort]];
  const select = h(
    'select',
    { name: 'reasoning_effort' },
    efforts.map(([value, words]) => h('option', { value, selected: value === effort }, words)),
  );
  return h(
    'form',
    { class: 'chat-settings' },
    field('Instructions', 'What the model should keep in mind in this chat', instructions(prompt)),
    NUMBERS.map(({ label, hint, ...number }) => field(label, hint, numberBox(number, parameters[number.name]))),
    (reasoning || effort) && field('Reasoning', 'How long the model thinks before it answers', select),
  );
}

function instructions(prompt) {
  return h('textarea', { name: 'system_prompt', rows: '4', dir: 'auto', value: prompt ?? '', autofocus: true });
}

function numberBox({ name, min, max, step }, value) {
  const range = { min: String(min), max: String(max), step: String(step) };
  return h('input', { type: 'number', name, ...range, placeholder: 'Usual', value: value ?? null });
}

function field(label, hint, control) {
  return h('label', {}, h('span', {}, label), h('small', {}, hint), control);
}

function read(form) {
  const given = new FormData(form);
  const parameters = {};
  for (const { name } of NUMBERS) if (given.get(name)) parameters[name] = Number(given.get(name));
  if (given.get('reasoning_effort')) parameters.reasoning_effort = given.get('reasoning_effort');
  return { system_prompt: given.get('system_prompt').trim() || null, parameters };
}
