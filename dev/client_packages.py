"""The packages for programs that use the service: unbroken-stream for npm, and unbroken-client for pip.

    python -m dev.client_packages [TARGET]

The modules of unbroken-stream are those of the page: no copy of them is in the repository. `clients/js` has its types,
its `package.json` and its README. The archives are written to TARGET, `out/packages`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from dev.web_packages import find_npm

ROOT = Path(__file__).resolve().parents[1]
STATIC = ROOT / "app" / "web" / "static"
NPM_SOURCE = ROOT / "clients" / "js"
WHEEL_SOURCE = ROOT / "clients" / "python"
# The modules that a program may import; the others come along because these import them.
ENTRIES = ("stream.js", "tabs.js")
SECONDS = 120
_IMPORT = re.compile(r"^(?:import|export)\s[^;]*?\sfrom '\./([\w/]+\.js)';", re.MULTILINE)


class NotBuilt(Exception):
    """A package could not be built; the text says why."""


def modules() -> dict[str, Path]:
    """The modules of unbroken-stream by name: the entries, and all that they import."""
    found: dict[str, Path] = {}
    waiting = list(ENTRIES)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found[name] = next(folder / name for folder in (NPM_SOURCE, STATIC) if (folder / name).exists())
            waiting += _IMPORT.findall(found[name].read_text())
    return found


def collect(target: Path) -> None:
    """Write the files of unbroken-stream into the folder ``target``, which is made."""
    target.mkdir(parents=True)
    for file in [*modules().values(), *NPM_SOURCE.glob("*.d.ts"), *NPM_SOURCE.glob("*.json"), NPM_SOURCE / "README.md"]:
        shutil.copy(file, target)
    shutil.copy(ROOT / "LICENSE", target)


def pack(target: Path) -> Path:
    """The archive of unbroken-stream, made by `npm pack` in the folder ``target``. Raises NotBuilt."""
    npms = find_npm()
    if not npms:
        raise NotBuilt("npm is not installed here")
    with tempfile.TemporaryDirectory() as place:
        collect(Path(place) / "package")
        command = [*npms[-1], "pack", "--silent", "--pack-destination", str(target.resolve())]
        return target / _run(command, Path(place) / "package").splitlines()[-1]


def build_wheel(target: Path) -> Path:
    """The wheel of unbroken-client, made by pip in the folder ``target``. Raises NotBuilt."""
    with tempfile.TemporaryDirectory() as place:
        source = Path(place) / "source"
        shutil.copytree(WHEEL_SOURCE, source, ignore=shutil.ignore_patterns("tests", "__pycache__"))
        shutil.copy(ROOT / "LICENSE", source)
        _run([sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", place, str(source)], ROOT)
        (wheel,) = Path(place).glob("*.whl")
        return Path(shutil.copy(wheel, target))


def _run(command: list[str], folder: Path) -> str:
    try:
        ran = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True, timeout=SECONDS)
    except subprocess.TimeoutExpired:
        raise NotBuilt(f"{command[0]} did not end within {SECONDS} s") from None
    if ran.returncode:
        raise NotBuilt(f"{Path(command[0]).name} says: {ran.stderr.strip()[-2000:]}")
    return ran.stdout.strip()


def main(target: Path = ROOT / "out" / "packages") -> int:
    """Build both packages, and print where they are. Returns 1 when one of them could not be built."""
    target.mkdir(parents=True, exist_ok=True)
    code = 0
    for build in (pack, build_wheel):
        try:
            print(build(target))
        except NotBuilt as error:
            print(error, file=sys.stderr)
            code = 1
    return code


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:2])))
