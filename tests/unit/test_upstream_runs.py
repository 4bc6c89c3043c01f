"""The run that a takeover goes on with: that of the call which the answer was in, and no other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest

from app.domain.cursor import Cursor
from app.domain.events import Event, Mark, Reasoning, Snapshot, Token, Tool
from app.domain.transcript import Transcript
from app.domain.upstreams import UpstreamRun
from tests.unit.test_retry_policy import CLAIMED
from worker.upstream_runs import reason, unfinished

RUN = UpstreamRun("openai", "resp_1", attempt=1)
START = Snapshot("", "start", 1)
STARTED = Tool("c", "f", "started", "{}")
FINISHED = replace(STARTED, state="finished", result="1")


def said(*events: Event) -> Transcript:
    transcript = Transcript()
    for n, event in enumerate(events):
        transcript.add(Cursor(1, n), event)
    return transcript


@pytest.mark.parametrize(
    ("run", "events", "recorded", "is_known"),
    [
        (RUN, [START], 0, True),
        (RUN, [START, Reasoning("r"), Token("t")], 0, True),
        (None, [START, Token("t")], 0, False),
        (RUN, [START, Token("t"), Mark("stop", None)], 0, False),  # the run has been read to its end
        (RUN, [START, Token("t"), STARTED], 0, False),  # so it has here: calls come last
        (RUN, [START, Token("t"), STARTED, FINISHED], 0, False),  # the next call had no run yet
        (replace(RUN, attempt=2, text_chars=1, tools=1), [START, Token("t"), STARTED, FINISHED], 0, True),
        (replace(RUN, attempt=2, text_chars=1, tools=1), [START, Token("t"), STARTED, FINISHED, Token("u")], 1, True),
        (RUN, [START, Token("t")], 1, False),  # the call has failed, and its record is stored
        (replace(RUN, text_chars=5), [Snapshot("four", "start", 1)], 0, False),  # not the revision that it began in
        (replace(RUN, reasoning_chars=1), [START], 0, False),
    ],
)
def test_the_run_of_the_unfinished_call_is_known(
    run: UpstreamRun | None, events: Sequence[Event], recorded: int, is_known: bool
) -> None:
    claimed = replace(CLAIMED, upstream_run=run, attempts=[{}] * recorded)
    assert unfinished(claimed, said(*events)) == (run if is_known else None)


def test_the_reason_tells_whether_something_was_shown() -> None:
    assert reason(said(START)) == "takeover"
    for shown in (Token("t"), Reasoning("r"), STARTED):
        assert reason(said(START, shown)) == "continue"
