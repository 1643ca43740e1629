"""The backbones of Open-Sora 1.0, 1.1 and 1.2. Their checkpoints hold our names."""

import math
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
# What our classes do in one way only.
FOREIGN = {"qk_norm_legacy": (None, False), "no_temporal_pos_emb": (None, False)}
DDPM = {"kind": "ddpm", "steps": 1000, "prediction_type": "epsilon", "solver": "iddpm"}
FLOW = {"kind": "rectified-flow", "steps": 1000}
# What they were sampled with.
IDDPM = {"guidance_scale": 7.0, "num_inference_steps": 100}
RFLOW = {"guidance_scale": 7.0, "num_inference_steps": 30}


def _convert_stdit(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    told = _of_shapes(layout, "blocks", settings) | _of_tables(layout, settings)
    config = _config(STDiT.Config, layout, told, settings)
    T, H, W = config.input_size
    more = {"image_size": (H * FACTOR, W * FACTOR), "num_frames": T, "fps": 8.0, "schedule": DDPM}
    return _converted("stdit", config, _with_tables(checkpoint.tensors, config), more | IDDPM)


def _convert_stdit2(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    config = _config(STDiT2.Config, layout, _of_shapes(layout, "blocks", settings), settings)
    size = (config.input_sq_size, config.input_sq_size)
    more = {"image_size": size, "num_frames": 16, "fps": 8.0, "schedule": DDPM}
    return _converted("stdit2", config, checkpoint.tensors, more | IDDPM)


def _convert_stdit3(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    told = _of_shapes(layout, "spatial_blocks", settings)
    config = _config(STDiT3.Config, layout, told, settings)
    size = (config.input_sq_size, config.input_sq_size)
    more = {"image_size": size, "num_frames": 51, "fps": 24.0, "schedule": FLOW}
    return _converted("stdit3", config, checkpoint.tensors, more | RFLOW)


def _of_shapes(layout: Layout, blocks: str, settings: Settings) -> dict[str, Any]:
    """Read what the three have in common."""
    width, channels, *patch = layout.shape("x_embedder.proj.weight", 5)
    length, text_channels = layout.shape("y_embedder.y_embedding", 2)
    out = layout.shape("final_layer.linear.weight", 2)[0]
    told = {
        "hidden_size": width,
        "in_channels": channels,
        "patch_size": tuple(patch),
        "depth": layout.count(f"{blocks}."),
        "mlp_ratio": layout.shape(f"{blocks}.0.mlp.fc1.weight", 2)[0] / width,
        "caption_channels": text_channels,
        "max_text_tokens": length,
        "learn_sigma": out == 2 * channels * math.prod(patch),
    }
    norm = f"{blocks}.0.attn.q_norm.weight"
    if "rope.freqs" in layout:  # STDiT has neither rotary positions nor a choice of norms
        told["qk_norm"] = norm in layout
    return told | _heads(layout, norm, width, settings)


def _heads(layout: Layout, norm: str, width: int, settings: Settings) -> dict[str, int]:
    if norm in layout:
        return {"num_heads": width // layout.shape(norm, 1)[0]}
    if "rope.freqs" in layout:  # one frequency for two channels of a head
        return {"num_heads": width // (2 * layout.shape("rope.freqs", 1)[0])}
    if "num_heads" in settings or layout.hint("num_heads") is not None:
        return {}
    return {"num_heads": usual_heads(width, CHANNELS_PER_HEAD, "num_heads", PUBLISHED_WIDTH)}


def _of_tables(layout: Layout, settings: Settings) -> dict[str, Any]:
    """Read size and steps off the position tables, where they are stored and not set."""
    tensors = layout.checkpoint.tensors
    known = {"input_size", "space_scale", "time_scale"} <= set(settings)
    if known or not {"pos_embed", "pos_embed_temporal"} <= set(tensors):
        return {}
    for name in ("pos_embed", "pos_embed_temporal"):
        layout.shape(name, 3)
    a, b, c = layout.shape("x_embedder.proj.weight", 5)[2:]
    h, w, space_scale = read_space_table(tensors["pos_embed"])
    T, time_scale = read_time_table(tensors["pos_embed_temporal"])
    size = (T * a, h * b, w * c)
    return {"input_size": size, "space_scale": space_scale, "time_scale": time_scale}


def _with_tables(tensors: dict[str, Tensor], config: STDiT.Config) -> dict[str, Tensor]:
    """Compute the position tables if the checkpoint was published without them."""
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
        config={**more, "network": network},
        prefix="network.backbone.",
        build=config.build,
        tensors=tensors,
    )


STDIT = Kind(
    origin="hpcai-tech/Open-Sora",
    licence=LICENCE,
    is_it=lambda names: (
        "blocks.0.attn_temp.qkv.weight" in names and "t_block_temp.1.weight" not in names
    ),
    convert=_convert_stdit,
)
STDIT2 = Kind(
    origin="hpcai-tech/OpenSora-STDiT-v2-stage3",
    licence=LICENCE,
    is_it=lambda names: "t_block_temp.1.weight" in names,
    convert=_convert_stdit2,
)
STDIT3 = Kind(
    origin="hpcai-tech/OpenSora-STDiT-v3",
    licence=LICENCE,
    is_it=lambda names: "spatial_blocks.0.attn.qkv.weight" in names,
    convert=_convert_stdit3,
)
