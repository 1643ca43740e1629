"""Stages two and three: generation and reconstruction together, L = L_gen + lambda L_rec."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from jog3r.codecs.features import TextFeatures
from jog3r.codecs.text import TextEncoder, word_tokenizer
from jog3r.data.world.captions import vocabulary
from jog3r.diffusion.schedule import RECONSTRUCTION_MAX, NoiseSchedule
from jog3r.errors import InputError
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.losses.generation import generation_loss
from jog3r.losses.pointmap_regression import pointmap_regression
from jog3r.losses.variational_bound import variational_bound
from jog3r.model import JOG3R
from jog3r.routes.prompts import encode_texts, encodes_empty, null_text
from jog3r.routes.video_formats import video_format
from jog3r.training.schedules import muon, with_warmup
from jog3r.training.start import load_start
from jog3r.training.trained_parts import TrainedParts


class JointTraining(pl.LightningModule):
    """Train a JOG3R on captioned clips with depth and cameras; the autoencoder stays as it is.

    L_gen: the checkpoint's prediction over the full range of t with the real prompt (dropped now
    and then for guidance). L_rec: confidence-weighted pointmap regression at low noise with the
    empty prompt. Both halves go through the backbone in one batched call; the reconstruction half
    leaves it at the tap.

    Args:
        model: Architecture of everything.
        start: Folder with weights to begin with: an autoencoder, a whole model to go on from, or a
            converted checkpoint; null for fresh weights, with which only a model can begin whose
            latents are precomputed.
        trained: What trains; null for everything but the autoencoder.
        optimiser: Muon on the inner matrices, or AdamW on everything.
        gradient_checkpointing: Compute the backbone's blocks again in the backward pass instead of
            keeping what they computed: less memory, more time.
        rec_weight: lambda.
        pairs_per_clip: Pairs (1, f) sampled from each clip.
        prompt_dropout: Share of prompts replaced by the empty one in L_gen.
        variance_weight: Of the variational bound in L_gen, for backbones that predict the variance
            of DDPM; only the variance learns from it.
        timestep_power: L_gen draws its timestep from u^power, u uniform in [0, 1); see the
            schedule's `draw_timesteps`. Above 1 little noise, where surfaces and edges are made,
            comes more often.
        max_depth: Points farther than this [m] are not supervised.
        learning_rate: Peak of the optimiser's rate.
        warmup_steps: Steps of linear rise.
        decay_steps: Step at which a half cosine reaches zero; null keeps the rate.
        weight_decay: Of the optimiser.
        seed: Of noise, timesteps, pairs and dropped prompts.

    Raises:
        FileError: Nothing to start from.
        InputError: A timestep_power that is not above 0, or parts to train that the model lacks.

    Source: JOG3R section 3.
    """

    def __init__(
        self,
        model: JOG3R.Config,
        start: str | None,
        *,
        trained: TrainedParts | None = None,
        optimiser: Literal["muon", "adamw"] = "muon",
        gradient_checkpointing: bool = False,
        rec_weight: float = 1.0,
        pairs_per_clip: int = 4,
        prompt_dropout: float = 0.1,
        variance_weight: float = 1.0,
        timestep_power: float = 1.0,
        max_depth: float = 20.0,
        learning_rate: float = 5e-4,
        warmup_steps: int = 300,
        decay_steps: int | None = None,
        weight_decay: float = 0.01,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not timestep_power > 0.0:
            raise InputError(f"timestep_power: expected a number above 0, got {timestep_power}")
        words = isinstance(model.text_encoder, TextEncoder.Config)
        self.model = JOG3R(model, word_tokenizer(vocabulary()) if words else None)
        if start is not None:
            load_start(self.model, start)
        (trained or TrainedParts()).apply(self.model)
        self.model.stitched.backbone.gradient_checkpointing = gradient_checkpointing
        self.optimiser = optimiser
        self.rec_weight, self.pairs_per_clip = rec_weight, pairs_per_clip
        self.prompt_dropout, self.max_depth = prompt_dropout, max_depth
        self.timestep_power, self.variance_weight = timestep_power, variance_weight
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Take one step; what is random depends on the seed, the step and the process alone."""
        # Batches whose gradients accumulate to one step draw their own.
        within = batch_idx % self.trainer.accumulate_grad_batches
        place = [self.seed, self.global_step, within, self.global_rank]
        # torch looks at 32 bits of a seed only, so all of these are mixed into as many.
        seed = int(np.random.SeedSequence(place).generate_state(1)[0])
        loss, parts = self.losses(batch, torch.Generator().manual_seed(seed))
        gen = {"train/gen": parts.pop("gen"), "train/loss": loss}
        self.log_dict({f"train/{name}": value for name, value in parts.items()})
        self.log_dict(gen | {"train/frames": float(batch["depth"].shape[1])}, prog_bar=True)
        return loss

    def losses(
        self, batch: dict[str, Any], generator: torch.Generator
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give L_gen + lambda L_rec of a batch, and the parts.

        Args:
            batch: As `jog3r.training.world_data.collate` makes it.
            generator: Of all that is random.

        Returns:
            The loss; `gen`, and for clips of two frames or more `rec`, `distance`, `confidence`.
        """
        latents = self._latents(batch)
        drawn = self._draw(latents, batch, generator)
        prediction, tokens = self._predict(latents, drawn, batch)
        gen = self._generation_loss(latents, drawn, prediction)
        if tokens is None:
            return gen, {"gen": gen.detach()}
        clips, frames = tokens.shape[:2]
        partners = sample_partners(clips, frames, self.pairs_per_clip, generator=generator)
        rec, details = self.reconstruction_loss(tokens, partners.to(tokens.device), batch)
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
        """Compare the pointmaps of pairs (0, f) with the truth; both branches are supervised.

        Args:
            tokens: At the tap, `(B, T, S, D)`.
            partners: The frames f, `(B, P)`.
            batch: The true depth and cameras.

        Raises:
            InputError: Latents that span several frames, or depth of another size than the
                pointmaps.
        """
        pairs = torch.stack([torch.zeros_like(partners), partners], dim=-1)
        predicted = self.model.stitched.pointmaps(tokens, pairs, self.model.token_grid)
        depth = batch["depth"]
        wanted = (tokens.shape[1], *predicted.points_1.shape[2:4])
        if tuple(depth.shape[1:]) != wanted:
            raise InputError(
                f"depth: expected {wanted} (frames, height, width), one map per latent and of the"
                f" model's size, got {tuple(depth.shape[1:])}; resize depth and K, and train with"
                " an autoencoder of single frames"
            )
        # The world of a clip is its first camera, so world points are what both branches predict.
        points = pointmap_from_depth(depth, batch["K"], batch["world_from_camera"])
        valid = (depth > 0.0) & (depth < self.max_depth)
        clips = torch.arange(len(depth), device=depth.device)[:, None]
        first = torch.zeros_like(partners)
        by_pair = {
            "points_1": predicted.points_1,
            "points_2": predicted.points_2,
            "confidence_1": predicted.confidence_1,
            "confidence_2": predicted.confidence_2,
            "target_points_1": points[clips, first],
            "target_points_2": points[clips, partners],
            "valid_1": valid[clips, first],
            "valid_2": valid[clips, partners],
        }
        return pointmap_regression(**{name: x.flatten(0, 1) for name, x in by_pair.items()})

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same losses on held-out clips, with the same random numbers every time."""
        loss, parts = self.losses(batch, torch.Generator().manual_seed(batch_idx))
        self.log_dict(
            {"val/loss": loss, **{f"val/{name}": value for name, value in parts.items()}},
            batch_size=len(batch["caption"]),
        )

    def configure_optimizers(self) -> Any:
        """Give Muon or AdamW with warm-up on everything that trains."""
        rate, decay = self.learning_rate, self.weight_decay
        if self.optimiser == "muon":
            network = self.model.stitched
            inside = {id(parameter) for parameter in network.parameters()}
            others = [p for p in self.model.parameters() if id(p) not in inside]
            optimiser: Optimizer = muon(network, others, rate, weight_decay=decay)
        else:
            trained = [p for p in self.model.parameters() if p.requires_grad]
            optimiser = AdamW(trained, lr=rate, weight_decay=decay)
        return with_warmup(optimiser, warmup=self.warmup_steps, decay=self.decay_steps)

    @torch.no_grad()
    def _latents(self, batch: dict[str, Any]) -> Tensor:
        if "latents" in batch:
            return batch["latents"]
        return self.model.autoencoder.encode(batch["video"])

    def _text(
        self, batch: dict[str, Any], kept: Sequence[bool], *, empty: int
    ) -> tuple[Tensor, Tensor]:
        """Give the features of the captions that are kept, and of `empty` more empty prompts."""
        empties = [""] * empty
        if "text" not in batch:
            texts = zip(batch["caption"], kept, strict=True)
            return encode_texts(
                self.model, [*(text if keep else "" for text, keep in texts), *empties]
            )
        # A dropped prompt keeps its mask, as it does in guidance.
        own = encodes_empty(self.model)
        rows = [
            TextFeatures(text, mask) if keep else "" if own else null_text(self.model, mask)
            for text, mask, keep in zip(batch["text"], batch["text_mask"], kept, strict=True)
        ]
        return encode_texts(self.model, [*rows, *empties])

    def _draw(self, latents: Tensor, batch: dict[str, Any], generator: torch.Generator) -> "_Draws":
        """Draw what is random in a step. A change of order here changes every later training."""
        clips, device = len(latents), latents.device
        noise = self.model.schedule.draw_noise((2, *latents.shape), generator).to(device)
        uniform = [torch.rand(clips, generator=generator).to(device) for _ in range(3)]
        return _Draws(
            noise=noise,
            t_gen=self.model.schedule.draw_timesteps(
                uniform[0] ** self.timestep_power,
                video_format(self.model, clips, batch["depth"].shape[1]),
            ),
            t_rec=(uniform[1] * (RECONSTRUCTION_MAX + 1)).long(),
            kept=(uniform[2] >= self.prompt_dropout).tolist(),
        )

    def _predict(
        self, latents: Tensor, drawn: "_Draws", batch: dict[str, Any]
    ) -> tuple[Tensor, Tensor | None]:
        """Run both halves in one call; clips of a single frame have no pairs and no second half."""
        schedule, network = self.model.schedule, self.model.stitched
        noisy = schedule.add_noise(latents, drawn.noise[0], drawn.t_gen)
        (clips, _, frames), length = latents.shape[:3], batch["depth"].shape[1]
        if frames == 1:
            text = self._text(batch, drawn.kept, empty=0)
            told = video_format(self.model, clips, length)
            out = network(noisy, drawn.t_gen.float(), *text, video_format=told)
            return out.prediction, None
        text = self._text(batch, drawn.kept, empty=clips)
        both = torch.cat([noisy, schedule.add_noise(latents, drawn.noise[1], drawn.t_rec)])
        times = torch.cat([drawn.t_gen, drawn.t_rec]).float()
        told = video_format(self.model, 2 * clips, length)
        return network.joint(both, times, *text, reconstructed=clips, video_format=told)

    def _generation_loss(self, latents: Tensor, drawn: "_Draws", prediction: Tensor) -> Tensor:
        """Give the squared error, and the bound of the variance where the network predicts it."""
        schedule = self.model.schedule
        loss = generation_loss(prediction, schedule.target(latents, drawn.noise[0], drawn.t_gen))
        learns = prediction.shape[1] == 2 * latents.shape[1]
        if not learns or not isinstance(schedule, NoiseSchedule):
            return loss
        noisy = schedule.add_noise(latents, drawn.noise[0], drawn.t_gen)
        bound = variational_bound(prediction, latents, noisy, drawn.t_gen, schedule=schedule)
        return loss + self.variance_weight * bound


@dataclass(frozen=True)
class _Draws:
    """What is random in one step.

    Attributes:
        noise: `(2, B, C, T, h, w)`, of generation and of reconstruction.
        t_gen: Timesteps of generation, over the whole range.
        t_rec: Timesteps of reconstruction, in the low-noise range.
        kept: Which captions are not dropped.
    """

    noise: Tensor
    t_gen: Tensor
    t_rec: Tensor
    kept: list[bool]


def sample_partners(clips: int, frames: int, pairs: int, *, generator: torch.Generator) -> Tensor:
    """Draw for each clip the second frames of its pairs, without repeats.

    Returns:
        `(clips, min(pairs, frames - 1))`, from 1 to frames - 1.
    """
    order = torch.rand(clips, frames - 1, generator=generator).argsort(dim=1)
    return 1 + order[:, :pairs]
