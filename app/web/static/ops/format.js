/** Figures as text, each with its unit. A figure that is not known is a dash. */

export const NONE = '–';

const whole = new Intl.NumberFormat();
const short = new Intl.NumberFormat(undefined, { notation: 'compact', maximumFractionDigits: 1 });
const [SECOND, MINUTE, HOUR, DAY] = [1000, 60_000, 3_600_000, 86_400_000];

const known = (value) => typeof value === 'number' && Number.isFinite(value);

/** A count, in full: `12,345`. */
export const count = (value) => (known(value) ? whole.format(value) : NONE);

/** A large count, short: `12.3K`. */
export const compact = (value) => (known(value) ? short.format(value) : NONE);

/** A count with its noun: `1 worker`, `3 workers`. */
export const counted = (value, one, many = `${one}s`) =>
  known(value) ? `${whole.format(value)} ${value === 1 ? one : many}` : NONE;

/** A time span of milliseconds in its two largest units: `430 ms`, `4.2 s`, `3 min 5 s`, `2 h 10 min`, `3 d 4 h`. */
export function duration(milliseconds) {
  if (!known(milliseconds)) return NONE;
  const value = Math.max(0, milliseconds);
  if (value < SECOND) return `${Math.round(value)} ms`;
  if (value < MINUTE - SECOND / 2)
    return `${(value / SECOND).toFixed(value < 10 * SECOND ? 1 : 0).replace('.0', '')} s`;
  if (value < HOUR - SECOND / 2) return two(value, MINUTE, 'min', SECOND, 's');
  return value < DAY - MINUTE / 2 ? two(value, HOUR, 'h', MINUTE, 'min') : two(value, DAY, 'd', HOUR, 'h');
}

/** A time span of seconds, as `duration`. */
export const seconds = (value) => (known(value) ? duration(value * SECOND) : NONE);

function two(value, large, largeName, small, smallName) {
  // Rounded first, so that 119.9 s is 2 min and not 1 min 60 s.
  const parts = Math.round(value / small);
  const each = large / small;
  const rest = parts % each;
  return `${Math.floor(parts / each)} ${largeName}${rest ? ` ${rest} ${smallName}` : ''}`;
}

/** A sum of money; `cost` is a number or its text. */
export function money(cost, currency) {
  if (cost === null || cost === undefined || !Number.isFinite(Number(cost))) return NONE;
  const style = currency ? { style: 'currency', currency } : {};
  return new Intl.NumberFormat(undefined, { ...style, maximumSignificantDigits: 3 }).format(Number(cost));
}

/** The beginning and the end of a long id: `019a2b3c…9f12`. Times are at the beginning of our ids. */
export const shortId = (id) => (id.length > 15 ? `${id.slice(0, 8)}…${id.slice(-4)}` : id);

/** A name of the API in words: `hand_over` becomes `hand over`. */
export const words = (name) => name.replaceAll('_', ' ');
