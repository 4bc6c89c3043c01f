"""A Redis that refuses every write can still be read (found by the chaos rig: a cancel took text back)."""

from __future__ import annotations

from tests.actors import claim, start
from tests.stack import Stack


def test_a_cancel_keeps_what_only_a_full_redis_has(module_stack: Stack) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id).speak(6)
    hand.save(3)
    hand.publish()
    resources.redis.config_set("maxmemory", "1mb")
    try:
        view = resources.generations.cancel(module_stack.user, hand.id)
    finally:
        resources.redis.config_set("maxmemory", "0")
    assert view.content == "".join(f"t{hand.epoch}.{n} " for n in range(6))
