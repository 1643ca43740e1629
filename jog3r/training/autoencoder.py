"""Stage one: the frame autoencoder."""

from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor
from torchmetrics.image import PeakSignalNoiseRatio

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.losses.autoencoding import autoencoding_loss
from jog3r.training.draws import check_seed, clip_generators
from jog3r.training.latent_spread import LatentSpread
from jog3r.training.processes import means_over_processes
from jog3r.training.schedules import BETAS, with_warmup
from jog3r.training.start import load_autoencoder
from jog3r.training.stored_model import ENTRY, autoencoder_entry


class AutoencoderTraining(pl.LightningModule):
    """Train a FrameAutoencoder on single frames and, at the end, set its latents to unit variance.

    Args:
        autoencoder: Architecture.
        start: Folder of an earlier run to go on from; null for fresh weights.
        learning_rate: Peak of AdamW's rate.
        warmup_steps: Steps of linear rise.
        decay_steps: Step at which a half cosine reaches zero; null keeps the rate.
        square_weight: Weight of the squared error.
        hue_weight: Weight of the squared error of hues.
        edge_weight: Weight of the differences between neighbouring pixels.
        kl_weight: Weight of the KL term.
        seed: Of the posterior's samples.

    Raises:
        FileError: No autoencoder to start from.
        InputError: A negative seed.
    """

    def __init__(
        self,
        autoencoder: FrameAutoencoder.Config,
        *,
        start: str | None = None,
        learning_rate: float = 5e-4,
        warmup_steps: int = 100,
        decay_steps: int | None = None,
        square_weight: float = 4.0,
        hue_weight: float = 2.0,
        edge_weight: float = 0.25,
        kl_weight: float = 1e-6,
        seed: int = 0,
    ) -> None:
        super().__init__()
        check_seed(seed)
        self.model = autoencoder.build()
        if start is not None:
            load_autoencoder(self.model, start)
        self.learning_rate = learning_rate
        self.warmup_steps, self.decay_steps = warmup_steps, decay_steps
        self.weights = {
            "square_weight": square_weight,
            "hue_weight": hue_weight,
            "edge_weight": edge_weight,
            "kl_weight": kl_weight,
        }
        self.seed = seed
        self.psnr = PeakSignalNoiseRatio(data_range=2.0)  # values from -1 to 1
        self.spread = LatentSpread(autoencoder.latent_channels)
        self.latent_std: Tensor | None = None

    def training_step(self, batch: dict[str, Any], batch_idx: int) -> Tensor:
        """Take one step on all frames of the batch."""
        loss, parts = self.losses(batch, self.seed)
        logged = means_over_processes(parts)
        self.log_dict({f"train/{name}": value for name, value in logged.items()}, prog_bar=True)
        return loss

    def losses(self, batch: dict[str, Any], seed: int) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss of all frames of a batch, and its parts.

        Args:
            batch: With `video` in [-1, 1] and `number`.
            seed: Of the posterior's samples, with the clips' numbers.

        Raises:
            InputError: A batch without numbers.
        """
        length, frames = batch["video"].shape[1], batch["video"].flatten(0, 1)
        height, width = (side // self.model.factor for side in frames.shape[-2:])
        shape = (length, self.model.config.latent_channels, height, width)
        generators = clip_generators(seed, batch)
        noise = torch.cat([torch.randn(shape, generator=each) for each in generators])
        noise = noise.to(frames.device)
        reconstruction, mean, log_variance = self.model(frames, noise)
        return autoencoding_loss(
            reconstruction, frames, mean=mean, log_variance=log_variance, **self.weights
        )

    def validation_step(self, batch: dict[str, Any], batch_idx: int) -> None:
        """Log the PSNR of the reconstruction from the posterior's mean, and the latents' spread.

        The PSNR is that of all validation frames together.
        """
        latents = self.model.encode(batch["video"])
        self.psnr.update(self.model.decode(latents), batch["video"])
        clips = len(latents)
        self.log("val/psnr", self.psnr, prog_bar=True, batch_size=clips)
        self.log("val/latent_std", latents.std(), prog_bar=True, sync_dist=True, batch_size=clips)
        self.spread.update(latents / self.model.scale[:, None])

    def on_validation_epoch_end(self) -> None:
        """Remember the spread of the latents, without which no checkpoint can be published."""
        self.latent_std = self.spread.compute().reshape(-1)  # one channel: a number
        self.spread.reset()

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Say what this is a checkpoint of."""
        checkpoint[ENTRY] = autoencoder_entry(self.model, self.latent_std)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take over what the last validation found."""
        std = checkpoint[ENTRY]["latent_std"] if ENTRY in checkpoint else None
        self.latent_std = None if std is None else torch.tensor(std)

    @torch.no_grad()
    def calibrate(self, video: Tensor) -> None:
        """Set the scale so that each channel of this video's latents has unit variance."""
        self.model.scale.fill_(1.0)
        self.model.scale.div_(self.model.encode(video).std(dim=(0, 2, 3, 4))[:, None, None])

    def configure_optimizers(self) -> Any:
        """Give AdamW with warm-up."""
        optimiser = torch.optim.AdamW(
            self.model.parameters(), self.learning_rate, BETAS, weight_decay=0.0
        )
        return with_warmup(optimiser, warmup=self.warmup_steps, decay=self.decay_steps)
