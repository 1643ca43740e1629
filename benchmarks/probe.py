"""A small network that says which colours, shapes and which place a frame of the world shows.

It is trained on exact labels, cell by cell: the object that every pixel belongs to is known. A
frame scores as high as its best cells. The model under test plays no part in it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from benchmarks.record import progress
from jog3r.data.world import Scene, World, render
from jog3r.data.world.camera_paths import sample_path
from jog3r.data.world.materials import COLOURS
from jog3r.data.world.scene import OPEN_PLACES, ROOM_PLACES, SHAPES, sample_scene
from jog3r.geometry import intrinsics_from_fov

THINGS = (*COLOURS, *SHAPES)
PLACES = (*ROOM_PLACES, *OPEN_PLACES)
ATTRIBUTES = (*THINGS, *PLACES)
PRESENT, ABSENT = 0.01, 0.002
"""An attribute is present if its things cover this share of the frame, absent below the second;
frames in between neither train nor test it."""
UNCLEAR = -1
CELL = 4
"""Pixels per cell and axis."""
NOTHING, IGNORED = 0, -100
"""Class of a cell without a thing, and of one that does not count."""
BEST_CELLS = 2


@dataclass(frozen=True)
class Frames:
    """Rendered frames and what is in them.

    Attributes:
        frames: `(N, 3, H, W)` uint8.
        labels: `(N, attributes)` int8: 1, 0 or UNCLEAR.
        cells: `(N, 2, H / CELL, W / CELL)` int64: class of the colour and of the shape at the
            cells' centres.
    """

    frames: Tensor
    labels: Tensor
    cells: Tensor


def labelled_frames(world: World, seeds: Sequence[int], *, threads: int) -> Frames:
    """Render the first and the last frame of a path in each scene."""
    with ThreadPoolExecutor(threads) as pool:
        parts = zip(*pool.map(lambda seed: _scene_frames(world, seed), seeds), strict=True)
        frames, labels, cells = (torch.from_numpy(np.concatenate(part)) for part in parts)
    return Frames(frames.permute(0, 3, 1, 2).contiguous(), labels, cells)


def _scene_frames(world: World, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    config, rng = world.config, np.random.default_rng([seed, 0x9B0E])
    scene = sample_scene(rng, config.scene, world.photos)
    path = sample_path(rng, scene, config.path)
    size = (config.size, config.size)
    K = intrinsics_from_fov(path.fov_deg, size).repeat(2, 1, 1).numpy()
    cameras = path.world_from_camera[[0, -1]]
    seen = render(scene, cameras, K, size, samples=config.samples, shadows=config.shadows)
    labels = np.stack([frame_labels(scene, ids) for ids in seen.ids])
    return seen.frames, labels, cell_classes(scene, seen.ids)


def cell_classes(scene: Scene, ids: np.ndarray) -> np.ndarray:
    """Class of the colour and of the shape at the centre of every cell.

    Args:
        scene: what was rendered.
        ids: object row per pixel, `(T, H, W)`.
    """
    classes = np.full((len(scene.objects) + 1, 2), NOTHING)  # the last row is the sky's, -1
    for thing in scene.things:
        known = thing.colour in COLOURS  # "patterned" is no colour
        colour = 1 + list(COLOURS).index(thing.colour) if known else IGNORED
        classes[thing.row] = colour, 1 + list(SHAPES).index(thing.shape)
    centres = ids[:, CELL // 2 :: CELL, CELL // 2 :: CELL]
    return classes[centres].transpose(0, 3, 1, 2)


def frame_labels(scene: Scene, ids: np.ndarray) -> np.ndarray:
    """Label one frame from the object row of each pixel `(H, W)`."""
    pixels = np.bincount(ids[ids >= 0].ravel(), minlength=len(scene.objects))
    share = dict.fromkeys(ATTRIBUTES, 0.0)
    for thing in scene.things:
        share[thing.shape] += pixels[thing.row] / ids.size
        if thing.colour in share:  # "patterned" is no colour
            share[thing.colour] += pixels[thing.row] / ids.size
    share[scene.place] = 1.0
    values = np.asarray([share[name] for name in ATTRIBUTES])
    return np.where(values >= PRESENT, 1, np.where(values < ABSENT, 0, UNCLEAR)).astype(np.int8)


class Probe(nn.Module):
    """Convolutions to strides of four and eight pixels, joined at four; one layer per answer."""

    def __init__(self) -> None:
        super().__init__()
        self.fine = nn.Sequential(_layer(3, 24, 4, 2), _layer(24, 48, 3, 2), _layer(48, 48, 3, 1))
        self.coarse = nn.Sequential(
            _layer(48, 96, 3, 2), _layer(96, 96, 3, 1), _layer(96, 96, 3, 1)
        )
        self.narrow = nn.Conv2d(96, 48, 1)
        self.join = _layer(48, 64, 3, 1)
        self.things = nn.Conv2d(64, 2 + len(THINGS), 1)
        self.place = nn.Linear(96, len(PLACES))

    def forward(self, frames: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of frames `(N, 3, H, W)` in [-1, 1].

        Returns:
            Colours and shapes of the cells, `(N, classes, H / CELL, W / CELL)`, and places.
        """
        fine = self.fine(frames)
        coarse = self.coarse(fine)
        joined = self.join(fine + F.interpolate(self.narrow(coarse), scale_factor=2.0))
        colours, shapes = self.things(joined).split([1 + len(COLOURS), 1 + len(SHAPES)], dim=1)
        return colours, shapes, self.place(coarse.mean(dim=(2, 3)))

    @torch.inference_mode()
    def scores(self, frames: Tensor, chunk: int = 512) -> Tensor:
        """Probability of each attribute: of colours and shapes in the frame's best cells."""
        parts = []
        for part in frames.split(chunk):
            *things, places = self(part)
            best = [
                logits.softmax(dim=1)[:, 1:].flatten(2).topk(BEST_CELLS).values.mean(dim=2)
                for logits in things
            ]
            parts.append(torch.cat([*best, places.softmax(dim=1)], dim=1))
        return torch.cat(parts)


def _layer(inputs: int, outputs: int, kernel: int, stride: int) -> nn.Module:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(outputs), nn.ReLU())


def as_input(frames: Tensor) -> Tensor:
    """Uint8 frames to [-1, 1]."""
    return frames.float() / 127.5 - 1.0


def train_probe(data: Frames, *, epochs: int, seed: int, batch: int = 128) -> Probe:
    """Train from nothing; frames are mirrored, blurred and made noisy, as generated ones may be."""
    frames = data.frames
    generator = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        probe = Probe().to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = torch.optim.AdamW(probe.parameters(), lr=3e-3, weight_decay=0.02)
    steps = epochs * (len(frames) // batch)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps)
    for epoch in range(epochs):
        losses = []
        order = torch.randperm(len(frames), generator=generator)
        for rows in order[: len(order) // batch * batch].split(batch):
            turned = torch.rand(len(rows), generator=generator) < 0.5
            seen = mirror(augment(as_input(frames[rows]), generator), turned)
            places = data.labels[rows, len(THINGS) :].argmax(dim=1)
            loss = probe_loss(probe(seen), mirror(data.cells[rows], turned), places)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss))
        progress(f"probe: epoch {epoch + 1} of {epochs}, loss {sum(losses) / len(losses):.3f}")
    return probe.eval()


def probe_loss(logits: tuple[Tensor, Tensor, Tensor], cells: Tensor, places: Tensor) -> Tensor:
    """Cross-entropies of the cells' colours and shapes and of the frames' places."""
    colours, shapes, place = logits
    colour_loss = F.cross_entropy(colours, cells[:, 0], ignore_index=IGNORED)
    return colour_loss + F.cross_entropy(shapes, cells[:, 1]) + 0.1 * F.cross_entropy(place, places)


def mirror(maps: Tensor, chosen: Tensor) -> Tensor:
    """Mirror the chosen samples of `(N, C, H, W)`."""
    return torch.where(chosen[:, None, None, None], maps.flip(-1), maps)


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Blur a third of the frames, and add a little noise."""
    draw = torch.rand(len(frames), 2, generator=generator)[..., None, None, None]
    small = F.interpolate(frames, scale_factor=0.5, mode="area")
    blurred = F.interpolate(small, scale_factor=2.0, mode="bilinear", align_corners=False)
    frames = torch.where(draw[:, 0] < 0.33, blurred, frames)
    noise = torch.randn(frames.shape, generator=generator)
    return (frames + 0.08 * draw[:, 1] * noise).contiguous(memory_format=torch.channels_last)
