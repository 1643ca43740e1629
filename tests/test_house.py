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
    "config": {"errors"},
    "stored_tensors": {"errors"},
    "weights_file": {"stored_tensors", "export"},
    "geometry": {"errors"},
    "alignment": {"geometry", "results"},
    "attention": {"errors"},
    "backbones": {"attention", "config", "geometry"},
    "heads": {"attention", "config", "geometry"},
    "conditions": {"config", "geometry"},
    "codecs": {"config", "geometry"},
    "diffusion": {"config"},
    "losses": {"geometry", "diffusion"},
    "result_checks": {"geometry"},
    "results": {"result_checks"},
    "export": {"results"},
    "metrics": {"results"},
    "paths": {"results", "export"},
    "sfm": {"results"},
    "viewer": {"results"},
    "data": {"results", "export"},
    "curation": {"data", "metrics"},
    "stitch": {"backbones", "heads", "conditions"},
    "routes": {"stitch", "codecs", "diffusion", "alignment", "sfm", "data"},
    "model_card": {"errors"},
    "model_config": {"stitch", "codecs", "diffusion"},
    "model_summary": {"stitch", "codecs"},
    "model": {
        "model_card",
        "model_config",
        "model_summary",
        "routes",
        "data",
        "export",
        "weights_file",
    },
    "conversion": {"model"},
    "training": {"model", "losses", "metrics", "conversion"},
    "cli": {"training", "conversion", "viewer", "curation", "paths"},
    "__main__": {"cli"},
}
# Arrows that point up. `video.save("shot.mp4")` is worth one, drawn inside a function, and text
# features are saved in the same way;
# the routes name the type of the model that calls them, for the type checker only.
UPWARD_IN_FUNCTIONS = {("results", "export"), ("codecs", "export")}
UPWARD_FOR_TYPES = {("routes", "model"), ("model_summary", "model")}

# Rooms that are entered only to run a model, which needs the wrapped packages anyway. From all
# other rooms a wrapper is imported inside a function: reading a camera file waits for no diffusers.
WITH_MODEL = {"codecs", "diffusion", "stitch", "routes", "model", "conversion", "training"}
WITH_MODEL |= {"model_config", "model_summary"}

LIGHTNING = {"lightning", "pytorch_lightning", "jsonargparse"}
# Slow to import or hard to install: only inside functions, or in a file that wraps them.
HEAVY = {"open3d", "trimesh", "diffusers", "transformers", "pycolmap", "matplotlib", "av"}
WRAPPERS: dict[str, set[str]] = {
    "jog3r/codecs/autoencoder.py": {"diffusers"},
    "jog3r/codecs/pretrained_text.py": {"transformers"},
    "jog3r/codecs/text.py": {"transformers"},
    "jog3r/diffusion/samplers.py": {"diffusers"},
    "jog3r/export/glb.py": {"trimesh"},
    "jog3r/export/mesh.py": {"trimesh"},
    "jog3r/export/mp4.py": {"av"},
    "jog3r/export/overview.py": {"matplotlib"},
    "jog3r/export/video_frames.py": {"av"},
    "jog3r/paths/preview.py": {"matplotlib"},
    "jog3r/sfm/bundle.py": {"pycolmap"},
    "jog3r/sfm/features.py": {"pycolmap"},
    "jog3r/sfm/lenses.py": {"pycolmap"},
    "jog3r/sfm/mapping.py": {"pycolmap"},
    "jog3r/sfm/reading.py": {"pycolmap"},
    "jog3r/sfm/solve.py": {"pycolmap"},
    "jog3r/sfm/workspace.py": {"pycolmap"},
}


class Import(NamedTuple):
    file: str
    line: int
    module: str
    where: str  # "module", "function" or "types" (under TYPE_CHECKING)


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


def _walk(node: ast.AST, where: str = "module") -> Iterator[tuple[ast.stmt, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, where
        elif isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield from _walk(child, "function")
        elif isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            yield from _walk(child, "types")
        else:
            yield from _walk(child, where)


def _targets(statement: ast.stmt, names_used: set[str]) -> list[str]:
    """Name the modules a statement imports; a public name of the package is resolved to its home.

    Args:
        statement: an import.
        names_used: what the file takes from the package itself, as in `jog3r.JOG3R`.
    """
    if isinstance(statement, ast.Import):
        modules = [alias.name for alias in statement.names]
        taken = names_used if "jog3r" in modules else set()
    else:
        assert isinstance(statement, ast.ImportFrom)
        modules = [statement.module or ""]
        taken = {alias.name for alias in statement.names} if modules == ["jog3r"] else set()
    homes = {name: jog3r._HOME_OF.get(name, f"jog3r.{name}") for name in sorted(taken)}
    modules += [home for name, home in homes.items() if not name.startswith("__")]
    return [module for module in modules if module != "jog3r"]


def _names_used(tree: ast.AST) -> set[str]:
    found = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute)]
    return {
        node.attr for node in found if isinstance(node.value, ast.Name) and node.value.id == "jog3r"
    }


@cache
def imports() -> list[Import]:
    """List every import statement of the library."""
    found = []
    for file in _sources().values():
        name = file.relative_to(REPOSITORY).as_posix()
        tree = ast.parse(file.read_text("utf-8"))
        names = _names_used(tree)
        for statement, where in _walk(tree):
            modules = _targets(statement, names)
            found += [Import(name, statement.lineno, module, where) for module in modules]
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
    assert Import("jog3r/__init__.py", 1, "jog3r.errors", "module")._replace(line=0) in [
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
        allowed = _below(room) | {room}
        if found.where == "function":
            allowed |= {upper for lower, upper in UPWARD_IN_FUNCTIONS if lower == room}
        if found.where == "types":
            allowed |= {upper for lower, upper in UPWARD_FOR_TYPES if lower == room}
        if target not in allowed:
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
        if package in HEAVY and found.where == "module" and not wrapped:
            wrong.append(f"{found.file}:{found.line}: {package}")
    assert not wrong


def test_wrappers_are_imported_inside_functions() -> None:
    modules = {name for name, file in _sources().items() if _is_wrapper(file)}
    wrong = [
        f"{found.file}:{found.line}: {found.module}"
        for found in imports()
        if found.module in modules
        and found.where == "module"
        and found.file not in WRAPPERS
        and _room_of_file(found.file) not in WITH_MODEL
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
    value = getattr(jog3r, name)
    assert value is getattr(jog3r, name)
    assert name in dir(jog3r)
    if name != "__version__":
        assert value.__name__ == name


def test_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'Jog4R'"):
        jog3r.Jog4R  # noqa: B018
