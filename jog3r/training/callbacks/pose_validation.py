"""Cameras of held-out clips while the model trains: how well V2C finds them."""

import warnings
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from jog3r.alignment import pair_graph, solve
from jog3r.errors import AlignmentError, InputError
from jog3r.metrics import straight_forward
from jog3r.metrics.in_training import AbsoluteTrajectoryError, RelativePoseAccuracy
from jog3r.model import JOG3R
from jog3r.routes.pointmaps import seen_frames, token_pointmaps, usual_graph
from jog3r.training.callbacks.held_out import held_out_grid, held_out_tokens
from jog3r.training.joint import JointTraining

LEAST_FOR_ATE = 3
"""Frames that a similarity between two camera paths takes."""


class PoseValidation(pl.Callback):
    """At every validation, reconstruct the held-out clips and log how right their cameras are.

    Tokens, pointmaps and alignment are those of V2C, without the refinement that may follow it.
    All pairs of frames of all clips of all processes count the same in `val/rra_15`, `val/rta_15`
    and `val/auc_30`; `val/coverage` is the share of them whose true motion has a direction, on
    which the last two rest, and `val/estimated` that of those that got cameras: a clip that cannot
    be aligned counts as wrong. `val/ate` is the mean over the clips that were aligned and really
    move, after a similarity, in the truth's unit; NaN where there are none. `val/forward_...` is
    what a camera scores that only moves ahead.

    Args:
        clips: So many clips of each process; null for all.
    """

    def __init__(self, *, clips: int | None = None) -> None:
        self.clips = clips
        self._done = 0
        self._scores = {"val/": _Scores(), "val/forward_": _Scores()}

    def setup(self, trainer: pl.Trainer, pl_module: pl.LightningModule, stage: str) -> None:
        """Check that there is a head to validate.

        Raises:
            InputError: There is none.
        """
        if not isinstance(pl_module, JointTraining):
            raise InputError(
                "PoseValidation: expected the training of a whole model, got"
                f" {type(pl_module).__name__}; take the callback out of this stage"
            )
        pl_module.model.stitched.check_head()

    def on_validation_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin anew."""
        self._done = 0
        for scores in self._scores.values():
            scores.reset()

    def on_validation_batch_end(
        self,
        trainer: pl.Trainer,
        pl_module: pl.LightningModule,
        outputs: Any,
        batch: Any,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Add the clips of a batch, while averaged weights are still in place."""
        if "world_from_camera" not in batch or self._done == self.clips:
            return
        assert isinstance(pl_module, JointTraining)
        frames = batch["world_from_camera"].shape[1]
        seen = seen_frames(pl_module.model, frames)
        tokens = held_out_tokens(pl_module.model, batch)
        grid = held_out_grid(pl_module.model, batch)
        for own_tokens, truth in zip(tokens, batch["world_from_camera"], strict=True):
            # All of the batch goes on: processes that share weights take every pass together.
            estimate = estimated_cameras(pl_module.model, own_tokens, grid)
            if self._done != self.clips:
                self._done += 1
                self._add(estimate, truth[seen].cpu(), straight_forward(frames)[seen])

    def _add(self, estimate: Tensor | None, truth: Tensor, forward: Tensor) -> None:
        self._scores["val/"].update(estimate, truth)
        self._scores["val/forward_"].update(forward, truth)

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Log the scores of all processes together."""
        counts = torch.tensor(self._done, dtype=torch.float32, device=pl_module.device)
        if not trainer.strategy.reduce(counts, reduce_op="sum"):
            return  # no clip with cameras
        for prefix, scores in self._scores.items():
            values = scores.compute(pl_module.device)
            named = {prefix + name: value for name, value in values.items()}
            pl_module.log_dict(named, sync_dist=True)  # equal everywhere; Lightning cannot know


def estimated_cameras(model: JOG3R, tokens: Tensor, grid: tuple[int, int]) -> Tensor | None:
    """Give world_from_camera `(T, 4, 4)` of one clip, or None where no cameras explain it.

    Args:
        model: With a head.
        tokens: At the tap, `(T, S, D)`.
        grid: Rows and columns of a frame's tokens.
    """
    pairs = pair_graph(usual_graph(model), len(tokens))
    try:
        return solve(token_pointmaps(model, tokens, pairs, grid=grid)).world_from_camera
    # What diverges may not even be finite, and no validation is worth a run of days.
    except (AlignmentError, InputError, torch.linalg.LinAlgError):  # type: ignore[attr-defined]
        return None


class _Scores:
    """Both metrics of one estimator."""

    def __init__(self) -> None:
        self.pairs, self.path = RelativePoseAccuracy(), AbsoluteTrajectoryError()

    def reset(self) -> None:
        for metric in (self.pairs, self.path):
            metric.reset()
            metric.cpu()

    def update(self, estimate: Tensor | None, truth: Tensor) -> None:
        if estimate is None:
            # The first camera is the world, and the others are missing.
            first = torch.eye(4)[None]
            self.pairs.update(
                torch.cat([first, truth[1:].new_full(truth[1:].shape, torch.nan)]), truth
            )
            return
        self.pairs.update(estimate, truth)
        if len(truth) >= LEAST_FOR_ATE and bool((truth[:, :3, 3] != truth[0, :3, 3]).any()):
            self.path.update(estimate, truth)

    def compute(self, device: torch.device) -> dict[str, Tensor]:
        """Give the values over all processes, whose messages may need the device."""
        with warnings.catch_warnings():
            # Of the mean over no clips at all, which is NaN.
            warnings.filterwarnings("ignore", message=r"The ``compute`` method of metric Absolute")
            ate = self.path.to(device).compute()["ATE_similarity"]
        values = {**self.pairs.to(device).compute(), "ate": ate}
        return {name.lower().replace("@", "_"): value.float() for name, value in values.items()}
