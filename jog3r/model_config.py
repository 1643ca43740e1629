"""What a model is made of, as it stands in `config.json`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.pretrained_text import PretrainedTextEncoder
from jog3r.codecs.text import TextEncoder
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.config import check_positive, from_plain
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import FileError
from jog3r.heads.dust3r import DUSt3R
from jog3r.stitch import StitchedModel


@dataclass(kw_only=True, frozen=True)
class ModelConfig:
    """Plain values of all parts; JSON in `config.json`.

    Args:
        image_size: Height and width the model works at [px].
        num_frames: Clip length it was trained for.
        fps: Frames per second of generated videos.
        guidance_scale: Strength of the prompt that suits it; what `generate` takes by default.
        num_inference_steps: Sampling steps, likewise.
        guided_channels: So many channels of the prediction are guided; those behind them are as
            with the prompt. None for all channels of the latents. Open-Sora 1.0 and 1.1 were
            published with 3 of 4.
        refine: What follows the alignment of its pointmaps, likewise; None for nothing.
        licence: SPDX name of the weights' licence.
        autoencoder: Pixels <-> latents. This part and those below may be missing: None.
        text_encoder: Prompts -> features.
        network: Backbone and head.
        schedule: Noise schedule.

    Raises:
        InputError: A size, length or frame rate that is not above 0.
    """

    image_size: tuple[int, int] = (64, 64)
    num_frames: int = 16
    fps: float = 8.0
    guidance_scale: float = 2.0
    num_inference_steps: int = 20
    guided_channels: int | None = None
    refine: Literal["photometric"] | None = "photometric"
    licence: str = "Apache-2.0"
    autoencoder: FrameAutoencoder.Config | VideoAutoencoder.Config | None = field(
        default_factory=FrameAutoencoder.Config
    )
    text_encoder: TextEncoder.Config | PretrainedTextEncoder.Config | None = field(
        default_factory=TextEncoder.Config
    )
    network: StitchedModel.Config | DUSt3R.Config | None = field(
        default_factory=StitchedModel.Config
    )
    schedule: NoiseSchedule | RectifiedFlow | None = field(default_factory=NoiseSchedule)

    def __post_init__(self) -> None:
        check_positive("config", self, "image_size", "num_frames", "fps")
        check_positive("config", self, "guidance_scale", "num_inference_steps")
        if self.guided_channels is not None:
            check_positive("config", self, "guided_channels")


def read_config(file: Path) -> ModelConfig:
    """Read the `config.json` of a model.

    Raises:
        FileError: Missing, or another file's content.
    """
    if not file.is_file():
        raise FileError(
            f"{file}: expected a model folder with {file.name}, got no such file; check the path"
        )
    try:
        return from_plain(ModelConfig, json.loads(file.read_text("utf-8")), file.name)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise FileError(
            f"{file}: expected a jog3r config, got something else ({error}); copy the model folder"
            " again"
        ) from error
