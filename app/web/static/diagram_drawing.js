/**
 * Drawings by the sandboxed frame `/diagram`, which has no origin, no network and no cookies. The page posts a source to it
 * and takes an image back. One frame draws all diagrams, one after the other. One that does not respond is replaced.
 */

import { h } from './dom.js';

/** Characters of a source that is drawn. */
export const MOST_SOURCE = 50_000;

const MOST_IMAGE = 2_000_000; // characters of a drawn image
const MOST_SIDE = 20_000; // pixels
const LOAD_TIME = 30_000; // milliseconds for the library
const DRAW_TIME = 10_000; // milliseconds for one drawing
const MOST_WAITING = 200; // drawings in the queue
const FRAME_PATH = '/diagram';

const waiting = []; // {source, dark, done}
let frame = null;
let ready = false;
let current = null; // the drawing that the frame makes
let timer = null;
let number = 0;

/** An image of `source`: `{svg, width, height}` with sides in pixels, or null where there is none. */
export function draw(source, dark) {
  return new Promise((done) => {
    if (waiting.length >= MOST_WAITING) done(null);
    else waiting.push({ source, dark, done });
    next();
  });
}

function next() {
  if (current || waiting.length === 0) return;
  if (!frame) open();
  if (!ready) return;
  current = waiting.shift();
  number += 1;
  timer = setTimeout(abandon, DRAW_TIME);
  // The frame has no origin that could be named. The page's policy keeps other pages out of it.
  frame.contentWindow.postMessage({ number, source: current.source, dark: current.dark }, '*');
}

function open() {
  frame = h('iframe', { class: 'diagram-frame', sandbox: 'allow-scripts', 'aria-hidden': 'true', tabindex: '-1', src: FRAME_PATH });
  addEventListener('message', receive);
  document.body.append(frame);
  timer = setTimeout(abandon, LOAD_TIME);
}

// The frame does not respond. Where it was not even loaded, all that wait fail.
function abandon() {
  const failed = current ? [current] : waiting.splice(0);
  frame.remove();
  [frame, ready, current] = [null, false, null];
  removeEventListener('message', receive);
  for (const { done } of failed) done(null);
  next();
}

function receive({ source, data }) {
  if (source !== frame?.contentWindow) return;
  if (!ready && data?.ready === true) {
    clearTimeout(timer);
    ready = true;
  } else if (current && data?.number === number) {
    clearTimeout(timer);
    const { done } = current;
    current = null;
    done(isImage(data) ? { svg: data.svg, width: Math.ceil(data.width), height: Math.ceil(data.height) } : null);
  }
  next();
}

const isSide = (value) => typeof value === 'number' && value > 0 && value <= MOST_SIDE;

function isImage({ svg, width, height }) {
  return typeof svg === 'string' && svg.length <= MOST_IMAGE && isSide(width) && isSide(height);
}
