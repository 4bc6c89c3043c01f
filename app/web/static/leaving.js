/** Signing out of both pages. */

import { signOut } from './account_api.js';
import * as session from './session.js';

/** End the session. The data of this browser goes in any case; a session that the server could not end ends at its time. */
export async function leave() {
  // The browser empties the storage before it hands the reply over.
  session.beginToLeave();
  const reply = await signOut().catch(() => null);
  await session.signOut(reply?.next ?? '/');
}
