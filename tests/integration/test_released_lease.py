"""A released lease stays free when a renewal of its holder arrives later (found by the chaos rig)."""

from __future__ import annotations

from app.services.leases import Leases
from app.store.checkpoints import Checkpoint
from tests.actors import claim, start
from tests.stack import Stack


def test_a_renewal_that_arrives_after_the_release_does_not_take_the_lease_back(module_stack: Stack) -> None:
    resources = module_stack.resources
    hand = claim(resources, start(resources, module_stack.user).generation.id)
    leases = Leases(resources.database, "leaving", 30, 600)
    late = Checkpoint(hand.claimed.lease, hand.claimed.user_id, 0, 0, None, None)
    assert leases.renew([late]) == {hand.id}
    assert leases.release(hand.claimed.lease, [])
    assert leases.renew([late]) == set()
    assert Leases(resources.database, "next", 30, 600).claim(hand.id) is not None
