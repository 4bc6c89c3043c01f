/**
 * A budget of time for drawing, so that typing and scrolling go on however much there is to draw.
 *
 * A drawing happens at most once a frame. After a long drawing the page gets as much time for everything else. All
 * drawings share the frames.
 */

const FRAME = 16; // milliseconds
const SHARE = 12; // milliseconds of a frame for all drawings together

const frame = { at: -1, spent: 0 };

export class FrameBudget {
  #draw;
  #frame = null;
  #timer = null;
  #free = 0; // time at which the next drawing may begin

  /** @param {() => void} draw */
  constructor(draw) {
    this.#draw = draw;
  }

  /** Draw soon. Several requests before the next frame are one drawing. */
  request() {
    if (this.#frame !== null || this.#timer !== null) return;
    const rest = this.#free - performance.now();
    if (rest <= 0) this.#await();
    else
      this.#timer = setTimeout(() => {
        this.#timer = null;
        this.#await();
      }, rest);
  }

  /** Draw now, in place of a requested drawing. A hidden page has no frames. */
  drawNow() {
    cancelAnimationFrame(this.#frame);
    clearTimeout(this.#timer);
    this.#frame = this.#timer = null;
    const began = performance.now();
    this.#draw();
    frame.spent += performance.now() - began;
    // Layout and paint of the browser belong to the cost; they are done when the next task runs.
    setTimeout(() => {
      const ended = performance.now();
      if (ended - began > FRAME) this.#free = ended + (ended - began);
    });
  }

  #await() {
    this.#frame = requestAnimationFrame((at) => {
      if (at !== frame.at) [frame.at, frame.spent] = [at, 0];
      if (frame.spent > SHARE) this.#await();
      else this.drawNow();
    });
  }
}
