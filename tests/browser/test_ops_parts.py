"""The modules of the operators' page that need no server: figures, addresses, axes of plots, the repeated request."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from playwright.sync_api import Browser, Page

from tests.browser.scripted import ScriptedServer

DURATIONS = [
    (0, "0 ms"),
    (999, "999 ms"),
    (4200, "4.2 s"),
    (9999, "10 s"),
    (59_499, "59 s"),
    (59_949, "1 min"),
    (119_900, "2 min"),
    (185_000, "3 min 5 s"),
    (3_599_900, "1 h"),
    (7_800_000, "2 h 10 min"),
    (270_000_000, "3 d 3 h"),
    (None, "–"),
]


def test_durations_have_their_two_largest_units(module_page: Page) -> None:
    shown = module_page.evaluate(
        "async (values) => { const {duration} = await import('/static/ops/format.js'); return values.map(duration); }",
        [value for value, _ in DURATIONS],
    )
    assert shown == [text for _, text in DURATIONS]


def test_an_address_has_its_filters_and_gives_them_back(module_page: Page) -> None:
    filters = {"status": "error", "user": "a&b=c d/é", "cursor": ""}
    path = module_page.evaluate(
        "async (f) => (await import('/static/ops/address.js')).address('generations', f)", filters
    )
    place = module_page.evaluate(
        "async (path) => (await import('/static/ops/address.js')).placeOf(new URL(path, location.href))", path
    )
    assert place == {"name": "generations", "id": None, "filters": {"status": "error", "user": "a&b=c d/é"}}


def test_an_axis_covers_its_values_in_few_even_steps(module_page: Page) -> None:
    values = [0, 0.4, 1, 3, 7, 10, 11, 61, 400, 1644, 26_000, 1e9]
    found = module_page.evaluate(
        """async (values) => {
          const {niceTicks} = await import('/static/ops/plot_ticks.js');
          return values.map((highest) => niceTicks(highest, 3));
        }""",
        values,
    )
    for highest, ticks in zip(values, found, strict=True):
        assert ticks[0] == 0
        assert ticks[-1] >= highest
        assert len({round(after - before, 6) for before, after in pairwise(ticks)}) == 1
        assert 2 <= len(ticks) <= 6
        # A count has no halves.
        assert all(tick == int(tick) for tick in ticks)


def test_an_axis_of_time_has_full_steps_of_local_time(chromium: Browser, scripted: ScriptedServer) -> None:
    # Half an hour beside the full ones of UTC; the points of a plot stand at odd minutes.
    context = chromium.new_context(timezone_id="Asia/Kolkata")
    page = context.new_page()
    page.goto(scripted.url + "/blank")
    cases = [(1, 5), (1, 2), (24, 5), (24, 12)]
    found = page.evaluate(
        """async (cases) => {
          const {timeTicks} = await import('/static/ops/plot_ticks.js');
          const from = Date.parse('2026-11-29T12:06:00Z');
          const local = (at) => new Date(at).getHours() * 60 + new Date(at).getMinutes();
          return cases.map(([hours, room]) => timeTicks(from, from + hours * 3_600_000, room).map(local));
        }""",
        cases,
    )
    context.close()
    for (_, room), minutes in zip(cases, found, strict=True):
        assert 2 <= len(minutes) <= room + 1
        step = (minutes[1] - minutes[0]) % 1440
        assert all((after - before) % 1440 == step for before, after in pairwise(minutes))
        assert all(minute % step == 0 for minute in minutes)


POLLER = """
async ({script, runs, steps}) => {
  const {Poller} = await import('/static/ops/poller.js');
  let open = 0, most = 0, made = 0;
  const seen = [];
  const poller = new Poller({
    every: 20,
    load: async (signal) => {
      open += 1; most = Math.max(most, open); made += 1;
      const fails = script[Math.min(made, script.length) - 1] === 'fail';
      await new Promise((done) => setTimeout(done, 30));
      open -= 1;
      if (fails) throw Object.assign(new Error('away'), {status: 503});
    },
    onChange: ({problem, isOld}) => seen.push([problem?.status ?? null, isOld]),
  });
  poller.start();
  for (const step of steps) poller[step]();
  while (seen.length < runs) await new Promise((done) => setTimeout(done, 5));
  poller.stop();
  return {most, made, seen};
}
"""


def _poll(page: Page, script: list[str], runs: int, steps: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = page.evaluate(POLLER, {"script": script, "runs": runs, "steps": steps})
    return found


def test_a_request_never_overlaps_itself(module_page: Page) -> None:
    # It takes longer than the time between two, and somebody presses a button in the meantime.
    found = _poll(module_page, ["ok"], 4, ["refresh", "refresh", "start"])
    assert (found["most"], found["seen"]) == (1, [[None, False]] * 4)


def test_a_hidden_tab_sends_nothing_and_one_that_comes_back_asks_at_once(module_page: Page) -> None:
    sent = module_page.evaluate(
        """async () => {
          const {Poller} = await import('/static/ops/poller.js');
          let hidden = false;
          Object.defineProperty(document, 'hidden', {get: () => hidden});
          const turn = (to) => { hidden = to; document.dispatchEvent(new Event('visibilitychange')); };
          const pause = (ms) => new Promise((done) => setTimeout(done, ms));
          let sent = 0, answer = () => {}, heard = () => {};
          const poller = new Poller({
            every: 10,
            load: () => new Promise((done) => { sent += 1; answer = done; }),
            onChange: () => heard(),
          });
          poller.start();
          // The tab is hidden while a request runs.
          turn(true);
          const reply = new Promise((done) => (heard = done));
          answer();
          await reply;
          await pause(100);
          const asleep = sent;
          turn(false);
          while (sent < 2) await pause(5);
          turn(true);
          poller.stop();
          return [asleep, sent];
        }"""
    )
    assert sent == [1, 2]


def test_a_failure_makes_the_data_old_until_a_reply_comes(module_page: Page) -> None:
    found = _poll(module_page, ["ok", "fail", "fail", "ok"], 4, [])
    assert found["seen"] == [[None, False], [503, True], [503, True], [None, False]]


def test_drawing_again_keeps_what_has_not_changed(module_page: Page) -> None:
    found = module_page.evaluate(
        """async () => {
          const {h} = await import('/static/dom.js');
          const {redraw} = await import('/static/ops/redraw.js');
          const pressed = [];
          const draw = (id, figure) => [
            h('p', {}, 'Figure ', h('b', {}, figure)),
            h('p', {}, h('button', {onclick: () => pressed.push(id)}, `Press ${id}`), h('i', {}, figure)),
          ];
          const box = h('div', {});
          document.body.append(box);
          redraw(box, draw('one', '1'));
          const button = box.querySelector('button');
          button.focus();
          redraw(box, draw('one', '2'));
          const kept = box.querySelector('button') === button && document.activeElement === button;
          redraw(box, draw('two', '2'));
          const other = box.querySelector('button');
          other.click();
          redraw(box, draw('two', '2').slice(0, 1));
          const focused = document.activeElement === other;
          return [kept, box.textContent, other === button, focused, pressed, box.children.length];
        }"""
    )
    # The button of other data is another one, with its own handler; the focus has passed on to it, until it went away.
    assert found == [True, "Figure 2", False, False, ["two"], 1]
