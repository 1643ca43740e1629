"""What a step of training costs: operations, activations, memory, traffic; nothing is computed."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from jog3r.codecs.text import TextEncoder
from jog3r.errors import InputError
from jog3r.losses.autoencoding import autoencoding_loss
from jog3r.losses.generation import generation_loss
from jog3r.routes.video_formats import video_format
from jog3r.training.autoencoder import AutoencoderTraining
from jog3r.training.joint import JointTraining
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
    """

    clips: int
    frames: int
    precomputed: bool = False
    side: int = 64


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
        InputError: A module whose step is not known.
    """
    work = Work(clips=clips, frames=frames, precomputed=precomputed)
    return rehearse(module, _once(step_of(module, work))).flops


def step_of(module: nn.Module, work: Work) -> Step:
    """Find what a module does with a batch, up to the loss.

    Raises:
        InputError: A module whose step is not known.
    """
    if isinstance(module, JointTraining):
        return lambda hollow: _joint_loss(hollow, work)
    if isinstance(module, AutoencoderTraining):
        return lambda hollow: _autoencoder_loss(hollow, work)
    raise InputError(
        f"module: expected AutoencoderTraining or JointTraining, got {type(module).__name__};"
        " count its operations with torch.utils.flop_counter"
    )


def _once(step: Step) -> Step:
    """Take a step without gradient checkpointing."""

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


def _joint_loss(training: JointTraining, work: Work) -> Tensor:
    """Follow the step as `JointTraining.losses` takes it; without values nothing is drawn."""
    network, latents = training.model.stitched, _latents(training, work)
    halves = _halves(training, work)
    told = video_format(training.model, len(halves) * work.clips, work.frames)
    inputs = (torch.cat([latents] * len(halves)), torch.empty(told.fps.shape))
    text = _text(training, work, len(told.fps))
    if halves == ["gen"]:
        return generation_loss(network(*inputs, *text, video_format=told).prediction, latents)
    if halves == ["rec"]:
        return _reconstruction(training, work, network.tokens(*inputs, *text, video_format=told))
    prediction, tokens = network.joint(*inputs, *text, reconstructed=work.clips, video_format=told)
    return generation_loss(prediction, latents) + _reconstruction(training, work, tokens)


def _halves(training: JointTraining, work: Work) -> list[str]:
    reconstructs = training.rec_weight > 0.0 and work.frames > 1
    return ["gen"] * (training.gen_weight > 0.0) + ["rec"] * reconstructs


def _reconstruction(training: JointTraining, work: Work, tokens: Tensor) -> Tensor:
    pairs = min(training.pairs_per_clip, work.frames - 1)
    partners = torch.empty(work.clips, pairs, dtype=torch.long)
    return training.reconstruction_loss(tokens, partners, _truth(training, work))[0]


def _latents(training: JointTraining, work: Work) -> Tensor:
    model = training.model
    if not work.precomputed:
        with torch.no_grad():
            height, width = model.config.image_size
            return model.autoencoder.encode(torch.empty(work.clips, work.frames, 3, height, width))
    backbone, (rows, columns) = model.stitched.backbone.config, model.token_grid
    T, h, w = (
        n * p for n, p in zip((work.frames, rows, columns), backbone.patch_size, strict=True)
    )
    return torch.empty(work.clips, backbone.in_channels, T, h, w)


def _text(training: JointTraining, work: Work, texts: int) -> tuple[Tensor, Tensor]:
    model, backbone = training.model, training.model.stitched.backbone.config
    length = backbone.max_text_tokens
    mask = torch.empty(texts, length, dtype=torch.bool)
    if work.precomputed or not isinstance(model.text_encoder, TextEncoder):
        return torch.empty(texts, length, backbone.caption_channels), mask
    # Without a mask: T5 would look at its values.
    ids = torch.empty(texts, length, dtype=torch.long)
    return model.text_encoder.t5(input_ids=ids).last_hidden_state, mask


def _truth(training: JointTraining, work: Work) -> dict[str, Tensor]:
    clip = (work.clips, work.frames)
    return {
        "depth": torch.empty(*clip, *training.model.config.image_size),
        "K": torch.empty(*clip, 3, 3),
        "world_from_camera": torch.empty(*clip, 4, 4),
    }
