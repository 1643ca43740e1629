"""T2V: prompt -> noise -> latents -> video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from jog3r.backbones.interface import VideoFormat
from jog3r.codecs.features import TextFeatures
from jog3r.diffusion.guidance import guide
from jog3r.diffusion.noise import seeded
from jog3r.errors import InputError
from jog3r.routes.arguments import Prompt, SamplingOptions, words
from jog3r.routes.prompts import check_prompts, encode_texts, encodes_empty, guided_texts
from jog3r.routes.video_formats import video_format

if TYPE_CHECKING:
    from jog3r.model import JOG3R
    from jog3r.results import Generation, Video


@dataclass(frozen=True)
class Sample:
    """What sampling leaves behind.

    Attributes:
        latents: `(B, C, T, h, w)`, clean.
        tokens: At the tap in the last step, of the latents as they came to it, with the empty
            prompt as in reconstruction's training: `(B, T, S, D)`; None if not asked for.
    """

    latents: Tensor
    tokens: Tensor | None


def text_to_video(
    model: "JOG3R", prompts: Sequence[Prompt], seeds: Sequence[int], options: SamplingOptions
) -> "list[Generation]":
    """Generate one video per prompt and seed."""
    from jog3r.results import Generation

    sample = sample_latents(model, prompts, seeds, options)
    videos = decode(model, sample.latents, options.frames)
    return [
        Generation(video=video, prompt=words(prompt), seed=seed)
        for video, prompt, seed in zip(videos, prompts, seeds, strict=True)
    ]


@torch.inference_mode()
def sample_latents(
    model: "JOG3R",
    prompts: Sequence[Prompt],
    seeds: Sequence[int],
    options: SamplingOptions,
    *,
    tapped: bool = False,
) -> Sample:
    """Denoise from pure noise, with classifier-free guidance; `tapped` asks for the tokens.

    Raises:
        InputError: A prompt that is too long or without a known word; a callback that returns
            something else than latents.
    """
    guided = options.guidance_scale > 1.0
    count, told = len(prompts), video_format(model, len(prompts), options.frames)
    check_prompts(model, [*prompts, options.negative_prompt] if guided else prompts)
    generators = seeded(seeds)
    latents = initial_noise(model, generators, options.frames)
    condition = _condition(model, prompts, options)
    tokens = None
    sampler = model.schedule.sampler(options.steps, told)
    for index, timestep in enumerate(
        tqdm(sampler.timesteps, desc="sampling", disable=not options.progress)
    ):
        batch = torch.cat([latents, latents]) if guided else latents
        times = torch.full((len(batch),), timestep, device=model.device)
        if tapped and index == len(sampler.timesteps) - 1:
            prediction, tokens = _tapped(
                model, batch, times, condition, count=count, frames=options.frames
            )
        else:
            prediction = model.stitched(
                batch, times, *condition.text, video_format=condition.video_format
            ).prediction
        if guided:
            channels = model.config.guided_channels or latents.shape[1]
            prediction = guide(prediction, options.guidance_scale, channels=channels)
        latents = sampler.step(prediction, index, latents, generators)
        latents = _call_back(options, index, timestep, latents)
    return Sample(latents, tokens)


@dataclass(frozen=True)
class _Condition:
    """What the network is told in every step.

    Attributes:
        text: Features and mask of the texts; with guidance those that it leads away from, first.
        video_format: Of the videos.
        empty: Whether the first of the texts are those of reconstruction: the empty prompt.
    """

    text: tuple[Tensor, Tensor]
    video_format: VideoFormat
    empty: bool


def _condition(model: "JOG3R", prompts: Sequence[Prompt], options: SamplingOptions) -> _Condition:
    if options.guidance_scale > 1.0:
        text = guided_texts(model, options.negative_prompt, prompts)
        # A null text under the mask of a prompt is not the one that reconstruction was trained on.
        empty = options.negative_prompt == "" and encodes_empty(model)
    else:
        text = encode_texts(model, prompts)
        empty = all(prompt == "" for prompt in prompts)
    return _Condition(text, video_format(model, len(text[0]), options.frames), empty)


def _tapped(
    model: "JOG3R",
    batch: Tensor,
    times: Tensor,
    condition: _Condition,
    *,
    count: int,
    frames: int,
) -> tuple[Tensor, Tensor]:
    """Run the last step, and take the tokens of its first `count` samples with the empty prompt.

    By default guidance's own first half is that. Otherwise these samples come into the batch once
    more, and leave it at the tap.
    """
    network = model.stitched
    if condition.empty:
        out = network(batch, times, *condition.text, video_format=condition.video_format)
        return out.prediction, out.taps[network.tap][:count]
    rows = [TextFeatures(*row) for row in zip(*condition.text, strict=True)]
    text = encode_texts(model, [*rows, *[""] * count])
    both, times = torch.cat([batch, batch[:count]]), torch.cat([times, times[:count]])
    told = video_format(model, len(both), frames)
    return network.joint(both, times, *text, reconstructed=count, video_format=told)


def initial_noise(model: "JOG3R", generators: Sequence[torch.Generator], frames: int) -> Tensor:
    """Draw unit noise `(B, C, T, h, w)`; each sample's comes from its own generator."""
    height, width = (side // model.autoencoder.factor for side in model.config.image_size)
    length = model.autoencoder.latent_frames(frames)
    shape = (model.autoencoder.latent_channels, length, height, width)
    return model.schedule.draw_each(shape, generators).to(model.device)


def decode(model: "JOG3R", latents: Tensor, frames: int) -> "list[Video]":
    """Turn latents into videos of so many frames, one by one so that this is no memory peak."""
    from jog3r.results import Video

    videos = []
    for sample in latents:
        with torch.inference_mode():
            decoded = model.autoencoder.decode(sample[None], num_frames=frames)[0].cpu()
        # A clone out here is an ordinary tensor, which users may change.
        videos.append(Video.from_tensor(decoded.clone(), fps=model.config.fps))
    return videos


def _call_back(options: SamplingOptions, index: int, timestep: float, latents: Tensor) -> Tensor:
    """Let the user see the latents of a step and change them.

    Raises:
        InputError: Something else than None or such latents came back.
    """
    changed = None if options.callback is None else options.callback(index, timestep, latents)
    if changed is None:
        return latents
    fits = isinstance(changed, Tensor) and changed.shape == latents.shape
    if not fits or not changed.is_floating_point() or not bool(changed.isfinite().all()):
        got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise InputError(
            f"callback: expected None or finite latents of shape {tuple(latents.shape)}, got"
            f" {got}; return the changed latents or nothing"
        )
    return changed.to(latents)
