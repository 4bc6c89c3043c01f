"""The names of tools, which web processes and workers share. The tools themselves are in worker/tools."""

from __future__ import annotations

# Packages offer tools of their own as entry points of this group.
GROUP = "unbroken.tools"
BUILT_IN = ("calculator", "current_time", "unit_convert", "word_count")
