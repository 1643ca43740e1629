"""Depth where the data set has none: estimators, and how their depth gets the cameras' unit."""

from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from jog3r.data.clip import Clip
from jog3r.data.depth_scale import depth_scale
from jog3r.data.given_depth import given_depth
from jog3r.errors import FileError, InputError

METRIC_TYPES = ("zoedepth", "glpn", "depth_pro")
"""Architectures of transformers whose models all give depth; others say so in their config."""
LEAST_POINTS = 20
"""Known depths that a frame needs for an estimate to be fitted to them."""


@runtime_checkable
class DepthEstimator(Protocol):
    """Anything that looks at frames and says how far away things are.

    Attributes:
        name: For the manifest: which estimator, with which weights.
        gives: `depth`, in one unit for all frames of a clip, or `inverse`, the inverse of depth up
            to a factor and an offset of each frame's own.
    """

    name: str
    gives: Literal["depth", "inverse"]

    def __call__(self, frames: UInt8[Tensor, "t h w 3"]) -> Float[Tensor, "t h w"]:
        """Estimate on the pixels of the frames."""
        ...


class TransformersDepth:
    """A depth model of transformers: ZoeDepth, Depth Anything, DPT, GLPN, Depth Pro.

    Args:
        source: Folder or Hugging Face id.
        device: Where it runs.
        chunk: Frames per pass.

    Raises:
        FileError: No such model, or none that estimates depth.
    """

    def __init__(self, source: str, *, device: str = "cpu", chunk: int = 8) -> None:
        from transformers import AutoImageProcessor, AutoModelForDepthEstimation

        try:
            # As they were published: another backend resizes a little differently.
            self._processor: Any = AutoImageProcessor.from_pretrained(source)
            model: Any = AutoModelForDepthEstimation.from_pretrained(source)
        except (OSError, ValueError, KeyError) as error:
            raise FileError(
                f"{source}: expected a depth model of transformers, got none ({error}); give a"
                " folder or the id of one such as Intel/zoedepth-nyu-kitti"
            ) from error
        self._model = model.eval().requires_grad_(False).to(device)
        config = model.config
        metric = getattr(config, "depth_estimation_type", "relative") == "metric"
        metric = metric or config.model_type in METRIC_TYPES
        self.gives: Literal["depth", "inverse"] = "depth" if metric else "inverse"
        self.name = f"{Path(source).name} ({config.model_type})"
        self._device, self._chunk = device, chunk

    @torch.no_grad()
    def __call__(self, frames: UInt8[Tensor, "t h w 3"]) -> Float[Tensor, "t h w"]:
        """Estimate on the pixels of the frames."""
        return torch.cat([self._estimate(part) for part in frames.split(self._chunk)])

    def _estimate(self, frames: Tensor) -> Tensor:
        sizes = [tuple(frames.shape[1:3])] * len(frames)
        inputs = self._processor(images=[frame.numpy() for frame in frames], return_tensors="pt")
        made = self._model(**inputs.to(self._device))
        padded = {"source_sizes": sizes} if self._model.config.model_type == "zoedepth" else {}
        done = self._processor.post_process_depth_estimation(made, target_sizes=sizes, **padded)
        return torch.stack([each["predicted_depth"].squeeze() for each in done]).float().cpu()


def estimated_depth(clip: Clip, estimator: DepthEstimator) -> Tensor | None:
    """Estimate depth in the unit of the clip's cameras.

    An estimate is fitted to the depth that is known of some pixels, such as COLMAP's points: depth
    by one factor per clip, inverse depth by a line per frame. Where none is known, depth is taken
    as it is if the clip is metric, and else gets the factor at which the frames agree with each
    other under the cameras (`jog3r.data.depth_scale`).

    Args:
        clip: With frames, K and world_from_camera.
        estimator: Of depth.

    Returns:
        Depth, 0 where it cannot be known; None where its unit cannot be told.

    Raises:
        InputError: The estimator gives something else than finite numbers on every pixel.
    """
    assert clip.frames is not None
    assert clip.K is not None
    assert clip.world_from_camera is not None
    made, known = estimator(clip.frames), given_depth(clip)
    if made.shape != clip.frames.shape[:3] or not bool(made.isfinite().all()):
        raise InputError(
            f"{estimator.name}: expected finite depth of {tuple(clip.frames.shape[:3])}, got"
            f" {tuple(made.shape)}, or NaN; take another estimator"
        )
    if estimator.gives == "inverse":
        return None if known is None else _fitted_lines(made, known)
    made = made.clamp(min=0.0)
    if known is not None and (known > 0).sum() >= LEAST_POINTS:
        both = (known > 0) & (made > 0)
        return made * (known[both] / made[both]).median()
    if clip.scale == "metric":
        return made
    scale = depth_scale(made, clip.K, clip.world_from_camera)
    return None if scale is None else made * scale.factor


def _fitted_lines(inverse: Tensor, known: Tensor) -> Tensor | None:
    """Fit inverse depth to known depths, frame by frame; frames with too few of them get none."""
    depth = torch.zeros_like(inverse)
    for place, (made, wanted) in enumerate(zip(inverse, known, strict=True)):
        at = wanted > 0
        if int(at.sum()) < LEAST_POINTS:
            continue
        ones = torch.ones_like(made[at])
        left, right = torch.stack([made[at], ones], dim=1).double(), 1.0 / wanted[at].double()
        slope, offset = torch.linalg.lstsq(left, right[:, None]).solution.flatten().float()
        fitted = slope * made + offset
        # Farther than ten times what is known there is only the sky, and the noise of the fit.
        far = 1.0 / (10.0 * wanted.max())
        depth[place] = torch.where(fitted > far, 1.0 / fitted, 0.0)
    return depth if bool((depth > 0).any()) else None
