/** Where the axes of a plot have their marks. Pure. */

const NICE = [1, 2, 2.5, 5, 10];
// Steps of an axis of time, in minutes.
const MINUTE = 60_000; // milliseconds
const MINUTES = [1, 5, 10, 15, 30, 60, 120, 180, 240, 360, 720];

/** Values from 0 to at least `highest` in about `steps` equal parts: [0, 50, 100, 150]. */
export function niceTicks(highest, steps) {
  const rough = (highest > 0 ? highest : 1) / steps;
  const power = 10 ** Math.floor(Math.log10(rough));
  // A count has no halves.
  const step =
    NICE.map((nice) => nice * power).find((size) => size >= rough && (highest > 10 || size >= 1)) ?? 10 * power;
  const whole = highest <= 10 ? Math.max(1, Math.ceil(step)) : step;
  const ticks = [0];
  while (ticks.at(-1) < highest || ticks.length < 2) ticks.push(ticks.length * whole);
  return ticks;
}

/** The times of the marks between two times (milliseconds): full steps of local time, at most `room` of them. */
export function timeTicks(from, to, room) {
  if (!(to > from)) return [];
  const step = MINUTES.find((minutes) => (to - from) / (minutes * MINUTE) <= room) ?? MINUTES.at(-1);
  // Steps begin at midnight of this place. An offset that changes in between moves the marks behind it by an hour.
  const midnight = new Date(from).setHours(0, 0, 0, 0);
  const first = midnight + Math.ceil((from - midnight) / (step * MINUTE)) * step * MINUTE;
  return Array.from(
    { length: Math.max(0, Math.floor((to - first) / (step * MINUTE)) + 1) },
    (_, n) => first + n * step * MINUTE,
  );
}
