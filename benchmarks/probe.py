"""A small network that says which colours, shapes and which place a frame of the world shows.

It is trained on exact labels: what is in a frame is known from the object that every pixel belongs
to. The model under test plays no part in it.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

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
Frames = tuple[Tensor, Tensor]


def labelled_frames(world: World, seeds: Sequence[int], *, threads: int) -> Frames:
    """Render the first and the last frame of a path in each scene.

    Returns:
        Frames `(N, 3, H, W)` uint8; labels `(N, attributes)` int8: 1, 0 or UNCLEAR.
    """
    with ThreadPoolExecutor(threads) as pool:
        scenes = list(pool.map(lambda seed: _scene_frames(world, seed), seeds))
    frames = np.concatenate([frames for frames, _ in scenes])
    labels = np.concatenate([labels for _, labels in scenes])
    return torch.from_numpy(frames).permute(0, 3, 1, 2).contiguous(), torch.from_numpy(labels)


def _scene_frames(world: World, seed: int) -> tuple[np.ndarray, np.ndarray]:
    config, rng = world.config, np.random.default_rng([seed, 0x9B0E])
    scene = sample_scene(rng, config.scene, world.photos)
    path = sample_path(rng, scene, config.path)
    size = (config.size, config.size)
    K = intrinsics_from_fov(path.fov_deg, size).repeat(2, 1, 1).numpy()
    cameras = path.world_from_camera[[0, -1]]
    seen = render(scene, cameras, K, size, samples=config.samples, shadows=config.shadows)
    return seen.frames, np.stack([frame_labels(scene, ids) for ids in seen.ids])


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
    """Five convolutions; maximum and mean over the frame; one linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            *_layer(3, 24, kernel=4, stride=2),
            *_layer(24, 48, kernel=3, stride=2),
            *_layer(48, 48, kernel=3, stride=1),
            *_layer(48, 96, kernel=3, stride=2),
            *_layer(96, 96, kernel=3, stride=1),
        )
        self.head = nn.Linear(2 * 96, len(ATTRIBUTES))

    def forward(self, frames: Tensor) -> Tensor:
        """Logits `(N, attributes)` of frames `(N, 3, H, W)` in [-1, 1]."""
        x = self.features(frames)
        return self.head(torch.cat([x.amax(dim=(2, 3)), x.mean(dim=(2, 3))], dim=1))

    @torch.inference_mode()
    def scores(self, frames: Tensor, chunk: int = 512) -> Tensor:
        """Probabilities: of each colour and shape on its own, of the places together."""
        logits = torch.cat([self(part) for part in frames.split(chunk)])
        things, places = logits.split([len(THINGS), len(PLACES)], dim=1)
        return torch.cat([things.sigmoid(), places.softmax(dim=1)], dim=1)


def _layer(inputs: int, outputs: int, *, kernel: int, stride: int) -> list[nn.Module]:
    conv = nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=1, bias=False)
    return [conv, nn.BatchNorm2d(outputs), nn.ReLU()]


def as_input(frames: Tensor) -> Tensor:
    """Uint8 frames to [-1, 1]."""
    return frames.float() / 127.5 - 1.0


def train_probe(data: Frames, *, epochs: int, seed: int, batch: int = 128) -> Probe:
    """Train from nothing; frames are mirrored, blurred and made noisy, as generated ones may be."""
    frames, labels = data
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
            loss = probe_loss(probe(augment(as_input(frames[rows]), generator)), labels[rows])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()
            losses.append(float(loss))
        progress(f"probe: epoch {epoch + 1} of {epochs}, loss {sum(losses) / len(losses):.3f}")
    return probe.eval()


def probe_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """Binary cross-entropy of the clear labels, and cross-entropy of the place."""
    count = len(THINGS)
    things, clear = labels[:, :count], labels[:, :count] != UNCLEAR
    target = things.clamp(min=0).float()
    each = F.binary_cross_entropy_with_logits(logits[:, :count], target, reduction="none")
    place = F.cross_entropy(logits[:, count:], labels[:, count:].argmax(dim=1))
    return each[clear].mean() + 0.2 * place


def augment(frames: Tensor, generator: torch.Generator) -> Tensor:
    """Mirror half of the frames, blur a third, and add a little noise."""
    draw = torch.rand(len(frames), 3, generator=generator)[..., None, None, None]
    frames = torch.where(draw[:, 0] < 0.5, frames.flip(-1), frames)
    small = F.interpolate(frames, scale_factor=0.5, mode="area")
    blurred = F.interpolate(small, scale_factor=2, mode="bilinear", align_corners=False)
    frames = torch.where(draw[:, 1] < 0.33, blurred, frames)
    noise = torch.randn(frames.shape, generator=generator)
    return (frames + 0.08 * draw[:, 2] * noise).contiguous(memory_format=torch.channels_last)
