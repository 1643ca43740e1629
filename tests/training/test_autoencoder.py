"""What the first stage reports."""

from typing import Any

import pytest
import torch
from torch import Tensor

pytest.importorskip("lightning")
import lightning.pytorch as pl

from jog3r.codecs.autoencoder import FrameAutoencoder
from jog3r.training.autoencoder import AutoencoderTraining


@pytest.mark.filterwarnings("ignore:.*does not have many workers.*")
def test_psnr_is_that_of_all_frames_together(generator: torch.Generator) -> None:
    stage = AutoencoderTraining(
        FrameAutoencoder.Config(block_out_channels=(8, 8), latent_channels=4)
    )
    # Clips of different contrast in batches of different sizes: a mean over batches would differ.
    video = 2 * torch.rand(3, 2, 3, 16, 16, generator=generator) - 1
    video[2] *= 0.1
    batches: list[dict[str, Tensor]] = [{"video": video[:2]}, {"video": video[2:]}]
    trainer = pl.Trainer(
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
    )
    loader: Any = torch.utils.data.DataLoader(batches, batch_size=None)  # type: ignore[arg-type]
    (logged,) = trainer.validate(stage, loader, verbose=False)
    with torch.inference_mode():
        errors = [
            (stage.model.decode(stage.model.encode(clip[None]))[0] - clip).square().mean()
            for clip in video
        ]
    together = 10 * torch.log10(4 / torch.stack(errors).mean())
    assert logged["val/psnr"] == pytest.approx(float(together), abs=1e-3)
    batchwise = [torch.stack(errors[:2]).mean(), errors[2]]
    assert abs(sum(float(10 * torch.log10(4 / e)) for e in batchwise) / 2 - together) > 0.1
    assert not [name for name in stage.state_dict() if "psnr" in name]
