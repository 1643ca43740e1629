"""What fits no camera is flagged, what a mediocre network says is not."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from jog3r.alignment import complete, solve, star
from jog3r.alignment.quality import position_std
from jog3r.alignment.unknowns import Layout
from tests.scenes import graph_pairs, noisy_pairs, pairs, scene

TRUTH = scene("arc", frames=5)


def codes(found: tuple[str, ...]) -> list[str]:
    return [flag.split(":")[0] for flag in found]


@pytest.mark.parametrize("seed", range(3))
def test_random_points_are_flagged(seed: int) -> None:
    exact = pairs(TRUTH)
    generator = torch.Generator().manual_seed(seed)
    ahead = torch.randn(exact.points_j.shape, generator=generator) + torch.tensor([0, 0, 4.0])
    found = solve(replace(exact, points_j=ahead))
    assert "poor-fit" in codes(found.flags)
    assert " 4 of 5 frames" in found.flags[0]
    both = replace(exact, points_j=ahead, points_i=ahead.flip(0))
    assert "poor-fit" in codes(solve(both).flags)


@pytest.mark.parametrize("axes", [(-1.0, 1.0, 1.0), (1.0, -1.0, 1.0), (1.0, 1.0, -1.0)])
@pytest.mark.parametrize("graph", [star(5), complete(5)])
def test_mirrored_points_are_flagged(axes: tuple[float, float, float], graph: Tensor) -> None:
    given = graph_pairs(TRUTH, graph, torch.Generator().manual_seed(0))
    mirrored = replace(given, points_j=given.points_j * torch.tensor(axes))
    assert "poor-fit" in codes(solve(mirrored).flags)


@pytest.mark.parametrize("noise", [0.01, 0.03, 0.1])
def test_noise_is_not_flagged(noise: float) -> None:
    generator = torch.Generator().manual_seed(1)
    assert "poor-fit" not in codes(solve(noisy_pairs(TRUTH, generator, noise=noise)).flags)
    every = graph_pairs(TRUTH, complete(5), generator, noise=noise)
    assert "poor-fit" not in codes(solve(every).flags)


def test_a_handful_of_pixels_is_flagged() -> None:
    masks = torch.zeros(5, 24, 32, dtype=torch.bool)
    masks[:, 10:14, 10:18] = True
    assert codes(solve(pairs(TRUTH), masks=masks).flags) == []
    masks[3, 12:] = False
    masks[3, :, 14:] = False
    (flag,) = solve(pairs(TRUTH), masks=masks).flags
    assert flag.startswith("few-pixels: frame 3 rests on 8 pixels")


def test_a_frame_of_which_nothing_is_told_is_uncertain_without_bound() -> None:
    """Two frames of seven unknowns each; no point of the second one has any weight."""
    at = Layout(torch.arange(14).reshape(2, 7), torch.zeros(1, dtype=torch.long), free=14)
    hessian = torch.eye(14, dtype=torch.float64)
    hessian[10:13, 10:13] = 0.0
    assert position_std(hessian, at).tolist() == [pytest.approx(0.25), torch.inf]
