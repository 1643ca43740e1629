"""T2V: prompt -> noise -> latents -> video."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from tqdm.auto import tqdm

from jog3r.errors import InputError

if TYPE_CHECKING:
    from jog3r.model import JOG3R
    from jog3r.results import Generation


@dataclass(frozen=True, kw_only=True)
class SamplingOptions:
    """How to sample; `JOG3R.generate` explains each."""

    negative_prompt: str
    guidance_scale: float
    steps: int
    frames: int
    callback: Callable[[int, int, Tensor], Tensor | None] | None
    progress: bool

    def __post_init__(self) -> None:
        """Check ranges once, at the boundary."""
        if not 1 <= self.steps <= 1000:
            raise InputError(
                f"num_inference_steps: expected 1 to 1000, got {self.steps}; 20 is usual"
            )
        if not 1 <= self.frames <= 256:
            raise InputError(f"num_frames: expected 1 to 256, got {self.frames}; 16 is usual")
        if not 1.0 <= self.guidance_scale <= 100.0:
            raise InputError(
                f"guidance_scale: expected 1 to 100, got {self.guidance_scale}; 1 switches guidance off"
            )


@dataclass(frozen=True)
class Sample:
    """What sampling leaves behind.

    Attributes:
        latents: `(B, C, T, h, w)`, clean.
        tokens: Tokens at the tap in the last step, `(B, T, S, D)`, of the pass without prompt where there was one.
        timestep: The last step's timestep.
    """

    latents: Tensor
    tokens: Tensor
    timestep: int


def text_to_video(
    model: "JOG3R", prompts: Sequence[str], seeds: Sequence[int], options: SamplingOptions
) -> "list[Generation]":
    """Generate one video per prompt and seed."""
    from jog3r.results import Generation

    sample = sample_latents(model, prompts, seeds, options)
    videos = decode(model, sample.latents)
    return [
        Generation(video=video, prompt=prompt, seed=seed)
        for video, prompt, seed in zip(videos, prompts, seeds, strict=True)
    ]


@torch.inference_mode()
def sample_latents(
    model: "JOG3R", prompts: Sequence[str], seeds: Sequence[int], options: SamplingOptions
) -> Sample:
    """Denoise from pure noise with classifier-free guidance; the tap of every pass is kept until the next."""
    for prompt in prompts:
        model.text_encoder.check_prompt(prompt)
    guided = options.guidance_scale > 1.0
    texts = [options.negative_prompt] * len(prompts) * guided + list(prompts)
    text, text_mask = model.text_encoder(texts)
    latents = initial_noise(model, seeds, options.frames)
    scheduler = model.schedule.sampler(options.steps)
    tokens = latents
    timesteps = scheduler.timesteps.tolist()
    for index, timestep in enumerate(
        tqdm(timesteps, desc="sampling", disable=not options.progress)
    ):
        batch = torch.cat([latents, latents]) if guided else latents
        times = torch.full((len(batch),), float(timestep), device=model.device)
        out = model.network(batch, times, text, text_mask)
        prediction = out.prediction[:, : latents.shape[1]]
        if guided:
            without, with_prompt = prediction.chunk(2)
            prediction = without + options.guidance_scale * (with_prompt - without)
        tokens = out.taps[model.config.network.tap][: len(latents)]
        latents = scheduler.step(prediction, timestep, latents).prev_sample
        latents = _call_back(options, index, timestep, latents)
    return Sample(latents, tokens, timesteps[-1])


def initial_noise(model: "JOG3R", seeds: Sequence[int], frames: int) -> Tensor:
    """Unit noise `(B, C, T, h, w)`; each sample's depends on its own seed alone."""
    height, width = (side // model.autoencoder.factor for side in model.config.image_size)
    shape = (model.autoencoder.config.latent_channels, frames, height, width)
    noise = [torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
    return torch.stack(noise).to(model.device)


@torch.inference_mode()
def decode(model: "JOG3R", latents: Tensor) -> "list":
    """Latents to videos, one sample after the other so that decoding is not the memory peak."""
    from jog3r.results import Video

    return [
        Video.from_tensor(model.autoencoder.decode(sample[None])[0].cpu(), fps=model.config.fps)
        for sample in latents
    ]


def _call_back(options: SamplingOptions, index: int, timestep: int, latents: Tensor) -> Tensor:
    if options.callback is None:
        return latents
    changed = options.callback(index, int(timestep), latents)
    if changed is None:
        return latents
    if not isinstance(changed, Tensor) or changed.shape != latents.shape:
        got = tuple(changed.shape) if isinstance(changed, Tensor) else type(changed).__name__
        raise InputError(
            f"callback: expected None or latents of shape {tuple(latents.shape)}, got {got}; return the changed latents or nothing"
        )
    return changed
