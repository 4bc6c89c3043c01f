"""Writes the contents of the image in CycloneDX 1.5: ``python sbom.py VERSION package-lock.json packages``.

The packages of Python are those that this interpreter sees, as in ``pip inspect``. Those of npm are the ones of the
lock file that lie in the folder of the page's packages. Those of Debian are the ones that dpkg lists.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from urllib.parse import quote

Component = dict[str, object]


def component(kind: str, name: str, version: str, licence: str = "") -> Component:
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


def of_python() -> list[Component]:
    found = {}
    for one in distributions():
        name = re.sub(r"[-_.]+", "-", one.metadata["Name"]).lower()
        fields = one.metadata.json
        licence = str(fields.get("license_expression") or fields.get("license") or "")
        # Some packages have the whole text of their licence in this field.
        found[name] = component("pypi/", name, one.version, "" if "\n" in licence else licence[:100])
    return [found[name] for name in sorted(found)]


def of_npm(lock: Path, folder: Path) -> list[Component]:
    """The packages whose folder was made; without npm's registry there is none."""
    listed = json.loads(lock.read_text())["packages"]
    names = sorted(place.name for place in folder.iterdir() if place.is_dir())
    rows = {name: listed[f"node_modules/{name}"] for name in names}
    return [component("npm/", name, row["version"], row.get("license", "")) for name, row in rows.items()]


def of_debian() -> list[Component]:
    form = "${db:Status-Abbrev} ${Package} ${Version}\n"
    said = subprocess.run(["dpkg-query", "-W", "-f", form], capture_output=True, text=True, check=True).stdout
    rows = [line.split() for line in said.splitlines()]
    return [component("deb/debian/", name, version) for status, name, version in rows if status == "ii"]


def main(version: str, lock: Path, folder: Path) -> None:
    """Print the document."""
    document = {
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {"type": "container", "name": "unbroken", "version": version}},
        "components": [*of_python(), *of_npm(lock, folder), *of_debian()],
    }
    print(json.dumps(document, indent=1))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
