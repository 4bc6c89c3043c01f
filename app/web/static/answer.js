/** An answer in the thread, as it grows. */

import { copyButton, h, icon, iconButton } from './dom.js';
import { Feedback } from './feedback.js';
import { FrameBudget } from './frame_budget.js';
import { MarkdownView } from './markdown.js';
import { messageFiles } from './message_files.js';
import { stamp, Variants } from './message_parts.js';
import { Reasoning } from './reasoning.js';
import { Transcript } from './stream.js';
import { ToolList } from './tools.js';

const CATCHING_UP = 1500; // milliseconds
const AT_ONCE = 500; // characters of a finished answer that are drawn without a wait
const STEP = 6_000; // characters that are drawn in one step: more would hold up the page
const LIVE = new Set(['queued', 'running']);

const NOTICES = {
  takeover: 'The server process that wrote this answer stopped. Another process has continued it. No text is lost.',
  continue: 'This answer was interrupted. It continues from the same place.',
  restart: 'This answer was interrupted and had to start again from the beginning.',
  failover: 'The provider of this answer failed. Another provider goes on with the answer.',
};

/** An answer. `receive` takes the events of stream.js; long text is drawn in steps that do not hold up the page. */
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
  #files = h('div', {});
  #waiting = h('div', { class: 'waiting', hidden: true }, icon('flow'), h('span', {}));
  #ending = h('div', { class: 'ending', hidden: true });
  #footer = h('footer', {});
  #view;
  #drawn = { text: '', busy: null };
  #budget = new FrameBudget(() => this.#draw());
  #onRetry;
  #meta;
  #variants = new Variants();
  #feedback;
  #catchingUp = 0;

  constructor(message, { onRetry = null, labelOf = (model) => model } = {}) {
    this.id = message.message_id ?? null;
    this.generationId = message.generation_id ?? null;
    this.#status = message.status ?? 'completed';
    const at = message.last_updated ?? message.created_at;
    this.#meta = { model: message.model && labelOf(message.model), usage: message.usage, at };
    this.#onRetry = onRetry;
    this.#transcript.text = message.content ?? '';
    this.#transcript.reasoning = message.reasoning ?? '';
    for (const tool of message.tools ?? []) this.#transcript.tools.set(tool.call_id, tool);
    this.#feedback = new Feedback(() => this.id, message.feedback);
    this.#view = new MarkdownView(this.#body);
    this.node = h(
      'article',
      { class: 'answer', 'aria-label': 'Answer' },
      h('h2', { class: 'sr-only' }, 'Answer'),
      this.#notice,
      this.#reasoning.node,
      this.#tools.node,
      this.#body,
      this.#files,
      this.#waiting,
      this.#ending,
      this.#footer,
      this.#feedback.form,
    );
    this.showFiles(message.attachments);
    // A long answer is drawn in steps.
    if (this.live || this.text.length < AT_ONCE) this.#draw();
    else this.#budget.request();
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

  /** Show the pictures and files of the answer. */
  showFiles(attachments) {
    this.#files.replaceChildren(messageFiles(attachments) ?? '');
  }

  /** Show an error that was fetched after the message. */
  explain(error) {
    this.#showEnding(error);
  }

  /** Apply an event of the stream. */
  receive(event) {
    this.#transcript.add(event);
    const handler = this.#events[event.type];
    handler?.(event);
    if (event.type === 'done' || event.type === 'final') this.#budget.drawNow();
    else this.#budget.request();
  }

  /** Show these words while the answer has no text yet. */
  wait(words = '') {
    this.#waiting.lastChild.textContent = words;
  }

  #events = {
    open: (event) => {
      this.id = event.message_id;
      this.generationId = event.generation_id;
      // The `open` of a finished generation precedes its whole log; `done` follows.
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
      ? 'Stopped. The text so far is kept.'
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
    // After a refresh of the page the log is read from its start. Meanwhile the text that is drawn does not shrink.
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
    if (part.length < text.length) this.#budget.request();
  }

  // The part of the text to draw now: the drawn text and one step more.
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
      this.#feedback.node,
      this.#variants.node,
      h('span', {}, words),
      stamp(at),
    );
  }
}
