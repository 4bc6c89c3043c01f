/** An answer in the thread, as it grows. */

import { announce, copyButton, h, iconButton } from './dom.js';
import { Ending } from './ending.js';
import { endingOf } from './endings.js';
import { Feedback } from './feedback.js';
import { FrameBudget } from './frame_budget.js';
import { GrowingData } from './growing_data.js';
import { MarkdownView } from './markdown.js';
import { messageFiles } from './message_files.js';
import { stamp, Variants } from './message_parts.js';
import { Notice } from './notice.js';
import { Reasoning } from './reasoning.js';
import { NOTICES } from './sentences.js';
import { SilenceWatch } from './silence_watch.js';
import { Transcript } from './stream.js';
import { facts, t } from './texts.js';
import { ToolList } from './tools.js';
import { WaitingLine } from './waiting_line.js';

const CATCHING_UP = 1500; // milliseconds
const AT_ONCE = 500; // characters of a finished answer that are drawn without a wait
const STEP = 6_000; // characters that are drawn in one step: more would hold up the page
const LIVE = new Set(['queued', 'running']);
const SAYING = new Set(['token', 'reasoning', 'tool']);

/** An answer. `receive` takes the events of stream.js; long text is drawn in steps that do not hold up the page. */
export class Answer {
  id = null;
  generationId = null;
  clientId = null;

  #transcript = new Transcript();
  #status;
  #end; // {finishReason, error}
  #notice = new Notice();
  #reasoning = new Reasoning();
  #tools = new ToolList();
  #body = h('div', { class: 'body', dir: 'auto' });
  #files = h('div', {});
  #waiting = new WaitingLine();
  #ending = new Ending();
  #footer = h('footer', {});
  #view;
  #drawn = { text: '', busy: null };
  #data = new GrowingData();
  #budget = new FrameBudget(() => this.#draw());
  #actions;
  #labelOf;
  #meta;
  #variants = new Variants();
  #feedback;
  #watch;
  #made = performance.now();
  #catchingUp = 0;

  /**
   * `actions`: functions of the pressed button, `again`, `model`, `continue` and `new`; those that are missing are not
   * offered. `labelOf(model)`: its name for readers. `ask(id)`: a promise of a generation of the server.
   */
  constructor(message, { actions = {}, labelOf = (model) => model, ask = null } = {}) {
    this.id = message.message_id ?? null;
    this.generationId = message.generation_id ?? null;
    this.#status = message.status ?? 'completed';
    this.#end = { finishReason: message.finish_reason, error: message.error };
    this.#labelOf = labelOf;
    this.#meta = { model: message.model, usage: message.usage, at: message.last_updated ?? message.created_at };
    this.#actions = actions;
    this.#transcript.text = message.content ?? '';
    this.#transcript.reasoning = message.reasoning ?? '';
    for (const tool of message.tools ?? []) this.#transcript.tools.set(tool.call_id, tool);
    this.#feedback = new Feedback(() => this.id, message.feedback);
    this.#watch = ask && this.#newWatch(ask);
    this.#view = new MarkdownView(this.#body);
    this.node = h(
      'article',
      { class: 'answer', 'aria-label': t('answer.name') },
      h('h2', { class: 'sr-only' }, t('answer.name')),
      this.#notice.node,
      this.#reasoning.node,
      this.#tools.node,
      this.#body,
      this.#files,
      this.#waiting.node,
      this.#ending.node,
      this.#footer,
      this.#feedback.form,
    );
    this.showFiles(message.attachments);
    // A long answer is drawn in steps.
    if (this.live || this.text.length < AT_ONCE) this.#draw();
    else this.#budget.request();
    if (this.live) this.#watch?.heard();
    else this.#showEnding();
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

  /** Milliseconds since this page has begun to show the answer. */
  get age() {
    return performance.now() - this.#made;
  }

  /** What became of the answer (endings.js); null while it is written, and for a whole one. */
  get ending() {
    const { text, tools } = this.#transcript;
    return endingOf({ status: this.#status, ...this.#end, text, tools: tools.size > 0 });
  }

  showVariants(place, onTurn) {
    this.#variants.show(place, onTurn);
  }

  /** Add what only the server's form of the message has. */
  learn({ model }) {
    if (!model || model === this.#meta.model) return;
    this.#meta.model = model;
    if (this.#drawn.busy === false) this.#drawFooter(false);
  }

  /** Show the pictures and files of the answer. */
  showFiles(attachments) {
    this.#files.replaceChildren(messageFiles(attachments) ?? '');
  }

  /** Apply an event of the stream. */
  receive(event) {
    this.#transcript.add(event);
    if (event.type !== 'queued') this.#watch?.heard();
    if (SAYING.has(event.type)) this.#waiting.clear();
    const handler = this.#events[event.type];
    handler?.(event);
    if (event.type === 'done' || event.type === 'final') this.#budget.drawNow();
    else this.#budget.request();
  }

  /** Show these words while the answer has no text yet. */
  wait(words = '') {
    this.#waiting.say(words);
  }

  #events = {
    open: (event) => {
      this.id = event.message_id;
      this.generationId = event.generation_id;
      // The `open` of a finished generation precedes its whole log; `done` follows.
      this.#status = event.status === 'queued' ? 'queued' : 'running';
      this.wait('');
    },
    queued: ({ position }) => this.#waiting.queued(position),
    snapshot: ({ reason }) => {
      this.#status = 'running';
      this.wait('');
      this.#catchingUp = reason === 'start' ? performance.now() + CATCHING_UP : 0;
      if (NOTICES[reason]) this.#notify(NOTICES[reason]);
    },
    done: (event) => this.#finish(event.status, event),
    final: ({ generation }) => this.#finish(generation.status, generation),
  };

  #newWatch(ask) {
    return new SilenceWatch({
      ask: () => ask(this.generationId),
      isNeeded: () => this.live && this.generationId !== null && this.node.isConnected,
      onReason: (waiting) => {
        this.#waiting.explain(waiting);
        this.#budget.request();
      },
    });
  }

  #notify(words) {
    this.#notice.show(words);
    // After a reload of the page the log is read from its start, and what it tells is long past.
    if (performance.now() > this.#made + CATCHING_UP) announce(words);
  }

  #finish(status, { error, usage, finish_reason: finishReason }) {
    this.#status = status;
    this.#end = { finishReason, error };
    this.#meta.usage = usage ?? this.#meta.usage;
    this.#meta.at = new Date().toISOString();
    this.#showEnding();
  }

  #showEnding() {
    this.#ending.show(this.ending, this.#actions);
  }

  #draw() {
    const { text, reasoning, tools } = this.#transcript;
    const { live } = this;
    // After a refresh of the page the log is read from its start. Meanwhile the text that is drawn does not shrink.
    if (live && text.length < this.#drawn.text.length && performance.now() < this.#catchingUp) return;
    const part = this.#step(text);
    const busy = live || part.length < text.length;
    const before = this.#drawn.text;
    if (this.#drawn.text !== part || this.#drawn.busy !== busy) this.#view.show(part, { live: busy });
    this.#reasoning.show(reasoning, live && text === '');
    this.#tools.show(tools, live);
    this.#waiting.draw(live, text !== '');
    this.node.classList.toggle('live', busy);
    this.node.setAttribute('aria-busy', String(busy));
    if (this.#drawn.busy !== busy) this.#drawFooter(busy);
    this.#drawn = { text: part, busy };
    if (part.length < text.length && !(live && part === before)) this.#budget.request();
  }

  // The part of the text to draw now: the drawn text and one step more. The data of a picture are no step.
  #step(text) {
    const { length } = this.#drawn.text;
    const isLong = text.length > length + STEP && text.startsWith(this.#drawn.text);
    return text.slice(0, this.#data.end(text, isLong ? length + STEP : text.length, this.live));
  }

  #drawFooter(busy) {
    if (busy) {
      this.#footer.replaceChildren();
      return;
    }
    const { usage, at, model } = this.#meta;
    const tokens = usage?.output_tokens ? t('usage.tokens', { count: usage.output_tokens }) : '';
    const words = facts([model && this.#labelOf(model), tokens]);
    this.#footer.replaceChildren(
      copyButton(t('answer.copy'), () => this.text),
      ...this.#repeats(),
      this.#feedback.node,
      this.#variants.node,
      h('span', {}, words),
      stamp(at),
    );
  }

  // The buttons for another answer, by this model or by another one.
  #repeats() {
    const { again, model } = this.#actions;
    const menu = { 'aria-haspopup': 'menu', 'aria-expanded': 'false', class: 'icon-button by-another' };
    const other = model && iconButton('chevron', t('answer.by_another'), () => model(other), menu);
    return [again && iconButton('refresh', t('answer.again'), () => again()), other].filter(Boolean);
  }
}
