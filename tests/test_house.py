"""Hold the picture of the house: who may import whom, what stays light, what is packaged."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

import jog3r

REPOSITORY = Path(__file__).resolve().parent.parent

# Direct arrows; a room may also use whatever its neighbours may use. Ground floor for all: errors.
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "torchvision_cpu": set(),
    "geometry": {"errors"},
    "alignment": {"geometry"},
    "attention": {"errors"},
    "backbones": {"attention", "geometry"},
    "heads": {"attention", "geometry"},
    "conditions": {"geometry"},
    "codecs": {"geometry"},
    "diffusion": {"geometry"},
    "losses": {"geometry"},
    "result_checks": {"geometry"},
    "results": {"result_checks"},
    "export": {"results"},
    "metrics": {"results"},
    "viewer": {"results"},
    "data": {"results", "export"},
    "curation": {"data", "metrics"},
    "stitch": {"backbones", "heads", "conditions"},
    "routes": {"stitch", "codecs", "diffusion", "alignment", "results"},
    "model": {"routes", "data", "export"},
    "training": {"model", "losses", "metrics"},
    "cli": {"training", "viewer", "curation"},
}
# `video.save("shot.mp4")` is worth one arrow that points up, drawn inside a function.
UPWARD = {("results", "export")}

LIGHTNING = {"lightning", "pytorch_lightning", "jsonargparse"}
# Slow to import or hard to install: only inside functions, or in a file that wraps them and is
# itself imported inside a function (training/ as a whole is, by the command line).
HEAVY = {"open3d", "trimesh", "diffusers", "transformers", "pycolmap", "matplotlib", "av"}
WRAPPERS: dict[str, set[str]] = {
    "jog3r/codecs/autoencoder.py": {"diffusers"},
    "jog3r/export/glb.py": {"trimesh"},
    "jog3r/export/mp4.py": {"av"},
    "jog3r/export/overview.py": {"matplotlib"},
}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    at_module_level: bool


def _sources() -> dict[str, Path]:
    """Map every module's dotted name to its file; `heads/` counts as `jog3r.heads`."""
    found = {}
    for folder, prefix in ((REPOSITORY / "jog3r", "jog3r"), (REPOSITORY / "heads", "jog3r.heads")):
        for file in sorted(folder.rglob("*.py")):
            inside = file.relative_to(folder)
            # Whether rglob follows the link depends on the Python version.
            if prefix == "jog3r" and inside.parts[0] == "heads":
                continue
            parts = inside.with_suffix("").parts
            found[".".join([prefix, *(part for part in parts if part != "__init__")])] = file
    return found


def _walk(node: ast.AST, at_module_level: bool = True) -> Iterator[tuple[ast.stmt, bool]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, at_module_level
        inner = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _walk(child, at_module_level and not inner)


def _targets(statement: ast.stmt) -> list[str]:
    """Name the modules a statement imports; `from jog3r import X` is resolved to X's home."""
    if isinstance(statement, ast.Import):
        return [alias.name for alias in statement.names]
    assert isinstance(statement, ast.ImportFrom)
    if statement.module != "jog3r":
        return [statement.module or ""]
    homes = jog3r._HOME_OF
    return [homes.get(alias.name, f"jog3r.{alias.name}") for alias in statement.names]


@cache
def imports() -> list[Import]:
    """List every import statement of the library."""
    found = []
    for file in _sources().values():
        for statement, at_module_level in _walk(ast.parse(file.read_text("utf-8"))):
            name = file.relative_to(REPOSITORY).as_posix()
            found += [
                Import(name, statement.lineno, module, at_module_level)
                for module in _targets(statement)
            ]
    return found


def _room_of_file(file: str) -> str:
    parts = Path(file).with_suffix("").parts
    return "heads" if parts[0] == "heads" else parts[1]


def _below(room: str) -> set[str]:
    """Return every room that can be reached down the arrows."""
    reached = {"errors"}
    for neighbour in ARROWS[room]:
        reached |= {neighbour} | _below(neighbour)
    return reached


def test_sources_are_found() -> None:
    assert {"jog3r", "jog3r.errors", "jog3r.heads"} <= set(_sources())
    assert Import("jog3r/__init__.py", 1, "jog3r.errors", True)._replace(line=0) in [
        found._replace(line=0) for found in imports()
    ]


def test_every_room_is_in_the_picture() -> None:
    rooms = {name.split(".")[1] for name in _sources() if name != "jog3r"}
    assert rooms <= set(ARROWS), "a new room: draw its arrows in tests/test_house.py"


def test_arrows_make_no_circle() -> None:
    for room in ARROWS:
        assert room not in _below(room) - {"errors"}  # a circle ends in RecursionError before


def test_imports_follow_the_arrows() -> None:
    wrong = []
    for found in imports():
        room = _room_of_file(found.file)
        top, _, rest = found.module.partition(".")
        if top != "jog3r" or room == "__init__":
            continue
        target = rest.split(".")[0]
        if not target and room == "cli":  # `import jog3r`: the public names
            continue
        allowed = _below(room) | {room}
        if not found.at_module_level:
            allowed |= {upper for lower, upper in UPWARD if lower == room}
        if target not in allowed and target != "__version__":
            wrong.append(f"{found.file}:{found.line}: {room} -> {target}")
    assert not wrong, "arrows that do not point down:\n" + "\n".join(wrong)


def test_heads_is_imported_under_its_real_name() -> None:
    assert not [found for found in imports() if found.module.split(".")[0] == "heads"]


def test_lightning_lives_in_training_only() -> None:
    wrong = [
        f"{found.file}:{found.line}"
        for found in imports()
        if found.module.split(".")[0] in LIGHTNING and _room_of_file(found.file) != "training"
    ]
    assert not wrong


def test_heavy_packages_are_imported_inside_functions() -> None:
    wrong = []
    for found in imports():
        package = found.module.split(".")[0]
        wrapped = package in WRAPPERS.get(found.file, set())
        if package in HEAVY and found.at_module_level and not wrapped:
            wrong.append(f"{found.file}:{found.line}: {package}")
    assert not wrong


def test_wrappers_are_imported_inside_functions() -> None:
    modules = {name for name, file in _sources().items() if _is_wrapper(file)}
    wrong = [
        f"{found.file}:{found.line}: {found.module}"
        for found in imports()
        if found.module in modules
        and found.at_module_level
        and found.file not in WRAPPERS
        and _room_of_file(found.file) != "training"
    ]
    assert not wrong


def _is_wrapper(file: Path) -> bool:
    return file.relative_to(REPOSITORY).as_posix() in WRAPPERS


def test_annotations_stay_real_types() -> None:
    # jaxtyping's runtime checks and the recipes' parser read annotations, not strings.
    assert not [found.file for found in imports() if found.module == "__future__"]


def test_packages_of_the_wheel_are_the_folders() -> None:
    tomllib = pytest.importorskip("tomllib", reason="the TOML reader came with Python 3.11")
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text("utf-8"))
    folders = {name for name, file in _sources().items() if file.name == "__init__.py"}
    listed = project["tool"]["setuptools"]["packages"]
    assert listed == sorted(listed)
    assert set(listed) == folders


def test_every_folder_with_code_is_a_package() -> None:
    folders = {file.parent for file in _sources().values()}
    assert not [folder for folder in folders if not (folder / "__init__.py").is_file()]


def test_import_is_light() -> None:
    code = "import sys, jog3r; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    # -S: without the environment's start-up hooks, only what jog3r itself imports counts.
    run = subprocess.run(
        [sys.executable, "-S", "-c", code],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    loaded = set(run.stdout.split())
    assert "jog3r" in loaded
    # Nothing but the standard library.
    assert loaded <= set(sys.stdlib_module_names) | {"jog3r", "__main__"}


@pytest.mark.parametrize("name", jog3r.__all__)
def test_public_names_resolve(name: str) -> None:
    home = jog3r._HOME_OF.get(name)
    if home is not None and home not in _sources():
        pytest.skip(f"{home} is not built yet")
    value = getattr(jog3r, name)
    assert value is getattr(jog3r, name)
    assert name in dir(jog3r)
    if name != "__version__":
        assert value.__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Jog4R'"):
        jog3r.Jog4R  # noqa: B018
