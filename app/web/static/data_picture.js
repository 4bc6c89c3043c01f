/** Pictures that an answer has in its text, as data URLs: their bytes become an address of this document. */

import { localPicture } from './picture.js';
import { t } from './texts.js';

const NOTATION = /^data:(image\/(?:png|jpeg|gif|webp|avif));base64,([A-Za-z0-9+/]+={0,2})$/;
const LONGEST = 16 * 1024 * 1024; // characters
const KEPT = 16; // addresses, because a growing text draws its last paragraphs again

const addresses = new Map();

/** A picture for a data URL; null where it is none, is too long, or is of a type that is not drawn. */
export function dataPicture(url, name) {
  const address = addresses.get(url) ?? made(url);
  return address && localPicture(address, name || t('picture.name'));
}

function made(url) {
  const match = url.length <= LONGEST ? NOTATION.exec(url) : null;
  const bytes = match && decoded(match[2]);
  if (!bytes) return null;
  const address = URL.createObjectURL(new Blob([bytes], { type: match[1] }));
  addresses.set(url, address);
  // The address of a picture that stands in the thread stays good: only the way from the text to it is forgotten.
  if (addresses.size > KEPT) addresses.delete(addresses.keys().next().value);
  return address;
}

function decoded(text) {
  try {
    const chars = atob(text);
    const bytes = new Uint8Array(chars.length);
    // A function for each character would hold up the page.
    for (let i = 0; i < bytes.length; i += 1) bytes[i] = chars.charCodeAt(i);
    return bytes;
  } catch {
    return null;
  }
}
