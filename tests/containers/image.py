"""The image of the application, built from the Dockerfile as it stands."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.containers.engine import podman

ROOT = Path(__file__).resolve().parents[2]
NAME = "localhost/unbroken:checked"
SECONDS = 900
# pip's configuration of this machine, and the certificates it trusts: seen by the build, and no part of the image.
SEEN = (
    (Path("/etc/pip.conf"), "/etc/pip.conf"),
    (Path.home() / ".config/pip/pip.conf", "/root/.config/pip/pip.conf"),
    (Path("/etc/ssl/certs"), "/etc/ssl/certs"),
)


def revision() -> str:
    """The commit of the checkout, empty outside a repository of git."""
    done = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip()


def build() -> None:
    """Build the image with the mounts that pip needs here."""
    began = time.monotonic()
    mounts = [(source, target) for source, target in SEEN if source.exists()]
    mounts += [(path, str(path)) for path in _local_indexes()]
    volumes = [f"--volume={source}:{target}:ro" for source, target in mounts]
    arguments = ["--pull=never", "--network=host", f"--build-arg=REVISION={revision()}", "--tag", NAME, *volumes]
    podman("build", *arguments, str(ROOT), seconds=SECONDS)
    print(f"built the image from the Dockerfile in {time.monotonic() - began:.0f} s", flush=True)


def described() -> dict[str, Any]:
    """The labels of the image."""
    labels: dict[str, Any] = json.loads(podman("image", "inspect", NAME))[0].get("Labels") or {}
    return labels


def _local_indexes() -> list[Path]:
    """The folders that pip's configuration names. The files of an index often lie beside its pages."""
    command = [sys.executable, "-m", "pip", "config", "list"]
    said = subprocess.run(command, capture_output=True, text=True, check=False).stdout
    names = re.findall(r"(?:file://|(?<=['\s=]))(/[\w./-]+)", "\n".join(re.findall(r"(?m)^.*(?:index|find).*$", said)))
    places = (path.parent if path.name == "simple" else path for path in map(Path, names) if path.is_dir())
    return sorted(set(places))
