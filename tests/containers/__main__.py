"""``make containers``: builds the image, runs the Compose file with Podman, and checks it from inside and outside.

``python -m tests.containers --only capabilities`` runs one check; ``--may-skip`` succeeds where containers cannot run.
"""

from __future__ import annotations

import argparse
import fcntl
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from dev.process import CannotRun
from tests.containers import answers, backup, bases, image, isolation
from tests.containers.deployment import Deployment, left, remove
from tests.containers.engine import CACHE, configure, podman
from tests.containers.obtain import obtain

Check = Callable[[Deployment], Iterator[str]]
# In this order: the last ones stop containers.
CHECKS: dict[str, Check] = {
    "users": isolation.users,
    "capabilities": isolation.capabilities,
    "read-only": isolation.read_only,
    "labels": isolation.labels,
    "contents": isolation.contents,
    "proxied": isolation.proxied,
    "stores": isolation.stores,
    "completes": answers.completes,
    "worker-killed": answers.worker_killed,
    "web-stopped": answers.web_stopped,
    "restored": backup.restored,
}


def main() -> int:
    """Run the checks. Returns 1 when one of them has failed, or could not run."""
    # A signal to this process removes the containers, too.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    parser = argparse.ArgumentParser(prog="python -m tests.containers")
    parser.add_argument("--only", action="append", choices=[*CHECKS], help="only this check; repeatable")
    parser.add_argument("--may-skip", action="store_true", help="succeed where containers cannot run")
    parser.add_argument("--fresh", action="store_true", help="make the base images again")
    options = parser.parse_args()
    began = time.monotonic()
    if reason := _refusal():
        print(f"skipped: {reason}")
        return 0 if options.may_skip else 1
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        held, run = _all(options)
    print("left out: the rolling update from a released version, because no version has a tag")
    print(f"{held} of {run} held; {time.monotonic() - began:.0f} s")
    return 0 if held == run else 1


def _refusal() -> str:
    """The reason why no container can run here, or an empty text."""
    if reason := obtain():
        return reason
    try:
        configure()
    except CannotRun as error:
        return f"Podman does not start: {error}"
    return ""


def _all(options: argparse.Namespace) -> tuple[int, int]:
    """The number of the checks that held, and of all. The preparation is a check, too."""
    chosen = {name: CHECKS[name] for name in options.only or CHECKS}
    total = len(chosen) + 2
    held = 0
    try:
        with tempfile.TemporaryDirectory() as directory:
            remove()
            deployed = _started(Path(directory), options)
            held += 1
            for name, check in chosen.items():
                held += _holds(name, check, deployed)
    except Exception:
        print(f"failed      start\n{traceback.format_exc()}", flush=True)
    finally:
        with suppress(CannotRun):
            remove()
    remains = left()
    print("failed      removed: " + ", ".join(remains) if remains else "held        removed", flush=True)
    return held + (not remains), total


def _started(directory: Path, options: argparse.Namespace) -> Deployment:
    if options.fresh:
        podman("rmi", "-f", "-a", seconds=120)
    bases.make()
    image.build()
    began = time.monotonic()
    deployed = Deployment(directory)
    deployed.start()
    print(f"held        start: every service is healthy after {time.monotonic() - began:.0f} s", flush=True)
    return deployed


def _holds(name: str, check: Check, deployed: Deployment) -> bool:
    """Run a check and print its line. An exception is a failure of the check."""
    began = time.monotonic()
    try:
        broken = list(check(deployed))
    except Exception:
        broken = [traceback.format_exc()]
    verdict = "failed" if broken else "held"
    print(f"{verdict:11} {name}: {check.__doc__} ({time.monotonic() - began:.0f} s)", flush=True)
    for line in broken:
        print(f"    {line}", flush=True)
    return not broken


if __name__ == "__main__":
    sys.exit(main())
