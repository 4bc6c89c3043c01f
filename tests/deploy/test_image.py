"""The image says its version and its contents, and the proxy finds the name servers of its container."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from tests.deploy.compose import FILE, ROOT

LOCK = ROOT / "app" / "web" / "npm" / "package-lock.json"
NGINX = ROOT / "deploy" / "nginx"


def test_the_image_has_the_version_of_the_project() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    text = (ROOT / "Dockerfile").read_text()
    assert f"\nARG VERSION={version}\n" in text
    labels = set(re.findall(r"org\.opencontainers\.image\.(\w+)=", text))
    assert labels == {"title", "description", "licenses", "version", "revision"}


def contents(packages: Path) -> dict[str, Any]:
    """The list of contents of an image with these folders of npm's packages."""
    command = [sys.executable, str(ROOT / "dev" / "sbom.py"), "7.1.0", str(LOCK), str(packages)]
    found: dict[str, Any] = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return found


@pytest.mark.skipif(not Path("/var/lib/dpkg/status").exists(), reason="no packages of Debian on this machine")
def test_the_list_of_contents_has_every_package(tmp_path: Path) -> None:
    (tmp_path / "katex").mkdir()
    bill = contents(tmp_path)
    assert bill["metadata"]["component"]["version"] == "7.1.0"
    addresses = {part["purl"] for part in bill["components"]}
    pinned = dict(re.findall(r"(?m)^([\w-]+)==(\S+)$", (ROOT / "requirements.txt").read_text()))
    assert {f"pkg:pypi/{name.replace('_', '-')}@{version}" for name, version in pinned.items()} <= addresses
    version = json.loads(LOCK.read_text())["packages"]["node_modules/katex"]["version"]
    assert f"pkg:npm/katex@{version}" in addresses
    assert not [address for address in addresses if address.startswith("pkg:npm/mermaid@")]
    assert [address for address in addresses if address.startswith("pkg:deb/debian/dpkg@")]


@pytest.mark.skipif(not Path("/var/lib/dpkg/status").exists(), reason="no packages of Debian on this machine")
def test_the_list_of_contents_has_what_is_bundled_in_a_package(tmp_path: Path) -> None:
    """mermaid.min.js has others in it. One of them is another version of a package that is served itself."""
    for name in ("katex", "mermaid"):
        (tmp_path / name).mkdir()
    packages = json.loads(LOCK.read_text())["packages"]
    addresses = {part["purl"] for part in contents(tmp_path)["components"]}
    expected = {
        f"pkg:npm/{name.replace('@', '%40')}@{packages[place]['version']}"
        for name, place in (
            ("dompurify", "node_modules/dompurify"),
            ("cytoscape", "node_modules/cytoscape"),
            ("d3-array", "node_modules/d3-array"),
            ("d3-array", "node_modules/d3-sankey/node_modules/d3-array"),
            ("katex", "node_modules/katex"),
            ("katex", "node_modules/mermaid/node_modules/katex"),
            ("@braintree/sanitize-url", "node_modules/@braintree/sanitize-url"),
        )
    }
    assert len(expected) == 7
    assert expected <= addresses


@pytest.mark.parametrize(
    ("resolv", "given", "written"),
    [
        ("search x\nnameserver 127.0.0.11\noptions ndots:0\n", "", "127.0.0.11"),
        # Podman lists the machine's own servers, which know no `web`, behind the one of the network.
        ("search dns.podman\nnameserver 10.89.0.1\nnameserver 10.255.255.53\n", "", "10.89.0.1"),
        ("nameserver fd00::1\n", "", "[fd00::1]"),
        ("nameserver 10.89.0.1\n", "10.1.2.3", "10.1.2.3"),
        ("search x\n", "", None),
    ],
)
def test_the_proxy_asks_the_name_servers_of_its_container(
    resolv: str, given: str, written: str | None, tmp_path: Path
) -> None:
    (tmp_path / "resolv.conf").write_text(resolv)
    (tmp_path / "nginx").write_text("#!/bin/sh\n")
    (tmp_path / "nginx").chmod(0o755)
    script = (NGINX / "start.sh").read_text()
    script = script.replace("/tmp/", f"{tmp_path}/").replace("/etc/resolv.conf", str(tmp_path / "resolv.conf"))
    variables = {"PATH": f"{tmp_path}:/usr/bin:/bin", "NGINX_RESOLVER": given}
    done = subprocess.run(["sh", "-c", script], env=variables, capture_output=True, text=True, check=False)
    if written is None:
        assert done.returncode == 1
        assert "no name server" in done.stderr
    else:
        text = (tmp_path / "resolver.conf").read_text()
        assert " ".join(text.split()) == f"resolver {written} valid=5s ipv6=off;"


def test_no_file_names_the_resolver_of_one_engine() -> None:
    """Docker's address does not exist where Podman runs the containers."""
    files = [FILE, *(file for file in NGINX.rglob("*.conf"))]
    assert [file.name for file in files if "127.0.0.11" in file.read_text()] == []
    assert "include /tmp/resolver.conf;" in (NGINX / "nginx.conf").read_text()
