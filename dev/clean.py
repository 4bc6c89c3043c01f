"""Refuses `make clean` while an instance of this checkout runs: its programs are in .venv. Standard library only."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def running() -> list[int]:
    """The numbers of the processes of `make run` in this checkout."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes().split(b"\0")
            if b"dev.run" in words and Path(os.readlink(entry / "cwd")) == ROOT:
                found.append(int(entry.name))
    return found


if __name__ == "__main__":
    if found := running():
        sys.exit(f"an instance of {ROOT} is running (process {found[0]}); stop it before its programs are removed")
