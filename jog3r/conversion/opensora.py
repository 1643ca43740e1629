"""The backbones of Open-Sora 1.0, 1.1 and 1.2. Their checkpoints hold our names."""

import math
from collections.abc import Collection
from dataclasses import fields
from typing import Any, TypeVar

import torch
from torch import Tensor

from jog3r.backbones.positions import sincos_space, sincos_time
from jog3r.backbones.stdit import STDiT
from jog3r.backbones.stdit2 import STDiT2
from jog3r.backbones.stdit3 import STDiT3
from jog3r.config import from_plain, to_plain
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.conversion.kinds import Converted, Kind, Settings
from jog3r.conversion.layout import Layout, usual_heads
from jog3r.conversion.position_tables import read_space_table, read_time_table

T = TypeVar("T")

# Of every published Open-Sora transformer, and their width.
CHANNELS_PER_HEAD, PUBLISHED_WIDTH = 72, 1152
# Pixels per latent of the autoencoders they were trained with.
FACTOR = 8
LICENCE = "Apache-2.0"
# Our fields -> those of config.json beside the published weights.
HINTS = {
    name: name
    for name in ("hidden_size", "depth", "num_heads", "in_channels", "patch_size", "mlp_ratio")
} | {
    "caption_channels": "caption_channels",
    "max_text_tokens": "model_max_length",
    "learn_sigma": "pred_sigma",
    "qk_norm": "qk_norm",
    "input_sq_size": "input_sq_size",
    "space_scale": "space_scale",
    "time_scale": "time_scale",
}
# Where their width stands: tensor -> its axes, and which of them.
WIDTH = {
    "x_embedder.proj.weight": (5, 0),
    "y_embedder.y_proj.fc2.bias": (1, 0),
    "final_layer.linear.weight": (2, 1),
}
# What only Open-Sora 1.1 has.
OF_STDIT2 = ("t_block_temp.", "csize_embedder.", "ar_embedder.", "fl_embedder.")
# What our classes do in one way only.
FOREIGN = {"qk_norm_legacy": (None, False), "no_temporal_pos_emb": (None, False)}
DDPM = {"kind": "ddpm", "steps": 1000, "prediction_type": "epsilon", "solver": "iddpm"}
FLOW = {"kind": "rectified-flow", "steps": 1000}
# What they were sampled with.
IDDPM = {"guidance_scale": 7.0, "num_inference_steps": 100, "guided_channels": 3}
RFLOW = {"guidance_scale": 7.0, "num_inference_steps": 30}


def _convert_stdit(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    told = _of_shapes(layout, "blocks") | _of_tables(layout, settings)
    told |= _of_width(layout, told["hidden_size"], settings)
    config = _config(STDiT.Config, layout, told, settings)
    T, H, W = config.input_size
    more = {"image_size": (H * FACTOR, W * FACTOR), "num_frames": T, "fps": 8.0, "schedule": DDPM}
    return _converted("stdit", config, _with_tables(checkpoint.tensors, config), more | IDDPM)


def _convert_stdit2(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    told = _of_shapes(layout, "blocks")
    told |= _of_rotary(layout, told["hidden_size"])
    config = _config(STDiT2.Config, layout, told, settings)
    size = (config.input_sq_size, config.input_sq_size)
    more = {"image_size": size, "num_frames": 16, "fps": 8.0, "schedule": DDPM}
    return _converted("stdit2", config, checkpoint.tensors, more | IDDPM)


def _convert_stdit3(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    told = _of_shapes(layout, "spatial_blocks")
    told |= _of_rotary(layout, told["hidden_size"])
    config = _config(STDiT3.Config, layout, told, settings)
    size = (config.input_sq_size, config.input_sq_size)
    more = {"image_size": size, "num_frames": 51, "fps": 24.0, "schedule": FLOW}
    return _converted("stdit3", config, checkpoint.tensors, more | RFLOW)


def _of_shapes(layout: Layout, blocks: str) -> dict[str, Any]:
    """Read what the three have in common."""
    _, channels, *patch = layout.shape("x_embedder.proj.weight", 5)
    width = layout.width(WIDTH)
    length, text_channels = layout.shape("y_embedder.y_embedding", 2)
    out = layout.shape("final_layer.linear.weight", 2)[0]
    return {
        "hidden_size": width,
        "in_channels": channels,
        "patch_size": tuple(patch),
        "depth": layout.count(f"{blocks}."),
        "mlp_ratio": layout.shape(f"{blocks}.0.mlp.fc1.weight", 2)[0] / width,
        "caption_channels": text_channels,
        "max_text_tokens": length,
        "learn_sigma": out == 2 * channels * math.prod(patch),
    }


def _of_rotary(layout: Layout, width: int) -> dict[str, Any]:
    """Read the heads and their norms where positions in time are rotations of channels."""
    norms = [name for name in layout.checkpoint.tensors if name.endswith(".q_norm.weight")]
    # One frequency turns two channels of a head.
    size = 2 * layout.shape("rope.freqs", 1)[0]
    if norms:
        size = layout.width(dict.fromkeys(norms, (1, 0)))
    return {"num_heads": width // max(size, 1), "qk_norm": bool(norms)}


def _of_width(layout: Layout, width: int, settings: Settings) -> dict[str, Any]:
    """Give the heads of a width, where nothing else tells them."""
    if "num_heads" in settings or layout.hint("num_heads") is not None:
        return {}
    return {"num_heads": usual_heads(width, CHANNELS_PER_HEAD, "num_heads", PUBLISHED_WIDTH)}


def _of_tables(layout: Layout, settings: Settings) -> dict[str, Any]:
    """Read size and steps off the stored position tables, unless all of it is set."""
    if {"input_size", "space_scale", "time_scale"} <= set(settings):
        return {}
    for name in ("pos_embed", "pos_embed_temporal"):
        layout.shape(name, 3)
    a, b, c = layout.shape("x_embedder.proj.weight", 5)[2:]
    h, w, space_scale = read_space_table(layout.checkpoint.tensors["pos_embed"])
    T, time_scale = read_time_table(layout.checkpoint.tensors["pos_embed_temporal"])
    size = (T * a, h * b, w * c)
    return {"input_size": size, "space_scale": space_scale, "time_scale": time_scale}


def _with_tables(tensors: dict[str, Tensor], config: STDiT.Config) -> dict[str, Tensor]:
    """Compute position tables that a checkpoint lacks, and whose size and steps were set."""
    T, h, w = (n // p for n, p in zip(config.input_size, config.patch_size, strict=True))
    D, cpu = config.hidden_size, torch.device("cpu")
    space, time = config.space_scale, config.time_scale
    tables = {
        "pos_embed": sincos_space(D, h, w, space, cpu)[None],
        "pos_embed_temporal": sincos_time(D, T, time, cpu)[None],
    }
    return tables | tensors


def _config(cls: type[T], layout: Layout, told: dict[str, Any], settings: Settings) -> T:
    layout.refuse(FOREIGN)
    known = {field.name for field in fields(cls)}  # type: ignore[arg-type]
    names = {field: name for field, name in HINTS.items() if field in known}
    return from_plain(cls, {**layout.with_hints(told, names), **settings}, "settings")


def _converted(
    backbone: str,
    config: STDiT.Config | STDiT2.Config | STDiT3.Config,
    tensors: dict[str, Tensor],
    more: dict[str, Any],
) -> Converted:
    network = {
        "kind": "stitched",
        "backbone": backbone,
        "backbone_config": to_plain(config),
        "tap": None,
        "patch": config.patch_size[1] * FACTOR,
    }
    return Converted(
        config={**more, "refine": None, "network": network},
        prefix="network.backbone.",
        build=config.build,
        tensors=tensors,
    )


def _is_stdit(names: Collection[str]) -> bool:
    return any(".attn_temp." in name for name in names) and not _is_stdit2(names)


def _is_stdit2(names: Collection[str]) -> bool:
    return any(name.startswith(OF_STDIT2) for name in names)


def _is_stdit3(names: Collection[str]) -> bool:
    return any(name.startswith("spatial_blocks.") for name in names)


STDIT = Kind(
    origin="hpcai-tech/Open-Sora",
    licence=LICENCE,
    is_it=_is_stdit,
    convert=_convert_stdit,
)
STDIT2 = Kind(
    origin="hpcai-tech/OpenSora-STDiT-v2-stage3",
    licence=LICENCE,
    is_it=_is_stdit2,
    convert=_convert_stdit2,
)
STDIT3 = Kind(
    origin="hpcai-tech/OpenSora-STDiT-v3",
    licence=LICENCE,
    is_it=_is_stdit3,
    convert=_convert_stdit3,
)
