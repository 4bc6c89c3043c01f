/**
 * Pictures of the server as addresses of this document. The page fetches the bytes with the user's session, because an
 * address of the server would be good for whoever has it. The memory of a tab holds a bounded number of them.
 */

import { fileContent, fileThumbnail } from './api.js';
import { Turns } from './turns.js';

const KEPT = 20; // pictures, each in its full size; an <img> that has been drawn needs its address no more
const SMALL_KEPT = 200; // thumbnails
const SMALL = 65536; // bytes of a picture that is as good as its thumbnail
const AT_ONCE = 4; // requests; a browser opens six connections to a host over HTTP/1.1
const NEAR = '600px'; // outside the window, where pictures begin to load
// Refusals of a thumbnail behind which the picture itself is asked for: there is none, or too many are being made.
const WITHOUT = [422, 429];

const turns = new Turns(AT_ONCE);

/** Addresses of blobs by the id of their file, of which the ones that were used last are kept. */
class Addresses {
  #most;
  #fetch;
  #kept = new Map(); // the one that was used last at the end
  #loading = new Map(); // id → promise of an address

  constructor(most, fetch) {
    this.#most = most;
    this.#fetch = fetch;
  }

  has(id) {
    return this.#kept.has(id);
  }

  async get(id) {
    const address = this.#kept.get(id) ?? (await this.#load(id));
    this.keep(id, address);
    return address;
  }

  keep(id, address) {
    const before = this.#kept.get(id);
    if (before && before !== address) URL.revokeObjectURL(before);
    this.#kept.delete(id);
    this.#kept.set(id, address);
    if (this.#kept.size <= this.#most) return;
    const [[oldest, gone]] = this.#kept;
    this.#kept.delete(oldest);
    URL.revokeObjectURL(gone);
  }

  #load(id) {
    if (!this.#loading.has(id)) {
      const address = turns.run(async () => URL.createObjectURL(await this.#fetch(id)));
      // A failure is not kept: another attempt may succeed.
      this.#loading.set(
        id,
        address.finally(() => this.#loading.delete(id)),
      );
    }
    return this.#loading.get(id);
  }
}

const whole = new Addresses(KEPT, fileContent);
const small = new Addresses(SMALL_KEPT, fileThumbnail);

/** The address of the picture in a file, in its full size. Throws api.Problem. */
export const pictureOf = (id) => whole.get(id);

/** The address of a small picture for the one in a file. `about`: {file_id, bytes}. Throws api.Problem. */
export async function thumbnailOf({ file_id: id, bytes }) {
  if (whole.has(id) || bytes <= SMALL) return await whole.get(id);
  try {
    return await small.get(id);
  } catch (problem) {
    if (!WITHOUT.includes(problem.status)) throw problem;
    return await whole.get(id);
  }
}

/** Use the address of a local file for the file of the server that it has become. */
export function adopt(id, address) {
  whole.keep(id, address);
}

/** Call `load` once, when `node` comes near the window. */
export function whenNear(node, load) {
  waiting.set(node, load);
  observer.observe(node);
}

const waiting = new WeakMap();
const observer = new IntersectionObserver(
  (entries) => {
    for (const { target, isIntersecting } of entries) {
      if (!isIntersecting) continue;
      observer.unobserve(target);
      waiting.get(target)();
    }
  },
  // The thread scrolls inside the window: its edge counts, too.
  { rootMargin: NEAR, scrollMargin: NEAR },
);
