/** Addresses of the operators' page: from a place to its address and back. Filters are the query of the address. */

const HOME = '/ops';
const PLACES = [
  [/^\/ops\/?$/, 'overview'],
  [/^\/ops\/generations\/?$/, 'generations'],
  [/^\/ops\/generations\/([^/]+)\/?$/, 'generation'],
  [/^\/ops\/workers\/?$/, 'workers'],
  [/^\/ops\/users\/?$/, 'users'],
  [/^\/ops\/users\/([^/]+)\/?$/, 'user'],
  [/^\/ops\/dead-letters\/?$/, 'dead-letters'],
  [/^\/ops\/audit\/?$/, 'audit'],
];

/**
 * The place of an address: {name, id, filters}. `filters` has the texts of the query by name. An address of the
 * operators' page without a place is 'unknown'; one of another page is 'nowhere'.
 */
export function placeOf({ pathname, search }) {
  const filters = Object.fromEntries(new URLSearchParams(search));
  for (const [pattern, name] of PLACES) {
    const match = pattern.exec(pathname);
    if (match) return { name, id: match[1] ? decode(match[1]) : null, filters };
  }
  return { name: pathname.startsWith(`${HOME}/`) ? 'unknown' : 'nowhere', id: null, filters: {} };
}

/** The address of a view with its filters. Empty filters are left out. */
export function address(name, filters = {}) {
  const set = Object.entries(filters).filter(([, value]) => value !== undefined && value !== null && value !== '');
  const path = name === 'overview' ? HOME : `${HOME}/${name}`;
  return set.length ? `${path}?${new URLSearchParams(set)}` : path;
}

export const generationAddress = (id) => `${HOME}/generations/${encodeURIComponent(id)}`;
export const userAddress = (id) => `${HOME}/users/${encodeURIComponent(id)}`;

function decode(text) {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}
