"""The controlled world as a data set: its clips are rendered when they are read."""

from collections.abc import Sequence
from pathlib import Path

import torch

from jog3r.data.clip import Clip, Part
from jog3r.data.readers.interface import ClipEntry, ClipReader, Index, wanted_frames
from jog3r.data.world import World, WorldConfig
from jog3r.data.world.camera_paths import PathConfig
from jog3r.errors import InputError
from jog3r.result_checks import image_size_of


class WorldClips(ClipReader):
    """Clips of the controlled world, one per seed.

    Layout: none is needed. The folder holds photographs that hang on walls and objects; without it
    (None) there are none in the pictures.

    Args:
        folder: Of photographs, or None.
        clips: How many.
        first_seed: Of the clips; the others follow. From `HELD_OUT` (2^40) on lie those that no
            training draws.
        frames: Length of each.
        size: (height, width) of the frames [px]; both the same.
        vary_captions: Leave parts of captions out and use synonyms, as training wants.

    Raises:
        FileError: No such folder, or one without photographs.
        InputError: No clip, no frame, a seed below 0, or a size that is not square.
    """

    name = "world"
    needs_folder = False
    source = "jog3r controlled world"
    licence = "Apache-2.0"

    def __init__(
        self,
        folder: str | Path | None = None,
        *,
        clips: int = 1000,
        first_seed: int = 0,
        frames: int = 16,
        size: tuple[int, int] = (64, 64),
        vary_captions: bool = True,
    ) -> None:
        super().__init__(folder)
        height, width = image_size_of(size)
        if height != width:
            raise InputError(f"size: expected a square, got {height}x{width}; fit the clips later")
        if min(clips, frames) < 1 or first_seed < 0:
            raise InputError(
                "world: expected at least 1 of clips and frames and a seed of at least 0, got"
                f" {clips}, {frames} and {first_seed}"
            )
        photos = None if folder is None else str(folder)
        if photos is not None:
            self.licence = "Apache-2.0; photographs as their folder says"
        path = PathConfig(frames=max(frames, 2))  # a path of one frame leads nowhere
        self.world = World(WorldConfig(size=height, photos=photos, path=path))
        self.seeds, self.frames = range(first_seed, first_seed + clips), frames
        self.vary_captions = vary_captions

    def _look_over(self) -> Index:
        parts: frozenset[Part] = frozenset(("frames", "K", "world_from_camera", "depth", "caption"))
        digits = len(str(self.seeds[-1]))
        entries = tuple(
            ClipEntry(id=f"seed-{seed:0{digits}}", length=self.frames, parts=parts, place=seed)
            for seed in self.seeds
        )
        return Index(announced=len(entries), entries=entries)

    def read(self, entry: ClipEntry, frames: Sequence[int] | None = None) -> Clip:
        """Render a clip, or some of its frames in any order.

        Args:
            entry: Of this reader's index.
            frames: Which; None for all.

        Raises:
            InputError: Frames that the clip does not have.
        """
        chosen = wanted_frames(entry, frames)
        seen = self.world.clip(entry.place, self.frames, vary_caption=self.vary_captions)
        return Clip(
            id=entry.id,
            source=self.source,
            licence=self.licence,
            frames=torch.from_numpy(seen.frames),
            K=torch.from_numpy(seen.K),
            world_from_camera=torch.from_numpy(seen.world_from_camera),
            depth=torch.from_numpy(seen.depth),
            caption=seen.caption,
            scale="metric",
        ).select(chosen)
