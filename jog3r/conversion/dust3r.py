"""DUSt3R. Its checkpoints hold our names, written from the paper and from what shapes tell."""

import math
from typing import Any

from jog3r.config import from_plain, to_plain
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.conversion.kinds import Converted, Kind, Settings
from jog3r.conversion.layout import Layout, overridden, usual_heads
from jog3r.errors import FileError, InputError
from jog3r.heads.dust3r import DUSt3R
from jog3r.heads.pointmap import read_output_modes

# Of every published one, and the widths of these.
CHANNELS_PER_HEAD = 64
PUBLISHED = {"encoder": 1024, "decoder": 768}
# Our fields -> what stands beside published weights.
HINTS = {
    "patch": "patch_size",
    "encoder_width": "enc_embed_dim",
    "encoder_depth": "enc_depth",
    "encoder_heads": "enc_num_heads",
    "decoder_width": "dec_embed_dim",
    "decoder_depth": "dec_depth",
    "decoder_heads": "dec_num_heads",
    "mlp_ratio": "mlp_ratio",
    "head": "head_type",
}
# What our class does in one way only; a mode is a name and the range of its results.
UNBOUNDED, CONFIDENCE = ("exp", -math.inf, math.inf), ("exp", 1, math.inf)
FOREIGN = {
    "output_mode": (None, "pts3d"),
    "pos_embed": (None, "RoPE100"),
}


def _convert(checkpoint: Checkpoint, settings: Settings) -> Converted:
    layout = Layout(checkpoint)
    layout.refuse(FOREIGN)
    told = overridden(layout.with_hints(_of_shapes(layout), HINTS) | _mode(layout), settings)
    for part, width in PUBLISHED.items():
        heads = f"{part}_heads"
        if heads not in told:
            told[heads] = usual_heads(told[f"{part}_width"], CHANNELS_PER_HEAD, heads, width)
    config = from_plain(DUSt3R.Config, told, "settings")
    return Converted(
        config={"image_size": _image_size(layout), "refine": None, "network": to_plain(config)},
        prefix="network.",
        build=config.build,
        tensors=checkpoint.tensors,
    )


def _of_shapes(layout: Layout) -> dict[str, Any]:
    width = layout.width({"patch_embed.proj.weight": (4, 0), "enc_norm.weight": (1, 0)})
    decoder_width = layout.width({"decoder_embed.weight": (2, 0), "dec_norm.weight": (1, 0)})
    inner = layout.shape("enc_blocks.0.mlp.fc1.weight", 2)[0]
    depth = layout.count("dec_blocks.")
    told = {
        "patch": layout.shape("patch_embed.proj.weight", 4)[2],
        "encoder_width": width,
        "encoder_depth": layout.count("enc_blocks."),
        "decoder_width": decoder_width,
        "decoder_depth": depth,
        "mlp_ratio": inner / width,
        "head": "dpt" if any(".dpt." in name for name in layout.checkpoint.tensors) else "linear",
    }
    return told | (_dpt(layout, depth) if told["head"] == "dpt" else {})


def _dpt(layout: Layout, depth: int) -> dict[str, Any]:
    dpt = "downstream_head1.dpt."
    projections = [f"{dpt}act_postprocess.{i}.0.weight" for i in range(4)]
    return {
        "dpt_layer_dims": tuple(layout.shape(name, 4)[0] for name in projections),
        "dpt_last_dim": layout.shape(f"{dpt}head.2.weight", 4)[0],
        "dpt_feature_dim": layout.shape(f"{dpt}head.0.weight", 4)[1],
        # The encoder, and the decoder at a half, three quarters and its end.
        "dpt_hooks": (0, depth * 2 // 4, depth * 3 // 4, depth),
    }


def _mode(layout: Layout) -> dict[str, str]:
    """Read what the head makes of its numbers, if it is told.

    Raises:
        FileError: Something that our heads do not make.
    """
    depth, confidence = layout.hint("depth_mode"), layout.hint("conf_mode")
    try:
        mode = read_output_modes(depth or UNBOUNDED, confidence or CONFIDENCE)
    except (InputError, TypeError, ValueError) as error:
        raise FileError(
            f"{layout.checkpoint.source}: expected the output modes of public checkpoints beside"
            f" it, got others ({error}); this kind is not supported"
        ) from error
    return {} if depth is None else {"depth_mode": mode}


def _image_size(layout: Layout) -> tuple[int, int]:
    """Give the size it was trained at, if it is told."""
    size = layout.hint("img_size")
    if isinstance(size, int):
        return size, size
    good = isinstance(size, tuple) and len(size) == 2
    return size if good else (512, 512)


KIND = Kind(
    origin="naver/DUSt3R_ViTLarge_BaseDecoder_512_dpt",
    licence="CC-BY-NC-SA-4.0",
    is_it=lambda tensors: all(
        any(name.startswith(part) for name in tensors) for part in ("enc_blocks.", "dec_blocks.")
    ),
    convert=_convert,
)
