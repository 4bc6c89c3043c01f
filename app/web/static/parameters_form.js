/** A form with instructions for a model and the parameters of its answers, in the ranges that the server accepts. */

import { h } from './dom.js';
import { t } from './texts.js';

const EFFORTS = [
  ['', t('parameters.effort_usual')],
  ['low', t('parameters.effort_low')],
  ['medium', t('parameters.effort_medium')],
  ['high', t('parameters.effort_high')],
];
const TEMPERATURE = { name: 'temperature', min: 0, max: 2, step: 0.1 };
const TOP_P = { name: 'top_p', min: 0, max: 1, step: 0.05 };
const MAX_TOKENS = { name: 'max_tokens', min: 1, max: 10_000_000, step: 1 };
const NUMBERS = [
  [TEMPERATURE, t('parameters.temperature'), t('parameters.temperature_hint')],
  [TOP_P, t('parameters.top_p'), t('parameters.top_p_hint')],
  [MAX_TOKENS, t('parameters.max_tokens'), t('parameters.max_tokens_hint')],
];

/**
 * The form. `kept`: {system_prompt, parameters}. `hint` is under the instructions. Without `reasoning` there is a field
 * for it only where a value is kept. `first`: a field above the others, if there is one.
 */
export function parametersForm({ system_prompt: prompt, parameters }, { reasoning, hint, first = null }) {
  const effort = parameters.reasoning_effort ?? '';
  const efforts = EFFORTS.some(([value]) => value === effort) ? EFFORTS : [...EFFORTS, [effort, effort]];
  const text = { name: 'system_prompt', rows: '4', dir: 'auto', value: prompt ?? '', autofocus: !first };
  return h(
    'form',
    { class: 'chat-settings' },
    first,
    field(t('chat_settings.instructions'), hint, h('textarea', text)),
    NUMBERS.map(([number, label, about]) => field(label, about, numberBox(number, parameters[number.name]))),
    (reasoning || effort) &&
      field(t('parameters.effort'), t('parameters.effort_hint'), selectBox('reasoning_effort', efforts, effort)),
  );
}

/** The values of the form: {system_prompt, parameters}. */
export function parametersIn(form) {
  const given = new FormData(form);
  const parameters = {};
  for (const [{ name }] of NUMBERS) if (given.get(name)) parameters[name] = Number(given.get(name));
  if (given.get('reasoning_effort')) parameters.reasoning_effort = given.get('reasoning_effort');
  return { system_prompt: given.get('system_prompt').trim() || null, parameters };
}

/** A control with its name and a hint. */
export function field(label, hint, control) {
  return h('label', {}, h('span', {}, label), hint && h('small', {}, hint), control);
}

/** A select with `choices`, [[value, words]]. */
export function selectBox(name, choices, chosen, attributes = {}) {
  const option = ([value, words]) => h('option', { value, selected: value === chosen }, words);
  // An option without a value would have its words as value.
  const node = h('select', { name, ...attributes }, choices.map(option));
  for (const [n, [value]] of choices.entries()) node.options[n].value = value;
  return node;
}

function numberBox({ name, min, max, step }, value) {
  const range = { min: String(min), max: String(max), step: String(step) };
  return h('input', { type: 'number', name, ...range, placeholder: t('parameters.usual'), value: value ?? null });
}
