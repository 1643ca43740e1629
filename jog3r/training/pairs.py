"""DUSt3R from scratch: two frames of a clip to two pointmaps, both in the frame of camera 1.

Source: DUSt3R sections 3.1 to 3.3 (network, normalised and confidence-weighted regression). Which
two frames make a pair is left to the stream of clips: it draws them as it does for video.
"""

from dataclasses import dataclass
from typing import Any

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW

from jog3r.errors import FileError, InputError
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.geometry.transforms import invert, transform_points
from jog3r.heads.dust3r import DUSt3R
from jog3r.losses.pointmap_regression import pointmap_regression
from jog3r.model import JOG3R
from jog3r.training.draws import check_seed
from jog3r.training.processes import (
    allow_idle_parameters,
    mean_over_processes,
    means_over_processes,
)
from jog3r.training.schedules import with_warmup
from jog3r.training.stored_model import StoresModel

HEADS = "downstream_head"
"""How the names of a head's parameters begin."""


class PairTraining(StoresModel, pl.LightningModule):
    """Train DUSt3R's network on pairs of frames of clips with depth and cameras.

    Every frame of a batch is encoded once; `pairs_per_clip` ordered pairs of each clip go through
    the decoder. What is published is a whole model, which `JOG3R.from_pretrained` loads.

    Args:
        model: Architecture; its network is a `dust3r`, its other parts are null.
        start: Folder with a model to go on from, whose head may be another one and then begins
            afresh; null for fresh weights.
        gradient_checkpointing: Compute the transformer's blocks again in the backward pass: less
            memory, more time.
        pairs_per_clip: Ordered pairs drawn from each clip, without repeats; two of a clip of two
            frames are both orders.
        alpha: Reward of high confidence.
        max_depth: Points farther than this from their own camera, along z, are not supervised, in
            the unit of the depth.
        learning_rate: Peak of AdamW's rate.
        betas: Of AdamW.
        weight_decay: Of AdamW.
        warmup_steps: Steps of linear rise.
        decay_steps: Step at which a half cosine reaches zero; null keeps the rate.
        seed: Of the pairs.

    Raises:
        FileError: Nothing to start from, or a model that does not fit.
        InputError: A model without a network of kind `dust3r`, fewer than one pair, or a negative
            seed.
    """

    def __init__(
        self,
        model: JOG3R.Config,
        *,
        start: str | None = None,
        gradient_checkpointing: bool = False,
        pairs_per_clip: int = 2,
        alpha: float = 0.2,
        max_depth: float = 80.0,
        learning_rate: float = 1e-4,
        betas: tuple[float, float] = (0.9, 0.95),
        weight_decay: float = 0.05,
        warmup_steps: int = 1000,
        decay_steps: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_seed(seed)
        if not isinstance(model.network, DUSt3R.Config):
            raise InputError(
                "model.network: expected kind: dust3r, got another; correct the recipe"
            )
        if pairs_per_clip < 1:
            raise InputError(f"pairs_per_clip: expected at least 1, got {pairs_per_clip}")
        self.model = JOG3R(model)
        if start is not None:
            load_network(self.network, start)
        self.network.gradient_checkpointing = gradient_checkpointing
        self.pairs_per_clip, self.alpha, self.max_depth = pairs_per_clip, alpha, max_depth
        self.learning_rate, self.betas, self.weight_decay = learning_rate, betas, weight_decay
        self.warmup_steps, self.decay_steps, self.seed = warmup_steps, decay_steps, seed

    def setup(self, stage: str) -> None:
        """Prepare for parameters that checkpoints have and nothing uses."""
        allow_idle_parameters(self.trainer.strategy)

    @property
    def network(self) -> DUSt3R:
        """The network that trains."""
        network = self.model.network
        assert isinstance(network, DUSt3R)
        return network

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Take one step; which pairs it sees depends on the seed and the clips' numbers alone."""
        loss, details = self.losses(batch, self._pairs(batch, self.seed))
        self._log("train", loss, details, len(batch["video"]))
        return loss

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same on held-out clips, with the same pairs every time."""
        loss, details = self.losses(batch, self._pairs(batch, 0))
        self._log("val", loss, details, len(batch["video"]))

    def losses(self, batch: dict[str, Any], pairs: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of pairs of a batch, and the details of `pointmap_regression`.

        Args:
            batch: `video`, `depth`, `K`, `world_from_camera`; see `jog3r.training.streams`.
            pairs: Numbers of the two frames, `(B, P, 2)`.

        Raises:
            InputError: A batch without depth or cameras.
        """
        targets = pair_targets(batch, pairs, self.max_depth)
        first, second = self._predict(batch["video"], pairs)
        return pointmap_regression(
            points_1=first.points,
            points_2=second.points,
            confidence_1=first.confidence,
            confidence_2=second.confidence,
            target_points_1=targets.points_1,
            target_points_2=targets.points_2,
            valid_1=targets.valid_1,
            valid_2=targets.valid_2,
            alpha=self.alpha,
            pixels=self._pixels(targets),
        )

    def configure_optimizers(self) -> Any:
        """Give AdamW with warm-up; biases and norms do not decay."""
        parameters = list(self.model.parameters())
        groups = [
            {"params": [p for p in parameters if p.ndim >= 2]},
            {"params": [p for p in parameters if p.ndim < 2], "weight_decay": 0.0},
        ]
        optimiser = AdamW(
            groups, lr=self.learning_rate, betas=self.betas, weight_decay=self.weight_decay
        )
        return with_warmup(optimiser, warmup=self.warmup_steps, decay=self.decay_steps)

    def _pixels(self, targets: "PairTargets") -> Tensor:
        """Count the pixels of both views; while training, batches of all processes count as one."""
        pixels = torch.stack([targets.valid_1.sum(), targets.valid_2.sum()]).float()
        pixels = mean_over_processes(pixels) if self.training else pixels
        return torch.where(pixels > 0.0, pixels, 1.0)

    def _predict(self, video: Tensor, pairs: Tensor) -> Any:
        clips = torch.arange(len(video), device=video.device)[:, None]
        patch, (height, width) = self.network.config.patch, video.shape[-2:]
        tokens = self.network.encode(video.flatten(0, 1)).unflatten(0, video.shape[:2])
        first, second = (tokens[clips, side].flatten(0, 1) for side in pairs.unbind(dim=-1))
        return self.network.pointmaps(first, second, (height // patch, width // patch))

    def _pairs(self, batch: dict[str, Any], seed: int) -> Tensor:
        video = batch["video"]
        drawn = [
            draw_pairs(int(number), video.shape[1], self.pairs_per_clip, seed=seed)
            for number in batch["number"]
        ]
        return torch.from_numpy(np.stack(drawn)).to(video.device)

    def _log(self, stage: str, loss: Tensor, details: dict[str, Tensor], clips: int) -> None:
        shown = {"loss": loss, "distance": details["distance"], "confidence": details["confidence"]}
        means = means_over_processes(shown) if stage == "train" else shown
        named = {f"{stage}/{name}": value for name, value in means.items()}
        self.log_dict(named, prog_bar=True, batch_size=clips, sync_dist=stage == "val")


def load_network(network: DUSt3R, folder: str) -> None:
    """Take over the weights of a model; a head of another kind keeps its fresh ones.

    Args:
        network: Gets the weights.
        folder: Of a model whose network is a DUSt3R.

    Raises:
        FileError: No such model, or its network does not fit.
    """
    held = JOG3R.from_pretrained(folder).network
    if not isinstance(held, DUSt3R):
        raise FileError(f"start: expected a model with DUSt3R's network in {folder}, got another")
    same_head = held.config.head == network.config.head
    kept = {n: t for n, t in held.state_dict().items() if same_head or not n.startswith(HEADS)}
    fresh = {n: t for n, t in network.state_dict().items() if n not in kept and n.startswith(HEADS)}
    try:
        network.load_state_dict(kept | ({} if same_head else fresh))
    except RuntimeError as error:
        raise FileError(
            f"start: expected a network in {folder} that fits the recipe's config, got another"
            f" ({' '.join(str(error).split())[:300]}); correct the recipe or give another folder"
        ) from error


def draw_pairs(number: int, frames: int, pairs: int, *, seed: int) -> np.ndarray:
    """Draw ordered pairs of different frames, without repeats while there are others.

    Args:
        number: Place of the clip in the stream.
        frames: Of the clip.
        pairs: Wanted; a clip that has fewer repeats them.
        seed: Of the draw, with the number.

    Returns:
        `(pairs, 2)`.

    Raises:
        InputError: A clip of one frame.
    """
    if frames < 2:
        raise InputError(f"clip: expected at least 2 frames, got {frames}; pairs need two")
    order = np.random.default_rng([seed, number]).permutation(frames * (frames - 1))
    chosen = np.resize(order, pairs)
    first, place = np.divmod(chosen, frames - 1)
    # Skips the first frame itself.
    return np.stack([first, place + (place >= first)], axis=-1)


@dataclass(frozen=True)
class PairTargets:
    """What P pairs should be.

    Attributes:
        points_1: True points of view 1 in the frame of camera 1, `(P, H, W, 3)`.
        points_2: Those of view 2, in the frame of camera 1 as well.
        valid_1: Pixels of view 1 with a true point, `(P, H, W)`.
        valid_2: Those of view 2.
    """

    points_1: Tensor
    points_2: Tensor
    valid_1: Tensor
    valid_2: Tensor


def pair_targets(batch: dict[str, Any], pairs: Tensor, max_depth: float) -> PairTargets:
    """Give the true points of pairs in the frame of camera 1, and which pixels have any.

    Args:
        batch: `depth`, `K`, `world_from_camera`.
        pairs: Numbers of the two frames, `(B, P, 2)`.
        max_depth: Deeper pixels do not count.

    Returns:
        Of the pairs of all clips, in one dimension.

    Raises:
        InputError: A batch without depth or cameras.
    """
    missing = {"depth", "K", "world_from_camera"} - set(batch)
    if missing:
        raise InputError(
            f"batch: expected depth and cameras, got none of {sorted(missing)}; train on clips that"
            " have them"
        )
    depth, cameras = batch["depth"], batch["world_from_camera"]
    clips = torch.arange(len(depth), device=depth.device)[:, None]
    camera_from_world = invert(cameras)[clips, pairs[..., 0]]
    points = pointmap_from_depth(depth, batch["K"], cameras)
    valid = (depth > 0.0) & (depth < max_depth)
    first, second = pairs.unbind(dim=-1)
    return PairTargets(
        points_1=transform_points(camera_from_world, points[clips, first]).flatten(0, 1),
        points_2=transform_points(camera_from_world, points[clips, second]).flatten(0, 1),
        valid_1=valid[clips, first].flatten(0, 1),
        valid_2=valid[clips, second].flatten(0, 1),
    )
