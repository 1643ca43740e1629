"""What every test shares: runtime shape checks, reference data, seeded randomness."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

# Before torch loads: OpenMP threads that spin while they wait slow a busy machine down.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# isort: off
import jog3r  # noqa: F401  before anything that imports torchvision, see jog3r/torchvision_cpu.py
import torch
from jaxtyping import install_import_hook
# isort: on

REPOSITORY = Path(__file__).resolve().parent.parent
# numba compiles these functions itself and cannot compile a Python type check around them.
COMPILED = {
    f"jog3r.data.world.{name}" for name in ("caster", "caster_shapes", "caster_surfaces", "render")
}


def modules_to_check() -> list[str]:
    """Name every module of jog3r, one by one: a package's name would mean all that is in it."""
    folder = REPOSITORY / "jog3r"
    files = [*folder.rglob("*.py"), *(REPOSITORY / "heads").rglob("*.py")]
    names = []
    for file in files:
        if file.name == "__init__.py":
            continue
        parts = file.relative_to(REPOSITORY).with_suffix("").parts
        names.append(".".join(parts if parts[0] == "jog3r" else ("jog3r", *parts)))
    return sorted(set(names) - COMPILED)


# The numeric tower: an int is a good float, as every type checker says.
CHECKER = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
install_import_hook(modules_to_check(), CHECKER)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--run-slow", action="store_true", help="run the tests marked slow as well")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    no_slow = pytest.mark.skip(reason="slow: add --run-slow")
    no_gpu = pytest.mark.skip(reason="gpu: torch sees no accelerator")
    for item in items:
        if "slow" in item.keywords and not config.getoption("--run-slow"):
            item.add_marker(no_slow)
        if "gpu" in item.keywords and not torch.cuda.is_available():
            item.add_marker(no_gpu)


@pytest.fixture(scope="session")
def shared() -> Path:
    """Return the folder of reference data: $JOG3R_SHARED, or `shared` beside the repository."""
    folder = Path(os.environ.get("JOG3R_SHARED", REPOSITORY.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"reference data: expected a folder at {folder}; set JOG3R_SHARED")
    return folder


@pytest.fixture
def generator() -> torch.Generator:
    """Return a seeded source of randomness, the same for every test."""
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def untouched_global_randomness() -> Iterator[None]:
    """Keep one test's use of torch's global seed out of the next one."""
    state = torch.random.get_rng_state()
    yield
    torch.random.set_rng_state(state)
