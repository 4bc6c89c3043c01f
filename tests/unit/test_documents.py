"""Documents name files that exist, link to pages and sections that exist, and define each term once."""

from __future__ import annotations

import re
import subprocess
import tomllib
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree

import pytest

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted(path.relative_to(ROOT) for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
SUFFIXES = "py|lua|js|mjs|c|css|md|sh|conf|yml|toml|ini|txt|svg|html"
# A path with a folder, as `app/relay/hub.py`, `app/relay/` or tests/chaos/rig.py. Addresses and variables do not match.
PATH = re.compile(rf"(?<![\w/.{{}}$<>-])((?:[\w.-]+/)+(?:[\w-]+\.(?:{SUFFIXES})\b)?)(?![\w/{{<*…])")
# A file without a folder, in backticks.
NAME = re.compile(rf"`([\w-]+\.(?:{SUFFIXES}))`")
# A sentence whose subject is a clause names no thing; one that begins with "The same" cannot be read alone.
CODE = re.compile(r"```.*?```", re.DOTALL)
RIDDLE = re.compile(
    r"(?:^|(?<=[.:;] )|(?<=^- )|(?<=\| ))"
    r"(?:Who|Whoever|Whose|What|Whatever|How|Whether|Nobody|Somebody|Everybody|The same)\b"
    r"[^.?\n|]*[.\n|?]",
    re.MULTILINE,
)
# A function or a class in backticks.
IDENTIFIER = re.compile(r"`((?:[A-Z]\w+\.)?[A-Za-z]\w*)`")
LINK = re.compile(r"\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
TERM = re.compile(r"\*\*([^*]+)\*\*")
# Folders of the repository: a path that begins otherwise is one of another system (`proc/`, `run/tls/`).
FOLDERS = {path.name for path in ROOT.iterdir() if path.is_dir()}
# Files of clients and deployments.
OTHERS = {"tool.py"}
# Files made by commands, or examples of a user's package.
MADE = re.compile(
    r"^(out|\.data|\.venv|weather|tests/clients/node/node_modules)/"
    r"|^(worker/providers/echo|tests/unit/test_echo|app/api/lines)\.py$"
)


def text_of(page: Path) -> str:
    return (ROOT / page).read_text()


def anchor(heading: str) -> str:
    """A heading's address, as GitHub makes it."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


def tracked() -> list[str]:
    """Every file of the repository, also a new one that git does not ignore."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard"]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_path_that_a_document_names_exists(page: Path):
    # Links are relative to their page; a test of their own follows them.
    text = LINK.sub("]()", text_of(page))
    named = {path for path in PATH.findall(text) if path.split("/")[0] in FOLDERS and not MADE.match(path)}
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_file_that_a_document_names_without_its_folder_exists_somewhere(page: Path):
    names = {Path(path).name for path in tracked()}
    named = set(NAME.findall(text_of(page)))
    assert sorted(named - names - OTHERS) == []


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_link_leads_somewhere(page: Path):
    broken = []
    for target in LINK.findall(text_of(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, section = target.partition("#")
        found = (ROOT / page.parent / path).resolve() if path else ROOT / page
        exists = found.exists()
        if exists and section:
            exists = section in {anchor(heading) for heading in HEADING.findall(found.read_text())}
        if not exists:
            broken.append(target)
    assert broken == []


def test_every_document_can_be_reached_from_readme():
    reached, waiting = set(), [Path("README.md")]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for target in LINK.findall(text_of(page)):
            path = target.partition("#")[0]
            if path and not re.match(r"[a-z]+:", target):
                waiting.append((ROOT / page.parent / path).resolve().relative_to(ROOT))
    assert [str(page) for page in PAGES if page not in reached] == []


def test_the_glossary_defines_each_term_once():
    terms = [term for row in text_of(Path("docs/glossary.md")).splitlines() if row.startswith("| **")
             for term in TERM.findall(row.split("|")[1])]  # fmt: skip
    assert [term for term, count in Counter(terms).items() if count > 1] == []
    wanted = (
        "epoch revision lease fence snapshot cursor log tail checkpoint archive takeover continue restart feed ticket "
        "lane attempt outbox presence generation held delivered"
    )
    assert [term for term in wanted.split() if term not in terms] == []


def test_the_picture_of_the_rooms_shows_the_contract_of_imports():
    configured = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [layers] = [one["layers"] for one in configured if one.get("containers") == ["app"]]
    wanted = [sorted(re.split(r" *[:|] *", layer)) for layer in layers]
    picture = ElementTree.parse(ROOT / "docs" / "rooms.svg").getroot()
    rows: dict[float, list[str]] = {}
    for text in picture.iter("{http://www.w3.org/2000/svg}text"):
        if text.get("class") == "room" and text.text != "worker":
            rows.setdefault(float(text.attrib["y"]), []).append(text.text or "")
    assert [sorted(names) for _, names in sorted(rows.items())] == wanted


def test_every_name_of_the_architecture_is_in_the_code():
    code = "\n".join(path.read_text() for room in ("app", "worker") for path in (ROOT / room).rglob("*.py"))
    named = {name.split(".")[-1] for name in IDENTIFIER.findall(text_of(Path("docs/architecture.md")))}
    assert named, "the page names functions and classes"
    assert [name for name in sorted(named) if not re.search(rf"\b{name}\b", code)] == []


@pytest.mark.parametrize("page", [page for page in PAGES if re.match(r"docs/decisions/\d", str(page))], ids=str)
def test_a_decision_has_its_form_and_its_row(page: Path):
    text, number = text_of(page), page.name[:4]
    assert re.match(rf"# {number} .+\n\nDate: \d{{4}}-\d\d-\d\d\. Status: (proposed|accepted|replaced)\b", text)
    sections = [heading for heading in HEADING.findall(text) if heading in ("Context", "Decision", "Consequences")]
    assert sections == ["Context", "Decision", "Consequences"]
    title = text.splitlines()[0].removeprefix(f"# {number} ")
    assert f"| [{number}]({page.name}) | {title} |" in text_of(Path("docs/decisions/README.md"))


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_every_sentence_of_a_document_begins_with_a_thing(page: Path):
    found = RIDDLE.findall(CODE.sub("", text_of(page)))
    assert [sentence for sentence in found if not sentence.endswith("?")] == []


def test_every_document_that_the_code_names_exists():
    """A decision may be named by its number alone."""
    named = set()
    for name in tracked():
        if name.startswith(("app/", "worker/", "dev/", "migrations/", "deploy/")) or "/" not in name:
            named |= set(
                re.findall(r"docs/(?:[\w-]+/)*(?:[\w-]+\.md|\d{4})", (ROOT / name).read_text(errors="replace"))
            )
    assert len(named) > 5
    assert [path for path in sorted(named) if not list(ROOT.glob(f"{path}*"))] == []


def test_the_architecture_names_every_module_of_the_page():
    """Each module of the two pages is named once, in the table of its page's parts."""
    tables = text_of(Path("docs/architecture.md")).split("## The page")[1].split("\n## ")[0]
    users, operators = tables.split("The operators' page at `/ops`")
    for table, folder in ((users, "."), (operators, "ops")):
        modules = sorted(path.name for path in (ROOT / "app" / "web" / "static" / folder).glob("*.js"))
        assert sorted(re.findall(r"`([\w-]+\.js)`", table)) == modules


def test_the_reader_for_other_pages_comes_with_the_modules_that_a_document_names():
    static, wanted, found = ROOT / "app" / "web" / "static", ["stream.js"], set()
    while wanted:
        name = wanted.pop()
        if name not in found:
            found.add(name)
            wanted += re.findall(r"from '\./([\w-]+\.js)'", (static / name).read_text())
    assert set(re.findall(r"`/static/([\w-]+\.js)`", text_of(Path("docs/clients/stream.md")))) == found
