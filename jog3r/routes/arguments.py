"""What users pass to `JOG3R.generate` and `JOG3R.reconstruct`, checked once."""

import operator
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

from jog3r.codecs.features import TextFeatures
from jog3r.errors import InputError
from jog3r.geometry import check_intrinsics

Callback: TypeAlias = Callable[[int, float, Tensor], Tensor | None]
"""Called after every sampling step with its index, its timestep and the latents."""

Prompt: TypeAlias = str | TextFeatures
"""Text, or what a text encoder has made of it."""

REFINEMENTS = ("photometric", None)
"""What may follow the alignment of pointmaps."""


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How to sample; `JOG3R.generate` explains each.

    Raises:
        InputError: An option of the wrong type or out of range.
    """

    negative_prompt: Prompt
    guidance_scale: float
    steps: int
    frames: int
    callback: Callback | None
    progress: bool

    def __post_init__(self) -> None:
        if not 1 <= whole_number("num_inference_steps", self.steps) <= 1000:
            raise InputError(
                f"num_inference_steps: expected 1 to 1000, got {self.steps}; 20 is usual"
            )
        if not 1 <= whole_number("num_frames", self.frames) <= 256:
            raise InputError(f"num_frames: expected 1 to 256, got {self.frames}; 16 is usual")
        scale = self.guidance_scale
        if isinstance(scale, bool) or not isinstance(scale, int | float) or not 1 <= scale <= 100:
            raise InputError(
                f"guidance_scale: expected 1 to 100, got {scale!r}; 1 switches guidance off"
            )
        if not isinstance(self.negative_prompt, Prompt):
            got = type(self.negative_prompt).__name__
            raise InputError(
                f"negative_prompt: expected a string or TextFeatures, got {got}; pass text"
            )
        if self.negative_prompt != "" and scale == 1.0:
            raise InputError(
                "negative_prompt: expected an empty one with guidance_scale=1, got"
                f" {reprlib.repr(self.negative_prompt)}; guidance is what steers away from it"
            )
        if self.callback is not None and not callable(self.callback):
            raise InputError(
                f"callback: expected a function or None, got {type(self.callback).__name__};"
                " pass a function of index, timestep and latents"
            )


def whole_number(name: str, value: Any) -> int:
    """Check that an argument is a whole number from 0 on, and return it as a plain int.

    Raises:
        InputError: It is not.
    """
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    # torch's generators take no more than 64 bits.
    if not 0 <= number < 1 << 63:
        raise InputError(
            f"{name}: expected a whole number of at least 0 and below 2^63, got {value!r}; pass one"
        )
    return number


def check_alignment(regularisers: Any, refine: Any) -> None:
    """Check how cameras are to be aligned and refined, before any time goes into their pointmaps.

    Raises:
        InputError: No such regularisers, or no such refinement.
    """
    from jog3r.alignment.regularisers import Regularisers

    if not isinstance(regularisers, Regularisers | None):
        got = type(regularisers).__name__
        raise InputError(
            f"regularisers: expected jog3r.alignment.Regularisers or None, got {got}; make one"
        )
    if not isinstance(refine, str | None) or refine not in REFINEMENTS:
        raise InputError(f"refine: expected one of {REFINEMENTS}, got {refine!r}; choose one")


def pair_up(
    prompt: Prompt | Sequence[Prompt], seed: int | Sequence[int]
) -> tuple[list[Prompt], list[int]]:
    """Give prompts and seeds of equal length, one of each per sample.

    Raises:
        InputError: Not prompts and whole numbers, none at all, or lists of different lengths.

    Example:
        >>> pair_up("a cone", [3, 4])
        (['a cone', 'a cone'], [3, 4])
        >>> pair_up(["a cone", "a cube"], 3)
        (['a cone', 'a cube'], [3, 4])
    """
    prompts = [prompt] if isinstance(prompt, Prompt) else prompt
    if not isinstance(prompts, Sequence) or not all(isinstance(text, Prompt) for text in prompts):
        raise InputError(
            f"prompt: expected a string, TextFeatures or a list of them, got {reprlib.repr(prompt)}"
        )
    seeds = [seed] if not isinstance(seed, Sequence) else seed
    seeds = [whole_number("seed", number) for number in seeds]
    if isinstance(prompt, Prompt):
        prompts = [prompt] * len(seeds)
    elif not isinstance(seed, Sequence):
        seeds = [whole_number("seed", seeds[0] + i) for i in range(len(prompts))]
    if not prompts or len(prompts) != len(seeds):
        raise InputError(
            f"seed: expected one number or one per prompt, got {len(prompts)} prompts and"
            f" {len(seeds)} seeds; give equally many"
        )
    return list(prompts), seeds


def words(prompt: Prompt) -> str:
    """Give the text of a prompt; features do not know it."""
    return prompt if isinstance(prompt, str) else ""


def known_intrinsics(K: Any, size: tuple[int, int], frames: int) -> Tensor | None:
    """Check the user's K [px] of images of height and width `size`; None stays None.

    Raises:
        InputError: Not numbers, another shape than (3, 3) or (frames, 3, 3), or no K of such
            images, or one with skew, which camera files cannot hold.
    """
    if K is None:
        return None
    try:
        K = K if isinstance(K, Tensor) else torch.from_numpy(np.array(K, dtype=np.float32))
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(
            f"K: expected a matrix of numbers, got {type(K).__name__} ({error}); pass a tensor"
        ) from error
    K = K.detach().to("cpu", torch.float32)
    if tuple(K.shape) not in ((3, 3), (frames, 3, 3)):
        raise InputError(
            f"K: expected (3, 3) or ({frames}, 3, 3) for {frames} frames, got {tuple(K.shape)};"
            " give one for all frames or one for each that is kept"
        )
    check_intrinsics(K, size)
    if float((K[..., 0, 1] / K[..., 0, 0]).abs().max()) > 1e-6:
        raise InputError(
            f"K: expected no skew, got {float(K[..., 0, 1].abs().max()):g}; rectify the video first"
        )
    return K
