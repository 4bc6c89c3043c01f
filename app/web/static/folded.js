/** The server's own words about a failure, folded: they are for the person who runs the service. */

import { h, icon } from './dom.js';
import { t } from './texts.js';

/** A node for an explanation of explanations.js; null when the server has said nothing else. */
export function folded({ detail, code }) {
  if (!detail) return null;
  return h(
    'details',
    { class: 'server-words' },
    h('summary', {}, t('markdown.details'), icon('chevron')),
    h('p', { dir: 'auto' }, detail),
    code && h('p', {}, h('code', {}, code)),
  );
}
