"""A poll never returns less than an earlier one (found by the chaos rig: a web process was cut off from Redis)."""

from __future__ import annotations

import pytest

from app.domain.cursor import Cursor
from app.domain.errors import LogDown
from app.domain.events import Mark
from app.services.poller import Poller
from tests.actors import claim, start
from tests.stack import Stack


def test_a_poller_ahead_of_what_can_be_read_is_told_to_come_back(module_stack: Stack) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(6)
    hand.save(3)
    hand.publish()
    poller = Poller(resources.generations, resources.reader)
    seen = poller.poll(module_stack.user, hand.id, Cursor(0, 0)).view
    resources.log.unlink([hand.id])
    with pytest.raises(LogDown):
        poller.poll(module_stack.user, hand.id, seen.cursor)
    hand.save()
    again = poller.poll(module_stack.user, hand.id, seen.cursor)
    assert (again.view.content, again.events) == (seen.content, [])


def test_a_poller_is_told_the_end_that_the_log_was_not(module_stack: Stack) -> None:
    """A client that continues from the returned cursor would never receive an end that the poll left out."""
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(4)
    hand.say(Mark("stop", None))
    hand.publish()
    done = hand.finish()
    poll = Poller(resources.generations, resources.reader).poll(module_stack.user, hand.id, Cursor(1, 2))
    assert [entry.payload for entry in poll.events] == [*hand.payloads[3:], done]
    assert poll.view.cursor == poll.events[-1].cursor
