/** The direction of a text. */

// The scripts that are written from the right.
const FROM_THE_RIGHT =
  /\p{Script=Arabic}|\p{Script=Hebrew}|\p{Script=Syriac}|\p{Script=Thaana}|\p{Script=Nko}|\p{Script=Adlam}/u;
const LETTER = /\p{L}/u;

/** `rtl` or `ltr`, by the first letter of `text`. */
export function directionOf(text) {
  const letter = LETTER.exec(text)?.[0];
  return letter && FROM_THE_RIGHT.test(letter) ? 'rtl' : 'ltr';
}
