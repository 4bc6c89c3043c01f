"""Podman with a configuration and a storage of its own, and a time limit around each call."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from dev.process import CannotRun

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "unbroken-containers"
PROGRAMS = {
    "podman": "podman",
    "buildah": "buildah",
    "runc": "runc",
    "conmon": "conmon",
    "netavark": "netavark",
    "aardvark-dns": "aardvark-dns",
    "catatonit": "catatonit",
    "iptables": "iptables",
    "nft": "nftables",
    "ip": "iproute2",
    "newuidmap": "uidmap",
    "debootstrap": "debootstrap",
}
# Debian keeps netavark, aardvark-dns and administrators' programs outside an ordinary PATH.
PLACES = ("/usr/sbin", "/sbin", "/usr/lib/podman", "/usr/libexec/podman")
FILES = 20000
PROCESSES = 32768


def environment() -> dict[str, str]:
    """The variables that make each call of Podman read our configuration."""
    return {
        **os.environ,
        "PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin",
        "CONTAINERS_CONF": str(CACHE / "containers.conf"),
        "CONTAINERS_STORAGE_CONF": str(CACHE / "storage.conf"),
    }


def limit(kind: int, most: int) -> int:
    """A limit that root may set here, also without CAP_SYS_RESOURCE."""
    hard = resource.getrlimit(kind)[1]
    return most if hard == resource.RLIM_INFINITY else min(hard, most)


def configure() -> None:
    """Write the configuration: runc, cgroupfs and no journal, because there may be no systemd."""
    (CACHE / "networks").mkdir(parents=True, exist_ok=True)
    files, processes = limit(resource.RLIMIT_NOFILE, FILES), limit(resource.RLIMIT_NPROC, PROCESSES)
    (CACHE / "containers.conf").write_text(
        f'[containers]\ndefault_ulimits = ["nofile={files}:{files}", "nproc={processes}:{processes}"]\n'
        '[engine]\nruntime = "runc"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
        f'[network]\nnetwork_backend = "netavark"\nnetwork_config_dir = "{CACHE}/networks"\n'
    )
    for driver in ("overlay", "vfs"):
        # The path of conmon's socket below the runroot may not be longer than 107 bytes.
        (CACHE / "storage.conf").write_text(
            f'[storage]\ndriver = "{driver}"\ngraphroot = "{CACHE}/{driver}"\nrunroot = "/run/unbroken-containers"\n'
        )
        try:
            podman("info", seconds=60)
            return
        except CannotRun as error:
            refused = error
    raise refused


def podman(*arguments: str, seconds: float = 60, given: bytes | None = None) -> str:
    """The output of a command of Podman. Raises CannotRun with the end of its error when it fails or takes too long."""
    return call(["podman", *arguments], seconds, given=given)


def succeeds(*arguments: str, seconds: float = 30) -> bool:
    """True when the command of Podman ends with 0."""
    try:
        podman(*arguments, seconds=seconds)
    except CannotRun:
        return False
    return True


def call(
    command: Sequence[str],
    seconds: float,
    given: bytes | None = None,
    directory: Path | None = None,
    variables: Mapping[str, str] | None = None,
) -> str:
    """The output of a program that ends within its time. Raises CannotRun."""
    try:
        done = subprocess.run(
            command,
            input=given,
            capture_output=True,
            timeout=seconds,
            check=False,
            cwd=directory,
            env={**environment(), **(variables or {})},
        )
    except subprocess.TimeoutExpired:
        raise CannotRun(f"{' '.join(command)[:200]}: not done after {seconds:.0f} s") from None
    if done.returncode:
        said = (done.stderr or done.stdout).decode(errors="replace").strip()[-1500:]
        raise CannotRun(f"{' '.join(command)[:200]}: exit code {done.returncode}\n{said}")
    return done.stdout.decode(errors="replace")
