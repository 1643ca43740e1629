"""Stage two: generation and reconstruction together, L = L_gen + lambda L_rec."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor

from jog3r.codecs.text import word_tokenizer
from jog3r.data.world.captions import vocabulary
from jog3r.diffusion.schedule import RECONSTRUCTION_MAX
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.losses.generation import generation_loss, generation_target
from jog3r.losses.pointmap_regression import pointmap_regression
from jog3r.model import JOG3R
from jog3r.training.schedules import optimiser_with_warmup
from jog3r.training.start import load_start


class JointTraining(pl.LightningModule):
    """Train a JOG3R on captioned clips with depth and cameras; the autoencoder stays as it is.

    L_gen: the checkpoint's prediction over the full range of t with the real prompt (dropped now and then for guidance).
    L_rec: confidence-weighted pointmap regression at low noise with the empty prompt. Both halves go through the
    backbone in one batched call; the reconstruction half leaves it at the tap.

    Source: JOG3R section 3.
    """

    def __init__(
        self,
        model: JOG3R.Config,
        start: str,
        rec_weight: float = 1.0,
        pairs_per_clip: int = 4,
        prompt_dropout: float = 0.1,
        max_depth: float = 20.0,
        learning_rate: float = 5e-4,
        warmup_steps: int = 300,
        decay_steps: int | None = None,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        """Plain values, as recipes give them.

        Args:
            model: Architecture of everything.
            start: Folder with weights to begin with: an autoencoder, or a whole model to go on from.
            rec_weight: lambda.
            pairs_per_clip: Pairs (1, f) sampled from each clip.
            prompt_dropout: Share of prompts replaced by the empty one in L_gen.
            max_depth: Points farther than this [m] are not supervised.
            learning_rate: Peak of AdamW's rate.
            warmup_steps: Steps of linear rise.
            decay_steps: Step at which a half cosine reaches zero; null keeps the rate.
            weight_decay: Of AdamW.
            seed: Of noise, timesteps, pairs and dropped prompts.
        """
        super().__init__()
        self.model = JOG3R(model, word_tokenizer(vocabulary()))
        load_start(self.model, start)
        self.model.autoencoder.requires_grad_(False)
        self.rec_weight, self.pairs_per_clip, self.prompt_dropout = (
            rec_weight,
            pairs_per_clip,
            prompt_dropout,
        )
        self.max_depth, self.seed = max_depth, seed
        self.learning_rate, self.warmup_steps, self.decay_steps, self.weight_decay = (
            learning_rate,
            warmup_steps,
            decay_steps,
            weight_decay,
        )

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """One step; what is random depends on the seed, the step and the process alone."""
        generator = torch.Generator().manual_seed(
            (self.seed << 40) + (self.global_step << 8) + self.global_rank
        )
        loss, parts = self.losses(batch, generator)
        frames = float(batch["video"].shape[1])
        if "rec" in parts:  # clips of one frame have no pairs
            self.log_dict(
                {f"train/{name}": value for name, value in parts.items() if name != "gen"}
            )
        self.log_dict(
            {"train/gen": parts["gen"], "train/loss": loss, "train/frames": frames}, prog_bar=True
        )
        return loss

    def losses(
        self, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """L_gen + lambda L_rec of a batch, and the parts.

        Returns:
            The loss; `gen`, and for clips of two frames or more `rec`, `distance`, `confidence`.
        """
        with torch.no_grad():
            latents = self.model.autoencoder.encode(batch["video"])
        B, _, T, _, _ = latents.shape
        schedule = self.model.schedule
        rand = lambda *shape: torch.rand(*shape, generator=generator).to(latents.device)  # noqa: E731
        noise = torch.randn((2, *latents.shape), generator=generator).to(latents.device)
        t_gen = (rand(B) * schedule.steps).long()
        t_rec = (rand(B) * (RECONSTRUCTION_MAX + 1)).long()
        prompts = [
            caption if keep else ""
            for caption, keep in zip(
                batch["caption"], (rand(B) >= self.prompt_dropout).tolist(), strict=True
            )
        ]
        noisy = schedule.add_noise(latents, noise[0], t_gen)
        if T == 1:
            text, mask = self.model.text_encoder(prompts)
            prediction, tokens = (
                self.model.network(noisy, t_gen.float(), text, mask).prediction,
                None,
            )
        else:
            text, mask = self.model.text_encoder([*prompts, *[""] * B])
            both = torch.cat([noisy, schedule.add_noise(latents, noise[1], t_rec)])
            prediction, tokens = self.model.network.joint(
                both, torch.cat([t_gen, t_rec]).float(), text, mask, reconstructed=B
            )
        signal, level = schedule.levels(t_gen)
        target = generation_target(
            latents,
            noise[0],
            signal_level=signal,
            noise_level=level,
            prediction_type=schedule.prediction_type,
        )
        gen = generation_loss(prediction, target)
        if tokens is None:
            return gen, {"gen": gen.detach()}
        partners = sample_partners(B, T, self.pairs_per_clip, generator).to(latents.device)
        rec, details = self.reconstruction_loss(tokens, partners, batch)
        parts = {
            "gen": gen,
            "rec": rec,
            "distance": details["distance"],
            "confidence": details["confidence"],
        }
        return gen + self.rec_weight * rec, {name: part.detach() for name, part in parts.items()}

    def reconstruction_loss(
        self, tokens: Tensor, partners: Tensor, batch: dict[str, Any]
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Compare the pointmaps of pairs (0, f) with the truth; both branches are supervised."""
        predicted = self.model.network.pointmaps(tokens, partners, self.model.token_grid)
        depth = batch["depth"]
        # The world of a clip is its first camera, so world points are what both branches predict.
        points = pointmap_from_depth(depth, batch["K"], batch["world_from_camera"])
        valid = (depth > 0.0) & (depth < self.max_depth)
        rows = torch.arange(len(depth), device=depth.device)[:, None]
        first = torch.zeros_like(partners)
        flat = lambda x: x.flatten(0, 1)  # noqa: E731
        return pointmap_regression(
            points_1=flat(predicted.points_1),
            points_2=flat(predicted.points_2),
            confidence_1=flat(predicted.confidence_1),
            confidence_2=flat(predicted.confidence_2),
            target_points_1=flat(points[rows, first]),
            target_points_2=flat(points[rows, partners]),
            valid_1=flat(valid[rows, first]),
            valid_2=flat(valid[rows, partners]),
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """The same losses on held-out clips, with the same random numbers every time."""
        loss, parts = self.losses(batch, torch.Generator().manual_seed(batch_idx))
        self.log_dict(
            {"val/loss": loss, **{f"val/{name}": value for name, value in parts.items()}},
            batch_size=len(batch["video"]),
        )

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up on everything that trains."""
        trained = [p for p in self.model.parameters() if p.requires_grad]
        return optimiser_with_warmup(
            trained,
            self.learning_rate,
            self.warmup_steps,
            self.decay_steps,
            weight_decay=self.weight_decay,
        )


def sample_partners(clips: int, frames: int, pairs: int, generator: torch.Generator) -> Tensor:
    """Draw for each clip the second frames of its pairs, without repeats: `(clips, min(pairs, frames - 1))`."""
    order = torch.rand(clips, frames - 1, generator=generator).argsort(dim=1)
    return 1 + order[:, :pairs]
