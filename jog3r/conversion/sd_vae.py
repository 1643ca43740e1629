"""The autoencoder of Stable Diffusion, in diffusers' names, its older ones or the original's."""

from collections.abc import Collection
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.config import from_plain, to_plain
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.conversion.kinds import Converted, Kind, Settings
from jog3r.conversion.layout import Layout, UntoldError
from jog3r.errors import FileError

# Where it stands in a checkpoint that holds more.
PREFIXES = ("first_stage_model.", "vae.")
# Its first and last layers, and how many of them tell that it is one.
ENDS = ("encoder.conv_in.", "decoder.conv_in.", "encoder.conv_out.", "decoder.conv_out.")
ENOUGH = 3
# Beside the network's own tensors in files of its training.
OF_TRAINING = ("loss.", "model_ema.")
# How diffusers called the layers of attention before 0.18.
OLDER_NAMES = {
    ".query.": ".to_q.",
    ".key.": ".to_k.",
    ".value.": ".to_v.",
    ".proj_attn.": ".to_out.0.",
}
# Of every published one.
NORM_GROUPS = 32
SCALING_FACTOR = 0.18215
# Our fields -> those of diffusers' config.json.
HINTS = {
    "block_out_channels": "block_out_channels",
    "layers_per_block": "layers_per_block",
    "latent_channels": "latent_channels",
    "attention": "mid_block_add_attention",
    "norm_groups": "norm_num_groups",
    "scaling_factor": "scaling_factor",
}
# What our class does not do, and the values that ask for nothing.
FOREIGN = {
    "shift_factor": (None, 0.0),
    "latents_mean": (None,),
    "latents_std": (None,),
    "act_fn": (None, "silu"),
}


def _convert(checkpoint: Checkpoint, settings: Settings) -> Converted:
    tensors, left_out = _own_tensors(checkpoint)
    layout = Layout(replace(checkpoint, tensors=tensors))
    layout.refuse(FOREIGN)
    told = layout.with_hints(settings_of_shapes(layout), HINTS) | dict(settings)
    told.setdefault("scaling_factor", SCALING_FACTOR)
    add_groups(told, "norm_groups", told["block_out_channels"])
    config = from_plain(FrameAutoencoder.Config, told, "settings")
    scale = torch.full((config.latent_channels, 1, 1), config.scaling_factor)
    return Converted(
        config={"image_size": (256, 256), "autoencoder": to_plain(config)},
        prefix="autoencoder.",
        build=config.build,
        tensors={f"vae.{name}": tensor for name, tensor in tensors.items()} | {"scale": scale},
        left_out=left_out,
    )


def settings_of_shapes(layout: Layout, prefix: str = "") -> dict[str, Any]:
    """Read fields of `FrameAutoencoder.Config` off names and shapes.

    Args:
        layout: Of tensors in diffusers' names.
        prefix: Before these names.

    Raises:
        FileError: A tensor that tells one is not there.
    """
    levels = range(layout.count(f"{prefix}encoder.down_blocks."))
    last = f"{prefix}encoder.down_blocks.{{}}.resnets.0.conv2.weight"
    middle = f"{prefix}encoder.mid_block.attentions."
    return {
        "block_out_channels": tuple(layout.shape(last.format(i), 4)[0] for i in levels),
        "layers_per_block": layout.count(f"{prefix}encoder.down_blocks.0.resnets."),
        "latent_channels": layout.shape(f"{prefix}quant_conv.weight", 4)[0] // 2,
        "attention": any(name.startswith(middle) for name in layout.checkpoint.tensors),
    }


def add_groups(told: dict[str, Any], name: str, widths: tuple[int, ...], part: str = "") -> None:
    """Add the groups of a published network's norms, if they are not told: no shape does.

    Args:
        told: Gets the field.
        name: Of the field.
        widths: Of the normalised channels.
        part: Before the field's name in a setting.

    Raises:
        UntoldError: The widths are no multiples of the usual number.
    """
    if name in told:
        return
    if any(width % NORM_GROUPS for width in widths):
        raise UntoldError(
            f"{part}{name}: expected to be told, as the widths {widths} are no multiples of the"
            f" usual {NORM_GROUPS} groups; add --set {part}{name}=NUMBER"
        )
    told[name] = NORM_GROUPS


def newer(name: str, tensor: Tensor) -> tuple[str, Tensor]:
    """Give a tensor as diffusers has it now; attention was of other names, and of convolutions."""
    if ".attentions." not in name:
        return name, tensor
    for old, new in OLDER_NAMES.items():
        name = name.replace(old, new)
    return name, tensor[:, :, 0, 0] if tensor.ndim == 4 else tensor


def is_autoencoder(names: Collection[str]) -> bool:
    """Whether there is such an autoencoder among tensors, under one of its prefixes or none."""
    return any(_ends_behind(prefix, names) >= ENOUGH for prefix in ("", *PREFIXES))


def _ends_behind(prefix: str, names: Collection[str]) -> int:
    """Count the first and last layers behind a prefix: an incomplete checkpoint lacks some."""
    return sum(any(name.startswith(prefix + end) for name in names) for end in ENDS)


def _own_tensors(checkpoint: Checkpoint) -> tuple[dict[str, Tensor], list[str]]:
    """Give the autoencoder's tensors in diffusers' names, and the names that are not its own."""
    prefix = max(("", *PREFIXES), key=lambda each: _ends_behind(each, checkpoint.tensors))
    own, left_out = {}, []
    for name, tensor in checkpoint.tensors.items():
        bare = name.removeprefix(prefix)
        if not name.startswith(prefix) or bare.startswith(OF_TRAINING):
            left_out.append(name)
        else:
            own[bare] = tensor
    if any(name.startswith("encoder.down.") for name in own):
        own = _from_original(replace(checkpoint, tensors=own))
    return dict(newer(name, tensor) for name, tensor in own.items()), left_out


def _from_original(checkpoint: Checkpoint) -> dict[str, Tensor]:
    """Rename the tensors of the original program as diffusers does."""
    from diffusers.loaders.single_file_utils import convert_ldm_vae_checkpoint

    levels = Layout(checkpoint).count("encoder.down.")
    config = {"down_block_types": [""] * levels, "up_block_types": [""] * levels}
    try:
        found = convert_ldm_vae_checkpoint(checkpoint.tensors, config)
    except (KeyError, IndexError, AttributeError) as error:
        raise FileError(
            f"{checkpoint.source}: expected all tensors of an autoencoder in the original layout,"
            f" got no {error}; download the checkpoint again"
        ) from error
    return {name: tensor for name, tensor in found.items() if tensor is not None}


KIND = Kind(
    origin="stabilityai/sd-vae-ft-ema",
    licence="MIT",
    is_it=lambda tensors: (
        is_autoencoder(tensors) and not any(name.startswith("temporal_vae.") for name in tensors)
    ),
    convert=_convert,
)
