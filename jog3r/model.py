"""JOG3R, the object a user holds: loads, saves, and hands each call to its route."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, overload

import torch
from huggingface_hub import ModelHubMixin
from torch import nn

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.codecs.pretrained_text import PretrainedTextEncoder
from jog3r.codecs.text import TextEncoder, load_tokenizer
from jog3r.codecs.video_autoencoder import VideoAutoencoder
from jog3r.config import to_plain
from jog3r.diffusion.rectified_flow import RectifiedFlow
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import FileError, InputError, MissingPartError
from jog3r.heads.dust3r import DUSt3R
from jog3r.model_card import CARD_FILE, plain_card
from jog3r.model_config import ModelConfig, read_config
from jog3r.routes.arguments import (
    AlignmentOptions,
    Callback,
    Prompt,
    SamplingOptions,
    pair_up,
    whole_number,
)
from jog3r.stitch import StitchedModel
from jog3r.weights_file import (
    CONFIG_FILE,
    MAX_SHARD_SIZE,
    TOKENIZER_FILE,
    WEIGHTS_PATTERNS,
    find_model,
    read_weights,
    write_weights,
)

if TYPE_CHECKING:
    from tokenizers import Tokenizer
    from typing_extensions import Unpack

    from jog3r.alignment import Regularisers
    from jog3r.results import Generation, Reconstruction

    class _Options(TypedDict, total=False):
        """What `generate` takes beside prompt and seed, for its overloads."""

        cameras: bool
        negative_prompt: Prompt
        guidance_scale: float | None
        num_inference_steps: int | None
        num_frames: int | None
        callback: Callback | None
        regularisers: Regularisers | None
        refine: str | None
        progress: bool


PARTS = ("autoencoder", "text_encoder", "network", "schedule")


class JOG3R(nn.Module, ModelHubMixin, library_name="jog3r"):
    """One model that generates video and reconstructs it in 3D.

    A checkpoint that was converted from elsewhere may hold some of the parts only; whoever asks for
    one that is missing gets a `MissingPartError`.

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

    Config: TypeAlias = ModelConfig

    autoencoder: FrameAutoencoder | VideoAutoencoder
    text_encoder: TextEncoder | PretrainedTextEncoder
    network: StitchedModel | DUSt3R
    schedule: NoiseSchedule | RectifiedFlow

    def __init__(self, config: ModelConfig, tokenizer: "Tokenizer | None" = None) -> None:
        super().__init__()
        self.config = config
        if config.autoencoder is not None:
            self.autoencoder = config.autoencoder.build()
        if config.text_encoder is not None:
            self.text_encoder = _text_encoder(config.text_encoder, tokenizer)
        if config.network is not None:
            self.network = config.network.build()
        if config.schedule is not None:
            self.schedule = config.schedule
        self._check_agreement()

    def __getattr__(self, name: str) -> Any:
        """Give a part or a parameter, as every module does; say which parts there are."""
        if name not in PARTS or name in self._modules:
            return super().__getattr__(name)
        there = [part for part in PARTS if getattr(self.config, part) is not None]
        raise MissingPartError(
            f"{name}: expected a model with this part, got one with {there}; jog3r convert joins"
            " parts of several checkpoints (--with)"
        )

    @classmethod
    def from_pretrained(  # type: ignore[override]  # it builds the model first, and has no device
        cls,
        name: str | Path,
        *,
        device: str | torch.device = "cpu",
        revision: str | None = None,
        token: str | bool | None = None,
        cache_dir: str | Path | None = None,
        force_download: bool = False,
        local_files_only: bool = False,
    ) -> "JOG3R":
        """Load a model.

        Args:
            name: `"tiny"`, which ships with the package; a folder made by `save_pretrained` or
                `jog3r convert`; or a Hugging Face Hub id.
            device: Where to put it.
            revision: Branch, tag or commit on the hub.
            token: For private models on the hub; None for the one that is logged in.
            cache_dir: Where downloads are kept.
            force_download: Whether to download what is already there.
            local_files_only: Whether to do without the network.

        Raises:
            FileError: No such model, an incomplete folder, or a file in it that is truncated,
                foreign or does not fit the config.
            InputError: The name is no text and no path, or torch has no such device.
        """
        device = _device(device)
        folder = find_model(
            name,
            revision=revision,
            token=token,
            cache_dir=cache_dir,
            force_download=force_download,
            local_files_only=local_files_only,
        )
        config = read_config(folder / CONFIG_FILE)
        words = isinstance(config.text_encoder, TextEncoder.Config)
        tokenizer = load_tokenizer(folder / TOKENIZER_FILE) if words else None
        try:
            with torch.device("meta"):  # weights that are about to be replaced take no time
                model = cls(config, tokenizer)
        except (TypeError, ValueError, RuntimeError, ArithmeticError, MemoryError) as error:
            raise FileError(
                f"{folder / CONFIG_FILE}: expected values that make a model, got: {error}; copy the"
                " model folder again"
            ) from error
        read_weights(model, folder)
        return model.eval().requires_grad_(False).to(device)

    def save_pretrained(  # type: ignore[override]  # the mixin's own deletes the config first
        self,
        folder: str | Path,
        *,
        dtype: torch.dtype | None = None,
        max_shard_size: int | str = MAX_SHARD_SIZE,
        config: object = None,
        model_card_kwargs: object = None,
    ) -> None:
        """Write `config.json`, the weights, `tokenizer.json` for a text encoder of its own, a card.

        `push_to_hub`, of huggingface_hub's mixin, uploads the same.

        Args:
            folder: Made if missing; files of the same names are replaced, but for a card.
            dtype: Of the stored weights: float16, bfloat16, float32 or float64; None for what they
                are in. Half precision halves the file and rounds every number.
            max_shard_size: Largest file of weights; above it there are several with an index.
            config: None: the model knows its own.
            model_card_kwargs: None: the card has no template.

        Raises:
            InputError: Another dtype, or something else than None where there is no choice.
            SaveError: A file cannot be written; what was in the folder is left as it was.
        """
        from jog3r.export.atomic import atomic_files

        if config is not None or model_card_kwargs is not None:
            raise InputError(
                "config, model_card_kwargs: expected None, as a model writes its own config and"
                " card, got a value; leave them out"
            )
        with atomic_files(folder, obsolete=WEIGHTS_PATTERNS) as place:
            plain = json.dumps(to_plain(self.config), indent=2) + "\n"
            (place / CONFIG_FILE).write_text(plain, "utf-8")
            if hasattr(self, "text_encoder") and isinstance(self.text_encoder, TextEncoder):
                tokens = self.text_encoder.tokenizer.to_str(pretty=True)
                (place / TOKENIZER_FILE).write_text(tokens, "utf-8")
            if not (Path(folder) / CARD_FILE).exists():  # one that says more stays
                card = plain_card(self.summary(), self.config.licence)
                (place / CARD_FILE).write_text(card, "utf-8")
            write_weights(self, place, dtype=dtype, max_shard_size=max_shard_size)

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return next(self.parameters()).device

    @property
    def stitched(self) -> StitchedModel:
        """The network, where it is a video backbone, with or without a pointmap head.

        Raises:
            InputError: It is none.
        """
        network = self._modules.get("network")
        if isinstance(network, StitchedModel):
            return network
        # No AttributeError, which python would take for "no such property".
        raise InputError(
            f"network: expected a video backbone, got {type(network).__name__}; load another model"
            " to generate or train"
        )

    @property
    def token_grid(self) -> tuple[int, int]:
        """Token rows and columns of a frame."""
        patch = self.network.config.patch
        return self.config.image_size[0] // patch, self.config.image_size[1] // patch

    @overload
    def generate(
        self, prompt: Prompt, *, seed: int = 0, **options: "Unpack[_Options]"
    ) -> "Generation": ...
    @overload
    def generate(
        self, prompt: Prompt, *, seed: Sequence[int], **options: "Unpack[_Options]"
    ) -> "list[Generation]": ...
    @overload
    def generate(
        self,
        prompt: list[Prompt] | list[str] | tuple[Prompt, ...],
        *,
        seed: int | Sequence[int] = 0,
        **options: "Unpack[_Options]",
    ) -> "list[Generation]": ...
    def generate(
        self,
        prompt: Prompt | Sequence[Prompt],
        *,
        cameras: bool = False,
        negative_prompt: Prompt = "",
        guidance_scale: float | None = None,
        num_inference_steps: int | None = None,
        num_frames: int | None = None,
        seed: int | Sequence[int] = 0,
        callback: Callback | None = None,
        regularisers: "Regularisers | None" = None,
        refine: str | None = "default",
        progress: bool = True,
    ) -> "Generation | list[Generation]":
        """Make video from text (T2V), with `cameras=True` also its cameras in the same run (T2V+C).

        Args:
            prompt: What to show, as text or as `TextFeatures` that a text encoder has made of it;
                or several prompts.
            cameras: Also reconstruct, from the sampler's own last low-noise step.
            negative_prompt: What to steer away from.
            guidance_scale: Strength of the prompt; 1 switches guidance off. None for what suits the
                checkpoint (its config).
            num_inference_steps: Sampling steps; with cameras enough that the last one has little
                noise (10 for DDPM). None for what suits the checkpoint.
            num_frames: Length; None for the length the model was trained for.
            seed: Of the noise. Several seeds with one prompt give several videos; one seed s with
                several prompts stands for s, s + 1, and so on. A sample does not depend on what
                else is in the call.
            callback: Called after each step with its index, its timestep and the latents
                `(B, C, T, h, w)`; may return latents to go on with.
            regularisers: Weights of the alignment's temporal terms, with cameras.
            refine: With cameras, what follows the alignment, as in `reconstruct`.
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
            guidance_scale=_given(guidance_scale, self.config.guidance_scale),
            steps=_given(num_inference_steps, self.config.num_inference_steps),
            frames=_given(num_frames, self.config.num_frames),
            callback=callback,
            progress=progress,
        )
        prompts, seeds = pair_up(prompt, seed)
        if cameras:
            alignment = AlignmentOptions(
                regularisers=regularisers, refine=refine, suits=self.config.refine
            )
            made = text_to_video_and_cameras(self, prompts, seeds, options, alignment)
        elif regularisers is not None or refine != "default":
            raise InputError(
                "regularisers, refine: expected none of them without cameras=True, got one; set"
                " cameras=True or leave it out"
            )
        else:
            made = text_to_video(self, prompts, seeds, options)
        # Plain numbers and strings in, one result out.
        return made[0] if isinstance(prompt, Prompt) and not isinstance(seed, Sequence) else made

    def reconstruct(
        self,
        video: Any,
        *,
        K: Any = None,
        cameras: Any = None,
        masks: Any = None,
        shared_focal: bool = True,
        stride: int = 1,
        max_frames: int | None = None,
        seed: int = 0,
        method: str = "learned",
        graph: str | None = None,
        window: int | None = None,
        overlap: int | None = None,
        regularisers: "Regularisers | None" = None,
        refine: str | None = "default",
        progress: bool = True,
    ) -> "Reconstruction":
        """Find the cameras, depth, confidences and points of a video (V2C).

        Args:
            video: A video file, a folder of images, a `Video`, a uint8 array or tensor
                `(T, H, W, 3)`, or a float array or tensor `(T, 3, H, W)` in [-1, 1].
            K: Known intrinsics [px] of the input, `(3, 3)`, or `(T, 3, 3)` for the frames that
                `stride` and `max_frames` leave; None to have them estimated. Kept as they are.
            cameras: Known `world_from_camera` of these frames, `(T, 4, 4)`, or of some of them,
                `{frame: (4, 4)}`; or `Cameras`, whose K is taken as well. Kept as they are; two of
                them at different places give the result their unit.
            masks: `(T, H, W)` bool, True where pixels count. The others take no part in alignment
                and refinement, and get into no point cloud. The model still sees them.
            shared_focal: Whether to estimate one focal length for all frames, or one each, as a
                zoom lens needs.
            stride: Take every stride-th frame.
            max_frames: Take at most so many frames, from the start, after the stride; None for all.
            seed: Of the little noise that reconstruction adds.
            method: "learned" for this model; "sfm" for plain structure from motion by COLMAP
                (`jog3r.sfm`), to compare with: K and masks are all that it takes.
            graph: Which pairs of frames give pointmaps: "star" (the first with every other),
                "window-3", "log-window-4", "complete" or "auto" (docs/alignment.md). None for what
                suits the network: the star for JOG3R's head, which was trained on it, "auto" for
                DUSt3R.
            window: Frames that the model sees at once; longer videos are cut into overlapping
                windows and stitched (docs/long-videos.md). None for all up to 64 frames, and
                windows of 32 beyond.
            overlap: Frames that neighbouring windows share; None for a quarter of the window.
            regularisers: Weights of the alignment's temporal terms.
            refine: What follows the alignment: "photometric" lays the frames over each other
                through the depth (`jog3r.alignment.photometric`), for static scenes; "bundle"
                matches features and adjusts cameras and points to them, by COLMAP, after what suits
                the checkpoint (docs/bundle.md); None for nothing; "default" for what suits the
                checkpoint: "photometric" helps `tiny`, whose pointmaps are coarse, and is left out
                where they are fine.
            progress: Whether to show a progress bar.

        Returns:
            A Reconstruction in the pixels of the input; the world is the camera of the first frame,
            or that of the known cameras. Its `flags` say what is unusual about it.

        Raises:
            InputError: A wrong shape or dtype, NaN, a single frame, something known that does not
                fit, or options that exclude each other.
            AlignmentError: Pointmaps, or matches, that no camera explains.
            FileError: A missing or corrupt file, an empty folder, images of several sizes.
        """
        from jog3r.routes.plain_sfm import check_method, plain_sfm
        from jog3r.routes.video_to_cameras import video_to_cameras

        seed = whole_number("seed", seed)
        options = AlignmentOptions(
            regularisers=regularisers,
            refine=refine,
            suits=self.config.refine,
            graph=graph,
            window=window,
            overlap=overlap,
            shared_focal=shared_focal,
        )
        check_method(method, options, cameras)
        if method == "sfm":
            return plain_sfm(
                video, K=K, masks=masks, stride=stride, max_frames=max_frames, seed=seed
            )
        return video_to_cameras(
            self,
            video,
            options,
            K=K,
            cameras=cameras,
            masks=masks,
            stride=stride,
            max_frames=max_frames,
            seed=seed,
            progress=progress,
        )

    def unknown_words(self, prompt: str) -> list[str]:
        """List the words of a prompt that the model does not know; T5 and CLIP know any.

        Raises:
            InputError: The prompt is not text, or the model has no text encoder.
        """
        text = self.text_encoder
        return text.unknown_words(prompt) if isinstance(text, TextEncoder) else []

    def summary(self) -> str:
        """Describe parts, parameters, sizes and licence, for people."""
        from jog3r.model_summary import summary

        return summary(self)

    def _check_agreement(self) -> None:
        """Check that the parts fit each other, which none of them can see."""
        if hasattr(self, "autoencoder"):
            self._check_multiples("pixels per latent", self.autoencoder.factor)
        if not hasattr(self, "network") or not isinstance(self.network, StitchedModel):
            return
        patch, backbone = self.network.config.patch, self.network.backbone.config
        pairs: dict[str, tuple[Any, Any]] = {}
        if hasattr(self, "autoencoder"):
            frames, rows, columns = backbone.patch_size
            factor, channels = self.autoencoder.factor, self.autoencoder.latent_channels
            in_pixels = (frames, factor * rows, factor * columns)
            pairs["patch_size in pixels"] = (in_pixels, (1, patch, patch))
            pairs["in_channels"] = (backbone.in_channels, channels)
        if hasattr(self, "text_encoder"):
            text = self.text_encoder.config
            pairs["caption_channels"] = (backbone.caption_channels, text.width)
            longest = backbone.max_text_tokens
            # The stored null text takes the place of prompts, under their mask.
            if isinstance(text, PretrainedTextEncoder.Config) and text.max_tokens > longest:
                raise InputError(
                    f"config.text_encoder.max_tokens: expected at most {longest}, the length of the"
                    f" backbone's null text, got {text.max_tokens}; correct one of them"
                )
        for name, (got, wanted) in pairs.items():
            if got != wanted:
                raise InputError(
                    f"config: expected the backbone's {name} to be {wanted} as in the other parts,"
                    f" got {got}; correct one of them"
                )
        # Without a head nothing needs whole patches: backbones that are told sizes pad to them.
        if self.network.config.tap:
            self._check_multiples("network.patch", patch)

    def _check_multiples(self, name: str, step: int) -> None:
        if any(side % step for side in self.config.image_size):
            raise InputError(
                f"config.image_size: expected multiples of {name}, {step} px, got"
                f" {self.config.image_size}; correct one of them"
            )


def _text_encoder(
    config: TextEncoder.Config | PretrainedTextEncoder.Config, tokenizer: "Tokenizer | None"
) -> TextEncoder | PretrainedTextEncoder:
    if isinstance(config, PretrainedTextEncoder.Config):
        return config.build()
    if tokenizer is None:
        raise InputError("tokenizer: expected that of the text encoder, got None; pass it")
    return TextEncoder(config, tokenizer)


def _given(value: Any, default: Any) -> Any:
    return default if value is None else value


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
