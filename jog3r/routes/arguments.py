"""What users pass to `JOG3R.generate` and `JOG3R.reconstruct`, checked once."""

import operator
import reprlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from torch import Tensor

from jog3r.codecs.features import TextFeatures
from jog3r.errors import InputError

if TYPE_CHECKING:
    from jog3r.alignment import Regularisers

Callback: TypeAlias = Callable[[int, float, Tensor], Tensor | None]
"""Called after every sampling step with its index, its timestep and the latents."""

Prompt: TypeAlias = str | TextFeatures
"""Text, or what a text encoder has made of it."""

REFINEMENTS = ("photometric", "bundle", None)
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


@dataclass(frozen=True, kw_only=True)
class AlignmentOptions:
    """How cameras are to be found from pointmaps; `JOG3R.reconstruct` explains most of it.

    Args:
        regularisers: None for the defaults.
        refine: what follows the alignment, in the user's words.
        suits: the refinement that suits the checkpoint.
        graph: name of the pairs; None for those that suit the network.
        window: frames that go through the model at once; None for all of a video.
        overlap: frames that neighbouring windows share; None for a quarter.
        shared_focal: one focal length for all frames; else one each.

    Raises:
        InputError: An option of the wrong type or out of range.
    """

    regularisers: "Regularisers | None"
    refine: str | None
    suits: str | None = None
    graph: str | None = None
    window: int | None = None
    overlap: int | None = None
    shared_focal: bool = True

    def __post_init__(self) -> None:
        from jog3r.alignment import pair_graph
        from jog3r.alignment.regularisers import Regularisers

        if not isinstance(self.regularisers, Regularisers | None):
            got = type(self.regularisers).__name__
            raise InputError(
                f"regularisers: expected jog3r.alignment.Regularisers or None, got {got}; make one"
            )
        if isinstance(self.refine, str) and self.refine == "default":
            object.__setattr__(self, "refine", self.suits)
        if not isinstance(self.refine, str | None) or self.refine not in REFINEMENTS:
            raise InputError(
                f"refine: expected one of {REFINEMENTS}, got {self.refine!r}; choose one"
            )
        if not isinstance(self.graph, str | None):
            raise InputError(
                f"graph: expected its name, got {type(self.graph).__name__}; star is usual"
            )
        if self.graph is not None:
            pair_graph(self.graph, 2)  # an unknown name is refused
        for name, least in (("window", 2), ("overlap", 1)):
            value = getattr(self, name)
            if value is not None and whole_number(name, value) < least:
                raise InputError(
                    f"{name}: expected at least {least} frames, got {value}; leave it out"
                )
        if not isinstance(self.shared_focal, bool):
            got = type(self.shared_focal).__name__
            raise InputError(f"shared_focal: expected True or False, got {got}; choose one")
        if self.bundle and not self.shared_focal:
            raise InputError(
                'shared_focal: expected True beside refine="bundle", which finds one focal length'
                " for all frames, got False; leave one out"
            )

    @property
    def photometric(self) -> bool:
        """Whether frames are laid over each other; bundle adjustment follows what suits."""
        return "photometric" in (self.refine, self.suits if self.bundle else None)

    @property
    def bundle(self) -> bool:
        """Whether bundle adjustment comes last."""
        return self.refine == "bundle"


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
