"""Measures the shape of the production code, and fails when a figure is worse than its limit.

`make measures` prints the table; `make lint` runs it with `--check`. The code is read as text: nothing is imported.
"""

from __future__ import annotations

import ast
import re
import statistics
import sys
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("app", "worker")

# The first words of a docstring that name no thing, so that the docstring cannot be read alone.
RIDDLE = re.compile(
    r"(What|How|Where|When|Which|Who|Whose|Whom|Whether|Why|Whoever|Whatever|Nobody|Somebody|Everybody|The same)\b"
)

LONG_FILE = 300
LONG_FUNCTION = 40
MANY_METHODS = 20
MANY_PARAMETERS = 8

Function = ast.FunctionDef | ast.AsyncFunctionDef


@dataclass
class Figures:
    """The figures counted. Each list holds one entry for each file, function, class or docstring, with its place."""

    files: list[tuple[int, str]] = field(default_factory=list)
    functions: list[tuple[int, str]] = field(default_factory=list)
    parameters: list[tuple[int, str]] = field(default_factory=list)
    methods: list[tuple[int, str]] = field(default_factory=list)
    docstrings: int = 0
    riddles: list[str] = field(default_factory=list)
    comments: int = 0
    circles: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Row:
    """One line of the table: a figure, its limit, and the places behind the figure."""

    name: str
    value: float
    limit: float
    places: tuple[str, ...] = ()

    @property
    def broken(self) -> bool:
        return self.value > self.limit


def measure(root: Path = ROOT) -> Figures:
    """The figures of all Python files of the rooms below `root`."""
    figures = Figures()
    imports: dict[str, set[str]] = {}
    for room in ROOMS:
        for path in sorted((root / room).rglob("*.py")):
            source = path.read_text()
            place = str(path.relative_to(root))
            tree = ast.parse(source)
            lines = source.splitlines()
            figures.files.append((len(lines), place))
            figures.comments += sum(line.lstrip().startswith("#") for line in lines)
            _measure_tree(figures, tree, place)
            imports[_module_of(place)] = _imported(tree, _module_of(place), place.endswith("__init__.py"))
    figures.circles = _circles(imports)
    return figures


def _measure_tree(figures: Figures, tree: ast.Module, place: str) -> None:
    for node in ast.walk(tree):
        if isinstance(node, Function):
            where = f"{place}:{node.lineno} {node.name}"
            figures.functions.append(((node.end_lineno or node.lineno) - node.lineno + 1, where))
            figures.parameters.append((_parameters(node), where))
        elif isinstance(node, ast.ClassDef):
            figures.methods.append(
                (sum(isinstance(x, Function) for x in node.body), f"{place}:{node.lineno} {node.name}")
            )
        if isinstance(node, Function | ast.ClassDef | ast.Module):
            text = ast.get_docstring(node)
            if text:
                figures.docstrings += 1
                if RIDDLE.match(text):
                    figures.riddles.append(f"{place}:{getattr(node, 'lineno', 1)} {text.splitlines()[0][:80]}")


def _parameters(node: Function) -> int:
    """The number of parameters of a function, without `self` and `cls`."""
    named = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
    return sum(argument.arg not in ("self", "cls") for argument in named)


def _module_of(place: str) -> str:
    return place.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


def _imported(tree: ast.Module, module: str, is_package: bool) -> set[str]:
    """The names of modules that a module imports anywhere, also inside functions and for types only."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parts = module.split(".")
                up = node.level - 1 if is_package else node.level
                base = ".".join([*parts[: len(parts) - up], *([node.module] if node.module else [])])
            found.add(base)
            found.update(f"{base}.{alias.name}" for alias in node.names)
    return found


def _circles(imports: dict[str, set[str]]) -> list[str]:
    """The groups of modules that import each other, directly or through others (Tarjan's components)."""
    edges = {name: sorted((targets & imports.keys()) - {name}) for name, targets in imports.items()}
    index: dict[str, int] = {}
    low: dict[str, int] = {}
    stack: list[str] = []
    found: list[str] = []

    def visit(name: str) -> None:
        index[name] = low[name] = len(index)
        stack.append(name)
        for target in edges[name]:
            if target not in index:
                visit(target)
                low[name] = min(low[name], low[target])
            elif target in stack:
                low[name] = min(low[name], index[target])
        if low[name] == index[name]:
            group: list[str] = []
            while not group or group[-1] != name:
                group.append(stack.pop())
            if len(group) > 1:
                found.append(" ".join(sorted(group)))

    for name in edges:
        if name not in index:
            visit(name)
    return found


def rows(figures: Figures) -> list[Row]:
    """The table of figures and limits."""
    lines = [length for length, _ in figures.functions]
    sizes = [length for length, _ in figures.files]
    most_methods = max((count for count, _ in figures.methods), default=0)
    riddles = round(100 * len(figures.riddles) / max(figures.docstrings, 1), 2)
    return [
        Row("function, median lines", statistics.median(lines), 8),
        Row("function, 90th percentile of lines", _percentile(lines, 90), 20),
        Row("function, most lines", max(lines, default=0), 60, _worst(figures.functions)),
        Row(f"functions above {LONG_FUNCTION} lines, %", _share(figures.functions, LONG_FUNCTION), 1),
        Row("file, median lines", statistics.median(sizes), 150),
        _none_over(f"files above {LONG_FILE} lines", figures.files, LONG_FILE),
        Row("class, most methods", most_methods, MANY_METHODS, _worst(figures.methods)),
        _none_over(f"classes with more than {MANY_METHODS} methods", figures.methods, MANY_METHODS),
        _none_over(f"functions with more than {MANY_PARAMETERS} parameters", figures.parameters, MANY_PARAMETERS),
        Row("circles of imports", len(figures.circles), 0, tuple(figures.circles)),
        Row("docstrings that begin with a question word, %", riddles, 1, tuple(figures.riddles)),
    ]


def _none_over(name: str, entries: list[tuple[int, str]], bound: int) -> Row:
    """A row that counts the entries over ``bound``, of which there may be none."""
    return Row(name, _count(entries, bound), 0, _over(entries, bound))


def _percentile(values: list[int], share: int) -> int:
    return sorted(values)[min(len(values) - 1, len(values) * share // 100)]


def _share(entries: list[tuple[int, str]], bound: int) -> float:
    return round(100 * _count(entries, bound) / max(len(entries), 1), 2)


def _count(entries: list[tuple[int, str]], bound: int) -> int:
    return sum(size > bound for size, _ in entries)


def _over(entries: list[tuple[int, str]], bound: int) -> tuple[str, ...]:
    return tuple(f"{where} ({size})" for size, where in sorted(entries, reverse=True) if size > bound)


def _worst(entries: list[tuple[int, str]]) -> tuple[str, ...]:
    return tuple(f"{where} ({size})" for size, where in sorted(entries, reverse=True)[:1])


def report(table: list[Row], *, detail: bool) -> str:
    """The table as text; with `detail`, the places behind each figure."""
    lines = [f"{'figure':<48}{'value':>8}{'limit':>8}"]
    for row in table:
        mark = "  worse than its limit" if row.broken else ""
        lines.append(f"{row.name:<48}{row.value:>8g}{row.limit:>8g}{mark}")
        if detail or row.broken:
            lines += [f"    {place}" for place in row.places]
    return "\n".join(lines)


def main(arguments: list[str]) -> int:
    """Prints the table. With `--check`, only a broken table is printed, and the exit code is 1."""
    table = rows(measure())
    broken = any(row.broken for row in table)
    if "--check" not in arguments or broken:
        print(report(table, detail="--places" in arguments))
    return int(broken and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
