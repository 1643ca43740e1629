"""Pair graphs: how many pairs, which, and what they connect."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from jog3r.alignment import complete, graph_bytes, log_window, pair_graph, star, window
from jog3r.alignment.graphs import components
from jog3r.errors import InputError


@given(
    frames=st.integers(2, 24), name=st.sampled_from(["star", "window-2", "log-window-3", "auto"])
)
def test_every_graph_connects_all_frames_and_has_no_pair_twice(frames: int, name: str) -> None:
    pairs = pair_graph(name, frames)
    assert components(pairs, frames) == [list(range(frames))]
    listed = [tuple(pair) for pair in pairs.tolist()]
    assert len(set(listed)) == len(listed)
    assert all(i != j and min(i, j) >= 0 and max(i, j) < frames for i, j in listed)
    if name != "star":
        assert {(j, i) for i, j in listed} == set(listed)


def test_the_number_of_pairs_is_the_stated_one() -> None:
    assert len(star(9)) == 8
    assert len(complete(9)) == 72
    assert len(window(100, 3)) == 2 * (99 + 98 + 97)
    assert len(log_window(100, 4)) == 2 * (99 + 98 + 96 + 92)
    assert len(pair_graph("auto", 12)) == 132
    assert torch.equal(pair_graph("auto", 13), log_window(13, 4))
    assert torch.equal(window(5, 9), complete(5))


def test_bytes_are_those_of_the_tensors() -> None:
    pairs, size = window(6, 2), (4, 5)
    tensors = [torch.zeros(len(pairs), *size, n) for n in (3, 3, 1, 1)]
    assert graph_bytes(pairs, size) == sum(t.numel() * t.element_size() for t in tensors)


@pytest.mark.parametrize("name", ["windows-3", "window-0", "window", "log-window-", "full", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="graph: expected star, window-N"):
        pair_graph(name, 4)


def test_sizes_that_give_no_pairs_are_refused() -> None:
    with pytest.raises(InputError, match="frames: expected at least 2"):
        star(1)
    with pytest.raises(InputError, match="frames: expected at least 2"):
        complete(1)
    with pytest.raises(InputError, match="size: expected at least 1"):
        window(4, 0)
    with pytest.raises(InputError, match="size: expected at least 1"):
        log_window(4, 0)


def test_sizes_beyond_the_video_cost_nothing() -> None:
    assert torch.equal(pair_graph(f"window-{10**18}", 5), complete(5))
    assert torch.equal(log_window(5, 10**18), log_window(5, 3))
    assert torch.equal(log_window(4, 10**18), log_window(4, 2))


@pytest.mark.usefixtures("as_a_user")
@pytest.mark.parametrize("number", [2.0, "3", None])
def test_what_is_no_whole_number_is_refused(number) -> None:
    for build in (star, complete):
        with pytest.raises(InputError, match="frames: expected at least 2 to pair, got"):
            build(number)
    for build in (window, log_window):
        with pytest.raises(InputError, match="size: expected at least 1, got"):
            build(4, number)
    with pytest.raises(InputError, match="graph: expected star"):
        pair_graph(number, 4)
