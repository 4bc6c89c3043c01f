/**
 * The way of a file to the server. A small file goes in one request. A big one goes in parts: a part that fails is sent
 * again, and the parts before it stay. XMLHttpRequest reports how much has been sent, which fetch does not.
 */

import { retryAfter } from './reconnecting_stream.js';
import { Problem, send } from './requests.js';
import { expire, proof } from './session.js';

const PART = 4 * 1024 * 1024; // bytes; the most that a lost connection costs
const SILENCE = 60_000; // milliseconds without progress, after which a request is given up
const API = '/api/v1';
const UPLOADS = '/uploads';

let takesParts = true; // the server, until it has shown that it does not

export class FileTransfer {
  #file;
  #upload = null; // the id of an upload in parts
  #parts = []; // ids of the parts that the server has

  constructor(file) {
    this.#file = file;
  }

  /**
   * Send the file, or the rest of it. `onSent(bytes)` reports progress. Returns the server's description of the file.
   * Throws Problem; after one that passes, another call goes on from there. `isLost` of a problem: the server has lost the
   * parts, and another call begins anew.
   */
  async send({ signal, onSent }) {
    if (this.#file.size <= PART || !takesParts) return this.#sendWhole(signal, onSent);
    try {
      return await this.#sendParts(signal, onSent);
    } catch (problem) {
      if (problem.status !== 404) throw problem;
      if (this.#upload !== null) {
        // The server keeps an upload for a time only.
        [this.#upload, this.#parts] = [null, []];
        throw Object.assign(problem, { isLost: true });
      }
    }
    takesParts = false;
    return this.#sendWhole(signal, onSent);
  }

  #sendWhole(signal, onSent) {
    const form = new FormData();
    // Without a type: the server looks at the bytes. A browser guesses by the name, and takes TypeScript for a video.
    form.append('file', new Blob([this.#file]), this.#file.name);
    return post(`${API}/files`, form, { signal, onSent });
  }

  async #sendParts(signal, onSent) {
    const { name, size } = this.#file;
    this.#upload ??= (await request(UPLOADS, { filename: name, bytes: size }, signal)).id;
    for (let from = this.#parts.length * PART; from < size; from += PART) {
      const form = new FormData();
      form.append('data', this.#file.slice(from, from + PART), name);
      const progress = (bytes) => onSent(from + bytes);
      const { id } = await post(`${API}${UPLOADS}/${this.#upload}/parts`, form, { signal, onSent: progress });
      this.#parts.push(id);
    }
    const { file } = await request(`${UPLOADS}/${this.#upload}/complete`, { part_ids: this.#parts }, signal);
    return file;
  }
}

const request = (path, body, signal) => send('POST', path, { body, signal, take: 'json' });

async function post(path, form, options) {
  const used = proof();
  try {
    return await attempt(path, form, options);
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    // Another tab may have signed in again. A refused request has stored nothing, so it can be repeated.
    if (proof() && proof().cookie !== used?.cookie) return attempt(path, form, options);
    expire(used);
    throw problem;
  }
}

function attempt(path, form, { signal, onSent }) {
  signal.throwIfAborted();
  const xhr = new XMLHttpRequest();
  const stop = () => xhr.abort();
  let watchdog = null;
  const watch = () => {
    clearTimeout(watchdog);
    watchdog = setTimeout(stop, SILENCE);
  };
  signal.addEventListener('abort', stop, { once: true });
  return new Promise((resolve, reject) => {
    xhr.upload.addEventListener('progress', ({ loaded }) => {
      watch();
      onSent(loaded);
    });
    xhr.addEventListener('loadend', () => {
      clearTimeout(watchdog);
      signal.removeEventListener('abort', stop);
      if (signal.aborted) reject(signal.reason);
      else if (xhr.status >= 200 && xhr.status < 300) resolve(xhr.response);
      else reject(refusal(xhr));
    });
    xhr.open('POST', path);
    xhr.responseType = 'json';
    xhr.setRequestHeader('Accept', 'application/json');
    watch();
    xhr.send(form);
  });
}

function refusal(xhr) {
  const problem = new Problem(xhr.status, xhr.response);
  problem.wait = xhr.status ? retryAfter(xhr.getResponseHeader('Retry-After')) : null;
  return problem;
}
