"""A Retry-After of any form leads to a pause that has a bound, or to a refusal: never to a storm of requests."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from playwright.sync_api import Page

from tests.browser.scripted import ScriptedServer, status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LONGEST_TIMER = 2**31 - 1  # milliseconds; a browser's timer overflows beyond it and fires at once
LONGEST_WAIT = 120_000  # milliseconds

POWERS = [10**n for n in range(25)] + [2**n + step for n in (31, 32, 53, 63, 64) for step in (-1, 0, 1)]
SECONDS = [0, 1, 2, 59, 60, 119, 120, 121, *POWERS]
NUMBERS = [form.format(n) for n, form in itertools.product(SECONDS, ["{}", " {} ", "0{}", "000{}"])]
DATES = [
    format_datetime(NOW + timedelta(seconds=step), usegmt=True)
    for step in (0, 1, 5, 60, 119, 121, 86_400, 31 * 86_400, 3650 * 86_400, 200_000_000_000, -1, -86_400)
]
OTHER_DATES = ["Thursday, 01-Jan-26 00:00:05 GMT", "Fri, 31 Dec 9999 23:59:59 GMT", "Mon, 01 Jan 0001 00:00:00 GMT"]
NONSENSE = [
    "", " ", "soon", "-1", "-99999999999", "+5", "1.5", "1e3", "1e400", "0x10", "Infinity", "-Infinity", "NaN", "5, 5",
    "5 10", "5;10", "5s", "PT5S", "٣", "９", "null", "true", "2026-01-01", "12:00", "Thu, ", "Thu, 99 Foo 2026",
    "Thu, 32 Jan 2026 25:61:61 GMT", "9" * 400, "\t5\t",
]  # fmt: skip
CORPUS = [*NUMBERS, *DATES, *OTHER_DATES, *NONSENSE]

PAUSES = """
async ({corpus, now}) => {
  const {retryAfter, Pauses} = await import('/static/reconnecting_stream.js');
  return corpus.map((header) => {
    const wait = retryAfter(header, now);
    const delays = Array.from({length: 40}, () => new Pauses().delay({status: 503, wait}));
    return {wait: wait === Infinity ? 'forever' : wait, shortest: Math.min(...delays), longest: Math.max(...delays)};
  });
}
"""


def test_no_value_gives_a_delay_that_a_timer_cannot_hold(module_page: Page) -> None:
    found = module_page.evaluate(PAUSES, {"corpus": CORPUS, "now": NOW.timestamp() * 1000})
    for header, pause in zip(CORPUS, found, strict=True):
        wait = pause["wait"]
        assert wait is None or wait == "forever" or wait >= 0, header
        assert 0 <= pause["shortest"] <= pause["longest"] <= LONGEST_TIMER, header
        if wait == "forever" or (wait is not None and wait >= LONGEST_TIMER):
            assert pause["shortest"] == LONGEST_TIMER, header
        elif wait is not None:
            assert pause["shortest"] >= wait, header


def test_seconds_and_dates_are_read_and_nothing_else(module_page: Page) -> None:
    found = module_page.evaluate(PAUSES, {"corpus": CORPUS, "now": NOW.timestamp() * 1000})
    waits = dict(zip(CORPUS, (pause["wait"] for pause in found), strict=True))
    for number in NUMBERS:
        assert waits[number] == pytest.approx(float(number) * 1000), number
    assert [waits[date] for date in DATES[:6]] == [0, 1000, 5000, 60_000, 119_000, 121_000]
    assert waits["Thursday, 01-Jan-26 00:00:05 GMT"] == 5000
    read = {header for header in NONSENSE if waits[header] is not None}
    assert read == {"9" * 400, "\t5\t"}


READ = """
async ({kind}) => {
  const {follow} = await import('/static/stream.js');
  const {Feed} = await import('/static/feed.js');
  const states = [];
  const onState = (state) => states.push({...state, at: Date.now()});
  const given = {url: '/g/g1/stream', token: () => 'secret', onState, onEvent: () => {}, onMissed: () => {}};
  const times = {minDelay: 0, maxDelay: 1};
  const reader = kind === 'feed' ? new Feed({...given, address: () => '/feed'}) : follow({...given, times});
  reader.start?.();
  const settled = () => states.some(({name}) => name === 'waiting' || name === 'offline' || name === 'stopped');
  for (let n = 0; n < 1000 && !settled(); n += 1) await new Promise((resolve) => setTimeout(resolve, 10));
  // A storm would have begun by now.
  await new Promise((resolve) => setTimeout(resolve, 200));
  reader.stop();
  return states.find(({name}) => name !== 'connecting');
}
"""
LONG = ["121", "3600", str(31 * 86_400), str(2**31), str(10**13), "9" * 60, "Fri, 31 Dec 9999 23:59:59 GMT"]
SHORT = ["20", "60", "120"]


@pytest.mark.parametrize("code", [429, 503])
@pytest.mark.parametrize("kind", ["follow", "feed"])
def test_a_reader_waits_a_bounded_time_and_is_no_storm(
    module_page: Page, scripted: ScriptedServer, kind: str, code: int
) -> None:
    for header in [*SHORT, *LONG]:
        scripted.play(status(code, {"detail": "later"}, Retry_After=header))
        state = module_page.evaluate(READ, {"kind": kind})
        assert len(scripted.asked) == 1, header
        if header in LONG and kind == "follow":
            assert (state["name"], state["reason"]) == ("stopped", "refused"), header
        else:
            assert state["name"] == "waiting", header
            wait = min(int(header) * 1000 if header.isdigit() else LONGEST_WAIT, LONGEST_WAIT)
            assert wait - 1000 <= state["retryAt"] - state["at"] <= LONGEST_WAIT, header
