/** One attachment: a file on its way to the server, or one that the server has. */

import { fileAbout, fileContent } from './api.js';
import { FileTransfer } from './file_transfer.js';
import { isPicture, sizeText } from './file_words.js';
import { adopt } from './pictures.js';
import { Pauses } from './reconnecting_stream.js';
import { t } from './texts.js';
import { Turns } from './turns.js';

const AT_ONCE = 3; // files that are sent at the same time
const ATTEMPTS = 8; // in a row without progress; after them the user decides
const turns = new Turns(AT_ONCE);

// The bytes of a file that is on its way are in this tab only, so the browser asks before it closes the tab.
const onTheirWay = new Set();
addEventListener('beforeunload', (event) => onTheirWay.size > 0 && event.preventDefault());

/** `state`: waiting (for its turn), sending, paused (until the next attempt), ready, or failed. */
export class Upload {
  state;
  sent = 0; // bytes
  problem = null; // a sentence, when it has failed

  #about; // {file_id, filename, media_type, bytes, width, height}; file_id is null until the server has the file
  #file = null; // of this browser
  #transfer = null;
  #stop = new AbortController();
  #pauses = new Pauses();
  #furthest = 0; // bytes; an attempt that does not come further is no progress
  #onChange = () => {};

  /** An attachment that the server has. */
  static stored(about) {
    return new Upload(about, 'ready');
  }

  /** A file of this browser, which `start` sends. */
  static of(file) {
    const { name, size, type } = file;
    const upload = new Upload({ file_id: null, filename: name, media_type: type, bytes: size }, 'waiting');
    upload.#file = file;
    upload.#transfer = new FileTransfer(file);
    if (isPicture(type)) upload.preview = URL.createObjectURL(file);
    return upload;
  }

  constructor(about, state) {
    this.#about = about;
    this.state = state;
  }

  /** The file as messages describe theirs. */
  get about() {
    return this.#about;
  }

  get name() {
    return this.#about.filename;
  }

  get onItsWay() {
    return this.state === 'waiting' || this.state === 'sending' || this.state === 'paused';
  }

  /** Send the file. `onChange()` is called after each change of state and progress. */
  async start(onChange) {
    this.#onChange = onChange;
    const { signal } = this.#stop;
    this.#to('waiting', { problem: null });
    addEventListener('online', this.#pauses.wake);
    try {
      await turns.run(() => this.#sendPatiently(signal), signal);
    } catch (problem) {
      if (!signal.aborted) this.#to('failed', { problem: wordsFor(problem, this.#about) });
    } finally {
      removeEventListener('online', this.#pauses.wake);
    }
  }

  /** Whether another attempt makes sense. */
  get canRetry() {
    return this.state === 'paused' || (this.state === 'failed' && this.#file !== null);
  }

  /** Ask whether the server still has the file. */
  async check() {
    const problem = await fileAbout(this.#about.file_id).then(
      () => null,
      (error) => error,
    );
    if (problem?.status === 404) this.#to('failed', { problem: t('upload.gone') });
  }

  /** The content of a text file. Throws api.Problem. */
  async text() {
    return (this.#file ?? (await fileContent(this.#about.file_id))).text();
  }

  /** Go on after a failure, or end the pause before the next attempt. */
  retry() {
    if (this.state === 'paused') this.#pauses.wake();
    else if (this.canRetry) this.start(this.#onChange);
  }

  /** Give it up. */
  cancel() {
    this.#stop.abort();
    if (this.state !== 'ready') this.#transfer?.giveUp();
    onTheirWay.delete(this);
    if (this.preview && this.state !== 'ready') URL.revokeObjectURL(this.preview);
  }

  async #sendPatiently(signal) {
    this.#pauses.progress();
    for (;;) {
      this.#to('sending');
      try {
        this.#finish(await this.#transfer.send({ signal, onSent: (bytes) => this.#progress(bytes) }));
        return;
      } catch (problem) {
        if (!passes(problem) || (navigator.onLine && this.#pauses.failures >= ATTEMPTS)) throw problem;
        this.#to('paused');
        await this.#pauses.sleep(this.#pauses.delay({ wait: problem.wait, status: problem.status }), signal);
        signal.throwIfAborted();
      }
    }
  }

  #progress(bytes) {
    // The body of a request is a little longer than the file.
    this.sent = Math.min(bytes, this.#about.bytes);
    if (this.sent > this.#furthest) this.#pauses.progress();
    this.#furthest = Math.max(this.sent, this.#furthest);
    this.#onChange();
  }

  #finish({ id, filename, media_type, bytes, width, height }) {
    this.#about = { file_id: id, filename, media_type: media_type ?? this.#about.media_type, bytes, width, height };
    if (this.preview) adopt(id, this.preview);
    this.#to('ready');
  }

  #to(state, { problem = this.problem } = {}) {
    this.state = state;
    this.problem = problem;
    if (this.onItsWay) onTheirWay.add(this);
    else onTheirWay.delete(this);
    this.#onChange();
  }
}

const passes = ({ status, isLost }) => isLost || status === 0 || status === 408 || status === 429 || status >= 500;

function wordsFor(problem, { bytes }) {
  if (problem.status === 413) return t('upload.too_large', { size: sizeText(bytes) });
  if (problem.body?.type === '/problems/no-room-for-files') return t('upload.no_room');
  if (problem.status === 0) return t('upload.unreachable');
  // A file that is not taken is named as a field of the request; here only the reason is of interest.
  return problem.body?.errors?.[0]?.detail ?? problem.message;
}
