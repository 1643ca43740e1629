"""Generated videos while the model trains: files, and moving pictures in TensorBoard."""

import io
import re
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
from lightning.pytorch.loggers import TensorBoardLogger
from PIL import Image

from jog3r.codecs.features import TextFeatures
from jog3r.errors import InputError
from jog3r.model import JOG3R
from jog3r.results import Video
from jog3r.routes.arguments import Prompt, SamplingOptions
from jog3r.routes.text_to_video import text_to_video
from jog3r.training.callbacks.sample_sheet import SHEET_PROMPTS
from jog3r.training.joint import JointTraining

LONGEST_NAME = 40


class SampleVideos(pl.Callback):
    """At every validation, generate a video per prompt: `step_000123/00_a_red_sphere.mp4`.

    Where the run has a TensorBoard logger, the videos move there under "images" as well. Prompt i
    has seed i at every validation, so that the videos differ by the weights alone.

    Args:
        folder: Where the files go.
        prompts: Texts, or names of files written by `TextFeatures.save` where the text encoder is
            not there; null for six of the controlled world.
        steps: Sampling steps; null for the model's own.
        frames: Length of the videos; null for the model's own.
        guidance_scale: Strength of the prompt; null for the model's own.

    Raises:
        InputError: No prompt.
        FileError: A file of features that is missing or holds something else.
    """

    def __init__(
        self,
        folder: str,
        *,
        prompts: list[str] | None = None,
        steps: int | None = None,
        frames: int | None = None,
        guidance_scale: float | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.names = list(SHEET_PROMPTS) if prompts is None else prompts
        if not self.names:
            raise InputError("prompts: expected at least one, got none; leave the callback out")
        self.prompts = [_prompt(name) for name in self.names]
        self.steps, self.frames, self.guidance_scale = steps, frames, guidance_scale

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check what is asked for, before the first validation is waited for.

        Raises:
            InputError: Steps, a length or a strength out of range.
        """
        if isinstance(pl_module, JointTraining):
            self._options(pl_module.model.config)

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Generate beside the first batch, while averaged weights are still in place."""
        if batch_idx or trainer.sanity_checking or not isinstance(pl_module, JointTraining):
            return
        # Every process, since each may hold a part of every weight.
        videos = self._generated(pl_module.model)
        if not trainer.is_global_zero:
            return
        for number, (name, video) in enumerate(zip(self.names, videos, strict=True)):
            title = f"{number:02d}_{_short(name)}"
            video.save(self.folder / f"step_{trainer.global_step:06d}" / f"{title}.mp4")
            for logger in trainer.loggers:
                if isinstance(logger, TensorBoardLogger):
                    _show(logger, f"videos/{title}", video, trainer.global_step)

    def _generated(self, model: JOG3R) -> list[Video]:
        options = self._options(model.config)
        # One by one, as a user would: a large model has no room for more.
        return [
            text_to_video(model, [prompt], [seed], options)[0].video
            for seed, prompt in enumerate(self.prompts)
        ]

    def _options(self, config: JOG3R.Config) -> SamplingOptions:
        scale, steps, frames = self.guidance_scale, self.steps, self.frames
        return SamplingOptions(
            negative_prompt="",
            guidance_scale=config.guidance_scale if scale is None else scale,
            steps=config.num_inference_steps if steps is None else steps,
            frames=config.num_frames if frames is None else frames,
            callback=None,
            progress=False,
        )


def _prompt(name: str) -> Prompt:
    return TextFeatures.load(name) if name.endswith(".safetensors") else name


def _short(name: str) -> str:
    words = re.sub(r"\W+", "_", Path(name).stem if name.endswith(".safetensors") else name)
    return words[:LONGEST_NAME].strip("_")


def _show(logger: TensorBoardLogger, tag: str, video: Video, step: int) -> None:
    """Write an animated GIF, which is what TensorBoard shows of a video.

    SummaryWriter.add_video writes the same, but needs moviepy for it.
    """
    # Its names are made when it is imported.
    from tensorboard.compat.proto.summary_pb2 import Summary  # type: ignore[attr-defined]

    image = Summary.Image(
        height=video.height, width=video.width, colorspace=3, encoded_image_string=gif(video)
    )
    summary = Summary(value=[Summary.Value(tag=tag, image=image)])
    logger.experiment._get_file_writer().add_summary(summary, step)


def gif(video: Video) -> bytes:
    """Give a video as an animated GIF that repeats."""
    first, *others = (Image.fromarray(frame) for frame in video.frames.numpy())
    content = io.BytesIO()
    first.save(
        content,
        "GIF",
        save_all=True,
        append_images=others,
        duration=round(1000 / video.fps),
        loop=0,
    )
    return content.getvalue()
