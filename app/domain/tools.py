"""Tools by name: what both sides agree on. What they do, the worker knows (worker/tools)."""

from __future__ import annotations

# Packages offer tools of their own as entry points of this group.
GROUP = "unbroken.tools"
BUILT_IN = ("calculator", "current_time", "unit_convert", "word_count")
