/** Reads texts out of a ZIP archive, as the exports of other services are. */

import { t } from './texts.js';

const END = 0x06054b50; // begins the end of the central directory
const ENTRY = 0x02014b50; // begins an entry of it
const LONGEST_END = 22 + 65_535; // bytes
const DEFLATED = 8;

/** Whether the file begins like a ZIP archive. */
export async function isZip(file) {
  const head = new Uint8Array(await file.slice(0, 4).arrayBuffer());
  return head[0] === 0x50 && head[1] === 0x4b && head[2] === 3 && head[3] === 4;
}

/** The texts of the entries whose name `pattern` matches, in order. Throws an Error for a broken archive or long texts. */
export async function textsOf(file, pattern, longest) {
  const texts = [];
  for (const entry of await entriesOf(file)) {
    if (!pattern.test(entry.name)) continue;
    if (entry.size > longest) throw new Error(t('import.too_large', { name: entry.name }));
    texts.push(await textOf(file, entry));
  }
  return texts;
}

async function entriesOf(file) {
  const tail = await view(file, Math.max(0, file.size - LONGEST_END), file.size);
  let at = tail.byteLength - 22;
  while (at >= 0 && tail.getUint32(at, true) !== END) at -= 1;
  if (at < 0) throw new Error(t('import.broken'));
  const [size, from] = [tail.getUint32(at + 12, true), tail.getUint32(at + 16, true)];
  const directory = await view(file, from, from + size);
  const entries = [];
  for (let n = 0; n + 46 <= directory.byteLength && directory.getUint32(n, true) === ENTRY;) {
    const nameLength = directory.getUint16(n + 28, true);
    const name = new Uint8Array(directory.buffer, n + 46, nameLength);
    entries.push({
      name: new TextDecoder().decode(name),
      method: directory.getUint16(n + 10, true),
      packed: directory.getUint32(n + 20, true),
      size: directory.getUint32(n + 24, true),
      from: directory.getUint32(n + 42, true),
    });
    n += 46 + nameLength + directory.getUint16(n + 30, true) + directory.getUint16(n + 32, true);
  }
  return entries;
}

async function textOf(file, { method, packed, size, from }) {
  const head = await view(file, from, from + 30);
  const start = from + 30 + head.getUint16(26, true) + head.getUint16(28, true);
  const body = file.slice(start, start + packed);
  if (method !== DEFLATED) return body.text();
  // An archive that lies about a size is not unpacked beyond it.
  const chunks = [];
  let length = 0;
  const reader = body.stream().pipeThrough(new DecompressionStream('deflate-raw')).getReader();
  for (let { done, value } = await reader.read(); !done; { done, value } = await reader.read()) {
    length += value.length;
    if (length > size) throw new Error(t('import.broken'));
    chunks.push(value);
  }
  return new Blob(chunks).text();
}

const view = async (file, from, to) => new DataView(await file.slice(from, to).arrayBuffer());
