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
    id: str,
    source: str = "unknown",
    licence: str = "unknown",
    depth: Float[Tensor, "t height width"] | None = None,
    K: Float[Tensor, "t 3 3"] | None = None,
    world_from_camera: Float[Tensor, "t 4 4"] | None = None,
) -> PrecomputedClip:
    """Encode one clip and its caption.

    Training later takes some of the frames, at several strides and backwards. That is why each
    frame has to have latents of its own.

    Args:
        model: Its autoencoder and text encoder are used.
        video: In [-1, 1]; `jog3r.data.fit.resize_and_crop` gives it the size that training wants.
        prompt: The caption, or features of it.
        id: Names the clip.
        source: Name of its data set.
        licence: Of the material.
        depth: Along z, 0 where nothing is known; None, like the cameras, for generation only.
        K: Intrinsics [px of the video].
        world_from_camera: Camera poses; any world will do.

    Raises:
        InputError: Sides that are no multiples of the autoencoder's factor, an autoencoder whose
            latents span several frames, depth of another size than the video, or a record that
            makes no clip.
    """
    if model.autoencoder.latent_frames(len(video)) != len(video):
        raise InputError(
            "autoencoder: expected latents of single frames, got one whose latents span several;"
            " take a model with a frame autoencoder"
        )
    if depth is not None and depth.shape != video[:, 0].shape:
        raise InputError(
            f"depth: expected {tuple(video[:, 0].shape)}, the frames and size of the video, got"
            f" {tuple(depth.shape)}; resize depth and K like the video"
        )
    text, mask = encode_texts(model, [prompt])
    latents = model.autoencoder.encode(video[None].to(model.device))
    encoded = (latents[0].cpu(), text[0].cpu(), mask[0].cpu())
    # Clones are ordinary tensors, outside of inference mode.
    with torch.inference_mode(mode=False):
        latents, text, mask = (part.clone() for part in encoded)
    return PrecomputedClip(
        id=id,
        latents=latents,
        text=text,
        text_mask=mask,
        depth=depth,
        K=K,
        world_from_camera=world_from_camera,
        caption=words(prompt),
        source=source,
        licence=licence,
    )
