/** What a thread consists of: what was asked, and the answer as it grows. */

import { copyButton, h, icon, iconButton } from './dom.js';
import { MarkdownView } from './markdown.js';
import { Pace } from './pace.js';
import { Reasoning } from './reasoning.js';
import { Transcript } from './stream.js';
import { ToolList } from './tools.js';

const CATCHING_UP = 1500; // milliseconds
const AT_ONCE = 500; // characters of an old answer that are drawn as soon as it is there
const STEP = 6_000; // characters that are drawn at once: more would hold up the page
const LIVE = new Set(['queued', 'running']);
const time = new Intl.DateTimeFormat(undefined, { hour: '2-digit', minute: '2-digit' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'medium', timeStyle: 'short' });

const NOTICES = {
  takeover: 'The process writing this answer went away. Another one has taken over, from exactly here.',
  continue: 'This answer was interrupted and carries on from where it was.',
  restart: 'This answer was interrupted and had to start again from the beginning.',
};

/** ‹ 2 of 3 ›: the siblings of a message. */
class Variants {
  node = h('span', { class: 'variants', hidden: true });

  show({ index, count }, onTurn) {
    this.node.hidden = count < 2;
    if (count < 2) return;
    const button = (name, label, step, there) => iconButton(name, label, () => onTurn(step), { disabled: !there });
    this.node.replaceChildren(
      button('back', 'Previous version', -1, index > 0),
      h('span', {}, `${index + 1} of ${count}`),
      button('next', 'Next version', 1, index < count - 1),
    );
  }
}

/** A message of the user: plain text, as typed. */
export class Question {
  id = null;

  #bubble;
  #footer;
  #variants = new Variants();
  #onEdit;

  constructor(
    { message_id: id = null, client_msg_id: clientId = null, content, created_at: at = null },
    { onEdit = null } = {},
  ) {
    this.id = id;
    this.clientId = clientId;
    this.text = content;
    this.#onEdit = onEdit;
    this.#bubble = h('div', { class: 'bubble', dir: 'auto' }, content);
    this.#footer = h(
      'footer',
      {},
      copyButton('Copy message', () => this.text),
      onEdit && iconButton('pencil', 'Edit message', () => this.edit()),
      this.#variants.node,
      stamp(at),
    );
    this.node = h(
      'article',
      { class: 'question', 'aria-label': 'You wrote' },
      h('h2', { class: 'sr-only' }, 'You wrote'),
      this.#bubble,
      this.#footer,
    );
    this.node.classList.toggle('unsent', id === null);
  }

  /** The server has it. */
  acknowledge(id) {
    this.id = id;
    this.node.classList.remove('unsent');
  }

  showVariants(place, onTurn) {
    this.#variants.show(place, onTurn);
  }

  /** Say it differently: a new branch, the old one stays. */
  edit() {
    if (!this.id || !this.#onEdit || this.node.querySelector('form')) return;
    const text = h('textarea', {
      'aria-label': 'Edit message',
      rows: String(Math.min(12, this.text.split('\n').length + 1)),
      dir: 'auto',
      value: this.text,
    });
    const close = () => {
      form.replaceWith(this.#bubble);
      this.#footer.hidden = false;
    };
    const submit = async (event) => {
      event.preventDefault();
      const changed = text.value.trim();
      if (!changed || changed === this.text || (await this.#onEdit(this, changed))) close();
    };
    const form = h(
      'form',
      { class: 'edit', onsubmit: submit },
      text,
      h(
        'div',
        { class: 'choices' },
        h('button', { type: 'button', class: 'quiet', onclick: close }, 'Cancel'),
        h('button', { type: 'submit', class: 'primary' }, 'Ask this'),
      ),
    );
    form.addEventListener('keydown', (event) => {
      if (event.key === 'Escape') close();
      else if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(event);
      else return;
      event.preventDefault();
      event.stopPropagation();
    });
    this.#footer.hidden = true;
    this.#bubble.replaceWith(form);
    text.focus();
    text.setSelectionRange(text.value.length, text.value.length);
  }
}

function stamp(at) {
  const date = at ? new Date(at) : new Date();
  return h('time', { datetime: date.toISOString(), title: full.format(date) }, time.format(date));
}

/** An answer. `receive` takes the events of stream.js; drawing happens in steps that do not hold up the page. */
export class Answer {
  id = null;
  generationId = null;
  clientId = null;

  #transcript = new Transcript();
  #status;
  #notice = h('div', { class: 'notice', role: 'note', hidden: true });
  #reasoning = new Reasoning();
  #tools = new ToolList();
  #body = h('div', { class: 'body', dir: 'auto' });
  #waiting = h('div', { class: 'waiting', hidden: true }, icon('flow'), h('span', {}));
  #ending = h('div', { class: 'ending', hidden: true });
  #footer = h('footer', {});
  #view;
  #drawn = { text: '', busy: null };
  #pace = new Pace(() => this.#draw());
  #onRetry;
  #meta;
  #variants = new Variants();
  #catchingUp = 0;

  constructor(message, { onRetry = null, labelOf = (model) => model } = {}) {
    this.id = message.message_id ?? null;
    this.generationId = message.generation_id ?? null;
    this.#status = message.status ?? 'completed';
    this.#meta = { model: message.model && labelOf(message.model), usage: message.usage, at: message.last_updated ?? message.created_at };
    this.#onRetry = onRetry;
    this.#transcript.text = message.content ?? '';
    this.#transcript.reasoning = message.reasoning ?? '';
    for (const tool of message.tools ?? []) this.#transcript.tools.set(tool.call_id, tool);
    this.#view = new MarkdownView(this.#body);
    this.node = h(
      'article',
      { class: 'answer', 'aria-label': 'Answer' },
      h('h2', { class: 'sr-only' }, 'Answer'),
      this.#notice,
      this.#reasoning.node,
      this.#tools.node,
      this.#body,
      this.#waiting,
      this.#ending,
      this.#footer,
    );
    // A long thread is drawn bit by bit.
    if (this.live || this.text.length < AT_ONCE) this.#draw();
    else this.#pace.ask();
    if (this.#status === 'error') this.#showEnding(message.error);
    else if (this.#status === 'cancelled') this.#showEnding(null);
  }

  get live() {
    return LIVE.has(this.#status);
  }

  get status() {
    return this.#status;
  }

  get text() {
    return this.#transcript.text;
  }

  showVariants(place, onTurn) {
    this.#variants.show(place, onTurn);
  }

  /** Why it failed, learned later. */
  explain(error) {
    this.#showEnding(error);
  }

  /** Take in one event of the stream. */
  receive(event) {
    this.#transcript.add(event);
    const handler = this.#events[event.type];
    handler?.(event);
    if (event.type === 'done' || event.type === 'final') this.#pace.now();
    else this.#pace.ask();
  }

  /** Say what it is doing while nothing is to be seen. */
  wait(words = '') {
    this.#waiting.lastChild.textContent = words;
  }

  #events = {
    open: (event) => {
      this.id = event.message_id;
      this.generationId = event.generation_id;
      // An `open` of a finished generation still has the whole log behind it: `done` ends it.
      this.#status = event.status === 'queued' ? 'queued' : 'running';
      this.wait('');
    },
    queued: ({ position }) =>
      this.wait(position > 0 ? `Waiting for its turn, number ${position}` : 'Waiting for its turn'),
    snapshot: ({ reason }) => {
      this.#status = 'running';
      this.wait('');
      this.#catchingUp = reason === 'start' ? performance.now() + CATCHING_UP : 0;
      this.#notify(NOTICES[reason]);
    },
    done: (event) => this.#finish(event.status, event),
    final: ({ generation }) => this.#finish(generation.status, generation),
  };

  #finish(status, { error, usage }) {
    this.#status = status;
    this.#meta.usage = usage ?? this.#meta.usage;
    this.#meta.at = new Date().toISOString();
    if (status !== 'completed') this.#showEnding(error);
  }

  #notify(text) {
    if (!text) return;
    const close = iconButton('close', 'Dismiss', () => (this.#notice.hidden = true));
    this.#notice.replaceChildren(icon('refresh'), h('p', {}, text), close);
    this.#notice.hidden = false;
  }

  #showEnding(error) {
    const cancelled = this.#status === 'cancelled';
    const words = cancelled
      ? 'Stopped. What was written until then is kept.'
      : (error?.message ?? error?.detail ?? 'The answer could not be finished.');
    const retry =
      this.#onRetry && !cancelled
        ? h('button', { type: 'button', class: 'link', onclick: this.#onRetry }, 'Try again')
        : null;
    this.#ending.className = `ending ${cancelled ? 'stopped' : 'failed'}`;
    this.#ending.replaceChildren(icon(cancelled ? 'stop' : 'alert'), h('p', {}, words), retry ?? '');
    this.#ending.hidden = false;
  }

  #draw() {
    const { text, reasoning, tools } = this.#transcript;
    const { live } = this;
    // After a refresh the log is read from its start: what is shown already does not shrink while that lasts.
    if (live && text.length < this.#drawn.text.length && performance.now() < this.#catchingUp) return;
    const part = this.#step(text);
    const busy = live || part.length < text.length;
    if (this.#drawn.text !== part || this.#drawn.busy !== busy) this.#view.show(part, { live: busy });
    this.#reasoning.show(reasoning, live && text === '');
    this.#tools.show(tools, live);
    this.#waiting.hidden = !live || text !== '';
    this.node.classList.toggle('live', busy);
    this.node.setAttribute('aria-busy', String(busy));
    if (this.#drawn.busy !== busy) this.#drawFooter(busy);
    this.#drawn = { text: part, busy };
    if (part.length < text.length) this.#pace.ask();
  }

  // As much of the text as is drawn this time: what is drawn, and a step more.
  #step(text) {
    const { length } = this.#drawn.text;
    return text.length > length + STEP && text.startsWith(this.#drawn.text) ? text.slice(0, length + STEP) : text;
  }

  #drawFooter(busy) {
    if (busy) {
      this.#footer.replaceChildren();
      return;
    }
    const { usage, at, model } = this.#meta;
    const again = this.#onRetry ? iconButton('refresh', 'Answer again', this.#onRetry) : null;
    const tokens = usage?.output_tokens ? `${usage.output_tokens.toLocaleString()} tokens` : '';
    const words = [model, tokens].filter(Boolean).join(' · ');
    this.#footer.replaceChildren(
      copyButton('Copy answer', () => this.text),
      again ?? '',
      this.#variants.node,
      h('span', {}, words),
      stamp(at),
    );
  }
}
