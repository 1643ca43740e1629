"""JOG3R, the object a user holds: loads, saves, and hands each call to its route."""

import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import torch
from torch import Tensor, nn

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.text import TextEncoder, load_tokenizer
from jog3r.config import from_plain, to_plain
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import FileError, InputError
from jog3r.stitch import StitchedModel
from jog3r.weights_file import read_weights, write_weights

if TYPE_CHECKING:
    from tokenizers import Tokenizer

    from jog3r.alignment import Regularisers
    from jog3r.results import Generation, Reconstruction

logger = logging.getLogger(__name__)

# Weights that ship inside the package.
EMBEDDED = ("tiny",)
CONFIG_FILE, WEIGHTS_FILE, TOKENIZER_FILE = "config.json", "model.safetensors", "tokenizer.json"


class JOG3R(nn.Module):
    """One model that generates video and reconstructs it in 3D.

    Attributes:
        autoencoder: Pixels <-> latents.
        text_encoder: Prompts -> text features.
        network: The stitched backbone and head.
        schedule: The noise schedule it was trained with.

    Example:
        >>> model = JOG3R.from_pretrained("tiny")
        >>> shot = model.generate("a red sphere in a brick room", num_inference_steps=10, num_frames=2, progress=False)
        >>> shot.video.frames.shape
        torch.Size([2, 64, 64, 3])
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
        """

        image_size: tuple[int, int] = (64, 64)
        num_frames: int = 16
        fps: float = 8.0
        licence: str = "Apache-2.0"
        autoencoder: FrameAutoencoder.Config = field(default_factory=FrameAutoencoder.Config)
        text_encoder: TextEncoder.Config = field(default_factory=TextEncoder.Config)
        network: StitchedModel.Config = field(default_factory=StitchedModel.Config)
        schedule: NoiseSchedule = field(default_factory=NoiseSchedule)

    def __init__(self, config: Config, tokenizer: "Tokenizer") -> None:
        """Build with fresh weights; users call `from_pretrained`."""
        super().__init__()
        self.config = config
        self.schedule = config.schedule
        self.autoencoder = config.autoencoder.build()
        self.text_encoder = TextEncoder(config.text_encoder, tokenizer)
        self.network = config.network.build()

    @classmethod
    def from_pretrained(cls, name: str | Path, *, device: str | torch.device = "cpu") -> "JOG3R":
        """Load a model.

        Args:
            name: `"tiny"`, which ships with the package; a folder made by `save_pretrained`; or a Hugging Face Hub id.
            device: Where to put it.

        Raises:
            FileError: The folder is incomplete, or a file in it is truncated, foreign or does not fit the config.
        """
        folder = _find(name)
        config = _read_config(folder / CONFIG_FILE, cls.Config)
        model = cls(config, load_tokenizer(folder / TOKENIZER_FILE))
        read_weights(model, folder / WEIGHTS_FILE)
        return model.eval().requires_grad_(False).to(device)

    def save_pretrained(self, folder: str | Path, *, dtype: torch.dtype = torch.float16) -> None:
        """Write `config.json`, `model.safetensors` and `tokenizer.json`.

        Args:
            folder: Made if missing; files of the same names are replaced.
            dtype: Of the stored weights.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        write_weights(self, folder / WEIGHTS_FILE, dtype)
        self.text_encoder.tokenizer.save(str(folder / TOKENIZER_FILE))
        (folder / CONFIG_FILE).write_text(json.dumps(to_plain(self.config), indent=2) + "\n")

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return self.autoencoder.scale.device  # type: ignore[return-value]

    @property
    def token_grid(self) -> tuple[int, int]:
        """Token rows and columns of a frame."""
        patch = self.config.network.patch
        return self.config.image_size[0] // patch, self.config.image_size[1] // patch

    @overload
    def generate(self, prompt: str, *, seed: int = 0, **options: Any) -> "Generation": ...
    @overload
    def generate(
        self, prompt: str | Sequence[str], *, seed: int | Sequence[int] = 0, **options: Any
    ) -> "Generation | list[Generation]": ...
    def generate(
        self,
        prompt: str | Sequence[str],
        *,
        cameras: bool = False,
        negative_prompt: str = "",
        guidance_scale: float = 4.0,
        num_inference_steps: int = 20,
        num_frames: int | None = None,
        seed: int | Sequence[int] = 0,
        callback: "Callable[[int, int, Tensor], Tensor | None] | None" = None,
        regularisers: "Regularisers | None" = None,
        progress: bool = True,
    ) -> "Generation | list[Generation]":
        """Text to video (T2V), or with `cameras=True` to video and its cameras in the same sampling run (T2V+C).

        Args:
            prompt: What to show; or several prompts.
            cameras: Also reconstruct, from the sampler's own last low-noise step.
            negative_prompt: What to steer away from.
            guidance_scale: Strength of the prompt; 1 switches guidance off.
            num_inference_steps: Sampling steps; with cameras at least 10, so that the last one has little noise.
            num_frames: Length; null for the length the model was trained for.
            seed: One number or one per sample. Several seeds with one prompt give several videos. A sample does not
                depend on what else is in the call.
            callback: Called after each step with its index, its timestep and the latents; may return other latents.
            regularisers: Weights of the alignment's temporal terms (with cameras).
            progress: Whether to show a progress bar.

        Returns:
            One Generation, or a list of them when `prompt` or `seed` is a list.

        Raises:
            InputError: A prompt without a known word, or an option out of range.
        """
        from jog3r.routes.text_to_video import SamplingOptions, text_to_video
        from jog3r.routes.text_to_video_and_cameras import text_to_video_and_cameras

        prompts, seeds, single = _pair_up(prompt, seed)
        frames = self.config.num_frames if num_frames is None else num_frames
        options = SamplingOptions(
            negative_prompt=negative_prompt,
            guidance_scale=guidance_scale,
            steps=num_inference_steps,
            frames=frames,
            callback=callback,
            progress=progress,
        )
        if cameras:
            made = text_to_video_and_cameras(self, prompts, seeds, options, regularisers)
        elif regularisers is not None:
            raise InputError(
                "regularisers: expected None without cameras=True, got weights; set cameras=True or leave them out"
            )
        else:
            made = text_to_video(self, prompts, seeds, options)
        return made[0] if single else made

    def reconstruct(
        self,
        video: Any,
        *,
        K: Any = None,
        stride: int = 1,
        max_frames: int | None = None,
        seed: int = 0,
        regularisers: "Regularisers | None" = None,
        progress: bool = True,
    ) -> "Reconstruction":
        """Video to cameras (V2C): cameras, depth, confidences and points of a video.

        Args:
            video: A video file, a folder of images, a `Video`, a uint8 array or tensor `(T, H, W, 3)`, or a float tensor
                `(T, 3, H, W)` in [-1, 1].
            K: Known intrinsics in pixels of the input, `(3, 3)` or `(T, 3, 3)`; estimated otherwise.
            stride: Take every stride-th frame.
            max_frames: Take at most so many frames from the start (after the stride); null for all.
            seed: Of the little noise that reconstruction adds.
            regularisers: Weights of the alignment's temporal terms.
            progress: Whether to show a progress bar.

        Returns:
            A Reconstruction in the pixels of the input; the world is the camera of the first frame.

        Raises:
            InputError: A wrong shape or dtype, NaN, or a single frame.
            FileError: A missing or corrupt file.
        """
        from jog3r.routes.video_to_cameras import video_to_cameras

        return video_to_cameras(
            self,
            video,
            K=K,
            stride=stride,
            max_frames=max_frames,
            seed=seed,
            regularisers=regularisers,
            progress=progress,
        )

    def summary(self) -> str:
        """What is inside, for people: parts, parameters, sizes, licence."""
        parts = {
            "autoencoder": self.autoencoder,
            "text encoder": self.text_encoder,
            "backbone": self.network.backbone,
        }
        count = lambda module: sum(p.numel() for p in module.parameters())  # noqa: E731
        rows = [(name, count(part)) for name, part in parts.items()]
        rows.append(("pointmap head", count(self.network) - count(self.network.backbone)))
        rows.append(("all", count(self)))
        height, width = self.config.image_size
        lines = [f"{name:<14} {number / 1e6:7.2f} M parameters" for name, number in rows]
        lines += [
            f"{'works at':<14} {height}x{width} px, {self.config.num_frames} frames, {self.config.fps:g} frames/s",
            f"{'tap':<14} block {self.config.network.tap} of {self.network.backbone.config.depth}",  # type: ignore[union-attr]
            f"{'prediction':<14} {self.schedule.prediction_type}, {self.schedule.steps} DDPM steps",
            f"{'vocabulary':<14} {len(self.text_encoder.vocabulary())} words",
            f"{'licence':<14} {self.config.licence}",
        ]
        return "\n".join(lines)


def _pair_up(
    prompt: str | Sequence[str], seed: int | Sequence[int]
) -> tuple[list[str], list[int], bool]:
    """Prompts and seeds of equal length, and whether one sample was asked for."""
    single = isinstance(prompt, str) and isinstance(seed, int)
    prompts = [prompt] if isinstance(prompt, str) else list(prompt)
    seeds = [seed] if isinstance(seed, int) else list(seed)
    if len(prompts) == 1:
        prompts = prompts * len(seeds)
    elif len(seeds) == 1:
        seeds = [seeds[0] + i for i in range(len(prompts))]
    if not prompts or len(prompts) != len(seeds):
        raise InputError(
            f"seed: expected one number or one per prompt, got {len(prompts)} prompts and {len(seeds)} seeds; give equally many"
        )
    return prompts, seeds, single


def _find(name: str | Path) -> Path:
    """The folder behind a name, a path or a hub id."""
    if str(name) in EMBEDDED:
        return Path(str(resources.files("jog3r") / "weights" / str(name)))
    folder = Path(name)
    if folder.is_dir():
        return folder
    if (
        folder.suffix
        or folder.is_absolute()
        or str(name).count("/") != 1
        or str(name).startswith(".")
    ):
        raise FileError(
            f"model: expected one of {list(EMBEDDED)}, a model folder or a hub id 'owner/name', got {name}; check the path"
        )
    from huggingface_hub import snapshot_download

    try:
        return Path(
            snapshot_download(
                str(name),
                allow_patterns=[CONFIG_FILE, "*.safetensors", TOKENIZER_FILE, "README.md"],
            )
        )
    except Exception as error:
        raise FileError(
            f"model: expected a folder or a reachable hub id, got {name} ({type(error).__name__}); check the name and the connection"
        ) from error


def _read_config(file: Path, cls: type[JOG3R.Config]) -> JOG3R.Config:
    if not file.is_file():
        raise FileError(
            f"{file}: expected a model folder with {CONFIG_FILE}, {WEIGHTS_FILE}, {TOKENIZER_FILE}, got no such file; check the path"
        )
    try:
        return from_plain(cls, json.loads(file.read_text()), file.name)
    except (ValueError, TypeError) as error:
        raise FileError(
            f"{file}: expected a jog3r config, got something else ({error}); copy the model folder again"
        ) from error
