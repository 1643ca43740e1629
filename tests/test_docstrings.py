"""Run every example in a docstring: `>>>` lines of the library, one test per docstring."""

import ast
import doctest
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

import jog3r

LIBRARY = Path(jog3r.__file__).parent


def _documented(node: ast.AST, prefix: str = "") -> Iterator[tuple[str, str, int]]:
    """Yield qualified name, docstring and line of a module and all that is in it."""
    if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef):
        text = ast.get_docstring(node)
        if text and ">>>" in text:
            yield prefix or "<module>", text, getattr(node, "lineno", 1)
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef):
            yield from _documented(child, f"{prefix}.{child.name}" if prefix else child.name)


def _examples() -> list[tuple[str, str, str, int]]:
    files = [*LIBRARY.rglob("*.py"), *(LIBRARY / "heads").rglob("*.py")]
    found = []
    for file in sorted(set(files)):
        parts = ("jog3r", *file.relative_to(LIBRARY).with_suffix("").parts)
        module = ".".join(part for part in parts if part != "__init__")
        for name, text, line in _documented(ast.parse(file.read_text("utf-8"))):
            found.append((module, name, text, line))
    return found


EXAMPLES = _examples()


def test_examples_are_found() -> None:
    assert any(name == "slug" for _, name, _, _ in EXAMPLES)


@pytest.mark.parametrize(
    ("module", "name", "text", "line"), EXAMPLES, ids=[f"{e[0]}.{e[1]}" for e in EXAMPLES]
)
def test_example(
    module: str,
    name: str,
    text: str,
    line: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if 'from_pretrained("tiny")' in text and not (LIBRARY / "weights" / "tiny").is_dir():
        pytest.skip("weights: expected jog3r/weights/tiny, got no such folder; train them first")
    names = dict(vars(importlib.import_module(module)))
    monkeypatch.chdir(tmp_path)  # examples that write leave nothing in the repository
    test = doctest.DocTestParser().get_doctest(text, names, name, module, line)
    report: list[str] = []
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    outcome = doctest.DocTestRunner(optionflags=options).run(test, out=report.append)
    assert outcome.failed == 0, "".join(report)
