/**
 * The way of a big file to the server, in parts. The server says how many bytes it has, so after a lost connection only
 * the part that was on its way is sent again. Loaded with the first big file.
 */

import { PART, sendForm } from './file_transfer.js';
import { randomId } from './random_and_hash.js';
import { LONG_LIMIT, Problem, send } from './requests.js';

const UPLOADS = '/uploads';

export class PartsTransfer {
  #file;
  #id = null; // of the upload on the server
  #key = randomId(); // of the request that begins it
  #offset = 0; // bytes that the server has

  constructor(file) {
    this.#file = file;
  }

  /** See FileTransfer.send. Returns null when the server takes no parts. */
  async send({ signal, onSent }) {
    const ask = (method, path, options) => send(method, UPLOADS + path, { ...options, signal, take: 'json' });
    try {
      const upload = this.#id === null ? await this.#begin(signal) : await ask('GET', `/${this.#id}`);
      if (upload === null) return null;
      return await this.#goOn(upload, ask, { signal, onSent });
    } catch (problem) {
      if (problem.status === 404) this.#lose(problem);
      throw problem;
    }
  }

  /** Cancel the upload on the server, if there is one. */
  giveUp() {
    if (this.#id !== null) send('DELETE', `${UPLOADS}/${this.#id}`).catch(() => {});
    [this.#id, this.#key] = [null, randomId()];
  }

  // A repetition with the key finds an upload whose reply was lost. The request goes on when the file is given up: only
  // its reply has the id with which the upload is cancelled.
  async #begin(signal) {
    const { name: filename, size: bytes } = this.#file;
    const options = { body: { filename, bytes }, take: 'json', key: this.#key };
    const upload = await send('POST', UPLOADS, options).catch((problem) => {
      if (problem.status === 404) return null;
      throw problem;
    });
    this.#id = upload?.id ?? null;
    if (signal.aborted) this.giveUp();
    signal.throwIfAborted();
    return upload;
  }

  async #goOn(upload, ask, options) {
    if (upload.status === 'completed' && upload.file) return upload.file;
    if (upload.status !== 'pending') this.#lose(new Problem(404, null));
    this.#offset = upload.offset;
    options.onSent(this.#offset);
    while (this.#offset < this.#file.size) await this.#sendNext(ask, options);
    try {
      return (await ask('POST', `/${this.#id}/complete`, { body: {}, limit: LONG_LIMIT })).file;
    } catch (problem) {
      // The file is not taken: its bytes are of no use.
      if (problem.status === 422) this.giveUp();
      throw problem;
    }
  }

  async #sendNext(ask, { signal, onSent }) {
    const from = this.#offset;
    const form = new FormData();
    form.append('data', this.#file.slice(from, from + PART), 'part');
    const progress = (bytes) => onSent(Math.min(from + bytes, from + PART));
    const path = `${UPLOADS}/${this.#id}?offset=${from}`;
    const upload = await sendForm('PATCH', path, form, { signal, onSent: progress }).catch(async (problem) => {
      // A request whose reply was lost may have been carried out in the meantime.
      const now = problem.status === 409 ? await ask('GET', `/${this.#id}`) : null;
      if (now && now.status !== 'pending') this.#lose(new Problem(404, null));
      if (now?.offset > from) return now;
      throw problem;
    });
    this.#offset = upload.offset;
  }

  // The server keeps an upload for a time only. The next call begins anew.
  #lose(problem) {
    this.#id = null;
    this.#key = randomId();
    throw Object.assign(problem, { isLost: true });
  }
}
