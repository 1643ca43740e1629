"""The video autoencoder of Open-Sora 1.2. Its checkpoint holds our names."""

from dataclasses import replace
from typing import Any

from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.config import from_plain, to_plain
from jog3r.conversion.checkpoints import Checkpoint
from jog3r.conversion.kinds import Converted, Kind, Settings
from jog3r.conversion.layout import Layout, overridden
from jog3r.conversion.sd_vae import SCALING_FACTOR, add_groups, newer, settings_of_shapes

SPATIAL, TEMPORAL = "spatial_vae.module.", "temporal_vae."


def _convert(checkpoint: Checkpoint, settings: Settings) -> Converted:
    tensors = dict(newer(name, tensor) for name, tensor in checkpoint.tensors.items())
    layout = Layout(replace(checkpoint, tensors=tensors))
    spatial = settings_of_shapes(layout, SPATIAL) | {"scaling_factor": SCALING_FACTOR}
    shapes = {"spatial": spatial, "temporal": _temporal(layout), **_statistics(layout)}
    told = layout.with_hints(shapes, {"micro_frames": "micro_frame_size"})
    told = overridden(told, settings)
    _add_groups(told)
    config = from_plain(VideoAutoencoder.Config, told, "settings")
    sizes = {"image_size": (256, 256), "num_frames": 51, "fps": 24.0}
    return Converted(
        config={**sizes, "autoencoder": to_plain(config)},
        prefix="autoencoder.",
        build=config.build,
        tensors=tensors,
    )


def _temporal(layout: Layout) -> dict[str, Any]:
    """Read the fields of the temporal part off names and shapes."""
    filters, channels = layout.shape(f"{TEMPORAL}encoder.conv_in.conv.weight", 5)[:2]
    blocks = f"{TEMPORAL}encoder.block_res_blocks."
    levels = range(layout.count(blocks))
    widths = [layout.shape(f"{blocks}{i}.0.conv1.conv.weight", 5)[0] for i in levels]
    shortened = layout.numbers(f"{TEMPORAL}encoder.conv_blocks.")
    return {
        "channels": channels,
        "latent_channels": layout.shape(f"{TEMPORAL}quant_conv.conv.weight", 5)[0] // 2,
        "filters": filters,
        "res_blocks": layout.count(f"{blocks}0."),
        "multipliers": tuple(width // filters for width in widths),
        "downsample": tuple(i in shortened for i in levels[:-1]),
    }


def _statistics(layout: Layout) -> dict[str, tuple[float, ...]]:
    """Read what normalises the latents, with the digits that it was written with."""
    found = {}
    for name in ("shift", "scale"):
        layout.shape(name, 5)
        values = layout.checkpoint.tensors[name].flatten().tolist()
        found[name] = tuple(float(f"{value:.6g}") for value in values)
    return found


def _add_groups(told: dict[str, Any]) -> None:
    spatial, temporal = told["spatial"], told["temporal"]
    add_groups(spatial, "norm_groups", spatial["block_out_channels"], "spatial.")
    widths = tuple(temporal["filters"] * each for each in temporal["multipliers"])
    add_groups(temporal, "groups", widths, "temporal.")


KIND = Kind(
    origin="hpcai-tech/OpenSora-VAE-v1.2",
    licence="Apache-2.0",
    is_it=lambda tensors: any(name.startswith(TEMPORAL) for name in tensors),
    convert=_convert,
)
