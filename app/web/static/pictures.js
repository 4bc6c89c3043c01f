/**
 * Pictures of the server as addresses of this document. The page fetches the bytes with the user's session, because an
 * address of the server would be good for whoever has it. The memory of a tab holds a bounded number of them.
 */

import { fileContent } from './api.js';
import { Turns } from './turns.js';

const KEPT = 20; // pictures, each in its full size; an <img> that has been drawn needs its address no more
const AT_ONCE = 4; // requests; a browser opens six connections to a host over HTTP/1.1
const NEAR = '600px'; // outside the window, where pictures begin to load

const kept = new Map(); // id → address, the one that was used last at the end
const loading = new Map(); // id → promise of an address
const turns = new Turns(AT_ONCE);

/** The address of the picture in a file. Throws api.Problem. */
export async function pictureOf(id) {
  const address = kept.get(id) ?? (await load(id));
  keep(id, address);
  return address;
}

/** Use the address of a local file for the file of the server that it has become. */
export function adopt(id, address) {
  keep(id, address);
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

function load(id) {
  if (!loading.has(id)) {
    const address = turns.run(async () => URL.createObjectURL(await fileContent(id)));
    // A failure is not kept: another attempt may succeed.
    loading.set(
      id,
      address.finally(() => loading.delete(id)),
    );
  }
  return loading.get(id);
}

function keep(id, address) {
  const before = kept.get(id);
  if (before && before !== address) URL.revokeObjectURL(before);
  kept.delete(id);
  kept.set(id, address);
  if (kept.size <= KEPT) return;
  const [[oldest, gone]] = kept;
  kept.delete(oldest);
  URL.revokeObjectURL(gone);
}
