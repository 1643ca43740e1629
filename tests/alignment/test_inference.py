"""Alignment keeps no gradients, yet its result can be used like any other tensor."""

import torch
from torch import Tensor

from jog3r.alignment import Alignment
from jog3r.alignment.inference import without_gradients


@without_gradients
def doubled(depth: Tensor) -> Alignment:
    """Return an alignment of twice this depth."""
    assert torch.is_inference_mode_enabled()
    cameras, K = torch.eye(4).expand(1, 4, 4), torch.eye(3).expand(1, 3, 3)
    return Alignment(cameras, K, 2 * depth, depth, flags=("a: b",))


def test_result_takes_part_in_gradients_of_what_follows() -> None:
    depth = torch.ones(1, 2, 2, requires_grad=True)
    found = doubled(depth)
    assert found.flags == ("a: b",)
    assert not found.depth.requires_grad
    found.depth.add_(1.0)
    (found.depth.requires_grad_() * 3.0).sum().backward()
    assert found.depth.grad is not None
    assert found.depth.grad.unique().tolist() == [3.0]
