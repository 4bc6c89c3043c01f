"""The thread pools of a worker process."""

from __future__ import annotations

from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass

# Threads for the short transactions of a thousand generations; more would only queue in PostgreSQL.
STORE_THREADS = 8
# A call that may wait for Redis waits seconds when Redis is away: many must be able to at the same time.
REDIS_THREADS = 64
# Renewals of leases wait for no other call: a lease that is renewed late is lost.
LEASE_THREADS = 2
# Titles have a thread of their own: no answer begins later because another one is given a title.
TITLE_THREADS = 1


@dataclass(frozen=True, slots=True)
class Threads:
    """The thread pools of a worker process, one for each kind of wait."""

    stores: Executor
    redis: Executor
    leases: Executor
    titles: Executor

    @classmethod
    def start(cls) -> Threads:
        """Make the pools; threads begin with their first call."""
        sizes = {"stores": STORE_THREADS, "redis": REDIS_THREADS, "leases": LEASE_THREADS, "titles": TITLE_THREADS}
        return cls(**{name: ThreadPoolExecutor(size, thread_name_prefix=name) for name, size in sizes.items()})
