/** Facts about files in the words of a reader: sizes, kinds, and which ones are pictures. */

import { locale, t } from './texts.js';

// Types that every browser draws. An SVG is a document with scripts, so it stays a file.
const PICTURES = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp', 'image/avif']);
// Types that models take as images, and types beside text of which a model gets the text or the bytes.
const SEEN = new Set(['image/png', 'image/jpeg', 'image/gif', 'image/webp']);
const READ = /^(?:text\/.*|application\/(?:pdf|json|xml|x-ndjson|yaml))$/;
// The office files whose text is read for every model.
const OFFICE =
  /^application\/vnd\.(?:openxmlformats-officedocument\.|oasis\.opendocument\.(?:text|spreadsheet|presentation)$)/;
const UNITS = ['byte', 'kilobyte', 'megabyte', 'gigabyte'];

/** Whether a file of this type is shown as a picture. */
export const isPicture = (mediaType) => PICTURES.has(mediaType);

/**
 * Why a model cannot take a file: 'images', 'kind', or null where it can. `images`: whether the model takes images. The
 * type of a file is known for certain when the server has looked at the bytes, with `isKnown`.
 */
export function whyNot(mediaType, { images }, isKnown) {
  if (/^image\//.test(mediaType ?? '')) {
    if (!images) return 'images';
    return SEEN.has(mediaType) ? null : 'kind';
  }
  const isRead = READ.test(mediaType ?? '') || OFFICE.test(mediaType ?? '');
  return isKnown && !isRead ? 'kind' : null;
}

/** Whether the model gets the text of a file in place of the file. Plain text is text anyway. */
export const isReadAsText = (mediaType, { files }) =>
  OFFICE.test(mediaType ?? '') || (mediaType === 'application/pdf' && files === 'text');

/** The bytes that go to the model as they are. */
export function bytesAsTheyAre(abouts, accepts) {
  const isSent = ({ media_type: type }) =>
    /^image\//.test(type) || (type === 'application/pdf' && accepts.files === true);
  return abouts.filter(isSent).reduce((sum, { bytes }) => sum + bytes, 0);
}

/** Whether a message has only the place of a file that was deleted. */
export const isGone = ({ file_id: id, bytes }) => !id || !Number.isInteger(bytes);

/** A size as `1.2 MB`, in the language of the browser. */
export function sizeText(bytes) {
  const power = Math.min(Math.floor(Math.log10(Math.max(bytes, 1)) / 3), UNITS.length - 1);
  const digits = power > 1 ? 1 : 0;
  const options = { style: 'unit', unit: UNITS[power], unitDisplay: power ? 'short' : 'long' };
  return new Intl.NumberFormat(locale, { ...options, maximumFractionDigits: digits }).format(bytes / 1000 ** power);
}

/** The kind of a file in a few capitals, for the sign of a file: `PDF`. */
export function kindText({ filename, media_type: mediaType }) {
  const ending = /\.([A-Za-z0-9]{1,5})$/.exec(filename ?? '')?.[1];
  return (
    ending ??
    mediaType
      ?.split('/')[1]
      ?.replace(/[^A-Za-z0-9].*$/, '')
      .slice(0, 5) ??
    t('file.kind')
  ).toUpperCase();
}

/** A few files or one, as a sentence names them: `photo.jpg`, `2 files`. */
export const namesText = (names) => (names.length === 1 ? names[0] : t('file.count', { count: names.length }));
