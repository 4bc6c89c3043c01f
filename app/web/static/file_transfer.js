/**
 * The way of a file to the server. A small file goes in one request, a big one in parts. XMLHttpRequest reports how much
 * has been sent, which fetch does not.
 */

import { retryAfter } from './reconnecting_stream.js';
import { Problem } from './requests.js';
import { expire, proof } from './session.js';

export const PART = 4 * 1024 * 1024; // bytes; the most that a lost connection costs
const SILENCE = 60_000; // milliseconds without progress, after which a request is given up

let takesParts = true; // the server, until it has shown that it does not

export class FileTransfer {
  #file;
  #parts = null; // the transfer in parts

  constructor(file) {
    this.#file = file;
  }

  /**
   * Send the file, or the rest of it. `onSent(bytes)` reports progress. Returns the server's description of the file.
   * Throws Problem; after one that passes, another call goes on from there. `isLost` of a problem: the server has lost the
   * parts, and another call begins anew.
   */
  async send({ signal, onSent }) {
    if (this.#file.size > PART && takesParts) {
      this.#parts ??= new (await partsTransfer())(this.#file);
      const about = await this.#parts.send({ signal, onSent });
      if (about) return about;
      takesParts = false;
    }
    const form = new FormData();
    // Without a type: the server looks at the bytes. A browser guesses by the name, and takes TypeScript for a video.
    form.append('file', new Blob([this.#file]), this.#file.name);
    return sendForm('POST', '/files', form, { signal, onSent });
  }

  /** Give the file up: the server need not keep what it has of it. */
  giveUp() {
    this.#parts?.giveUp();
  }
}

// Most files are small: the module is loaded with the first big one.
async function partsTransfer() {
  try {
    const { PartsTransfer } = await import('./parts_transfer.js');
    return PartsTransfer;
  } catch {
    throw new Problem(0, null);
  }
}

/** Send a form. Returns the JSON of the reply. Throws Problem. */
export async function sendForm(method, path, form, options) {
  const used = proof();
  try {
    return await attempt(method, path, form, options);
  } catch (problem) {
    if (problem.status !== 401) throw problem;
    // Another tab may have signed in again. A refused request has stored nothing, so it can be repeated.
    if (proof() && proof().cookie !== used?.cookie) return attempt(method, path, form, options);
    expire(used);
    throw problem;
  }
}

function attempt(method, path, form, { signal, onSent }) {
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
    xhr.open(method, `/api/v1${path}`);
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
