"""Checks of what a container may do, and of what can be reached from where."""

from __future__ import annotations

import json
from collections.abc import Iterator

from tests.containers.client import call
from tests.containers.deployment import PROJECT, Deployment
from tests.containers.engine import podman
from tests.containers.image import NAME, described, revision

OURS = ("web", "streams", "worker", "flower")
PYTHON = "docker.io/library/python:3.13-slim"
CAPABILITIES = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
# Prints whether each address accepts a connection.
CONNECT = """
import socket, sys
for address in sys.argv[1:]:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host, int(port)), timeout=3).close()
        print(address, "open")
    except OSError as error:
        print(address, "closed", error)
"""


def users(deployed: Deployment) -> Iterator[str]:
    """The application runs as user 10001, the proxy as 101."""
    for service, wanted in [*((name, "10001") for name in OURS), ("nginx", "101")]:
        status = _status(deployed, service)
        found = set(status["Uid"].split()) | set(status["Gid"].split())
        if found != {wanted}:
            yield f"{service} runs as {found}"


def capabilities(deployed: Deployment) -> Iterator[str]:
    """No container of ours, nor the proxy, has a capability or can gain one."""
    for service in (*OURS, "nginx"):
        status = _status(deployed, service)
        held = {name: status[name] for name in CAPABILITIES if int(status[name], 16)}
        if held:
            yield f"{service} has {held}"
        if status["NoNewPrivs"] != "1":
            yield f"{service} can gain privileges"


def read_only(deployed: Deployment) -> Iterator[str]:
    """`/app` and the root are read-only; `/tmp` can be written."""
    for service in (*OURS, "nginx"):
        script = "for p in /app /etc /usr /; do touch $p/x 2>/dev/null && echo $p; done; touch /tmp/x && echo tmp"
        written = deployed.run_in(service, "sh", "-c", script).split()
        if written != ["tmp"]:
            yield f"{service} writes {written}"
        # A folder of root refuses another user also on a writable file system.
        if not deployed.inspect(deployed.containers(service)[0])["HostConfig"]["ReadonlyRootfs"]:
            yield f"the root of {service} is writable"


def proxied(deployed: Deployment) -> Iterator[str]:
    """`/metrics` and `/ops` do not pass the proxy; the operators' port has `/ops`."""
    for path in ("/metrics", "/ops", "/ops/", "/ops/workers"):
        status = call(deployed.url + path)[0]
        if status != 404:
            yield f"{path} gives {status} through the proxy"
    if (status := call(f"{deployed.operators_url}/metrics")[0]) != 404:
        yield f"/metrics gives {status} at the operators' port"
    if (status := call(f"{deployed.operators_url}/ops/")[0]) != 200:
        yield f"/ops/ gives {status} at the operators' port"
    script = "from urllib.request import urlopen; print(urlopen('http://127.0.0.1:8000/metrics').status)"
    if deployed.run_in("web", "python", "-c", script).strip() != "200":
        yield "/metrics is not there in the container itself"


def stores(deployed: Deployment) -> Iterator[str]:
    """The stores are not reached from `outside`, by name or by address, and reach nobody."""
    names = [("postgres", 5432), ("valkey", 6379)]
    targets = [f"{name}:{port}" for name, port in names]
    for name, port in names:
        networks = deployed.inspect(deployed.containers(name)[0])["NetworkSettings"]["Networks"]
        targets += [f"{network['IPAddress']}:{port}" for network in networks.values()]
        if set(networks) != {f"{PROJECT}_inside"}:
            yield f"{name} is in the networks {set(networks)}"
    run = ["run", "--rm", "--pull=never", f"--network={PROJECT}_outside", PYTHON, "python3", "-c", CONNECT]
    said = podman(*run, "web:8000", *targets, seconds=60 + 5 * len(targets)).splitlines()
    if said[0] != "web:8000 open":
        yield f"the network `outside` does not work: {said[0]}"
    yield from (f"from outside: {line}" for line in said[1:] if " open" in line)
    inside = deployed.run_in("web", "python", "-c", CONNECT, *targets).splitlines()
    yield from (f"from web: {line}" for line in inside if " open" not in line)
    for name, _ in names:
        if "00000000" in [line.split()[1] for line in deployed.run_in(name, "cat", "/proc/net/route").splitlines()[1:]]:
            yield f"{name} has a way out"


def labels(deployed: Deployment) -> Iterator[str]:
    """The image has its version, its commit and its licence as labels."""
    found = described()
    wanted = ("title", "description", "version", "revision", "licenses")
    yield from (f"no label {name}" for name in wanted if not found.get(f"org.opencontainers.image.{name}"))
    if found.get("org.opencontainers.image.revision") != revision():
        yield "the label of the revision is another commit"


def contents(deployed: Deployment) -> Iterator[str]:
    """The list of contents has each package of the image in its version, and no other."""
    script = (
        "import json; from importlib.metadata import distributions as d;"
        "print(json.dumps(sorted({(p.metadata['Name'].lower().replace('_', '-'), p.version) for p in d()})))"
    )
    installed = {(name, version) for name, version in json.loads(deployed.run_in("web", "python", "-c", script))}
    bill = json.loads(deployed.run_in("web", "cat", "/usr/share/sbom/unbroken.cdx.json"))
    parts = [part for part in bill["components"] if part["purl"].startswith("pkg:pypi/")]
    listed = {(part["name"].lower().replace("_", "-"), part["version"]) for part in parts}
    if bill["bomFormat"] != "CycloneDX" or installed != listed:
        yield f"{NAME}: not listed {sorted(installed - listed)}, not there {sorted(listed - installed)}"
    debian = deployed.run_in("web", "dpkg-query", "-W", "-f", "${Package}\n").split()
    missing = set(debian) - {part["name"] for part in bill["components"] if part["purl"].startswith("pkg:deb/")}
    if missing or not debian:
        yield f"packages of Debian that are not listed: {sorted(missing)}"


def _status(deployed: Deployment, service: str) -> dict[str, str]:
    """The fields of /proc/<pid>/status of the program, which runs below the container's init."""
    script = "p=1; for c in $(cat /proc/1/task/1/children); do p=$c; break; done; cat /proc/$p/status"
    lines = deployed.run_in(service, "sh", "-c", script).splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}
