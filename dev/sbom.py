"""Writes the contents of the image in CycloneDX 1.5: ``python sbom.py VERSION package-lock.json packages``.

The packages of Python are those that this interpreter sees, as in ``pip inspect``. Those of npm are the ones that lie
in the folder of the page's packages, and all that they depend on by the lock file: a minified file has parts of them.
Those of Debian are the ones that dpkg lists.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path
from typing import Any
from urllib.parse import quote

Component = dict[str, object]

MODULES = "node_modules/"


def package_component(kind: str, name: str, version: str, licence: str = "") -> Component:
    """One package, with its address in the form of Package URLs."""
    found: Component = {
        "type": "library",
        "name": name,
        "version": version,
        "purl": f"pkg:{kind}{quote(name)}@{quote(version, safe='')}",
    }
    if licence:
        found["licenses"] = [{"license": {"name": licence}}]
    return found


def python_components() -> list[Component]:
    """The installed distributions, by name."""
    found = {}
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        fields = one.metadata.json
        licence = str(fields.get("license_expression") or fields.get("license") or "")
        # Some packages have the whole text of their licence in this field.
        found[name] = package_component("pypi/", name, one.version, "" if "\n" in licence else licence[:100])
    return [found[name] for name in sorted(found)]


def npm_components(lock: Path, folder: Path) -> list[Component]:
    """The packages whose folder was made, and their dependencies; without npm's registry there is none."""
    listed = json.loads(lock.read_text())["packages"]
    served = [f"{MODULES}{place.name}" for place in folder.iterdir() if place.is_dir()]
    rows = [(place.rpartition(MODULES)[2], listed[place]) for place in sorted(needed_places(listed, served))]
    return [package_component("npm/", name, row["version"], row.get("license", "")) for name, row in rows]


def needed_places(listed: Mapping[str, Any], served: Iterable[str]) -> set[str]:
    """The places of packages in a lock file that some of them need, with these themselves."""
    found: set[str] = set()
    waiting = list(served)
    while waiting:
        place = waiting.pop()
        if place not in found:
            found.add(place)
            waiting += [place_from(listed, place, name) for name in listed[place].get("dependencies", {})]
    return found


def place_from(listed: Mapping[str, Any], place: str, name: str) -> str:
    """The place of a dependency as Node.js finds it: in the package itself, else in one of those around it."""
    while f"{place}/{MODULES}{name}" not in listed and place:
        place = place.rpartition(MODULES)[0].rstrip("/")
    return f"{place}/{MODULES}{name}".lstrip("/")


def debian_components() -> list[Component]:
    """The packages that are installed, as dpkg lists them."""
    form = "${db:Status-Abbrev} ${Package} ${Version}\n"
    listing = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in listing.splitlines()]
    return [package_component("deb/debian/", name, version) for status, name, version in rows if status == "ii"]


def main(version: str, lock: Path, folder: Path) -> None:
    """Print the document."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "unbroken", "version": version}},
        "components": [*python_components(), *npm_components(lock, folder), *debian_components()],
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
