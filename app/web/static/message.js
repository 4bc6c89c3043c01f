/** What a thread consists of: what was asked, and the answer as it grows. */

import { copyButton, h, icon, iconButton } from './dom.js';
import { MarkdownView } from './markdown.js';
import { Transcript } from './stream.js';

const CATCHING_UP = 1500; // milliseconds
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

/** An answer. `receive` takes the events of stream.js; drawing happens at most once a frame. */
export class Answer {
  id = null;
  generationId = null;
  clientId = null;

  #transcript = new Transcript();
  #status;
  #notice = h('div', { class: 'notice', role: 'note', hidden: true });
  #reasoning;
  #tools = h('div', { class: 'tools' });
  #body = h('div', { class: 'body', dir: 'auto' });
  #waiting = h('div', { class: 'waiting', hidden: true }, icon('flow'), h('span', {}));
  #ending = h('div', { class: 'ending', hidden: true });
  #footer = h('footer', {});
  #view;
  #drawn = null;
  #frame = null;
  #onRetry;
  #onDraw;
  #meta;
  #variants = new Variants();
  #catchingUp = 0;

  constructor(message, { onDraw = () => {}, onRetry = null } = {}) {
    this.id = message.message_id ?? null;
    this.generationId = message.generation_id ?? null;
    this.#status = message.status ?? 'completed';
    this.#meta = { model: message.model, usage: message.usage, at: message.last_updated ?? message.created_at };
    this.#onDraw = onDraw;
    this.#onRetry = onRetry;
    this.#transcript.text = message.content ?? '';
    this.#transcript.reasoning = message.reasoning ?? '';
    for (const tool of message.tools ?? []) this.#transcript.tools.set(tool.call_id, tool);
    this.#reasoning = new Reasoning();
    this.#view = new MarkdownView(this.#body);
    this.node = h(
      'article',
      { class: 'answer', 'aria-label': 'Answer' },
      h('h2', { class: 'sr-only' }, 'Answer'),
      this.#notice,
      this.#reasoning.node,
      this.#tools,
      this.#body,
      this.#waiting,
      this.#ending,
      this.#footer,
    );
    this.#draw();
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
    if (event.type === 'done' || event.type === 'final') this.#draw();
    else this.#frame ??= requestAnimationFrame(() => this.#draw());
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
    cancelAnimationFrame(this.#frame);
    this.#frame = null;
    const { text, reasoning } = this.#transcript;
    const live = this.live;
    // After a refresh the log is read from its start: what is shown already does not shrink while that lasts.
    if (live && text.length < (this.#drawn?.text.length ?? 0) && performance.now() < this.#catchingUp) return;
    if (this.#drawn?.text !== text || this.#drawn?.live !== live) this.#view.show(text, { live });
    this.#reasoning.show(reasoning, live && text === '');
    this.#drawTools();
    this.#waiting.hidden = !live || text !== '';
    this.node.classList.toggle('live', live);
    this.node.setAttribute('aria-busy', String(live));
    if (this.#drawn?.live !== live) this.#drawFooter(live);
    this.#drawn = { text, live };
    this.#onDraw();
  }

  #drawTools() {
    const { tools } = this.#transcript;
    if (!tools.size) return;
    const signature = [...tools.values()].map(({ call_id: id, state }) => id + state).join();
    if (signature === this.#tools.dataset.signature) return;
    this.#tools.dataset.signature = signature;
    this.#tools.replaceChildren(...[...tools.values()].map(toolRow));
  }

  #drawFooter(live) {
    if (live) {
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

const TOOL_STATES = { started: 'running', finished: 'done', failed: 'failed' };

function toolRow({ tool, state, arguments: given, result }) {
  const name = h(
    'summary',
    {},
    icon('tool'),
    h('code', {}, tool),
    h('span', { class: 'state' }, TOOL_STATES[state] ?? state),
    icon('chevron'),
  );
  const block = (label, text) => (text ? [h('p', { class: 'label' }, label), h('pre', { tabindex: '0' }, pretty(text))] : []);
  return h('details', { class: `tool ${state}` }, name, block('Arguments', given), block('Result', result));
}

function pretty(text) {
  try {
    return JSON.stringify(typeof text === 'string' ? JSON.parse(text) : text, null, 2);
  } catch {
    return String(text);
  }
}

/** The model's thoughts, folded away; the line says whether it is still thinking. */
class Reasoning {
  #label = h('span', {});
  #body = h('div', {});
  #view = new MarkdownView(this.#body);
  #text = null;
  #since = null;
  #thinking = null;

  constructor() {
    this.node = h(
      'details',
      { class: 'reasoning', hidden: true },
      h('summary', {}, this.#label, icon('chevron')),
      this.#body,
    );
    this.node.addEventListener('toggle', () => this.#render());
  }

  show(text, thinking) {
    if (!text) {
      this.node.hidden = true;
      return;
    }
    this.node.hidden = false;
    if (thinking) this.#since ??= performance.now();
    if (thinking !== this.#thinking) {
      this.#thinking = thinking;
      this.node.classList.toggle('thinking', thinking);
      this.#label.textContent = thinking ? 'Thinking…' : this.#past();
    }
    if (text === this.#text) return;
    this.#text = text;
    this.#render();
  }

  #past() {
    const seconds = this.#since === null ? 0 : Math.round((performance.now() - this.#since) / 1000);
    return seconds > 1 ? `Thought for ${seconds} s` : 'Reasoning';
  }

  // Folded text costs nothing until it is looked at.
  #render() {
    if (this.node.open) this.#view.show(this.#text ?? '', { live: this.#thinking });
  }
}
