"""What a step of training costs: operations, activations, memory, traffic; nothing is computed."""

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from jog3r.backbones.interface import VideoFormat
from jog3r.codecs.text import TextEncoder
from jog3r.errors import InputError
from jog3r.losses.autoencoding import autoencoding_loss
from jog3r.losses.generation import generation_loss
from jog3r.routes.video_formats import video_format
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.joint import JointTraining
from jog3r.training.pairs import PairTraining
from jog3r.training.reconstruction_half import clips_taken
from jog3r.training.rehearsal import Step, rehearse


@dataclass(frozen=True, kw_only=True)
class Work:
    """One batch of one process.

    Attributes:
        clips: In the batch.
        frames: Of each clip.
        precomputed: Whether the batch brings latents and text features, so that neither
            autoencoder nor text encoder runs.
        side: Height and width of the frames [px] where the module does not say.

    Raises:
        InputError: A number below 1.
    """

    clips: int
    frames: int
    precomputed: bool = False
    side: int = 64

    def __post_init__(self) -> None:
        if min(self.clips, self.frames, self.side) < 1:
            raise InputError(
                f"batch: expected clips, frames and size of at least 1, got {self.clips},"
                f" {self.frames} and {self.side}"
            )


def step_flops(module: nn.Module, *, clips: int, frames: int, precomputed: bool = False) -> int:
    """Count the operations of one batch, forward and backward, that the model asks for.

    What gradient checkpointing computes twice counts once, and so does what attention kernels do:
    these are the operations that MFU is about. Texts count at their greatest length.

    Args:
        module: One of jog3r's LightningModules, anywhere; it is not touched.
        clips: In the batch of one process.
        frames: Of each clip.
        precomputed: Whether the batch brings latents and text features.

    Returns:
        Operations; a multiplication and an addition count as two.

    Raises:
        InputError: A module whose step is not known, or clips that its `rec_every` does not divide.
    """
    work = Work(clips=clips, frames=frames, precomputed=precomputed)
    return rehearse(module, kept(step_of(module, work))).flops


def step_of(module: nn.Module, work: Work) -> Step:
    """Find what a module does with a batch, up to the loss.

    Raises:
        InputError: A module whose step is not known.
    """
    if isinstance(module, JointTraining):
        return lambda hollow: _joint_loss(hollow, work)
    if isinstance(module, AutoencoderTraining):
        return lambda hollow: _autoencoder_loss(hollow, work)
    if isinstance(module, PairTraining):
        return lambda hollow: _pairs_loss(hollow, work)
    raise InputError(
        "module: expected AutoencoderTraining, JointTraining or PairTraining, got"
        f" {type(module).__name__}; count its operations with torch.utils.flop_counter"
    )


def kept(step: Step) -> Step:
    """Take a step without gradient checkpointing: everything is kept."""

    def run(hollow: Any) -> Tensor:
        for part in hollow.modules():
            if hasattr(part, "gradient_checkpointing"):
                part.gradient_checkpointing = False
        return step(hollow)

    return run


def _autoencoder_loss(training: AutoencoderTraining, work: Work) -> Tensor:
    side, factor = work.side, training.model.factor
    frames = torch.empty(work.clips * work.frames, 3, side, side)
    noise = torch.empty(len(frames), training.model.latent_channels, side // factor, side // factor)
    reconstruction, mean, log_variance = training.model(frames, noise)
    return autoencoding_loss(
        reconstruction, frames, mean=mean, log_variance=log_variance, **training.weights
    )[0]


def _pairs_loss(training: PairTraining, work: Work) -> Tensor:
    clip = (work.clips, work.frames)
    batch = {"video": torch.empty(*clip, 3, work.side, work.side), **_truth(work)}
    pairs = torch.empty(work.clips, training.pairs_per_clip, 2, dtype=torch.long)
    return training.losses(batch, pairs)[0]


def _joint_loss(training: JointTraining, work: Work) -> Tensor:
    """Follow the step as `JointTraining.losses` takes it; without values nothing is drawn."""
    latents = _latents(training, work)
    if training.rec_weight == 0.0 or work.frames == 1:
        return generation_loss(_run(training, work, latents).prediction, latents)
    seen = _seen(training, work)
    little = latents[: seen.clips, :, : seen.frames]
    if training.gen_weight == 0.0:
        return _reconstruction(training, seen, _run(training, work, little, "tokens"))
    if seen.frames < work.frames:
        prediction = _run(training, work, latents).prediction
        tokens = _run(training, work, little, "tokens")
    else:
        both = torch.cat([latents, little])
        prediction, tokens = _run(training, work, both, "joint", reconstructed=seen.clips)
    return generation_loss(prediction, latents) + _reconstruction(training, seen, tokens)


def _run(
    training: JointTraining, work: Work, latents: Tensor, way: str = "forward", **options: int
) -> Any:
    """Run the network in one of its ways."""
    text, told = _text(training, work, len(latents)), _told(training, latents)
    run = getattr(training.model.stitched, way)
    return run(latents, torch.empty(len(latents)), *text, video_format=told, **options)


def _told(training: JointTraining, latents: Tensor) -> VideoFormat:
    return video_format(training.model, len(latents), latents.shape[2])


def _seen(training: JointTraining, work: Work) -> Work:
    """Tell what the reconstruction half works on."""
    clips = clips_taken(work.clips, training.rec_every)
    pairs = min(training.pairs_per_clip, work.frames - 1)
    frames = 1 + pairs if training.rec_frames == "pairs" else work.frames
    return replace(work, clips=clips, frames=frames)


def _reconstruction(training: JointTraining, work: Work, tokens: Tensor) -> Tensor:
    pairs = min(training.pairs_per_clip, work.frames - 1)
    partners = torch.empty(work.clips, pairs, dtype=torch.long)
    return training.reconstruction_loss(
        tokens, partners, _truth(work, training.model.config.image_size)
    )[0]


def _latents(training: JointTraining, work: Work) -> Tensor:
    model = training.model
    if not work.precomputed:
        with torch.no_grad():
            height, width = model.config.image_size
            return model.autoencoder.encode(torch.empty(work.clips, work.frames, 3, height, width))
    backbone, (rows, columns) = model.stitched.backbone.config, model.token_grid
    size = zip((work.frames, rows, columns), backbone.patch_size, strict=True)
    return torch.empty(work.clips, backbone.in_channels, *(n * p for n, p in size))


def _text(training: JointTraining, work: Work, texts: int) -> tuple[Tensor, Tensor]:
    model, backbone = training.model, training.model.stitched.backbone.config
    length = backbone.max_text_tokens
    mask = torch.empty(texts, length, dtype=torch.bool)
    if work.precomputed or not isinstance(model.text_encoder, TextEncoder):
        return torch.empty(texts, length, backbone.caption_channels), mask
    # Without a mask: T5 would look at its values.
    ids = torch.empty(texts, length, dtype=torch.long)
    return model.text_encoder.t5(input_ids=ids).last_hidden_state, mask


def _truth(work: Work, size: tuple[int, int] | None = None) -> dict[str, Tensor]:
    clip = (work.clips, work.frames)
    return {
        "depth": torch.empty(*clip, *(size or (work.side, work.side))),
        "K": torch.empty(*clip, 3, 3),
        "world_from_camera": torch.empty(*clip, 4, 4),
    }
