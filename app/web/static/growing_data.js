/** Pictures that an answer has in its text as data: how much of a growing text is drawn while such data come in. */

const BEGIN = '](data:image/';
const BEYOND = /[^\w+/=;,.:-]/g; // a character that is no part of the data

/** The data at the end of one growing text. They are looked at once: they may have millions of characters. */
export class GrowingData {
  #at = -1; // of the data that were looked at last
  #looked = 0; // characters of the text

  /**
   * The characters of `text` to draw when `to` of them would be drawn: never a part of the data of a picture. Those
   * that are complete are drawn with the picture; those that still come in wait for their end, if they are `live`.
   */
  end(text, to, live) {
    const at = this.#begin(text, to);
    if (at < 0) return to;
    const close = this.#close(text, at);
    if (close >= 0) return Math.max(to, close + 1);
    return live ? at + BEGIN.length : text.length;
  }

  #begin(text, to) {
    // The data that are known come in still: nothing that begins in them is looked for.
    const comesIn = this.#at >= 0 && this.#looked >= to - 1 && text.startsWith(BEGIN, this.#at);
    return comesIn ? this.#at : text.lastIndexOf(BEGIN, to - 1);
  }

  #close(text, at) {
    if (at !== this.#at || this.#looked > text.length) [this.#at, this.#looked] = [at, at + BEGIN.length];
    BEYOND.lastIndex = this.#looked;
    const match = BEYOND.exec(text);
    this.#looked = match ? match.index : text.length;
    return match ? match.index : -1;
  }
}
