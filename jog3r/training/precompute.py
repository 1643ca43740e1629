"""Encode clips once, for training on what autoencoder and text encoder have made of them."""

import torch
from jaxtyping import Float
from torch import Tensor

from jog3r.data.precomputed import PrecomputedClip
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.routes.arguments import Prompt, words
from jog3r.routes.prompts import encode_texts


@torch.inference_mode()
def precompute_clip(
    model: JOG3R,
    video: Float[Tensor, "t 3 height width"],
    prompt: Prompt,
    *,
    depth: Float[Tensor, "t height width"],
    K: Float[Tensor, "t 3 3"],
    world_from_camera: Float[Tensor, "t 4 4"],
) -> PrecomputedClip:
    """Encode one clip and its caption; `save` of the result writes the file.

    Training later takes some of the frames, at several strides and backwards. That is why each
    frame has to have latents of its own.

    Args:
        model: Its autoencoder and text encoder are used.
        video: In [-1, 1], of the model's size; `jog3r.data.fit.resize_and_crop` makes it so.
        prompt: The caption, or features of it.
        depth: Along z, 0 where nothing is known.
        K: Intrinsics [px of the video].
        world_from_camera: Camera poses; any world will do.

    Raises:
        InputError: Another size, or an autoencoder whose latents span several frames.
    """
    if tuple(video.shape[2:]) != model.config.image_size:
        raise InputError(
            f"video: expected (T, 3, *{model.config.image_size}) as the model takes it, got"
            f" {tuple(video.shape)}; use jog3r.data.fit.resize_and_crop"
        )
    if model.autoencoder.latent_frames(len(video)) != len(video):
        raise InputError(
            "autoencoder: expected latents of single frames, got one whose latents span several;"
            " take a model with a frame autoencoder"
        )
    text, mask = encode_texts(model, [prompt])
    latents = model.autoencoder.encode(video[None].to(model.device))
    encoded = (latents[0].cpu(), text[0].cpu(), mask[0].cpu())
    # Clones are ordinary tensors, outside of inference mode.
    with torch.inference_mode(mode=False):
        latents, text, mask = (part.clone() for part in encoded)
    return PrecomputedClip(
        latents=latents,
        text=text,
        text_mask=mask,
        depth=depth,
        K=K,
        world_from_camera=world_from_camera,
        caption=words(prompt),
    )
