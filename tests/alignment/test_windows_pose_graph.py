"""Similarities form a group; averages over graphs of them have closed forms in simple cases."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from jog3r.alignment.pose_graph import Edge, average, difference, disagreement
from jog3r.alignment.similarities import (
    adjoint,
    compose,
    from_vector,
    identity,
    inverse,
    member,
    mix_transforms,
    stacked,
    to_vector,
)
from jog3r.geometry import Similarity, check_transforms

EQUAL = torch.ones(7, dtype=torch.float64)
FIXED = 1e4 * EQUAL


def drawn(seed: int, size: float = 1.0) -> Similarity:
    generator = torch.Generator().manual_seed(seed)
    return from_vector(size * torch.randn(7, generator=generator, dtype=torch.float64))


def vectors(*similarities: Similarity) -> Tensor:
    return torch.stack([to_vector(each) for each in similarities])


seeds = st.integers(0, 10_000)


@settings(max_examples=20, deadline=None)
@given(seeds, seeds, seeds)
def test_similarities_form_a_group(p: int, q: int, r: int) -> None:
    a, b, c = drawn(p), drawn(q + 1), drawn(r + 2)
    left, right = compose(compose(a, b), c), compose(a, compose(b, c))
    torch.testing.assert_close(vectors(left), vectors(right))
    none = vectors(compose(a, inverse(a)), compose(inverse(a), a))
    torch.testing.assert_close(none, torch.zeros(2, 7).double(), atol=1e-9, rtol=0)
    torch.testing.assert_close(vectors(compose(identity(), a)), vectors(a))


@settings(max_examples=20, deadline=None)
@given(seeds, seeds)
def test_composition_acts_as_one_after_the_other(p: int, q: int) -> None:
    a, b = drawn(p), drawn(q + 1)
    points = torch.arange(12, dtype=torch.float64).reshape(4, 3)
    torch.testing.assert_close(compose(a, b).points(points), a.points(b.points(points)))


@settings(max_examples=20, deadline=None)
@given(seeds)
def test_adjoint_moves_a_small_change_to_the_other_side(p: int) -> None:
    a = drawn(p)
    change = 1e-5 * torch.randn(7, dtype=torch.float64)
    right = compose(a, from_vector(change))
    left = compose(from_vector(adjoint(a) @ change), a)
    torch.testing.assert_close(vectors(left), vectors(right), atol=1e-8, rtol=0)


def test_mixing_gives_both_ends_and_rigid_transforms_between() -> None:
    a, b = torch.eye(4).double(), torch.eye(4).double()
    turn = drawn(3, size=0.3)
    b[:3, :3], b[:3, 3] = turn.rotation, turn.translation
    mixed = mix_transforms(a.expand(3, 4, 4), b.expand(3, 4, 4), torch.tensor([0.0, 0.5, 1.0]))
    check_transforms(mixed)
    torch.testing.assert_close(mixed[[0, 2]], torch.stack([a, b]))
    torch.testing.assert_close(mixed[1, :3, 3], b[:3, 3] / 2)


def chain(count: int, step: Similarity, weights: Tensor = EQUAL) -> list[Edge]:
    first = Edge(None, 0, identity(), 1.0, FIXED)
    return [first] + [Edge(k, k + 1, step, 1.0, weights) for k in range(count - 1)]


def along(count: int, step: Similarity) -> Similarity:
    placed = [identity()]
    while len(placed) < count:
        placed.append(compose(placed[-1], step))
    return stacked(placed)


def test_chain_without_loops_stays_as_it_is() -> None:
    step = drawn(5, size=0.2)
    start = along(4, step)
    solved = average(chain(4, step), start)
    torch.testing.assert_close(solved.translation, start.translation)
    assert float(disagreement(chain(4, step), solved).max()) < 1e-9


def test_chain_is_found_from_a_wrong_start() -> None:
    step = drawn(5, size=0.2)
    wrong = stacked([drawn(k, size=0.3) for k in range(4)])
    solved = average(chain(4, step), wrong)
    right = along(4, step)
    torch.testing.assert_close(solved.rotation, right.rotation, atol=1e-4, rtol=0)
    torch.testing.assert_close(solved.scale, right.scale, atol=1e-4, rtol=0)


@pytest.mark.parametrize("part", [2, 3, 6])
def test_loop_spreads_its_drift_evenly(part: int) -> None:
    # Every stitch measures the same small error about one axis: closed, each takes its share back.
    error = torch.zeros(7, dtype=torch.float64)
    error[part] = 0.04
    count = 5
    loop = Edge(count - 1, 0, identity(), 1.0, EQUAL, loop=True)
    edges = [*chain(count, from_vector(error)), loop]
    start = along(count, from_vector(error))
    before = difference(loop, start)
    solved = average(edges, start)
    left = difference(loop, solved)
    assert float(before[part].abs()) == pytest.approx(0.16, rel=1e-3)
    assert float(left[part].abs()) == pytest.approx(0.16 / count, rel=0.02)
    assert float(disagreement(edges, solved).square().sum()) < float(
        disagreement(edges, start).square().sum()
    )


def test_weights_say_who_gives_way() -> None:
    error = torch.zeros(7, dtype=torch.float64)
    error[6] = 0.1
    loop = Edge(2, 0, identity(), 1.0, EQUAL, loop=True)
    edges = chain(3, from_vector(error))
    edges[1] = Edge(0, 1, from_vector(error), 1.0, 100 * EQUAL)
    solved = average([*edges, loop], along(3, from_vector(error)))
    # With equal weights both would be a third less; the first stitch holds, the others share.
    assert math.log(float(member(solved, 1).scale)) == pytest.approx(0.1, rel=0.01)
    assert math.log(float(member(solved, 2).scale)) == pytest.approx(0.1, rel=0.03)


def test_one_wrong_loop_among_right_ones_counts_little() -> None:
    error = torch.zeros(7, dtype=torch.float64)
    error[4] = 0.01
    step, count = from_vector(error), 12
    right = [Edge(k, k + 8, identity(), 1.0, 10 * EQUAL, loop=True) for k in range(3)]
    wrong = Edge(3, 11, drawn(1, size=2.0), 1.0, 10 * EQUAL, loop=True)
    start = along(count, step)
    edges = [*chain(count, step, 10 * EQUAL), *right]
    clean, disturbed = average(edges, start), average([*edges, wrong], start)
    assert float(disagreement([wrong], disturbed)) > 5
    moved = (clean.translation - disturbed.translation)[:8].norm(dim=1).max()
    assert float(moved) < 0.1


def test_unmeasured_scale_stays() -> None:
    weights = torch.tensor([1.0] * 6 + [0.0], dtype=torch.float64)
    start = stacked([from_vector(torch.tensor([0.0] * 6 + [0.7], dtype=torch.float64))])
    solved = average([Edge(None, 0, identity(), 1.0, weights)], start)
    assert float(solved.scale[0]) == pytest.approx(math.exp(0.7))
