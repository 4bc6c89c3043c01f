"""answer.js in Chromium: the events of a stream, folded and drawn as an answer."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page

SHOW = """
async (events) => {
  const {Answer} = await import('/static/answer.js');
  const answer = new Answer({status: 'queued'});
  document.body.append(answer.node);
  const frame = () => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
  for (const event of events) {
    answer.receive(event);
    await frame();
  }
  // A drawing that took long is followed by a rest.
  for (let quiet = 0, seen = ''; quiet < 60; seen = answer.node.innerHTML) {
    await frame();
    quiet = answer.node.innerHTML === seen ? quiet + 1 : 0;
  }
  const shown = (name) => answer.node.querySelector(name)?.checkVisibility() ?? false;
  return {
    text: answer.node.querySelector('.body').innerText,
    reasoning: shown('.reasoning'),
    tools: [...answer.node.querySelectorAll('.tool')].map((row) => row.querySelector('summary').textContent),
    notice: shown('.notice') ? answer.node.querySelector('.notice p').textContent : null,
    waiting: shown('.waiting') ? answer.node.querySelector('.waiting').textContent : null,
  };
}
"""
START = {"type": "snapshot", "text": "", "reason": "start", "attempt": 1}
WORDS = {"type": "token", "content": "Let me look. "}
THOUGHT = {"type": "reasoning", "content": "Where is it raining?"}
CALL = {"type": "tool", "call_id": "c1", "tool": "weather", "state": "started", "arguments": '{"place":"Bergen"}'}
RESULT = {**CALL, "state": "finished", "result": '{"rain": true}'}


def shown(page: Page, *events: dict[str, Any]) -> dict[str, Any]:
    """The visible parts of an answer after these events."""
    drawn: dict[str, Any] = page.evaluate(SHOW, list(events))
    return drawn


def test_a_tool_call_is_one_line_that_changes_its_state(module_page: Page) -> None:
    assert shown(module_page, START, CALL)["tools"] == ["weatherplace: Bergenrunning"]
    assert shown(module_page, START, CALL, RESULT)["tools"] == ["weatherplace: Bergendone"]


@pytest.mark.parametrize("reason", ["takeover", "continue", "cancel"])
def test_a_new_revision_keeps_what_was_done(module_page: Page, reason: str) -> None:
    snapshot = {"type": "snapshot", "text": "Let me look. ", "reasoning": "Where?", "reason": reason, "attempt": 2}
    answer = shown(module_page, START, THOUGHT, WORDS, CALL, RESULT, snapshot)
    assert (answer["text"], answer["reasoning"], answer["tools"]) == (
        "Let me look.",
        True,
        ["weatherplace: Bergendone"],
    )


@pytest.mark.parametrize(("reason", "notice"), [("restart", "start again"), ("failover", "Another provider goes on")])
def test_a_restart_takes_away_words_thoughts_and_tool_calls_of_the_former_attempt(
    module_page: Page, reason: str, notice: str
) -> None:
    restart = {"type": "snapshot", "text": "", "reason": reason, "attempt": 2}
    answer = shown(module_page, START, THOUGHT, WORDS, CALL, RESULT, restart)
    assert (answer["text"], answer["reasoning"], answer["tools"]) == ("", False, [])
    assert notice in answer["notice"]
    again = shown(module_page, START, CALL, restart, {**CALL, "call_id": "c2", "tool": "tides"})
    assert again["tools"] == ["tidesplace: Bergenrunning"]


def test_the_place_in_the_queue_is_said_until_it_begins(module_page: Page) -> None:
    opening = {"type": "open", "generation_id": "g", "message_id": "m", "status": "queued"}
    queued = {"type": "queued", "position": 3}
    assert "number 3" in shown(module_page, opening, queued)["waiting"]
    assert shown(module_page, opening, queued, {**queued, "position": 1}, START)["waiting"] == ""
    assert shown(module_page, opening, queued, START, WORDS)["waiting"] is None
