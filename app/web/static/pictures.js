/**
 * Pictures of the server as addresses of this document. The page fetches the bytes with the user's session, because an
 * address of the server would be good for whoever has it. The memory of a tab holds a bounded number of them.
 */

import { fileContent } from './api.js';
import { Turns } from './turns.js';

const KEPT = { thumbnail: 200, full: 8 }; // pictures; an <img> that has been drawn needs its address no more
const AT_ONCE = 4; // requests; a browser opens six connections to a host over HTTP/1.1
const NEAR = '600px'; // outside the window, where pictures begin to load

const kept = { thumbnail: new Map(), full: new Map() }; // id → promise of an address
const turns = new Turns(AT_ONCE);

/** The address of a small picture of a file. Throws api.Problem. */
export const thumbnailOf = (id) => addressOf(id, 'thumbnail');

/** The address of a picture in its full size. Throws api.Problem. */
export const pictureOf = (id) => addressOf(id, 'full');

/** Use the address of a local file for the small picture of the file that it has become. */
export function adopt(id, address) {
  keep('thumbnail', id, Promise.resolve(address));
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

function addressOf(id, size) {
  const known = kept[size].get(id);
  if (known) return known;
  const loading = turns.run(async () =>
    URL.createObjectURL(await fileContent(id, { thumbnail: size === 'thumbnail' })),
  );
  keep(size, id, loading);
  // A failure is not kept: another attempt may succeed.
  loading.catch(() => kept[size].delete(id));
  return loading;
}

function keep(size, id, address) {
  kept[size].set(id, address);
  if (kept[size].size <= KEPT[size]) return;
  const [[oldest, gone]] = kept[size];
  kept[size].delete(oldest);
  gone.then(URL.revokeObjectURL, () => {});
}
