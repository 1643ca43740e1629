"""Small problems are solved on one thread, and the number of threads is restored."""

from collections.abc import Iterator

import pytest
import torch

from jog3r.alignment import PairPointmaps
from jog3r.alignment import threads as module
from jog3r.alignment.threads import one_thread_if_small


@pytest.fixture
def two_threads() -> Iterator[None]:
    """Run on two threads, and restore their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def a_pair() -> PairPointmaps:
    """Return one pair of tiny pointmaps."""
    points, confidence = torch.ones(1, 4, 4, 3), torch.ones(1, 4, 4)
    return PairPointmaps(torch.tensor([[0, 1]]), points, points, confidence, confidence)


@one_thread_if_small
def threads_inside(pairs: PairPointmaps, *, fail: bool = False) -> int:
    """Return the number of threads, or fail."""
    if fail:
        raise ValueError(f"{len(pairs)}")
    return torch.get_num_threads()


@pytest.mark.usefixtures("two_threads")
def test_small_problem_runs_on_one_thread() -> None:
    assert threads_inside(a_pair()) == 1
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
def test_large_problem_keeps_its_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SMALL", 47)
    assert threads_inside(a_pair()) == 2
    monkeypatch.setattr(module, "SMALL", 48)
    assert threads_inside(a_pair()) == 1


@pytest.mark.usefixtures("two_threads")
def test_threads_are_restored_after_an_error() -> None:
    with pytest.raises(ValueError, match="1"):
        threads_inside(a_pair(), fail=True)
    assert torch.get_num_threads() == 2
