/**
 * When to draw: at most once a frame, and after a drawing that took long, not again before the page has had as much
 * time for everything else. Where many have something to draw, they share the frames. So typing and scrolling go on,
 * however much there is to draw.
 */

const FRAME = 16; // milliseconds
const SHARE = 12; // milliseconds of a frame for all drawings together

const frame = { at: -1, spent: 0 };

export class Pace {
  #draw;
  #frame = null;
  #timer = null;
  #free = 0; // when the next drawing may begin

  /** @param {() => void} draw */
  constructor(draw) {
    this.#draw = draw;
  }

  /** Draw soon; asked again before that, it is still one drawing. */
  ask() {
    if (this.#frame !== null || this.#timer !== null) return;
    const rest = this.#free - performance.now();
    if (rest <= 0) this.#await();
    else
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#await();
      }, rest);
  }

  /** Draw at once, in place of what was asked for. A page that nobody looks at has no frames. */
  now() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = this.#timer = null;
    const began = performance.now();
    this.#draw();
    frame.spent += performance.now() - began;
    // What the browser makes of it (layout, paint) belongs to the price; it is done when the next task runs.
    setTimeout(() => {
      const ended = performance.now();
      if (ended - began > FRAME) this.#free = ended + (ended - began);
    });
  }

  #await() {
    this.#frame = requestAnimationFrame((at) => {
      if (at !== frame.at) [frame.at, frame.spent] = [at, 0];
      if (frame.spent > SHARE) this.#await();
      else this.now();
    });
  }
}
