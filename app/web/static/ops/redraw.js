/**
 * Drawing again: parts that look as before stay the nodes that they are. A node that is replaced loses the focus, a
 * selection and a half-finished click.
 */

// Their handlers know the data that they were made for, so they are kept or replaced as a whole.
const WHOLE = 'a, button, input, select, textarea, summary, details, svg, time, meter';
const FOCUSABLE = 'a[href], button, input, select, summary, [tabindex]';

/** Make `nodes`, which nobody has seen yet, the children of `parent`. */
export function redraw(parent, nodes) {
  const focused = parent.contains(document.activeElement) ? document.activeElement : null;
  const at = focused ? [...parent.querySelectorAll(FOCUSABLE)].indexOf(focused) : -1;
  children(parent, nodes);
  // The focused element is another one now: the one at its place gets the focus.
  if (focused && !focused.isConnected)
    parent.querySelectorAll(FOCUSABLE)[at]?.focus({ preventScroll: true, focusVisible: true });
}

function children(parent, fresh) {
  const old = [...parent.childNodes];
  fresh.forEach((node, n) => (n < old.length ? one(old[n], node) : parent.append(node)));
  for (const node of old.slice(fresh.length)) node.remove();
}

function one(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (isFrame(old, fresh)) children(old, [...fresh.childNodes]);
  else old.replaceWith(fresh);
}

// Whether two elements differ in their content only.
function isFrame(old, fresh) {
  if (!(old instanceof Element) || old.tagName !== fresh.tagName || old.matches(WHOLE)) return false;
  return old.cloneNode(false).isEqualNode(fresh.cloneNode(false));
}
