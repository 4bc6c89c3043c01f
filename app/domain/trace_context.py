"""The W3C Trace Context of a request: strictly read, and written in one form. Pure.

Source: https://www.w3.org/TR/trace-context-2/. A header that is not valid counts as absent.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

# Bits of trace-flags that this service keeps: sampled, and a random trace id.
SAMPLED = 0x01
_KEPT_FLAGS = 0x03
# The limits of tracestate in the specification: members of the list, and characters that every system passes on.
MOST_MEMBERS = 32
MOST_STATE_CHARS = 512

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII)
_NO_TRACE, _NO_SPAN = "0" * 32, "0" * 16
_INVALID_VERSION, _OUR_VERSION = "ff", "00"
_KEY = r"[a-z][a-z0-9_\-*/]{0,255}|[a-z0-9][a-z0-9_\-*/]{0,240}@[a-z][a-z0-9_\-*/]{0,13}"
_VALUE = r"[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]"
_MEMBER = re.compile(rf"({_KEY})=({_VALUE})")


@dataclass(frozen=True, slots=True)
class TraceContext:
    """The trace of a request and the span that is the parent of the next one. The ids are hex digits.

    ``state``: the header ``tracestate`` in one line; None without a valid one.
    """

    trace_id: str
    span_id: str
    flags: int
    state: str | None = None

    @classmethod
    def read(cls, parent: str | None, state: str | None = None) -> Self | None:
        """The context of the headers ``traceparent`` and ``tracestate``; None where the first is absent or invalid."""
        found = _PARENT.fullmatch((parent or "").strip(" \t"))
        if found is None:
            return None
        version, trace_id, span_id, flags, rest = found.groups()
        if version == _INVALID_VERSION or (version == _OUR_VERSION and rest is not None):
            return None
        if trace_id == _NO_TRACE or span_id == _NO_SPAN:
            return None
        return cls(trace_id, span_id, int(flags, 16) & _KEPT_FLAGS, _state(state))

    @property
    def parent(self) -> str:
        """The header ``traceparent``, of 55 characters."""
        return f"{_OUR_VERSION}-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def is_sampled(self) -> bool:
        """True when the caller may have recorded its span."""
        return bool(self.flags & SAMPLED)


def log_fields(trace: TraceContext | None) -> dict[str, str]:
    """The field of a log line that names a trace; none without a trace."""
    return {"trace_id": trace.trace_id} if trace else {}


def _state(given: str | None) -> str | None:
    """A list of members in one form; None where any part of it is invalid."""
    members = [member.strip(" \t") for member in (given or "").split(",")]
    members = [member for member in members if member]
    found = [_MEMBER.fullmatch(member) for member in members]
    keys = {match.group(1) for match in found if match}
    whole = ",".join(members)
    is_valid = all(found) and len(keys) == len(members) <= MOST_MEMBERS and len(whole) <= MOST_STATE_CHARS
    return whole if whole and is_valid else None
