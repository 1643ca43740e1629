"""T2V: prompt -> noise -> latents -> video."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from jog3r.backbones.interface import VideoFormat
from jog3r.diffusion.guidance import guide
from jog3r.diffusion.noise import seeded
from jog3r.errors import InputError
from jog3r.routes.arguments import SamplingOptions

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
    model: "JOG3R", prompts: Sequence[str], seeds: Sequence[int], options: SamplingOptions
) -> "list[Generation]":
    """Generate one video per prompt and seed."""
    from jog3r.results import Generation

    sample = sample_latents(model, prompts, seeds, options)
    return [
        Generation(video=video, prompt=prompt, seed=seed)
        for video, prompt, seed in zip(decode(model, sample.latents), prompts, seeds, strict=True)
    ]


@torch.inference_mode()
def sample_latents(
    model: "JOG3R",
    prompts: Sequence[str],
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
    texts = [*[options.negative_prompt] * len(prompts), *prompts] if guided else list(prompts)
    for text in dict.fromkeys(texts):
        model.text_encoder.check_prompt(text)
    features = model.text_encoder(texts)
    generators = seeded(seeds)
    latents = initial_noise(model, generators, options.frames)
    tokens = None
    sampler = model.schedule.sampler(options.steps, video_format(model, len(prompts), options))
    for index, timestep in enumerate(
        tqdm(sampler.timesteps, desc="sampling", disable=not options.progress)
    ):
        batch = torch.cat([latents, latents]) if guided else latents
        times = torch.full((len(batch),), timestep, device=model.device)
        if tapped and index == len(sampler.timesteps) - 1:
            prediction, tokens = _tapped(model, batch, times, texts, features, count=len(latents))
        else:
            prediction = model.network(batch, times, *features).prediction
        if guided:
            prediction = guide(prediction, options.guidance_scale, channels=latents.shape[1])
        latents = sampler.step(prediction, index, latents, generators)
        latents = _call_back(options, index, timestep, latents)
    return Sample(latents, tokens)


def _tapped(
    model: "JOG3R",
    batch: Tensor,
    times: Tensor,
    texts: list[str],
    features: tuple[Tensor, Tensor],
    *,
    count: int,
) -> tuple[Tensor, Tensor]:
    """Run the last step, and take the tokens of its first `count` samples with the empty prompt.

    By default guidance's own first half is that. Otherwise these samples come into the batch once
    more, and leave it at the tap.
    """
    if not any(texts[:count]):
        out = model.network(batch, times, *features)
        return out.prediction, out.taps[model.network.config.tap][:count]
    with_empty = model.text_encoder([*texts, *[""] * count])
    both, times = torch.cat([batch, batch[:count]]), torch.cat([times, times[:count]])
    return model.network.joint(both, times, *with_empty, reconstructed=count)


def video_format(model: "JOG3R", samples: int, options: SamplingOptions) -> VideoFormat:
    """Describe the videos that are to be made."""
    height, width = model.config.image_size
    return VideoFormat.of(
        samples,
        num_frames=options.frames,
        height=height,
        width=width,
        fps=model.config.fps,
        device=model.device,
    )


def initial_noise(model: "JOG3R", generators: Sequence[torch.Generator], frames: int) -> Tensor:
    """Draw unit noise `(B, C, T, h, w)`; each sample's comes from its own generator."""
    height, width = (side // model.autoencoder.factor for side in model.config.image_size)
    shape = (model.autoencoder.config.latent_channels, frames, height, width)
    return model.schedule.draw_each(shape, generators).to(model.device)


def decode(model: "JOG3R", latents: Tensor) -> "list[Video]":
    """Turn latents into videos, one after the other so that this is not the memory peak."""
    from jog3r.results import Video

    videos = []
    for sample in latents:
        with torch.inference_mode():
            frames = model.autoencoder.decode(sample[None])[0].cpu()
        # A clone out here is an ordinary tensor, which users may change.
        videos.append(Video.from_tensor(frames.clone(), fps=model.config.fps))
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
