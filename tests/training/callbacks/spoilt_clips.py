"""Clips of which one is spoilt, for runs in processes of their own."""

from typing import Any

import torch
from torch.utils.data import DataLoader

from tests.training.small_run import Clips, Data


class SpoiltClips(Clips):
    """Made-up clips; the one with this number has a NaN."""

    spoilt = 0

    def clip(self, number: int, frames: int) -> dict[str, Any]:
        clip = super().clip(number, frames)
        if number == self.spoilt:
            clip["video"][0, 0, 0, 0] = torch.nan
        return clip


class SpoiltData(Data):
    """Their batches."""

    def __init__(self, *, spoilt: int, clips: int = 4) -> None:
        super().__init__(clips=clips, frames=(4,))
        self.spoilt = spoilt

    def train_dataloader(self) -> DataLoader:
        stream = SpoiltClips(clips=self.clips, frames=self.frames, **self.place_in_stream())
        stream.spoilt = self.spoilt
        return DataLoader(stream, batch_size=None)
