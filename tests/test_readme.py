"""What the README and the documentation say runs: Python, command lines, links."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from jog3r.alignment import Regularisers
from jog3r.cli.entry import build_parser

REPOSITORY = Path(__file__).resolve().parent.parent

FENCED = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ +(.+?) *$", re.MULTILINE)


def pages() -> list[Path]:
    """List every Markdown file that people read, the README first."""
    folders = ("docs", "jog3r/assets", "jog3r/weights", "benchmarks", "examples")
    found = [page for folder in folders for page in (REPOSITORY / folder).rglob("*.md")]
    return [REPOSITORY / "README.md", REPOSITORY / "CHANGELOG.md", *sorted(found)]


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text("utf-8")
    return [code for name, code in FENCED.findall(text) if name == language]


def name_of(page: Path) -> str:
    return page.relative_to(REPOSITORY).as_posix()


PAGES = pages()
WITH_PYTHON = [page for page in PAGES if blocks(page, "python")]
COMMANDS = [
    (page, line)
    for page in PAGES
    for block in blocks(page, "bash")
    for line in block.replace("\\\n", " ").splitlines()
    if line.startswith("jog3r ")
]


def run_python(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code as a newcomer's script, in an empty folder."""
    script = folder / "snippet.py"
    script.write_text(code, "utf-8")
    return subprocess.run(
        [sys.executable, script],
        cwd=folder,
        env=os.environ | {"GOMP_SPINCOUNT": "0"},
        capture_output=True,
        text=True,
        timeout=600,
    )


def test_pages_are_found() -> None:
    assert {"README.md", "docs/conventions.md", "docs/formats.md"} <= set(map(name_of, WITH_PYTHON))
    assert len(COMMANDS) >= 8


@pytest.mark.parametrize("page", WITH_PYTHON, ids=name_of)
def test_python_runs(page: Path, tmp_path: Path) -> None:
    """The blocks of one page, from top to bottom, are one program."""
    code = "\n".join(blocks(page, "python"))
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_wrong_snippet_would_be_noticed(tmp_path: Path) -> None:
    done = run_python("from jog3r import Jog4R", tmp_path)
    assert done.returncode != 0
    assert "Jog4R" in done.stderr


def test_first_screen_is_short() -> None:
    """One sentence, two commands, an example of about twelve lines, a picture, a table."""
    text = (REPOSITORY / "README.md").read_text("utf-8")
    example = blocks(REPOSITORY / "README.md", "python")[0]
    lines = [line for line in example.splitlines() if line.strip() and not line.startswith("#")]
    assert len(lines) <= 12
    order = ["# jog3r\n", "make demo", "```python", "docs/images/first_screen.png", "| what works"]
    assert (places := [text.index(part) for part in order]) == sorted(places)


def test_table_of_regularisers_is_that_of_the_code() -> None:
    text = (REPOSITORY / "docs" / "model.md").read_text("utf-8")
    table = re.findall(r"^\| `(\w+)` \| ([\d.]+) \|", text, re.MULTILINE)
    assert {name: float(value) for name, value in table} == vars(Regularisers())


@pytest.mark.parametrize(("page", "line"), COMMANDS, ids=[line for _, line in COMMANDS])
def test_command_line_is_understood(page: Path, line: str) -> None:
    """Every command in the documentation, with the options it is shown with, exists."""
    words = shlex.split(line, comments=True)[1:]
    args = build_parser().parse_command(words)  # an unknown option is a SystemExit
    assert args.command == words[0]
    recipe = getattr(args, "config", None)
    assert recipe is None or (REPOSITORY / recipe).is_file(), name_of(page)


def test_an_unknown_option_would_be_noticed() -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_command(["generate", "a red sphere", "--camera"])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    broken = [
        link
        for link in LINK.findall(FENCED.sub("", page.read_text("utf-8")))
        if not _exists(page, link)
    ]
    assert not broken


def _exists(page: Path, link: str) -> bool:
    if re.match(r"[a-z]+:", link):
        return True  # the tests stay offline
    path, _, anchor = link.partition("#")
    target = Path(os.path.normpath(page.parent / path)) if path else page
    return target.exists() and (not anchor or anchor in _anchors(target))


def _anchors(page: Path) -> set[str]:
    """Name the headings of a page as GitHub does."""
    headings = HEADING.findall(FENCED.sub("", page.read_text("utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
