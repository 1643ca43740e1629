"""Held-out clips of the controlled world, and prompts taken from them."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from benchmarks.record import REPOSITORY
from jog3r.data.world import HELD_OUT, World, WorldClip, WorldConfig
from jog3r.data.world.captions import Description

# Validation during training looks at HELD_OUT + 0, 1, ...; every benchmark has its own range.
FIRST_CLIP, FIRST_PROMPT, FIRST_PROBE = (HELD_OUT + start for start in (1_000, 100_000, 1_000_000))
FRAMES = 16
PROMPTS = (
    "full captions of held-out clips in the order of their seeds, naming in turn one or two of the"
    " most visible things; clips without a thing of one colour are left out"
)


def world(size: int = 64) -> World:
    """Return the world as the recipe draws it, its renderer compiled."""
    made = World(WorldConfig(size=size, photos=str(REPOSITORY / "jog3r" / "assets" / "photos")))
    made.clip(HELD_OUT, 1)  # the renderer compiles on first use, which threads must not do at once
    return made


def clips(source: World, seeds: Sequence[int], *, threads: int) -> Iterator[WorldClip]:
    """Render clips of 16 frames, all frames of their paths, in the order of their seeds."""
    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(lambda seed: source.clip(seed, FRAMES), seeds)


def as_video(clip: WorldClip) -> Tensor:
    """Return the frames `(T, 3, H, W)` in [-1, 1]."""
    return torch.from_numpy(clip.frames).permute(0, 3, 1, 2).float() / 127.5 - 1.0


@dataclass(frozen=True)
class Prompt:
    """A caption with what it names, the seed to sample it with, and the clip it was taken from."""

    caption: str
    named: Description
    seed: int
    clip: WorldClip


def prompts(source: World, count: int, *, seed: int, threads: int) -> list[Prompt]:
    """Take captions from held-out clips, as PROMPTS says."""
    found: list[Prompt] = []
    start = FIRST_PROMPT + 10_000 * seed
    while len(found) < count:
        for clip in clips(source, range(start, start + count - len(found)), threads=threads):
            coloured = [thing for thing in clip.description.things if thing[0] != "patterned"]
            if coloured:
                named = replace(clip.description, things=tuple(coloured[: 1 + len(found) % 2]))
                found.append(Prompt(named.caption(), named, 1000 * seed + len(found), clip))
            start = clip.seed + 1
    return found
