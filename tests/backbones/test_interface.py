import math
from typing import Any

import pytest
import torch

from jog3r.backbones.interface import VideoFormat
from jog3r.errors import InputError


def test_video_format_holds_one_number_per_sample() -> None:
    video_format = VideoFormat.of(3, num_frames=16, height=144, width=256, fps=8)
    assert torch.equal(video_format.num_frames, torch.full((3,), 16.0))
    assert torch.equal(video_format.height, torch.full((3,), 144.0))
    assert torch.equal(video_format.width, torch.full((3,), 256.0))
    assert torch.equal(video_format.fps, torch.full((3,), 8.0))
    assert torch.equal(video_format.aspect_ratio, torch.full((3,), 0.5625))


@pytest.mark.parametrize("name", ["num_frames", "height", "width", "fps"])
@pytest.mark.parametrize("number", [0, -1, math.inf, math.nan, "16", None])
def test_numbers_that_describe_no_video_raise(name: str, number: Any, as_a_user: None) -> None:
    good = {"num_frames": 16, "height": 144, "width": 256, "fps": 8}
    with pytest.raises(InputError, match=rf"video_format\.{name}: expected .* above 0, got"):
        VideoFormat.of(1, **{**good, name: number})
