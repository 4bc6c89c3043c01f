"""The memory of a worker process: how glibc keeps it, and how it is given back after a large answer."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

# mallopt(3)
_M_MMAP_THRESHOLD = -3
_M_ARENA_MAX = -8
_LARGE_BLOCK_BYTES = 262_144
_ARENAS = 2


def set_up() -> None:
    """Have glibc map every large block by itself, and keep few heaps for the others.

    By default each thread has a heap of its own, and keeps what it needed once for the end of a large answer.
    """
    with suppress(OSError, AttributeError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGE_BLOCK_BYTES)
        libc.mallopt(_M_ARENA_MAX, _ARENAS)


def give_back() -> None:
    """Free the garbage, and give the free pages of all heaps back to the system. It takes some milliseconds."""
    gc.collect()
    with suppress(OSError, AttributeError):
        ctypes.CDLL(None).malloc_trim(0)
