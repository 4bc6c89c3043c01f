/** The tool calls of an answer: a line for each, which opens to show arguments and result. */

import { h, icon } from './dom.js';
import { t } from './texts.js';

const STATES = {
  started: t('tools.running'),
  finished: t('tools.done'),
  failed: t('tools.failed'),
  left: t('tools.no_result'),
};
const SIGNS = { started: 'flow', failed: 'alert' };
const GLIMPSE = 60; // characters of the arguments that the line shows

/** Rows keep their place, and stay open, while their calls change. */
export class ToolList {
  node = h('div', { class: 'tools' });

  #rows = new Map(); // call id → row

  /**
   * Show these calls ({call_id, tool, state, arguments, result}) and no others. When the answer is not `live` any more,
   * a call that has begun is shown without a result.
   */
  show(calls, live) {
    for (const [id, row] of this.#rows) if (!calls.has(id)) this.#forget(id, row);
    for (const [id, call] of calls) this.#row(id).show(call, live);
  }

  #row(id) {
    if (!this.#rows.has(id)) {
      const row = new Row();
      this.#rows.set(id, row);
      this.node.append(row.node);
    }
    return this.#rows.get(id);
  }

  #forget(id, row) {
    this.#rows.delete(id);
    row.node.remove();
  }
}

class Row {
  #name = h('code', {});
  #glimpse = h('span', { class: 'glimpse', dir: 'auto' });
  #state = h('span', { class: 'state' });
  #sign = h('span', { class: 'sign' });
  #details = h('div', {});
  #shown = null;

  constructor() {
    const line = h('summary', {}, this.#sign, this.#name, this.#glimpse, this.#state, icon('chevron'));
    this.node = h('details', { class: 'tool' }, line, this.#details);
  }

  show(call, live) {
    const { tool, arguments: given, result } = call;
    const state = call.state === 'started' && !live ? 'left' : call.state;
    if (call === this.#shown && state === this.#state.dataset.state) return;
    this.#shown = call;
    this.#state.dataset.state = state;
    this.node.className = `tool ${state}`;
    this.#sign.replaceChildren(icon(SIGNS[state] ?? 'tool'));
    this.#name.textContent = tool;
    this.#glimpse.textContent = glimpse(given);
    this.#state.textContent = STATES[state] ?? state;
    this.#details.replaceChildren(
      ...block(t('tools.arguments'), given),
      ...block(state === 'failed' ? t('tools.failure') : t('tools.result'), result),
    );
  }
}

function block(label, value) {
  if (value === null || value === undefined || value === '') return [];
  const text = h('pre', { tabindex: '0', role: 'region', 'aria-label': label }, pretty(value));
  return [h('p', { class: 'label' }, label), text];
}

// Arguments arrive in pieces. Incomplete JSON is shown as it is.
function parsed(value) {
  try {
    return typeof value === 'string' ? JSON.parse(value) : value;
  } catch {
    return value;
  }
}

function pretty(value) {
  const known = parsed(value);
  return typeof known === 'string' ? known : JSON.stringify(known, null, 2);
}

// `place: Bergen, days: 3`
function glimpse(value) {
  const known = parsed(value);
  if (!known || typeof known !== 'object') return '';
  const plain = (each) => (typeof each === 'object' ? JSON.stringify(each) : String(each));
  const words = Object.entries(known)
    .map(([name, each]) => `${name}: ${plain(each)}`)
    .join(', ');
  return words.length > GLIMPSE ? `${words.slice(0, GLIMPSE)}…` : words;
}
