"""The last released version beside this one: its code from the history of the repository, and a rolling update.

The schema is that of this version. All processes begin with the released code, are replaced one after another by this
version's, and then by the released ones again, as docs/operate/deploy-a-new-version.md and roll-back.md order it.
"""

from __future__ import annotations

import io
import subprocess
import sys
import tarfile
from collections.abc import Sequence
from pathlib import Path

from dev.process import ROOT, CannotRun
from tests.chaos import faults
from tests.chaos.deployment import Member
from tests.chaos.evidence import Evidence
from tests.chaos.faults import Strike

# The commit that stands for a release while there is no tag.
NAMED = ROOT / "dev" / "released"
# Messages that are sent before each replacement, so that answers run during each of them.
MESSAGES = 2
_REQUIREMENTS = "requirements.txt"


def reference() -> str:
    """The last released version: the newest tag before this commit, or else the commit that ``dev/released`` names."""
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD^")
    return tag.stdout.decode().strip() if tag.returncode == 0 else NAMED.read_text().split()[0]


def missing() -> str | None:
    """The reason for which the released code cannot run here; None when it can."""
    released = reference()
    if _git("cat-file", "-e", f"{released}^{{commit}}").returncode:
        return f"the history of this repository has no {released}"
    here = set((ROOT / _REQUIREMENTS).read_text().split())
    needed = set(_git("show", f"{released}:{_REQUIREMENTS}").stdout.decode().split())
    if foreign := sorted(needed - here):
        return f"{released} requires other libraries: {', '.join(foreign)}"
    return None


def checkout(directory: Path) -> Path:
    """Write the released code below ``directory``. Returns its place. Raises CannotRun."""
    released = reference()
    archive = _git("archive", released)
    if archive.returncode:
        raise CannotRun(f"git archive {released}: {archive.stderr.decode()}")
    place = directory / "released"
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(place, filter="data")
    program = "import app.domain.version as version; print(version.__file__)"
    imported = subprocess.run([sys.executable, "-c", program], cwd=place, capture_output=True, text=True, check=False)
    if not imported.stdout.startswith(str(place)):
        raise CannotRun(f"{place} does not import its own code: {imported.stdout}{imported.stderr}")
    return place


async def update_and_roll_back(strike: Strike) -> None:
    """Replace every process by this version's, readers before writers; then by the released ones, writers first."""
    rig = strike.rig
    assert rig.released, "the build has the released code"
    await strike.under_way(0.1)
    await _replace(strike, [*rig.webs, *rig.workers], ROOT)
    await strike.later(1, 3)
    await _replace(strike, [*rig.workers, *rig.webs], rig.released)


async def _replace(strike: Strike, members: Sequence[Member], source: Path) -> None:
    for member in members:
        strike.load.ask(MESSAGES)
        await strike.answering()
        member.source = source
        if member.port:
            await faults.leave_web(strike, member)
        else:
            await faults.dismiss_worker(strike, member)
            await faults.ready(member)


def handed_over(evidence: Evidence) -> str | None:
    """A complaint unless workers of each version had answers that the other version's finished."""
    ends = [len(fault.detail.split()) > 1 for fault in evidence.history.faults if fault.kind == "worker terminated"]
    half = len(ends) // 2
    return None if any(ends[:half]) and any(ends[half:]) else f"workers that had answers as they left: {ends}"


def _git(*argv: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(["git", "-C", str(ROOT), *argv], capture_output=True, check=False)
