"""Bounds of a connection while no thread works on it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

# A body or an answer that keeps this pace may take longer than its deadline: large ones over slow lines.
SLOWEST_BYTES_PER_SECOND = 16_384
# Bytes of all answers of a process that their clients have not taken.
MOST_UNSENT_BYTES = 1_073_741_824


def _one_megabyte(method: str, path: str) -> int:
    return 1_048_576


@dataclass(frozen=True, slots=True)
class ConnectionBounds:
    """Each bound with the value of its variable; the variable has the same name in capitals."""

    request_header_seconds: float = 15.0
    request_body_seconds: float = 30.0
    response_stall_seconds: float = 60.0
    max_unsent_bytes: int = MOST_UNSENT_BYTES
    max_header_bytes: int = 65_536
    # Bytes that a request of any route may have.
    max_body_bytes: int = 1_048_576
    # The bytes that the route of a method and a path allows. Called only for requests above ``max_body_bytes``.
    largest_body: Callable[[str, str], int] = _one_megabyte
