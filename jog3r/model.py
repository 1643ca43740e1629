"""JOG3R, the object a user holds: loads, saves, and hands each call to its route."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict, overload

import torch
from torch import nn

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.text import TextEncoder, load_tokenizer
from jog3r.config import check_positive, from_plain, to_plain
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import FileError, InputError
from jog3r.routes.arguments import Callback, SamplingOptions, pair_up, whole_number
from jog3r.stitch import StitchedModel
from jog3r.weights_file import (
    CONFIG_FILE,
    TOKENIZER_FILE,
    WEIGHTS_FILE,
    find_model,
    read_weights,
    weights_bytes,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from typing_extensions import Unpack

    from jog3r.alignment import Regularisers
    from jog3r.backbones.interface import Backbone
    from jog3r.results import Generation, Reconstruction

    class _Options(TypedDict, total=False):
        """What `generate` takes beside prompt and seed, for its overloads."""

        cameras: bool
        negative_prompt: str
        guidance_scale: float
        num_inference_steps: int
        num_frames: int | None
        callback: Callback | None
        regularisers: Regularisers | None
        refine: str | None
        progress: bool


class JOG3R(nn.Module):
    """One model that generates video and reconstructs it in 3D.

    Attributes:
        autoencoder: Pixels <-> latents.
        text_encoder: Prompts -> text features.
        network: The stitched backbone and head.
        schedule: The noise schedule it was trained with.

    Example:
        >>> model = JOG3R.from_pretrained("tiny")
        >>> options = {"num_inference_steps": 10, "num_frames": 2, "progress": False}
        >>> shot = model.generate("a red sphere in a brick room", **options)
        >>> shot.video
        Video(2 frames, 64x64 px, 8 fps)
    """

    @dataclass(kw_only=True, frozen=True)
    class Config:
        """Plain values of all parts; JSON in `config.json`.

        Args:
            image_size: Height and width the model works at [px].
            num_frames: Clip length it was trained for.
            fps: Frames per second of generated videos.
            licence: SPDX name of the weights' licence.
            autoencoder: Pixels <-> latents.
            text_encoder: Prompts -> features.
            network: Backbone and head.
            schedule: Noise schedule.

        Raises:
            InputError: A size, length or frame rate that is not above 0.
        """

        image_size: tuple[int, int] = (64, 64)
        num_frames: int = 16
        fps: float = 8.0
        licence: str = "Apache-2.0"
        autoencoder: FrameAutoencoder.Config = field(default_factory=FrameAutoencoder.Config)
        text_encoder: TextEncoder.Config = field(default_factory=TextEncoder.Config)
        network: StitchedModel.Config = field(default_factory=StitchedModel.Config)
        schedule: NoiseSchedule = field(default_factory=NoiseSchedule)

        def __post_init__(self) -> None:
            check_positive("config", self, "image_size", "num_frames", "fps")

    def __init__(self, config: Config, tokenizer: "Tokenizer") -> None:
        super().__init__()
        self.config = config
        self.schedule = config.schedule
        self.autoencoder = config.autoencoder.build()
        self.text_encoder = TextEncoder(config.text_encoder, tokenizer)
        self.network = config.network.build()
        self._check_agreement()

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str | torch.device = "cpu") -> "JOG3R":
        """Load a model.

        Args:
            name: `"tiny"`, which ships with the package; a folder made by `save_pretrained`; or a
                Hugging Face Hub id.
            device: Where to put it.

        Raises:
            FileError: No such model, an incomplete folder, or a file in it that is truncated,
                foreign or does not fit the config.
            InputError: The name is no text and no path, or torch has no such device.
        """
        device = _device(device)
        folder = find_model(name)
        config = _read_config(folder / CONFIG_FILE)
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE)
        try:
            model = cls(config, tokenizer)
        except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
            raise FileError(
                f"{folder / CONFIG_FILE}: expected values that make a model, got: {error}; copy the"
                " model folder again"
            ) from error
        read_weights(model, folder / WEIGHTS_FILE)
        return model.eval().requires_grad_(False).to(device)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Write `config.json`, `model.safetensors` and `tokenizer.json`.

        Args:
            folder: Made if missing; files of the same names are replaced.
            dtype: Of the stored weights: float16, bfloat16, float32 or float64.

        Raises:
            InputError: Another dtype.
            SaveError: A file cannot be written; what was in the folder is left as it was.
        """
        from jog3r.export.atomic import atomic_file

        folder = Path(folder)
        config = json.dumps(to_plain(self.config), indent=2) + "\n"
        with (
            atomic_file(folder / CONFIG_FILE) as config_file,
            atomic_file(folder / TOKENIZER_FILE) as tokenizer_file,
            atomic_file(folder / WEIGHTS_FILE) as weights_file,
        ):
            config_file.write(config.encode())
            tokenizer_file.write(self.text_encoder.tokenizer.to_str(pretty=True).encode())
            weights_file.write(weights_bytes(self, dtype))
            # A disk that is full says so here, before the first file takes its name.
            for file in (config_file, tokenizer_file, weights_file):
                file.flush()

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.autoencoder.scale.device

    @property
    def token_grid(self) -> tuple[int, int]:
        """Token rows and columns of a frame."""
        patch = self.config.network.patch
        return self.config.image_size[0] // patch, self.config.image_size[1] // patch

    @overload
    def generate(
        self, prompt: str, *, seed: int = 0, **options: "Unpack[_Options]"
    ) -> "Generation": ...
    @overload
    def generate(
        self, prompt: str, *, seed: Sequence[int], **options: "Unpack[_Options]"
    ) -> "list[Generation]": ...
    @overload
    def generate(
        self,
        prompt: list[str] | tuple[str, ...],
        *,
        seed: int | Sequence[int] = 0,
        **options: "Unpack[_Options]",
    ) -> "list[Generation]": ...
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        cameras: bool = False,
        negative_prompt: str = "",
        guidance_scale: float = 2.0,
        num_inference_steps: int = 20,
        num_frames: int | None = None,
        seed: int | Sequence[int] = 0,
        callback: Callback | None = None,
        regularisers: "Regularisers | None" = None,
        refine: str | None = "photometric",
        progress: bool = True,
    ) -> "Generation | list[Generation]":
        """Make video from text (T2V), with `cameras=True` also its cameras in the same run (T2V+C).

        Args:
            prompt: What to show; or several prompts.
            cameras: Also reconstruct, from the sampler's own last low-noise step.
            negative_prompt: What to steer away from.
            guidance_scale: Strength of the prompt; 1 switches guidance off.
            num_inference_steps: Sampling steps; with cameras at least 10, so that the last one has
                little noise.
            num_frames: Length; None for the length the model was trained for.
            seed: Of the noise. Several seeds with one prompt give several videos; one seed s with
                several prompts stands for s, s + 1, and so on. A sample does not depend on what
                else is in the call.
            callback: Called after each step with its index, its timestep and the latents
                `(B, C, T, h, w)`; may return latents to go on with.
            regularisers: Weights of the alignment's temporal terms, with cameras.
            refine: With cameras, what follows the alignment: "photometric" lays the frames over
                each other through the depth (`jog3r.alignment.photometric`); None for nothing.
            progress: Whether to show a progress bar.

        Returns:
            One Generation, or a list of them when `prompt` or `seed` is a list.

        Raises:
            InputError: A prompt without a known word or too long, an option of the wrong type or
                out of range, options that exclude each other.
            AlignmentError: With cameras, pointmaps that no camera explains; its `generations` hold
                all that was made.
        """
        from jog3r.routes.text_to_video import text_to_video
        from jog3r.routes.text_to_video_and_cameras import text_to_video_and_cameras

        options = SamplingOptions(
            negative_prompt=negative_prompt,
            guidance_scale=guidance_scale,
            steps=num_inference_steps,
            frames=self.config.num_frames if num_frames is None else num_frames,
            callback=callback,
            progress=progress,
        )
        prompts, seeds = pair_up(prompt, seed)
        if cameras:
            made = text_to_video_and_cameras(
                self, prompts, seeds, options, regularisers=regularisers, refine=refine
            )
        elif regularisers is not None or refine != "photometric":
            raise InputError(
                "regularisers, refine: expected none of them without cameras=True, got one; set"
                " cameras=True or leave it out"
            )
        else:
            made = text_to_video(self, prompts, seeds, options)
        # Plain numbers and strings in, one result out.
        return made[0] if isinstance(prompt, str) and not isinstance(seed, Sequence) else made

    def reconstruct(
        self,
        video: Any,
        *,
        K: Any = None,
        stride: int = 1,
        max_frames: int | None = None,
        seed: int = 0,
        regularisers: "Regularisers | None" = None,
        refine: str | None = "photometric",
        progress: bool = True,
    ) -> "Reconstruction":
        """Find the cameras, depth, confidences and points of a video (V2C).

        Args:
            video: A video file, a folder of images, a `Video`, a uint8 array or tensor
                `(T, H, W, 3)`, or a float array or tensor `(T, 3, H, W)` in [-1, 1].
            K: Known intrinsics [px] of the input, `(3, 3)`, or `(T, 3, 3)` for the frames that
                `stride` and `max_frames` leave; None to have them estimated.
            stride: Take every stride-th frame.
            max_frames: Take at most so many frames, from the start, after the stride; None for all.
            seed: Of the little noise that reconstruction adds.
            regularisers: Weights of the alignment's temporal terms.
            refine: What follows the alignment: "photometric" lays the frames over each other
                through the depth (`jog3r.alignment.photometric`), for static scenes; None for
                nothing.
            progress: Whether to show a progress bar.

        Returns:
            A Reconstruction in the pixels of the input; the world is the camera of the first frame.

        Raises:
            InputError: A wrong shape or dtype, NaN, a single frame, K that does not fit.
            AlignmentError: Pointmaps that no camera explains.
            FileError: A missing or corrupt file, an empty folder, images of several sizes.
        """
        from jog3r.routes.video_to_cameras import video_to_cameras

        return video_to_cameras(
            self,
            video,
            K=K,
            stride=stride,
            max_frames=max_frames,
            seed=whole_number("seed", seed),
            regularisers=regularisers,
            refine=refine,
            progress=progress,
        )

    def summary(self) -> str:
        """Describe parts, parameters, sizes and licence, for people."""
        backbone = self.network.backbone
        counts = {
            "autoencoder": _parameters(self.autoencoder),
            "text encoder": _parameters(self.text_encoder),
            "backbone": _parameters(backbone),
            "pointmap head": _parameters(self.network) - _parameters(backbone),
            "all": _parameters(self),
        }
        height, width = self.config.image_size
        rows = {name: f"{count / 1e6:7.2f} M parameters" for name, count in counts.items()} | {
            "works at": f"{height}x{width} px, {self.config.num_frames} frames,"
            f" {self.config.fps:g} frames/s",
            "tap": f"block {self.config.network.tap} of {backbone.config.depth}",
            "prediction": f"{self.schedule.prediction_type}, {self.schedule.steps} DDPM steps",
            "vocabulary": f"{len(self.text_encoder.vocabulary())} words",
            "licence": self.config.licence,
        }
        return "\n".join(f"{name:<14} {text}" for name, text in rows.items())

    def _check_agreement(self) -> None:
        """Check that the parts fit each other, which none of them can see."""
        patch, backbone = self.config.network.patch, self.network.backbone.config
        frames, rows, columns = backbone.patch_size
        factor = self.autoencoder.factor
        pairs = {
            "patch_size in pixels": ((frames, factor * rows, factor * columns), (1, patch, patch)),
            "in_channels": (backbone.in_channels, self.config.autoencoder.latent_channels),
            "caption_channels": (backbone.caption_channels, self.config.text_encoder.width),
        }
        for name, (got, wanted) in pairs.items():
            if got != wanted:
                raise InputError(
                    f"config: expected the backbone's {name} to be {wanted} as in the other parts,"
                    f" got {got}; correct one of them"
                )
        if any(side % patch for side in self.config.image_size):
            raise InputError(
                f"config.image_size: expected multiples of network.patch, {patch} px, got"
                f" {self.config.image_size}; correct one of them"
            )


def _parameters(module: "nn.Module | Backbone") -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _device(name: str | torch.device) -> torch.device:
    try:
        # A bare number is a device to torch, and so is True; "meta" holds no values.
        if not isinstance(name, str | torch.device) or torch.device(name).type == "meta":
            raise RuntimeError("neither the name of a device that computes nor a torch.device")
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:  # torch raises either, with many lines
        reason = str(error).splitlines()[0]
        raise InputError(
            f"device: expected one that torch can use, got {str(name)!r} ({reason}); use 'cpu'"
        ) from error


def _read_config(file: Path) -> JOG3R.Config:
    if not file.is_file():
        raise FileError(
            f"{file}: expected a model folder with {CONFIG_FILE}, {WEIGHTS_FILE} and"
            f" {TOKENIZER_FILE}, got no such file; check the path"
        )
    try:
        return from_plain(JOG3R.Config, json.loads(file.read_text("utf-8")), file.name)
    except (OSError, ValueError, TypeError, RecursionError) as error:
        raise FileError(
            f"{file}: expected a jog3r config, got something else ({error}); copy the model folder"
            " again"
        ) from error
