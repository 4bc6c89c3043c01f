/** What a page does when its session ends, and when somebody signs in for it in another tab. */

import * as session from './session.js';
import { isSignedIn, showEnded } from './signin.js';

// Whether the page waits for a sign-in.
const waits = () => document.querySelector('.ways') !== null;

/** Watch the session. `close()` stops everything of the old session; it returns whether there was something. */
export function watchSession(close) {
  session.listen(({ type }) => {
    if (type === 'expired' && close()) {
      for (const open of document.querySelectorAll('dialog[open], [popover]')) open.remove();
      showEnded();
    } else if (type === 'signed-in' && waits()) location.reload();
  });
  // A sign-in by a link happens in another tab. This one notices it when the user comes back to it.
  addEventListener('visibilitychange', async () => {
    if (!document.hidden && waits() && (await isSignedIn().catch(() => false))) location.reload();
  });
}
