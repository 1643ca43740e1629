"""Tiny networks of every architecture, whose weights hide nothing, and what to call them with."""

from collections.abc import Callable
from typing import Any, NamedTuple

import pytest
import torch
from torch import Tensor, nn

from jog3r.backbones.interface import VideoFormat
from jog3r.backbones.registry import build_backbone

TINY = {"hidden_size": 24, "depth": 4, "num_heads": 2, "caption_channels": 8, "max_text_tokens": 5}
ONLY = {"stdit": {"input_size": (3, 4, 6)}, "stdit2": {}, "stdit3": {}}


class Call(NamedTuple):
    """Arguments of one call; indexing with `of` keeps some samples."""

    positional: tuple[Tensor, Tensor, Tensor, Tensor]
    named: dict[str, Any]

    def of(self, samples: slice) -> "Call":
        numbers = vars(self.named["video_format"])
        named = {"video_format": VideoFormat(**{k: v[samples] for k, v in numbers.items()})}
        if "x_mask" in self.named:
            named["x_mask"] = self.named["x_mask"][samples]
        return Call(tuple(x[samples] for x in self.positional), named)  # type: ignore[arg-type]

    def __call__(self, model: Any, **more: Any) -> Any:
        return model(*self.positional, **(self.named | more))


@pytest.fixture(scope="session")
def lively() -> Callable[[nn.Module, torch.Generator], Any]:
    """Return a function that gives every parameter a value: zeros would hide mistakes."""

    def enliven(model: nn.Module, generator: torch.Generator) -> Any:
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.copy_(0.15 * torch.randn(parameter.shape, generator=generator))
        return model

    return enliven


@pytest.fixture(scope="session")
def tiny(lively: Callable) -> Callable[..., Any]:
    """Return a function that builds a tiny network with fixed random weights."""

    def build(name: str, **config: Any) -> Any:
        model = build_backbone(name, TINY | ONLY[name] | config)
        assert isinstance(model, nn.Module)
        return lively(model, torch.Generator().manual_seed(7))

    return build


@pytest.fixture(scope="session")
def made_call() -> Callable[..., Call]:
    """Return a function that draws arguments: three samples, each with a format of its own."""

    def draw(name: str, size: tuple[int, int, int] = (3, 4, 6), *, seed: int = 0) -> Call:
        generator = torch.Generator().manual_seed(seed)
        latents = torch.randn(3, 4, *size, generator=generator)
        timestep = 1000 * torch.rand(3, generator=generator)
        text = torch.randn(3, 5, 8, generator=generator)
        mask = torch.arange(5) < torch.tensor([[2], [4], [1]])
        formats = VideoFormat(
            num_frames=torch.tensor([9.0, 17.0, 5.0]),
            height=torch.tensor([144.0, 512.0, 256.0]),
            width=torch.tensor([256.0, 512.0, 144.0]),
            fps=torch.tensor([24.0, 8.0, 30.0]),
        )
        named: dict[str, Any] = {"video_format": formats}
        if name != "stdit":
            named["x_mask"] = torch.rand(3, size[0], generator=generator) > 0.4
        return Call((latents, timestep, text, mask), named)

    return draw
