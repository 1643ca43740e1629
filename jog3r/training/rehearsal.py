"""A training step on tensors without values: what it would cost, on any machine, in seconds.

torch's fake tensors have a size and a precision, and claim to lie on the CPU, but hold nothing. A
step that runs on them takes every decision that it would take on real ones (autocast, gradient
checkpointing, which autograd saves what), so its cost is counted and not derived by hand.
"""

import copy
import math
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from jog3r.attention import fused_only
from jog3r.backbones import positions
from jog3r.heads import rope2d

KEPT_TABLES = (positions.sincos_space, positions.sincos_time, rope2d.rotation_of_grid)
"""What is computed once and kept: without values it must not be kept."""

Step = Callable[[Any], Tensor]
"""Takes a module without values, gives the loss; runs where new tensors have no values either."""


@dataclass(frozen=True)
class Rehearsed:
    """What a forward and a backward pass cost.

    Attributes:
        flops: Of matrix products, convolutions and attention, as executed: a multiplication and an
            addition count as two.
        saved_bytes: What autograd keeps between the passes, parameters not counted; each storage
            once.
        copies_bytes: How much of it are weights that autocast has rounded.
        block_bytes: What the largest block of those that can be checkpointed keeps; nothing where
            checkpointing is on, since autograd then sees their inputs only.
    """

    flops: int
    saved_bytes: int
    copies_bytes: int
    block_bytes: int


def rehearse(
    module: nn.Module,
    step: Step,
    *,
    precision: torch.dtype = torch.float32,
    fused: bool = True,
) -> Rehearsed:
    """Run a step and its backward pass on a copy of the module that holds no values.

    Args:
        module: Anywhere, on the meta device too; it is not touched.
        step: What to run.
        precision: Of matrix products under autocast; float32 switches it off.
        fused: Whether attention is always fused, as on accelerators, or as this library takes it on
            a CPU.
    """
    with ExitStack() as stack:
        for table in KEPT_TABLES:
            table.cache_clear()
            stack.callback(table.cache_clear)
        # Modules may hold tensors that are neither parameters nor buffers.
        fake = FakeTensorMode(allow_non_fake_inputs=True)
        hollow = _without_values(module, fake)
        stack.enter_context(fake)
        if fused:
            stack.enter_context(fused_only())
        counter = stack.enter_context(FlopCounterMode(display=False, custom_mapping=ATTENTION))
        saved, mixed = _Saved(hollow), precision != torch.float32
        keep = torch.autograd.graph.saved_tensors_hooks(saved.keep, lambda tensor: tensor)
        with keep, torch.autocast("cpu", precision, enabled=mixed):
            loss = step(hollow)
        loss.backward()
        return Rehearsed(counter.get_total_flops(), saved.bytes, saved.copies, saved.block)


def _without_values(module: nn.Module, fake: FakeTensorMode) -> Any:
    """Copy a module with tensors of the same sizes that hold nothing."""
    hollow: dict[int, Any] = {}
    with fake:
        for parameter in module.parameters():
            empty = torch.empty(parameter.shape, dtype=parameter.dtype)
            hollow[id(parameter)] = nn.Parameter(empty, requires_grad=parameter.requires_grad)
        for buffer in module.buffers():
            hollow[id(buffer)] = torch.empty(buffer.shape, dtype=buffer.dtype)
    # In training mode losses would wait for other processes.
    return copy.deepcopy(module, hollow).eval()


def _forward_flops(q: Any, k: Any, v: Any, *_: Any, **__: Any) -> int:
    """Count two products over queries and keys: one as wide as the keys, one as the values."""
    return 2 * math.prod(q[:-1]) * k[-2] * (q[-1] + v[-1])


def _backward_flops(_: Any, q: Any, k: Any, v: Any, *__: Any, **___: Any) -> int:
    return 2 * _forward_flops(q, k, v)  # that kernels compute the scores again does not count


ATTENTION = {
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu: _forward_flops,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward: _backward_flops,
}
"""Of the fused kernel that fake tensors take; torch counts those of accelerators only."""


class _Saved:
    """Adds up what autograd keeps."""

    def __init__(self, module: nn.Module) -> None:
        self.bytes = self.copies = self.block = 0
        for block in checkpointed_blocks(module):
            block.register_forward_pre_hook(self._enter)
            block.register_forward_hook(self._leave)
        self._seen = {_storage(parameter) for parameter in module.parameters()}
        self._alive: list[Any] = []  # a number of a storage is its own only while it lives
        weights = {tuple(p.shape) for p in module.parameters() if p.ndim > 1}
        self._weights = weights | {shape[::-1] for shape in weights}

    def keep(self, tensor: Tensor) -> Tensor:
        if _storage(tensor) not in self._seen:
            self._seen.add(_storage(tensor))
            self._alive.append(tensor.untyped_storage())
            size = tensor.untyped_storage().nbytes()
            self.bytes += size
            # Nothing else in half precision has the shape of a weight.
            half = tensor.dtype in (torch.bfloat16, torch.float16)
            self.copies += size if half and tuple(tensor.shape) in self._weights else 0
        return tensor

    def _enter(self, *_: Any) -> None:
        self._before = self.bytes

    def _leave(self, *_: Any) -> None:
        self.block = max(self.block, self.bytes - self._before)


def checkpointed_blocks(module: nn.Module) -> list[nn.Module]:
    """List the blocks that run again in the backward pass where checkpointing is on."""
    parts = [part for part in module.modules() if hasattr(part, "gradient_checkpointing")]
    lists = [each for part in parts for each in part.children() if isinstance(each, nn.ModuleList)]
    return [block for blocks in lists for block in blocks if block is not None]


def _storage(tensor: Tensor) -> int:
    return tensor.untyped_storage()._cdata
