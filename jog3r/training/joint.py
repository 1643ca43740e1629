"""Stages two and three: generation and reconstruction together, L = L_gen + lambda L_rec."""

from collections.abc import Sequence
from typing import Any, Literal

import lightning.pytorch as pl
import torch
from torch import Tensor
from torch.optim import AdamW, Optimizer

from jog3r.codecs.features import TextFeatures
from jog3r.codecs.text import TextEncoder, word_tokenizer
from jog3r.data.world.captions import vocabulary
from jog3r.diffusion.schedule import NoiseSchedule
from jog3r.errors import InputError
from jog3r.geometry.pointmaps import pointmap_from_depth
from jog3r.losses.generation import generation_loss
from jog3r.losses.pointmap_regression import pointmap_regression
from jog3r.losses.variational_bound import variational_bound
from jog3r.model import JOG3R
from jog3r.routes.prompts import encode_texts, encodes_empty, null_text
from jog3r.routes.video_formats import video_format
from jog3r.training.draws import Draws, check_seed, clip_generators, draw, seed_step
from jog3r.training.joint_checks import (
    check_counts,
    check_only_adapters,
    check_ranges,
    check_weights,
)
from jog3r.training.lora import LoRA
from jog3r.training.processes import (
    allow_idle_parameters,
    mean_over_processes,
    means_over_processes,
)
from jog3r.training.reconstruction_half import Frames, ReconstructionHalf
from jog3r.training.schedules import muon, with_warmup
from jog3r.training.start import load_start
from jog3r.training.stored_model import StoresModel
from jog3r.training.trained_parts import TrainedParts

VALIDATION_SEED = 0
"""Of what is random in validation, whatever the seed of the run, so that runs can be compared."""


class JointTraining(StoresModel, pl.LightningModule):
    """Train a JOG3R on captioned clips with depth and cameras; the autoencoder stays as it is.

    L_gen: the checkpoint's prediction over the full range of t with the real prompt (dropped now
    and then for guidance). L_rec: confidence-weighted pointmap regression at low noise with the
    empty prompt. Both halves go through the backbone in one batched call; the reconstruction half
    leaves it at the tap. A half of weight 0 is not computed at all; clips of one frame and clips
    without depth and cameras train generation only.

    What is random depends on the seed and on each clip's place in the stream alone, and losses are
    those of the batches of all processes together: one process with batches of 4 and two with
    batches of 2 train alike.

    Args:
        model: Architecture of everything.
        start: Folder with weights to begin with: an autoencoder, a whole model to go on from, or a
            converted checkpoint; null for fresh weights, with which only a model can begin whose
            latents are precomputed.
        trained: What trains; null for everything but the autoencoder.
        lora: Low-rank adapters that train in the backbone in place of its own weights; null for
            none.
        optimiser: Muon on the inner matrices, or AdamW on everything.
        gradient_checkpointing: Compute the backbone's blocks again in the backward pass instead of
            keeping what they computed: less memory, more time.
        gen_weight: Of L_gen; 0 for reconstruction only.
        rec_weight: lambda; 0 for generation only.
        rec_every: L_rec is that of every so manieth clip of a process' batch, from the first: its
            expectation stays, at less time per step and more variance. It has to divide the clips
            of a batch, so that runs of more processes take the same ones. Validation takes all.
        rec_frames: What the reconstruction half sees of a clip: "all" of its frames, or only those
            of the "pairs", as a shorter clip; less time, and another function: tokens are then
            learned from fewer frames than reconstruction meets later, and than validation shows.
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
        InputError: A timestep_power or max_depth that is not above 0, negative weights or two of 0,
            a prompt_dropout outside of [0, 1], a rec_every or pairs_per_clip below 1, a negative
            seed, or parts to train that the model lacks.

    Source: JOG3R section 3.
    """

    def __init__(
        self,
        model: JOG3R.Config,
        start: str | None,
        *,
        trained: TrainedParts | None = None,
        lora: LoRA | None = None,
        optimiser: Literal["muon", "adamw"] = "muon",
        gradient_checkpointing: bool = False,
        gen_weight: float = 1.0,
        rec_weight: float = 1.0,
        rec_every: int = 1,
        rec_frames: Frames = "all",
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
        check_weights(gen_weight, rec_weight)
        check_counts(rec_every=rec_every, pairs_per_clip=pairs_per_clip)
        check_ranges(timestep_power, max_depth, prompt_dropout)
        check_seed(seed)
        words = isinstance(model.text_encoder, TextEncoder.Config)
        self.model = JOG3R(model, word_tokenizer(vocabulary()) if words else None)
        if start is not None:
            load_start(self.model, start)
        if rec_weight > 0.0:
            self.model.stitched.check_head()
        (trained or TrainedParts(backbone="all" if lora is None else "none")).apply(self.model)
        self.lora = lora
        if lora is not None:
            check_only_adapters(trained)
            lora.apply(self.model)
        self.model.stitched.backbone.gradient_checkpointing = gradient_checkpointing
        self.optimiser = optimiser
        self.gen_weight, self.rec_weight = gen_weight, rec_weight
        self.rec_every = rec_every
        self.rec_frames: Frames = rec_frames
        self.pairs_per_clip = pairs_per_clip
        self.prompt_dropout, self.max_depth = prompt_dropout, max_depth
        self.timestep_power, self.variance_weight = timestep_power, variance_weight
        self.learning_rate, self.weight_decay = learning_rate, weight_decay
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.seed = seed

    def setup(self, stage: str) -> None:
        """Prepare for steps in which the head is idle."""
        allow_idle_parameters(self.trainer.strategy)

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Take one step."""
        seed_step(self.seed, batch)
        loss, parts = self.losses(batch, self.seed)
        logged = means_over_processes({"loss": loss, **parts})
        shown = {"loss", "gen"} & {*logged}
        self.log_dict({f"train/{name}": logged.pop(name) for name in shown}, prog_bar=True)
        self.log_dict({f"train/{name}": value for name, value in logged.items()})
        self.log("train/frames", float(_frames(batch)), prog_bar=True)
        return loss

    def losses(self, batch: dict[str, Any], seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the weighted loss of a batch, and its parts.

        Args:
            batch: As `jog3r.training.world_data.collate` makes it, or as
                `jog3r.training.prepared_data` does; without `depth` it trains generation only.
            seed: Of all that is random, with the clips' numbers.

        Returns:
            The loss; `gen`, unless its weight is 0, and for clips of two frames or more with depth,
            unless its weight is 0, `rec`, `distance`, `confidence`.

        Raises:
            InputError: A batch without numbers, one on which nothing can train because L_gen is
                left out, or one of clips that rec_every does not divide.
        """
        latents = self._latents(batch)
        generators = clip_generators(seed, batch)
        drawn = draw(generators, self.model.schedule, latents, pairs=self.pairs_per_clip)
        reconstructs = self.rec_weight > 0.0 and latents.shape[2] > 1 and "depth" in batch
        half = self._reconstruction_half(latents, drawn, batch) if reconstructs else None
        parts: dict[str, Tensor] = {}
        if self.gen_weight == 0.0:
            tokens: Tensor | None = self._tokens(_checked(half, batch))
        else:
            t_gen = self._times(drawn, batch)
            noisy = self.model.schedule.add_noise(latents, drawn.noise[0], t_gen)
            kept = (drawn.uniform[2] >= self.prompt_dropout).tolist()
            prediction, tokens = self._predict(noisy, t_gen, kept, batch, half)
            parts["gen"] = self._generation_loss(latents, drawn, prediction, t_gen)
        if half is not None and tokens is not None:
            rec, details = self.reconstruction_loss(tokens, half.partners, half.truth)
            parts |= {"rec": rec, **{name: details[name] for name in ("distance", "confidence")}}
        weights = {"gen": self.gen_weight, "rec": self.rec_weight}
        loss = torch.stack([weights[name] * parts[name] for name in weights if name in parts]).sum()
        return loss, {name: part.detach() for name, part in parts.items()}

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
        depth, patch = batch["depth"], self.model.network.config.patch
        # Clips may be of another size than the model's own.
        grid = depth.shape[2] // patch, depth.shape[3] // patch
        fits = (depth.shape[1], grid[0] * grid[1]) == tuple(tokens.shape[1:3])
        if not fits or tuple(depth.shape[2:]) != (grid[0] * patch, grid[1] * patch):
            raise InputError(
                f"depth: expected {tokens.shape[1]} maps, one per latent, of {tokens.shape[2]}"
                f" tokens of {patch}x{patch} px as the frames have, got {tuple(depth.shape[1:])};"
                " resize depth and K, and train with an autoencoder of single frames"
            )
        predicted = self.model.stitched.star_pointmaps(tokens, partners, grid)
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
        # While training, the batches of all processes count as one.
        pixels = torch.stack([by_pair[name].sum() for name in ("valid_1", "valid_2")]).float()
        pixels = mean_over_processes(pixels) if self.training else pixels
        return pointmap_regression(
            **{name: x.flatten(0, 1) for name, x in by_pair.items()},
            pixels=torch.where(pixels > 0.0, pixels, 1.0),
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the same losses on held-out clips, with the same random numbers every time."""
        loss, parts = self.losses(batch, VALIDATION_SEED)
        self.log_dict(
            {"val/loss": loss, **{f"val/{name}": value for name, value in parts.items()}},
            batch_size=len(batch["number"]),
            sync_dist=True,
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

    def _times(self, drawn: Draws, batch: dict[str, Any]) -> Tensor:
        """Give the timesteps of generation, over the whole range."""
        clips = drawn.uniform.shape[1]
        told = video_format(self.model, clips, _frames(batch), latents=drawn.noise)
        uniform = drawn.uniform[0].to(drawn.noise.device)
        return self.model.schedule.draw_timesteps(uniform**self.timestep_power, told)

    def _reconstruction_half(
        self, latents: Tensor, drawn: Draws, batch: dict[str, Any]
    ) -> ReconstructionHalf:
        # Validation shows what reconstruction meets later, whatever training leaves out.
        every, frames = (self.rec_every, self.rec_frames) if self.training else (1, "all")
        schedule = self.model.schedule
        return ReconstructionHalf.of(schedule, latents, drawn, batch, every=every, frames=frames)

    def _predict(
        self,
        noisy: Tensor,
        t_gen: Tensor,
        kept: Sequence[bool],
        batch: dict[str, Any],
        half: ReconstructionHalf | None,
    ) -> tuple[Tensor, Tensor | None]:
        """Run generation; reconstruction of clips of the same length goes in the same call."""
        network, clips, length = self.model.stitched, len(noisy), _frames(batch)
        joins = half is not None and half.noisy.shape[2] == noisy.shape[2]
        more = len(half.noisy) if half is not None and joins else 0
        text = self._text(batch, kept, empty=more)
        told = video_format(self.model, clips + more, length, latents=noisy)
        if half is None or not joins:
            out = network(noisy, t_gen.float(), *text, video_format=told)
            return out.prediction, None if half is None else self._tokens(half)
        both, times = torch.cat([noisy, half.noisy]), torch.cat([t_gen, half.timesteps])
        return network.joint(both, times.float(), *text, reconstructed=more, video_format=told)

    def _tokens(self, half: ReconstructionHalf) -> Tensor:
        """Run reconstruction alone, until the tap."""
        clips, frames = len(half.noisy), half.truth["depth"].shape[1]
        text = encode_texts(self.model, [""] * clips)
        told = video_format(self.model, clips, frames, latents=half.noisy)
        times = half.timesteps.float()
        return self.model.stitched.tokens(half.noisy, times, *text, video_format=told)

    def _generation_loss(
        self, latents: Tensor, drawn: Draws, prediction: Tensor, t_gen: Tensor
    ) -> Tensor:
        """Give the squared error, and the bound of the variance where the network predicts it."""
        schedule = self.model.schedule
        loss = generation_loss(prediction, schedule.target(latents, drawn.noise[0], t_gen))
        learns = prediction.shape[1] == 2 * latents.shape[1]
        if not learns or not isinstance(schedule, NoiseSchedule):
            return loss
        noisy = schedule.add_noise(latents, drawn.noise[0], t_gen)
        bound = variational_bound(prediction, latents, noisy, t_gen, schedule=schedule)
        return loss + self.variance_weight * bound


def _frames(batch: dict[str, Any]) -> int:
    """Give the length of a batch's clips; precomputed latents are one per frame."""
    return batch["video"].shape[1] if "video" in batch else batch["latents"].shape[2]


def _checked(half: ReconstructionHalf | None, batch: dict[str, Any]) -> ReconstructionHalf:
    if half is None:
        raise InputError(
            f"batch: expected clips of 2 frames or more with depth and cameras, since gen_weight is"
            f" 0, got {_frames(batch)} frames and {[*batch]}; choose other data or train generation"
        )
    return half
