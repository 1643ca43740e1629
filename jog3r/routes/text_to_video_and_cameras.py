"""T2V+C: the sampler's own last low-noise step also feeds the head; nothing is encoded or noised again."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jog3r.diffusion.schedule import RECONSTRUCTION_MAX
from jog3r.errors import InputError
from jog3r.routes.text_to_video import SamplingOptions, decode, sample_latents
from jog3r.routes.video_to_cameras import reconstruct_tokens

if TYPE_CHECKING:
    from jog3r.alignment import Regularisers
    from jog3r.model import JOG3R
    from jog3r.results import Generation


def text_to_video_and_cameras(
    model: "JOG3R",
    prompts: Sequence[str],
    seeds: Sequence[int],
    options: SamplingOptions,
    regularisers: "Regularisers | None",
) -> "list[Generation]":
    """Generate videos with cameras, depth and points.

    Raises:
        InputError: A single frame, or so few steps that the last one is outside the low-noise range of the head.
    """
    from jog3r.results import Generation

    if options.frames < 2:
        raise InputError(
            f"num_frames: expected at least 2 with cameras=True, got {options.frames}; one frame has no camera path"
        )
    if model.schedule.steps / options.steps - 1 >= RECONSTRUCTION_MAX:
        least = model.schedule.steps // RECONSTRUCTION_MAX
        raise InputError(
            f"num_inference_steps: expected at least {least} with cameras=True, got {options.steps}; the last step is too noisy for the head"
        )
    sample = sample_latents(model, prompts, seeds, options)
    made = []
    for i, video in enumerate(decode(model, sample.latents)):
        reconstruction = reconstruct_tokens(
            model, sample.tokens[i], video, regularisers=regularisers
        )
        made.append(
            Generation(video=video, prompt=prompts[i], seed=seeds[i], reconstruction=reconstruction)
        )
    return made
