"""T2V+C: the sampler's own last low-noise step also feeds the head.

Nothing is encoded or noised again.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from jog3r.diffusion.interface import least_steps
from jog3r.diffusion.schedule import RECONSTRUCTION_MAX
from jog3r.errors import AlignmentError, InputError
from jog3r.routes.arguments import AlignmentOptions, Prompt, SamplingOptions, words
from jog3r.routes.pointmaps import seen_frames, token_pointmaps, usual_graph
from jog3r.routes.text_to_video import decode, sample_latents
from jog3r.routes.video_formats import video_format
from jog3r.routes.video_to_cameras import align_pointmaps, bundled, frames_at

if TYPE_CHECKING:
    from jog3r.model import JOG3R
    from jog3r.results import Generation


def text_to_video_and_cameras(
    model: "JOG3R",
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    options: SamplingOptions,
    alignment: AlignmentOptions,
) -> "list[Generation]":
    """Generate videos with cameras, depth and points.

    Raises:
        InputError: A network without a head, a single frame, or so few steps that the last one is
            outside the low-noise range of the head; what `sample_latents` refuses.
        AlignmentError: Pointmaps of a sample that no camera explains; holds all that was made.
    """
    from jog3r.alignment import pair_graph
    from jog3r.results import Generation

    model.stitched.check_head()
    if options.frames < 2:
        raise InputError(
            f"num_frames: expected at least 2 with cameras=True, got {options.frames}; one frame"
            " has no camera path"
        )
    seen = seen_frames(model, options.frames)
    _check_last_step(model, options)
    sample = sample_latents(model, prompts, seeds, options, tapped=True)
    assert sample.tokens is not None  # as they were asked for
    videos = decode(model, sample.latents, options.frames)
    graph = pair_graph(alignment.graph or usual_graph(model), len(seen))
    made, failures = [], []
    for video, tokens, prompt, seed in zip(videos, sample.tokens, prompts, seeds, strict=True):
        try:
            pairs = token_pointmaps(model, tokens, graph)
            scene = bundled(align_pointmaps(pairs, frames_at(video, seen), alignment), alignment)
        except AlignmentError as error:
            scene = None
            failures.append(f"seed {seed}: {error}")
        made.append(Generation(video=video, prompt=words(prompt), seed=seed, reconstruction=scene))
    if failures:  # raised at the end, so that no sample is lost with another
        raise AlignmentError("; ".join(failures), made)
    return made


def _check_last_step(model: "JOG3R", options: SamplingOptions) -> None:
    """Check that the sampler itself ends where the head was trained, whatever its times."""
    schedule, made = model.schedule, video_format(model, 1, options.frames)
    last = schedule.sampler(options.steps, made).timesteps[-1]
    if last <= RECONSTRUCTION_MAX:
        return
    least = least_steps(schedule, RECONSTRUCTION_MAX, above=options.steps, video_format=made)
    raise InputError(
        f"num_inference_steps: expected at least {least or 'more than there are'} with"
        f" cameras=True, got {options.steps}; the last step would be too noisy for the head"
    )
