"""A worker without Redis leaves an expired lease to workers with it (found by the chaos rig: text taken back)."""

from __future__ import annotations

import time

from app.services.leases import Leases
from tests.actors import start
from tests.stack import Stack


def test_an_expired_lease_is_free_for_some_only_later(module_stack: Stack) -> None:
    resources = module_stack.resources
    generation_id = start(resources, module_stack.user).generation.id
    # A queued generation has no text to lose: every worker may claim it.
    assert Leases(resources.database, "first", 0.2, 600).claim(generation_id, takeover_delay=60) is not None
    time.sleep(0.4)
    leases = Leases(resources.database, "second", 0.2, 600)
    assert leases.claim(generation_id, takeover_delay=60) is None
    assert leases.claim(generation_id, takeover_delay=0.1) is not None
    assert leases.release(leases_of(leases, generation_id), [])
    # A released lease is free at once: all events are in PostgreSQL.
    assert leases.claim(generation_id, takeover_delay=60) is not None


def leases_of(leases: Leases, generation_id: str):  # type: ignore[no-untyped-def]
    time.sleep(0.3)
    claimed = leases.claim(generation_id)
    assert claimed is not None
    return claimed.lease
