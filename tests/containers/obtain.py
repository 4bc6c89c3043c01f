"""The programs that the containers need, installed by apt where this process is root and has apt."""

from __future__ import annotations

import os
import shutil
import subprocess

from tests.containers.engine import PLACES, PROGRAMS

SECONDS = 300


def missing() -> list[str]:
    """The packages of Debian whose programs are not here."""
    path = os.pathsep.join([os.environ.get("PATH", ""), *PLACES])
    return sorted({package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)})


def obtain() -> str:
    """Install what is missing. Returns the reason why containers cannot run here, or an empty text."""
    if os.geteuid() != 0:
        return "Podman needs root here, to make networks between containers"
    wanted = missing()
    if wanted and shutil.which("apt-get"):
        print(f"installing {', '.join(wanted)}", flush=True)
        _install(wanted)
    lacking = missing()
    return f"{', '.join(lacking)} missing, and cannot be installed here" if lacking else ""


def _install(packages: list[str]) -> None:
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["update", "-qq"], ["install", "-y", "-qq", "--no-install-recommends", *packages]):
        try:
            subprocess.run(["apt-get", *command], env=environment, timeout=SECONDS, check=False, capture_output=True)
        except subprocess.TimeoutExpired:
            print(f"apt-get {command[0]}: not done after {SECONDS} s", flush=True)
