"""What every test shares: runtime shape checks, reference data, seeded randomness."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

# Before torch loads: OpenMP threads that spin while they wait slow a busy machine down.
os.environ.setdefault("GOMP_SPINCOUNT", "0")

# isort: off
import jog3r  # noqa: F401  before anything that imports torchvision, see jog3r/torchvision_cpu.py
import jaxtyping
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


@pytest.fixture(scope="session")
def parity(request: pytest.FixtureRequest) -> Callable[[str], Path]:
    """Return a function that finds a folder of reference numbers: tests/parity, or `shared`."""

    def find(name: str) -> Path:
        here = REPOSITORY / "tests" / "parity" / name
        if here.is_dir():
            return here
        there = request.getfixturevalue("shared") / "parity" / name
        if not there.is_dir():
            pytest.skip(f"reference data: expected a folder at {there}; set JOG3R_SHARED")
        return there

    return find


@pytest.fixture(scope="session")
def tiny_model() -> Any:
    """Return a JOG3R of the real classes at 16x16 px with fixed random weights."""
    from jog3r.codecs.autoencoder import FrameAutoencoder
    from jog3r.codecs.text import TextEncoder, word_tokenizer
    from jog3r.data.world.captions import vocabulary
    from jog3r.model import JOG3R
    from jog3r.stitch import StitchedModel

    backbone = {"in_channels": 3, "hidden_size": 32, "depth": 3, "num_heads": 2}
    backbone |= {"caption_channels": 16, "learn_sigma": False, "input_size": (4, 8, 8)}
    network = StitchedModel.Config(
        backbone_config=backbone,
        tap=2,
        decoder_width=32,
        decoder_depth=1,
        decoder_heads=2,
        patch=4,
    )
    config = JOG3R.Config(
        image_size=(16, 16),
        num_frames=4,
        autoencoder=FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=3),
        text_encoder=TextEncoder.Config(width=16, layers=1, heads=2),
        network=network,
    )
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = JOG3R(config, word_tokenizer(vocabulary()))
        # What starts at zero would hide mistakes.
        for parameter in model.network.parameters():
            if not parameter.any():
                torch.nn.init.normal_(parameter, std=0.05)
    return model.eval().requires_grad_(False)


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


@pytest.fixture
def as_a_user() -> Iterator[None]:
    """Switch off the suite's run-time type checks, which a user does not have."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
