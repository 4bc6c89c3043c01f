"""The list of installed packages is exact, complete and explained."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[a-z,]+\])?==([^;\s]+)$")


def pins(name: str) -> dict[str, str]:
    lines = (ROOT / name).read_text().splitlines()
    found = [PIN.match(line) for line in lines if line and not line.startswith(("#", "-r "))]
    assert all(found), f"every line of {name} is one package with an exact version"
    return {normal(match[1]): match[2] for match in found if match}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-dev.txt"])
def test_what_is_required_has_the_version_of_the_constraints_and_a_reason(name: str):
    constraints = pins("constraints.txt")
    reasons = {normal(word) for word in re.findall(r"[A-Za-z0-9_.-]+", (ROOT / "docs/dependencies.md").read_text())}
    for package, version in pins(name).items():
        assert constraints.get(package) == version, package
        assert package in reasons, package
